//! The caller's place in the organisation, `/acme/search`.

use std::fmt;

/// A normalised user path: it begins with a slash, has no empty segment and none that climbs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserPath(String);

/// The text cannot be a user path: a segment is `.` or `..`, or there is a colon in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUserPath;

impl UserPath {
    /// Normalises a header's value; `Ok(None)` when there is nothing in it.
    pub fn parse(text: &str) -> Result<Option<UserPath>, InvalidUserPath> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let mut path = String::new();
        for segment in text.split('/').map(str::trim).filter(|s| !s.is_empty()) {
            if segment == "." || segment == ".." || segment.contains(':') {
                return Err(InvalidUserPath);
            }
            path.push('/');
            path.push_str(segment);
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(Some(UserPath(path)))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_or_refused() {
        let parse = |t| UserPath::parse(t).map(|p| p.map(|p| p.0));
        assert_eq!(parse(" team// alpha /"), Ok(Some("/team/alpha".into())));
        assert_eq!(parse("/"), Ok(Some("/".into())));
        assert_eq!(parse(" "), Ok(None));
        assert_eq!(parse("/a/../b"), Err(InvalidUserPath));
        assert_eq!(parse("a:b"), Err(InvalidUserPath));
    }
}
