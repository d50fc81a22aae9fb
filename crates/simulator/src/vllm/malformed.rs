//! What Python's JSON reader says about a text that is none, and where.

/// A fault in a JSON text: at which character, and what is wrong there in Python's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) says: &'static str,
}

/// Finds the first fault; `None` if Python would have read the text.
pub(crate) fn fault(text: &str) -> Option<Fault> {
    let mut reader = Reader { letters: text.chars().collect(), depth: 0 };
    match reader.value(reader.space(0)) {
        Err(fault) => Some(fault),
        Ok(end) => {
            let end = reader.space(end);
            (end < reader.letters.len()).then_some(Fault { at: end, says: "Extra data" })
        }
    }
}

struct Reader {
    letters: Vec<char>,
    depth: usize,
}

type Place = Result<usize, Fault>;

fn wrong(at: usize, says: &'static str) -> Place {
    Err(Fault { at, says })
}

impl Reader {
    fn at(&self, place: usize) -> Option<char> {
        self.letters.get(place).copied()
    }

    fn space(&self, mut at: usize) -> usize {
        while matches!(self.at(at), Some(' ' | '\t' | '\n' | '\r')) {
            at += 1;
        }
        at
    }

    fn value(&mut self, at: usize) -> Place {
        self.depth += 1;
        if self.depth > 1_000 {
            return wrong(at, "Expecting value");
        }
        let end = match self.at(at) {
            Some('{') => self.object(at),
            Some('[') => self.array(at),
            Some('"') => self.string(at + 1),
            _ => self.plain(at),
        };
        self.depth -= 1;
        end
    }

    fn object(&mut self, opened: usize) -> Place {
        let mut at = self.space(opened + 1);
        if self.at(at) == Some('}') {
            return Ok(at + 1);
        }
        loop {
            if self.at(at) != Some('"') {
                return wrong(at, "Expecting property name enclosed in double quotes");
            }
            at = self.string(at + 1)?;
            at = self.space(at);
            if self.at(at) != Some(':') {
                return wrong(at, "Expecting ':' delimiter");
            }
            at = self.value(self.space(at + 1))?;
            at = self.space(at);
            match self.at(at) {
                Some('}') => return Ok(at + 1),
                Some(',') => at = self.space(at + 1),
                _ => return wrong(at, "Expecting ',' delimiter"),
            }
        }
    }

    fn array(&mut self, opened: usize) -> Place {
        let mut at = self.space(opened + 1);
        if self.at(at) == Some(']') {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at)?;
            at = self.space(at);
            match self.at(at) {
                Some(']') => return Ok(at + 1),
                Some(',') => at = self.space(at + 1),
                _ => return wrong(at, "Expecting ',' delimiter"),
            }
        }
    }

    /// From behind the opening quote to behind the closing one.
    fn string(&self, begins: usize) -> Place {
        let mut at = begins;
        loop {
            match self.at(at) {
                None => return wrong(begins - 1, "Unterminated string starting at"),
                Some('"') => return Ok(at + 1),
                Some('\\') => match self.at(at + 1) {
                    None => return wrong(begins - 1, "Unterminated string starting at"),
                    Some('u') => {
                        let digits = (at + 2..at + 6)
                            .all(|place| self.at(place).is_some_and(|letter| letter.is_ascii_hexdigit()));
                        if !digits {
                            return wrong(at + 1, "Invalid \\uXXXX escape");
                        }
                        at += 6;
                    }
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => at += 2,
                    Some(_) => return wrong(at, "Invalid \\escape"),
                },
                Some(letter) if letter < ' ' => return wrong(at, "Invalid control character at"),
                Some(_) => at += 1,
            }
        }
    }

    fn plain(&self, at: usize) -> Place {
        for word in ["null", "true", "false", "NaN", "Infinity", "-Infinity"] {
            if self.letters[at.min(self.letters.len())..].iter().copied().take(word.len()).eq(word.chars()) {
                return Ok(at + word.len());
            }
        }
        let digits = |mut at: usize| {
            while self.at(at).is_some_and(|letter| letter.is_ascii_digit()) {
                at += 1;
            }
            at
        };
        let first = at + usize::from(self.at(at) == Some('-'));
        let mut end = if self.at(first) == Some('0') { first + 1 } else { digits(first) };
        if end == first {
            return wrong(at, "Expecting value");
        }
        if self.at(end) == Some('.') && digits(end + 1) > end + 1 {
            end = digits(end + 1);
        }
        if matches!(self.at(end), Some('e' | 'E')) {
            let from = end + 1 + usize::from(matches!(self.at(end + 1), Some('+' | '-')));
            if digits(from) > from {
                end = digits(from);
            }
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(usize, &str)>) {
        assert_eq!(fault(text).map(|fault| (fault.at, fault.says)), expected, "{text}");
    }

    #[test]
    fn faults_are_told_as_python_tells_them() {
        check(r#"{"a": [1, -2.5e3, "x\n"], "b": null}"#, None);
        check("hello", Some((0, "Expecting value")));
        check("", Some((0, "Expecting value")));
        check(r#"{"model":"#, Some((9, "Expecting value")));
        check(r#"{"model":"m" "x"}"#, Some((13, "Expecting ',' delimiter")));
        check(r#"{"a":[1]"#, Some((8, "Expecting ',' delimiter")));
        check("{a:1}", Some((1, "Expecting property name enclosed in double quotes")));
        check(r#"{"a" 1}"#, Some((5, "Expecting ':' delimiter")));
        check("[] x", Some((3, "Extra data")));
        check(r#"{"a":"x"#, Some((5, "Unterminated string starting at")));
        check(r#"["\x"]"#, Some((2, "Invalid \\escape")));
    }
}
