//! A text that matches a regular expression: the ordinary part of the language, without look-around.

use crate::seed::Choices;

/// How often something unbounded is repeated at most beyond its minimum.
const MORE: usize = 2;
/// How long a text may get, in bytes, and how many parts may be written for it: repeats nest.
const LONGEST: usize = 4_096;
const MOST_PARTS: usize = 100_000;
const PRINTABLE: std::ops::RangeInclusive<char> = ' '..='~';

enum Part {
    Literal(char),
    /// One of these ranges.
    Class(Vec<(char, char)>),
    /// One of these sequences.
    Either(Vec<Vec<Part>>),
    Repeat(Box<Part>, usize, usize),
}

/// A text that matches the whole pattern.
///
/// # Errors
/// What in the pattern is not understood.
pub(crate) fn matching(pattern: &str, choices: &mut Choices) -> Result<String, String> {
    let mut parser = Parser { rest: pattern.chars().collect(), at: 0, depth: 0 };
    let parts = parser.either()?;
    if let Some(extra) = parser.peek() {
        return Err(format!("unexpected `{extra}` in the pattern `{pattern}`"));
    }
    let (mut text, mut left) = (String::new(), MOST_PARTS);
    write(&parts, choices, &mut text, &mut left);
    if left == 0 || text.len() > LONGEST {
        return Err(format!("a match of the pattern `{pattern}` would be longer than {LONGEST} bytes"));
    }
    Ok(text)
}

fn write(part: &Part, choices: &mut Choices, text: &mut String, left: &mut usize) {
    *left = left.saturating_sub(1);
    if *left == 0 || text.len() > LONGEST {
        return;
    }
    match part {
        Part::Literal(letter) => text.push(*letter),
        Part::Class(ranges) => {
            let size = |(from, to): &(char, char)| *to as usize - *from as usize + 1;
            let mut index = choices.below(ranges.iter().map(size).sum());
            for range in ranges {
                if index < size(range) {
                    text.extend(u32::try_from(range.0 as usize + index).ok().and_then(char::from_u32));
                    return;
                }
                index -= size(range);
            }
        }
        Part::Either(sequences) => {
            choices.pick(sequences).iter().for_each(|part| write(part, choices, text, left));
        }
        Part::Repeat(part, least, most) => {
            let times = least + choices.below(most.saturating_sub(*least).min(MORE) + 1);
            for _ in 0..times {
                if *left == 0 {
                    return;
                }
                write(part, choices, text, left);
            }
        }
    }
}

struct Parser {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Result<char, String> {
        let letter = self.peek().ok_or("the pattern ends too early")?;
        self.at += 1;
        Ok(letter)
    }

    fn either(&mut self) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > 64 {
            return Err("the pattern is nested too deeply".to_owned());
        }
        let mut sequences = vec![self.sequence()?];
        while self.take('|') {
            sequences.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(Part::Either(sequences))
    }

    fn sequence(&mut self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        while let Some(letter) = self.peek() {
            if letter == '|' || letter == ')' {
                break;
            }
            self.at += 1;
            let part = match letter {
                // anchors: the whole text matches anyway
                '^' | '$' => continue,
                '(' => self.group()?,
                '[' => self.class()?,
                '.' => Part::Class(vec![('a', 'z')]),
                '\\' => match escape(self.next()?) {
                    Some(part) => part,
                    None => continue,
                },
                letter => Part::Literal(letter),
            };
            parts.push(self.repeated(part)?);
        }
        Ok(parts)
    }

    fn group(&mut self) -> Result<Part, String> {
        if self.take('?') {
            match self.next()? {
                ':' => {}
                'P' | '<' => while self.next()? != '>' {},
                other => return Err(format!("groups that begin with `(?{other}` cannot be generated")),
            }
        }
        let inner = self.either()?;
        if self.take(')') { Ok(inner) } else { Err("a group is not closed".to_owned()) }
    }

    fn class(&mut self) -> Result<Part, String> {
        let negated = self.take('^');
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let from = match self.next()? {
                ']' if !ranges.is_empty() => break,
                '\\' => match escape(self.next()?) {
                    Some(Part::Class(inner)) => {
                        ranges.extend(inner);
                        continue;
                    }
                    Some(Part::Literal(letter)) => letter,
                    _ => continue,
                },
                letter => letter,
            };
            let ranged =
                self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|next| *next != ']');
            let to = if ranged {
                self.at += 1;
                match self.next()? {
                    '\\' => self.next()?,
                    letter => letter,
                }
            } else {
                from
            };
            if to < from {
                return Err(format!("the range `{from}-{to}` runs backwards"));
            }
            ranges.push((from, to));
        }
        if negated {
            let allowed =
                PRINTABLE.filter(|letter| !ranges.iter().any(|(from, to)| (*from..=*to).contains(letter)));
            ranges = allowed.map(|letter| (letter, letter)).collect();
        }
        if ranges.is_empty() {
            Err("a class allows no character".to_owned())
        } else {
            Ok(Part::Class(ranges))
        }
    }

    fn repeated(&mut self, part: Part) -> Result<Part, String> {
        let (least, most) = match self.peek() {
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('?') => (0, 1),
            Some('{') => match self.counted() {
                Some(counts) => counts,
                None => return Ok(part),
            },
            _ => return Ok(part),
        };
        // the sign itself, or the brace on which `counted` stopped
        self.at += 1;
        let _lazy = self.take('?');
        if least > most || least > LONGEST {
            return Err(format!("cannot repeat {least} to {most} times"));
        }
        Ok(Part::Repeat(Box::new(part), least, most))
    }

    /// `{2}`, `{2,}`, `{2,5}`; leaves the position on the closing brace. Anything else is literal text.
    fn counted(&mut self) -> Option<(usize, usize)> {
        let close = self.rest[self.at..].iter().position(|letter| *letter == '}')? + self.at;
        let inner: String = self.rest[self.at + 1..close].iter().collect();
        let (least, most) = match inner.split_once(',') {
            None => (inner.parse().ok()?, inner.parse().ok()?),
            Some((least, "")) => (least.parse().ok()?, usize::MAX),
            Some((least, most)) => {
                (if least.is_empty() { 0 } else { least.parse().ok()? }, most.parse().ok()?)
            }
        };
        self.at = close;
        Some((least, most))
    }
}

/// What stands behind a backslash; `None` for what takes no room.
fn escape(letter: char) -> Option<Part> {
    Some(match letter {
        'd' => Part::Class(vec![('0', '9')]),
        'w' => Part::Class(vec![('a', 'z'), ('0', '9')]),
        's' => Part::Literal(' '),
        'D' | 'W' | 'S' => Part::Class(vec![('a', 'z')]),
        'n' => Part::Literal('\n'),
        'r' => Part::Literal('\r'),
        't' => Part::Literal('\t'),
        'b' | 'B' | 'A' | 'z' | 'Z' => return None,
        other => Part::Literal(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, fits: impl Fn(&str) -> bool) {
        for seed in 0..50 {
            let text = matching(pattern, &mut Choices::new(seed)).unwrap();
            assert!(fits(&text), "`{text}` for `{pattern}`");
        }
    }

    #[test]
    fn ordinary_patterns_are_met() {
        check("[a-c]{3}", |text| text.len() == 3 && text.chars().all(|letter| "abc".contains(letter)));
        check("^(yes|no)$", |text| text == "yes" || text == "no");
        check(r"\d{4}-\d{2}", |text| text.len() == 7 && text.as_bytes()[4] == b'-');
        check("a+b?c*", |text| text.starts_with('a'));
        check("[^a-z]", |text| !text.chars().any(|letter| letter.is_ascii_lowercase()));
        check("x{2,}", |text| text.len() >= 2 && text.chars().all(|letter| letter == 'x'));
        check(r"(?:ab)\.\{", |text| text == "ab.{");
    }

    #[test]
    fn what_cannot_be_generated_is_named() {
        let refused = |pattern| matching(pattern, &mut Choices::new(1)).unwrap_err();
        assert!(refused("(?=a)b").contains("(?="));
        assert!(refused("(a").contains("not closed"));
        assert!(refused("[z-a]").contains("backwards"));
        assert!(refused("((a{4000}){4000}){4000}").contains("longer than"));
        assert!(refused("((a{0}){4000}){4000}").contains("longer than"));
    }
}
