//! `${NAME}`, `${NAME:-default}`, `${env:NAME}` and `${file:/path}` inside a value; `$${` is a literal `${`.
//!
//! A `$` without a brace is itself, always: passwords have dollars.

use std::io::Read;

use crate::environment::{Environment, Variable};

/// A value with everything put in.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Whether anything was put in: then the text must not be shown in a message.
    pub(crate) replaced: bool,
    /// Whether a secret reference was put in: then an empty text is a mistake.
    pub(crate) referenced: bool,
}

/// Why a value cannot be known.
#[derive(Debug, PartialEq)]
pub(crate) enum Gap {
    /// `${NAME}`, and nobody set it.
    Unset(String),
    /// A reference that leads nowhere, or is not one: what is wrong, and the fix.
    Broken(String, String),
}

/// Largest file that a `${file:…}` may bring in.
const LARGEST_FILE: u64 = 1 << 20;

/// What a reference brings in and is shorter than this, in bytes, is no secret: hiding it would garble other words.
const SHORTEST_SECRET: usize = 6;

/// Puts everything in. `variables` says whether `${NAME}` is known here; references are everywhere.
pub(crate) fn expand(text: &str, environment: &Environment, variables: bool) -> Result<Expanded, Gap> {
    expand_at(text, environment, variables, 0)
}

/// The value of a variable, with everything put in.
pub(crate) fn expand_variable(variable: &Variable, environment: &Environment) -> Result<Expanded, Gap> {
    expand(&variable.value, environment, variable.expands)
}

fn expand_at(text: &str, environment: &Environment, variables: bool, depth: usize) -> Result<Expanded, Gap> {
    let mut out = Expanded::default();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.text += &rest[..at - 1];
            out.text += "${";
            rest = &rest[at + 2..];
            continue;
        }
        out.text += &rest[..at];
        let Some(end) = closing(&rest[at + 2..]) else {
            return Err(Gap::Broken(
                "`${` is never closed".into(),
                "close it with }, or write $${ for a literal ${".into(),
            ));
        };
        let inner = &rest[at + 2..at + 2 + end];
        rest = &rest[at + 3 + end..];
        let found = reference(inner, environment, variables, depth)?;
        let secret = found.text.trim();
        if found.referenced && secret.len() >= SHORTEST_SECRET {
            environment.brought.borrow_mut().insert(secret.to_owned());
        }
        out.text += &found.text;
        out.replaced = true;
        out.referenced |= found.referenced;
    }
    out.text += rest;
    Ok(out)
}

/// Where the brace that was opened is closed; a default may hold further references.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

fn reference(inner: &str, environment: &Environment, variables: bool, depth: usize) -> Result<Expanded, Gap> {
    if let Some(name) = inner.strip_prefix("env:") {
        let broken = |problem: &str| {
            let fix = format!("set {name}, or remove the reference");
            Gap::Broken(format!("`${{env:{name}}}`: {problem}"), fix)
        };
        let variable = environment.get(name).ok_or_else(|| broken("the variable is not set"))?;
        let value = nested(variable, environment, depth)
            .map_err(|_| broken("the variable's own value cannot be resolved"))?;
        return Ok(Expanded { referenced: true, ..value });
    }
    if let Some(path) = inner.strip_prefix("file:") {
        environment.files.borrow_mut().insert(path.into());
        let text = read_file(path).map_err(|problem| {
            Gap::Broken(
                format!("`${{file:{path}}}`: {problem}"),
                "name a readable text file by its absolute path".into(),
            )
        })?;
        return Ok(Expanded { text, replaced: true, referenced: true });
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(valid) {
        let problem = "`${…}` does not name a variable";
        return Err(Gap::Broken(
            problem.into(),
            "write ${NAME}, ${NAME:-default}, ${env:NAME} or ${file:/path}; $${ is a literal ${".into(),
        ));
    }
    if !variables {
        return Err(Gap::Unset(name.into()));
    }
    environment.referenced.borrow_mut().insert(name.into());
    match (environment.get(name), default) {
        (Some(variable), _) => nested(variable, environment, depth),
        (None, Some(default)) => expand_at(default, environment, variables, depth + 1),
        (None, None) => Err(Gap::Unset(name.into())),
    }
}

/// A variable's value inside another value. Variables that lead back to themselves end as unset.
fn nested(variable: &Variable, environment: &Environment, depth: usize) -> Result<Expanded, Gap> {
    let expands = variable.expands && depth < 8;
    expand_at(&variable.value, environment, expands, depth + 1)
}

fn read_file(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err("the path is not absolute".into());
    }
    let file = std::fs::File::open(path).map_err(|e| e.kind().to_string())?;
    // A pipe could block for ever, a device never end.
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.kind().to_string())?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("the file is larger than 1 MiB".into());
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let pairs = [("KEY", "sk-1"), ("EMPTY", ""), ("HOLDER", "${env:KEY}"), ("PLACEHOLDER", "${OTHER}")];
        Environment::new(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())))
    }

    fn check(text: &str, expect: Result<&str, &str>) {
        let found = expand(text, &environment(), true).map(|e| e.text).map_err(|gap| match gap {
            Gap::Unset(name) => name,
            Gap::Broken(problem, _) => problem,
        });
        assert_eq!(found, expect.map(String::from).map_err(String::from), "{text:?}");
    }

    #[test]
    fn references_are_put_in_and_dollars_left_alone() {
        check("${KEY}", Ok("sk-1"));
        check("a-${KEY}-b", Ok("a-sk-1-b"));
        check("${NONE:-x}", Ok("x"));
        check("${NONE:-}", Ok(""));
        check("${EMPTY:-x}", Ok("x"));
        check("${NONE:-${KEY}}", Ok("sk-1"));
        check("${KEY:-x}", Ok("sk-1"));
        check("$KEY $5 pa$$ $", Ok("$KEY $5 pa$$ $"));
        check("$${KEY}", Ok("${KEY}"));
        check("${env:KEY}", Ok("sk-1"));
        check("${HOLDER}", Ok("sk-1"));
        check("${NONE}", Err("NONE"));
        check("${PLACEHOLDER}", Err("OTHER"));
        check("${env:NONE}", Err("`${env:NONE}`: the variable is not set"));
        check("${KEY", Err("`${` is never closed"));
        check("${}", Err("`${…}` does not name a variable"));
        check("${a-b}", Err("`${…}` does not name a variable"));
        check("${file:relative}", Err("`${file:relative}`: the path is not absolute"));
        check("${file:/nowhere/at/all}", Err("`${file:/nowhere/at/all}`: entity not found"));
    }

    #[test]
    fn a_value_of_the_environment_knows_references_but_no_variables() {
        let environment = environment();
        let plain = |text| expand(text, &environment, false);
        assert_eq!(plain("${KEY}"), Err(Gap::Unset("KEY".into())));
        assert_eq!(plain("${KEY:-x}"), Err(Gap::Unset("KEY".into())));
        assert_eq!(plain("${env:KEY}").map(|e| e.text), Ok("sk-1".into()));
    }

    #[test]
    fn a_file_gives_its_text_without_one_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let text = format!("<${{file:{}}}>", path.display());
        for (content, expect) in [("s\n", "<s>"), ("s\r\n", "<s>"), ("s\n\n", "<s\n>"), ("", "<>")] {
            std::fs::write(&path, content).unwrap();
            let found = expand(&text, &environment(), true).unwrap();
            assert_eq!((found.text.as_str(), found.replaced, found.referenced), (expect, true, true));
        }
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(
            matches!(expand(&text, &environment(), true), Err(Gap::Broken(p, _)) if p.ends_with("larger than 1 MiB"))
        );
        let folder = format!("${{file:{}}}", dir.path().display());
        assert!(matches!(expand(&folder, &environment(), true), Err(Gap::Broken(..))));
    }

    #[test]
    fn variables_that_lead_back_to_themselves_are_unset() {
        let mut environment = Environment::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "A=${A}\nB=x${C}\nC=${KEY:-y}").unwrap();
        environment.add_dotenv(&path, &mut Vec::new());
        assert_eq!(expand("${A}", &environment, true), Err(Gap::Unset("A".into())));
        assert_eq!(expand("${B}", &environment, true).map(|e| e.text), Ok("xy".into()));
    }
}
