//! A YAML file as a tree that knows where everything stands, duplicates included.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Spot,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Scalar {
        text: String,
        /// Written without quotes: `null` and `true` are no texts then.
        plain: bool,
    },
    List(Vec<Node>),
    /// Members in the order written, each key once.
    Map(Vec<Member>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) at: Spot,
    pub(crate) value: Node,
}

/// What is wrong with the file as YAML.
#[derive(Debug, PartialEq)]
pub(crate) struct Flaw {
    pub(crate) at: Spot,
    /// The dotted path of the key at fault; empty where it is not about a key.
    pub(crate) key: String,
    pub(crate) problem: String,
    pub(crate) fix: &'static str,
}

/// Values in a file, those that aliases repeat included. A configuration has hundreds.
const MOST_NODES: usize = 100_000;

impl Node {
    /// Whether nothing was written: `key:` alone, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.body, Body::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The member of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.body {
            Body::Map(members) => members.iter().find(|m| m.key == key).map(|m| &m.value),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.body {
            Body::Scalar { .. } => 0,
            Body::List(items) => items.iter().map(Node::size).sum(),
            Body::Map(members) => members.iter().map(|m| m.value.size()).sum(),
        }
    }
}

/// Reads the first document. `None` if there is none, or its syntax is broken; the flaws say which.
pub(crate) fn parse(text: &str) -> (Option<Node>, Vec<Flaw>) {
    let options = granit_parser::options! { emit_unresolved_aliases: true, emit_comments: false };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text.strip_prefix('\u{feff}').unwrap_or(text), options),
        anchors: HashMap::new(),
        nodes: 0,
        path: Vec::new(),
        flaws: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(flaw) => {
            builder.flaws.push(flaw);
            None
        }
    };
    (root, builder.flaws)
}

struct Builder<I> {
    events: I,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Keys that lead to where the parser is.
    path: Vec<String>,
    flaws: Vec<Flaw>,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Builder<I> {
    fn document(&mut self) -> Result<Option<Node>, Flaw> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let problem = "a second document begins here; only the first is read".into();
                    self.flaws.push(Flaw {
                        at,
                        key: String::new(),
                        problem,
                        fix: "remove the line ---, or what follows it",
                    });
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                other => root = Some(self.node(other, at)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Spot), Flaw> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                let start = span.start;
                Ok((event, Spot { line: start.line(), column: start.col() + 1 }))
            }
            Some(Err(error)) => {
                let mark = error.marker();
                let at = Spot { line: mark.line(), column: mark.col() + 1 };
                let problem = format!("this is not YAML: {}", error.info());
                Err(Flaw {
                    at,
                    key: String::new(),
                    problem,
                    fix: "look at the indentation, quotes and colons here and in the line above",
                })
            }
            None => Ok((Event::StreamEnd, Spot::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, at: Spot) -> Result<Node, Flaw> {
        self.count(1, at)?;
        let (body, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (Body::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, at) => items.push(self.node(event, at)?),
                    }
                }
                (Body::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (Body::Map(self.members()?), anchor),
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned();
                let node = node.ok_or_else(|| Flaw {
                    at,
                    key: String::new(),
                    problem: "the alias refers to the value that it stands in".into(),
                    fix: "write the value out",
                })?;
                self.count(node.size(), at)?;
                return Ok(node);
            }
            Event::UnresolvedAlias(name) => {
                let problem = format!("nothing is marked &{name}");
                self.flaws.push(Flaw {
                    at,
                    key: String::new(),
                    problem,
                    fix: "mark a value with & before, or write the value out",
                });
                (Body::Scalar { text: String::new(), plain: true }, 0)
            }
            _ => (Body::Scalar { text: String::new(), plain: true }, 0),
        };
        let node = Node { at, body };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn members(&mut self) -> Result<Vec<Member>, Flaw> {
        let mut members: Vec<Member> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, at)?;
            let name = if let Body::Scalar { text, .. } = &key.body { text.clone() } else { String::new() };
            self.path.push(name);
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at)?;
            let dotted = self.path.join(".");
            self.path.pop();
            let Body::Scalar { text: key, plain } = key.body else {
                let problem = "a key must be a plain word".into();
                self.flaws.push(Flaw { at, key: String::new(), problem, fix: "write the setting's name" });
                continue;
            };
            if plain && key == "<<" {
                merged.push(value);
            } else if let Some(first) = members.iter().find(|m| m.key == key) {
                let problem =
                    format!("`{key}` is written a second time; line {} has it already", first.at.line);
                self.flaws.push(Flaw { at, key: dotted, problem, fix: "keep one of the two" });
            } else {
                members.push(Member { key, at, value });
            }
        }
        for node in merged {
            merge(&mut members, node);
        }
        Ok(members)
    }

    fn count(&mut self, more: usize, at: Spot) -> Result<(), Flaw> {
        self.nodes += more;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        let problem = "the file holds more than 100,000 values, aliases written out".into();
        Err(Flaw { at, key: String::new(), problem, fix: "use fewer aliases" })
    }
}

/// `<<: *base`: members of the base that are not written here.
fn merge(members: &mut Vec<Member>, node: Node) {
    match node.body {
        Body::Map(base) => {
            for member in base {
                if !members.iter().any(|m| m.key == member.key) {
                    members.push(member);
                }
            }
        }
        Body::List(bases) => bases.into_iter().for_each(|base| merge(members, base)),
        Body::Scalar { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaws(text: &str) -> Vec<(usize, usize, String)> {
        parse(text).1.into_iter().map(|f| (f.at.line, f.at.column, f.problem)).collect()
    }

    #[test]
    fn values_know_where_they_stand() {
        let (root, flaws) = parse("server:\n  port: 8080\n  hosts: [a, \"b\"]\n");
        assert!(flaws.is_empty());
        let root = root.unwrap();
        let port = root.get("server").unwrap().get("port").unwrap();
        assert_eq!(port.at, Spot { line: 2, column: 9 });
        let Body::List(items) = &root.get("server").unwrap().get("hosts").unwrap().body else {
            panic!("not a list")
        };
        assert!(matches!(&items[1].body, Body::Scalar { text, plain: false } if text == "b"));
    }

    #[test]
    fn duplicates_and_broken_syntax_are_placed() {
        assert_eq!(
            flaws("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"),
            [
                (4, 3, "`c` is written a second time; line 3 has it already".into()),
                (5, 1, "`a` is written a second time; line 1 has it already".into())
            ]
        );
        let broken = flaws("a: 1\nb: [1, 2\nc: 3\n");
        assert_eq!(broken.len(), 1);
        assert!(broken[0].0 >= 2 && broken[0].2.starts_with("this is not YAML"), "{broken:?}");
        assert_eq!(flaws("a: *nobody"), [(1, 4, "nothing is marked &nobody".into())]);
        assert_eq!(flaws("a: 1\n---\nb: 2\n")[0].0, 2);
        assert_eq!(flaws(""), []);
    }

    #[test]
    fn aliases_and_merges_are_written_out_within_bounds() {
        let (root, flaws) = parse("base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n");
        assert!(flaws.is_empty());
        let root = root.unwrap();
        let more = root.get("more").unwrap();
        assert!(matches!(&more.get("y").unwrap().body, Body::Scalar { text, .. } if text == "3"));
        assert!(matches!(&more.get("x").unwrap().body, Body::Scalar { text, .. } if text == "1"));

        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let alias = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(", "));
        }
        let (root, flaws) = parse(&bomb);
        assert!(root.is_none() && flaws[0].problem.contains("100,000"), "{flaws:?}");
    }
}
