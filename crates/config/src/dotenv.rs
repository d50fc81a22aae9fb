//! The `.env` file: `NAME=value` lines, with quotes, comments and `export`.
//!
//! Written here because every malformed line is to be reported with its number, not only the first.

/// One assignment.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether `${NAME}` in the value stands for a variable: not between single quotes.
    pub(crate) expands: bool,
    /// Line of the name, from 1.
    pub(crate) line: usize,
}

/// One line that is no assignment: its number, and what is wrong with it. Never shows a value.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// Reads the whole file; bad lines are told and skipped.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, Vec<BadLine>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < lines.len() {
        let line = at + 1;
        let read = assignment(&lines[at..]);
        match read {
            Ok((None, used)) => at += used,
            Ok((Some((name, value, expands)), used)) => {
                entries.push(Entry { name, value, expands, line });
                at += used;
            }
            Err(problem) => {
                bad.push(BadLine { line, problem });
                at += 1;
            }
        }
    }
    (entries, bad)
}

type Assignment = Option<(String, String, bool)>;

/// Reads the assignment that begins in the first line, and says how many lines it takes.
fn assignment(lines: &[&str]) -> Result<(Assignment, usize), String> {
    let line = lines[0].trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok((None, 1));
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let Some((name, value)) = line.split_once('=') else {
        return Err("there is no `=` in the line".into());
    };
    let name = name.trim_end();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(valid) {
        return Err("what stands before `=` is not a variable's name".into());
    }
    let value = value.trim_start();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (value, used) = quoted(quote, &value[1..], &lines[1..])?;
            Ok((Some((name.into(), value, quote == '"')), used))
        }
        _ => {
            // A `#` begins a comment only after a space: it may be part of a key.
            let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
            let value = if value.starts_with('#') { "" } else { value[..end].trim_end() };
            Ok((Some((name.into(), value.into(), true)), 1))
        }
    }
}

/// Reads up to the closing quote, over several lines if need be.
fn quoted(quote: char, first: &str, more: &[&str]) -> Result<(String, usize), String> {
    let mut value = String::new();
    for (used, line) in std::iter::once(&first).chain(more).enumerate() {
        if used > 0 {
            value.push('\n');
        }
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                c if c == quote => {
                    let rest = chars.as_str().trim();
                    if !rest.is_empty() && !rest.starts_with('#') {
                        return Err("something follows the closing quote".into());
                    }
                    return Ok((value, used + 1));
                }
                '\\' if quote == '"' => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    // `$${` is how the expansion writes a literal `${`.
                    Some('$') if chars.as_str().starts_with('{') => value.push_str("$$"),
                    Some(c @ ('$' | '"' | '\\')) => value.push(c),
                    Some(c) => value.extend(['\\', c]),
                    None => value.push('\\'),
                },
                c => value.push(c),
            }
        }
    }
    Err(format!("the quote {quote} is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)], bad_lines: &[usize]) {
        let (entries, bad) = parse(text);
        let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
        assert_eq!(found, expect, "{text:?}");
        assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), bad_lines, "{text:?}");
    }

    #[test]
    fn lines_are_assignments_comments_or_findings() {
        check("A=1\r\n# c\n\nexport B = two\n", &[("A", "1"), ("B", "two")], &[]);
        check("A=1 # note\nB=a#b\nC=#\nD=", &[("A", "1"), ("B", "a#b"), ("C", ""), ("D", "")], &[]);
        check("A='x # y' # z\nB=\"a\\n\\\"b\\\"\"", &[("A", "x # y"), ("B", "a\n\"b\"")], &[]);
        check("A=\"one\ntwo\"\nB=3", &[("A", "one\ntwo"), ("B", "3")], &[]);
        check("\u{feff}A=1", &[("A", "1")], &[]);
        check("A=pa$$w0rd=$x", &[("A", "pa$$w0rd=$x")], &[]);
        check("nonsense\n1A=2\nA B=3\nC=4", &[("C", "4")], &[1, 2, 3]);
        check("A=\"open\nB=2", &[("B", "2")], &[1]);
        check("A='x' y\nB=2", &[("B", "2")], &[1]);
        check("=x", &[], &[1]);
    }

    #[test]
    fn single_quotes_keep_a_placeholder_as_it_is() {
        let (entries, _) = parse("A='${X}'\nB=${X}\nC=\"\\${X}\"");
        assert_eq!(entries.iter().map(|e| e.expands).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(entries[2].value, "$${X}");
    }
}
