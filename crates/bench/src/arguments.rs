//! Command lines: flags with a value, as `--flag value` or `--flag=value`.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, bail};

/// The words of a command line, read from the left.
pub struct Arguments<'a> {
    words: std::slice::Iter<'a, String>,
    /// The value that was written behind a flag's `=`.
    written: Option<String>,
}

impl<'a> Arguments<'a> {
    /// Of these words.
    pub fn new(words: &'a [String]) -> Arguments<'a> {
        Arguments { words: words.iter(), written: None }
    }

    /// The next flag, without its dashes.
    pub fn flag(&mut self) -> anyhow::Result<Option<String>> {
        if let Some(written) = self.written.take() {
            bail!("`{written}` stands behind a flag that takes no value");
        }
        let Some(word) = self.words.next() else { return Ok(None) };
        let flag = word.strip_prefix("--").with_context(|| format!("`{word}` is not a flag"))?;
        Ok(Some(match flag.split_once('=') {
            Some((flag, value)) => {
                self.written = Some(value.to_owned());
                flag.to_owned()
            }
            None => flag.to_owned(),
        }))
    }

    /// The value of the flag that was just read.
    pub fn value(&mut self, flag: &str) -> anyhow::Result<String> {
        let value = self.written.take().or_else(|| self.words.next().cloned());
        value.with_context(|| format!("--{flag} needs a value"))
    }

    /// The same, as a number or whatever else can be read from a word.
    pub fn number<T: FromStr<Err: Display>>(&mut self, flag: &str) -> anyhow::Result<T> {
        let value = self.value(flag)?;
        value.parse().map_err(|error| anyhow::anyhow!("--{flag} {value}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_value_stands_behind_its_flag_or_behind_a_sign() {
        let words = words("--a 1 --b=2 --c");
        let mut arguments = Arguments::new(&words);
        assert_eq!(arguments.flag().unwrap().as_deref(), Some("a"));
        assert_eq!(arguments.number::<u8>("a").unwrap(), 1);
        assert_eq!(arguments.flag().unwrap().as_deref(), Some("b"));
        assert_eq!(arguments.value("b").unwrap(), "2");
        assert_eq!(arguments.flag().unwrap().as_deref(), Some("c"));
        assert_eq!(arguments.flag().unwrap(), None);
        assert_eq!(arguments.value("c").unwrap_err().to_string(), "--c needs a value");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let bare = words("word");
        assert!(Arguments::new(&bare).flag().unwrap_err().to_string().contains("`word`"));
        let wordy = words("--quick=yes --b");
        let mut arguments = Arguments::new(&wordy);
        arguments.flag().unwrap();
        assert!(arguments.flag().unwrap_err().to_string().contains("`yes`"));
    }
}
