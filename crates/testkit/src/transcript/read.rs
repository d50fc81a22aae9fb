//! Reading transcripts.

use super::escape::{MARKERS, is_marker, unescape};
use super::{Exchange, ParseError, Side, Transcript};
use crate::wire;

type Result<T> = std::result::Result<T, ParseError>;

fn error<T>(line: usize, message: impl Into<String>) -> Result<T> {
    Err(ParseError { line, message: message.into() })
}

/// The lines of a file and where we are in it.
struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Result<Lines<'a>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines: Vec<&str> =
            text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        // What follows the last line feed is no line.
        if lines.last() == Some(&"") {
            lines.pop();
        }
        match lines.iter().position(|line| line.contains('\r')) {
            Some(index) => {
                error(index + 1, "a bare carriage return; in a body, write \\r on an escaped line")
            }
            None => Ok(Lines { lines, next: 0 }),
        }
    }

    /// The number of the line that was taken last.
    fn number(&self) -> usize {
        self.next
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied()?;
        self.next += 1;
        Some(line)
    }

    /// The next line, unless it is a marker.
    fn take_content(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied().filter(|line| !is_marker(line))?;
        self.next += 1;
        Some(line)
    }
}

/// A marker line: its sign, the name after it, the rest.
struct Marker<'a> {
    sign: &'a str,
    name: &'a str,
    rest: &'a str,
    line: usize,
}

pub(super) fn transcript(text: &str) -> Result<Transcript> {
    let mut lines = Lines::new(text)?;
    let title = match lines.take() {
        Some(first) if first == "#" || first.starts_with("# ") => first[1..].trim().to_owned(),
        _ => return error(1, "the first line is `# ` and the title"),
    };
    let prose = prose(&mut lines);
    let mut setup = Vec::new();
    let mut request = None;
    let mut story = Transcript::new(&title, Side::default());
    while let Some(marker) = marker(&mut lines)? {
        let Marker { sign, name, rest, line } = marker;
        if sign != "===" && !story.notes.is_empty() {
            return error(line, "the `===` lines come last");
        }
        if request.is_none() && !matches!((sign, name), ("---", "setup") | (">>>", "client")) {
            return error(line, format!("`>>> client` comes before `{sign} {name}`"));
        }
        if story.reply.is_some() && sign != "===" {
            return error(line, "after `<<< client` there are only `===` lines");
        }
        match (sign, name) {
            ("---", "setup") if request.is_some() || !setup.is_empty() => {
                return error(line, "`--- setup` comes once, before `>>> client`");
            }
            ("---", "setup") if !rest.is_empty() => {
                return error(line, "nothing follows `--- setup` on its line");
            }
            ("---", "setup") => setup = settings(&mut lines)?,
            (">>>", "client") if request.is_some() => return error(line, "`>>> client` comes once"),
            (">>>", "client") => request = Some(side(&mut lines, rest)?),
            (">>>", "upstream") => {
                let request = Some(side(&mut lines, rest)?);
                story.exchanges.push(Exchange { request, reply: None });
            }
            ("<<<", "upstream") => {
                let reply = Some(side(&mut lines, rest)?);
                match story.exchanges.last_mut() {
                    Some(open) if open.reply.is_none() => open.reply = reply,
                    _ => story.exchanges.push(Exchange { request: None, reply }),
                }
            }
            ("<<<", "client") => story.reply = Some(side(&mut lines, rest)?),
            ("===", _) => {
                story.notes.push((name.to_owned(), rest.to_owned()));
                while let Some(text) = lines.take_content() {
                    if !text.trim().is_empty() {
                        return error(
                            lines.number(),
                            "a `===` line has nothing below it; a body needs its side",
                        );
                    }
                }
            }
            _ => {
                return error(
                    line,
                    format!(
                        "no section is called `{sign} {name}`; there are `--- setup`, `>>> client`, \
                             `>>> upstream`, `<<< upstream`, `<<< client` and `=== name`. A body line that \
                             begins so is written with a `\\` before it"
                    ),
                );
            }
        }
    }
    let Some(request) = request else {
        return error(lines.number(), "a transcript has a `>>> client`");
    };
    Ok(Transcript { prose, setup, request, ..story })
}

fn prose(lines: &mut Lines<'_>) -> String {
    let mut prose = Vec::new();
    while let Some(line) = lines.take_content() {
        prose.push(line);
    }
    prose.join("\n").trim_matches('\n').to_owned()
}

fn marker<'a>(lines: &mut Lines<'a>) -> Result<Option<Marker<'a>>> {
    let Some(text) = lines.take() else { return Ok(None) };
    let line = lines.number();
    debug_assert!(
        MARKERS.iter().any(|marker| text.starts_with(marker)),
        "every section reads to the next marker"
    );
    let (sign, rest) = text.split_at(3);
    let rest = rest.trim();
    let (name, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    if name.is_empty() {
        return error(line, format!("a name follows `{sign}`"));
    }
    Ok(Some(Marker { sign, name, rest: rest.trim(), line }))
}

fn settings(lines: &mut Lines<'_>) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    while let Some(line) = lines.take_content() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return error(lines.number(), "a setup line is `key = value`");
        };
        let key = key.trim();
        if key.is_empty() {
            return error(lines.number(), "a setup line is `key = value`; the key is missing");
        }
        settings.push((key.to_owned(), value.trim().to_owned()));
    }
    Ok(settings)
}

fn side(lines: &mut Lines<'_>, head: &str) -> Result<Side> {
    let mut side = Side::new(head, "");
    let mut has_body = false;
    while let Some(line) = lines.take_content() {
        if line.is_empty() {
            has_body = true;
            break;
        }
        side.headers.push(header(line, lines.number())?);
    }
    if !has_body {
        return Ok(side);
    }
    let mut parts = Vec::new();
    while let Some(line) = lines.take_content() {
        parts.push(unescape(line).or_else(|why| error(lines.number(), why))?);
    }
    side.body = parts.join(&b'\n');
    Ok(side)
}

fn header(line: &str, number: usize) -> Result<(String, String)> {
    let bytes = unescape(line).or_else(|why| error(number, why))?;
    let Ok(line) = String::from_utf8(bytes) else {
        return error(number, "a header that is not UTF-8");
    };
    let split = line.split_once(':').filter(|(name, _)| !name.is_empty() && name.bytes().all(wire::is_token));
    let Some((name, value)) = split else {
        return error(number, "neither a header nor a blank line; a blank line comes before a body");
    };
    if ["data", "event", "id", "retry"].contains(&name) {
        return error(number, format!("`{name}:` is an event's field; a blank line comes before a body"));
    }
    let value = value.strip_prefix(' ').unwrap_or(value);
    Ok((name.to_owned(), value.to_owned()))
}
