//! Import cycles among the top-level modules of a crate: modules that can only be understood together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Complaint, place};
use crate::repository::File;

/// Cycles that are known and meant to go: no new ones, and none of these larger. Remove what is mended.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("config", &["discovery", "variables"]),
    ("dialect", &["body", "edit"]),
    ("gateway", &["flight", "metrics", "reply", "routing", "trail"]),
    ("gateway", &["instance", "inventory"]),
    ("testkit", &["client", "upstream"]),
];

/// For each module of a crate, the modules of that crate that it names.
type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Cycles that are not known, and known ones that are gone.
pub(super) fn new_ones(files: &[File], known: &[(&str, &[&str])]) -> Vec<Complaint> {
    let mut crates: BTreeMap<&str, Imports<'_>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.kind() == "rs") {
        let Some((name, path)) = place(file) else { continue };
        let Some(module) = path.strip_prefix("src/").and_then(module) else { continue };
        crates.entry(name).or_default().entry(module).or_default().extend(named(&file.text));
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, imports) in &crates {
        for cycle in cycles(imports) {
            let covers = |(krate, modules): &(&str, &[&str])| {
                krate == name && cycle.iter().all(|m| modules.contains(m))
            };
            match known.iter().position(covers) {
                Some(at) => drop(seen.insert(at)),
                None => {
                    let problem =
                        format!("these modules import each other in a circle: {}", cycle.join(", "));
                    found.push(Complaint::new(&format!("crates/{name}"), 0, problem));
                }
            }
        }
    }
    for (_, (name, modules)) in known.iter().enumerate().filter(|(at, _)| !seen.contains(at)) {
        let problem = format!(
            "{} are no circle any more: remove it from KNOWN in crates/xtask/src/tidy/cycles.rs",
            modules.join(", ")
        );
        found.push(Complaint::new(&format!("crates/{name}"), 0, problem));
    }
    found
}

/// The top-level module that a path below `src` belongs to; none for the root of the crate.
fn module(path: &str) -> Option<&str> {
    let first = path.split('/').next().unwrap_or(path);
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(module, "lib" | "main")).then_some(module)
}

/// Names that follow `crate::`, in `crate::{…}` as well. Comments and tests do not count.
fn named(text: &str) -> BTreeSet<&str> {
    let own = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    for (at, path) in own.match_indices("crate::") {
        let line = own[..at].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//") {
            continue;
        }
        let rest = &own[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(members(group)),
            None => names.extend(word(rest)),
        }
    }
    names
}

/// The first name of each member of a group, up to its closing brace.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                found.extend(word(&group[start..at]));
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.extend(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn word(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    Some(&text[..end]).filter(|word| !word.is_empty())
}

/// Groups of modules that reach each other.
fn cycles<'a>(imports: &Imports<'a>) -> BTreeSet<Vec<&'a str>> {
    let reach = |from: &'a str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for named in imports.get(module).into_iter().flatten() {
                if *named != module && imports.contains_key(named) && seen.insert(*named) {
                    next.push(named);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|module| (*module, reach(module))).collect();
    let circle = |module: &&'a str| -> Option<Vec<&'a str>> {
        let there = &reached[module];
        there.contains(module).then(|| {
            imports
                .keys()
                .copied()
                .filter(|other| there.contains(other) && reached[other].contains(module))
                .collect()
        })
    };
    imports.keys().filter_map(circle).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn found(known: &[(&str, &[&str])]) -> Vec<String> {
        let files = [
            file("crates/a/src/lib.rs", "//! A.\nmod one;\nuse crate::one;\n"),
            file("crates/a/src/one.rs", "use crate::{two::Deep, four, three::{X, five}};\n"),
            file("crates/a/src/two/mod.rs", "// crate::four\nfn f() { crate::one::f() }\n"),
            file("crates/a/src/three.rs", "#[cfg(test)]\nmod tests { use crate::one; }\n"),
            file("crates/a/src/four.rs", "use crate::Root;\nuse crate::four::own;\n"),
            file("crates/b/src/one.rs", "use crate::two;\n"),
        ];
        new_ones(&files, known).into_iter().map(|complaint| complaint.problem).collect()
    }

    #[test]
    fn a_circle_is_found_and_a_known_one_is_borne() {
        assert_eq!(found(&[]), ["these modules import each other in a circle: one, two"]);
        assert_eq!(found(&[("a", &["one", "two"])]), Vec::<String>::new());
        assert_eq!(found(&[("a", &["one", "three", "two"])]), Vec::<String>::new());
    }

    #[test]
    fn a_known_circle_that_is_mended_leaves_the_list() {
        let problems = found(&[("a", &["one", "two"]), ("b", &["one", "two"])]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("one, two are no circle any more"), "{problems:?}");
    }

    #[test]
    fn groups_are_read_to_their_end() {
        assert_eq!(members("a::{b, c}, d, e::f}; g, h}"), ["a", "d", "e"]);
    }
}
