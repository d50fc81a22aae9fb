//! Comparing what was produced with the file that says what it should be, or rewriting that file.
//!
//! `UPDATE=1 cargo test` rewrites; then look at what changed before committing it.

use std::path::Path;

use crate::diff;
use crate::transcript::Transcript;

/// Compares a transcript with its file, or rewrites the file with `UPDATE=1` set.
///
/// # Panics
/// When they differ, with the lines that do; when the file is missing or cannot be read or written; when the
/// transcript cannot be told in a file, as with a header value that begins with a blank.
#[track_caller]
pub fn assert_or_update(path: impl AsRef<Path>, produced: &Transcript) {
    let text = produced.to_string();
    match Transcript::parse(&text) {
        Ok(read) if read == *produced => {}
        Ok(read) => panic!(
            "{} cannot tell what was produced; it would read as something else:\n{}",
            path.as_ref().display(),
            diff::unified(&format!("{produced:#?}"), &format!("{read:#?}"))
        ),
        Err(error) => panic!("{} cannot tell what was produced: {error}\n{text}", path.as_ref().display()),
    }
    assert_text_or_update(path, &text);
}

/// Compares a transcript with its file and never rewrites it: for a second player of a story that another one writes.
///
/// # Panics
/// When they differ, with the lines that do; when the file cannot be read.
#[track_caller]
pub fn assert_same(path: impl AsRef<Path>, produced: &Transcript) {
    compare(path.as_ref(), &produced.to_string(), false);
}

/// Compares any text with its file, or rewrites the file with `UPDATE=1` set.
///
/// # Panics
/// When they differ, with the lines that do; when the file is missing or cannot be read or written.
#[track_caller]
pub fn assert_text_or_update(path: impl AsRef<Path>, produced: &str) {
    compare(path.as_ref(), produced, updating());
}

#[track_caller]
fn compare(path: &Path, produced: &str, update: bool) {
    let shown = path.display();
    let expected = std::fs::read_to_string(path);
    if expected.as_deref().is_ok_and(|expected| expected == produced) {
        return;
    }
    if update {
        // A file that is right is left alone above, so that its time says when it changed.
        std::fs::write(path, produced).unwrap_or_else(|error| panic!("cannot write {shown}: {error}"));
        return;
    }
    match expected {
        Ok(expected) => panic!(
            "{shown} is not what was produced (- file, + produced):\n{}\nIf it should be, run with UPDATE=1.",
            diff::unified(&expected, produced)
        ),
        Err(error) => panic!("cannot read {shown}: {error}. To write it, run with UPDATE=1."),
    }
}

#[expect(clippy::disallowed_methods, reason = "the test environment is no setting of the product")]
fn updating() -> bool {
    std::env::var("UPDATE").is_ok_and(|value| value == "1" || value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Side;

    fn message(body: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(body).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn a_difference_is_shown_and_an_update_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("story.txt");
        let missing = message(|| compare(&path, "a\n", false));
        assert!(missing.contains("story.txt") && missing.contains("UPDATE=1"), "{missing}");
        compare(&path, "one\ntwo\nthree\n", true);
        compare(&path, "one\ntwo\nthree\n", false);
        let differs = message(|| compare(&path, "one\n2\nthree\n", false));
        assert!(differs.contains("-two\n+2\n"), "{differs}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        compare(&path, "one\n2\nthree\n", true);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n2\nthree\n");
    }

    #[test]
    fn a_transcript_that_cannot_be_told_is_refused() {
        let side = Side::new("GET /", "").with_header("not a token", "x");
        let refused = message(|| assert_or_update("nowhere.txt", &Transcript::new("t", side)));
        assert!(refused.contains("nowhere.txt cannot tell what was produced: line 3"), "{refused}");
        let two_lines = Transcript::new("t\nmore", Side::new("GET /", ""));
        let refused = message(move || assert_or_update("nowhere.txt", &two_lines));
        assert!(refused.contains("would read as something else"), "{refused}");
    }
}
