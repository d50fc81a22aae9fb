//! Rules about the text of files: what opens them, what ends their lines, what is left open in them, how long they are.

use super::Complaint;
use crate::repository::File;

/// Longer Rust files are told about, and nothing more.
const LONG: usize = 500;

/// Kinds of files in which a blank at the end of a line means nothing. Transcripts and recorded answers are not among them.
const TEXTS: [&str; 14] = [
    "rs",
    "md",
    "toml",
    "yaml",
    "yml",
    "py",
    "sh",
    "css",
    "js",
    "html",
    "justfile",
    "Dockerfile",
    "run",
    "template",
];

/// A Rust file that does not open by saying what lives in it.
pub(super) fn without_a_head(files: &[File]) -> Vec<Complaint> {
    let bare = files.iter().filter(|file| file.kind() == "rs" && !file.text.starts_with("//!"));
    bare.map(|file| Complaint::new(&file.path, 1, "say in a first line with `//!` what lives in this file"))
        .collect()
}

/// Lines that end in blanks.
pub(super) fn trailing_blanks(files: &[File]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| TEXTS.contains(&file.kind())) {
        for (at, line) in file.text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                found.push(Complaint::new(&file.path, at + 1, "remove the blanks at the end of the line"));
            }
        }
    }
    found
}

/// Notes of things left to do that name no issue: `(#12)` has to follow.
pub(super) fn open_ends(files: &[File]) -> Vec<Complaint> {
    // put together, so that this file does not hold the word
    let word = ["TO", "DO"].concat();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| TEXTS.contains(&file.kind()) && file.kind() != "md") {
        for (at, line) in file.text.lines().enumerate() {
            let open = line.match_indices(&word).any(|(start, _)| {
                let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                let (before, after) = (&line[..start], &line[start + word.len()..]);
                let whole =
                    !part_of_a_word(before.chars().next_back()) && !part_of_a_word(after.chars().next());
                let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
                whole && !number.is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            });
            if open {
                found.push(Complaint::new(&file.path, at + 1, format!("name the issue: `{word}(#12): …`")));
            }
        }
    }
    found
}

/// Decision records that do not say whether they hold.
pub(super) fn decisions_without_status(files: &[File]) -> Vec<Complaint> {
    const WORDS: [&str; 4] = ["proposed", "accepted", "rejected", "replaced by"];
    let is_record = |file: &&File| {
        let name = file.path.strip_prefix("docs/adr/").unwrap_or_default();
        file.kind() == "md" && name.starts_with(|c: char| c.is_ascii_digit())
    };
    let silent = files.iter().filter(is_record).filter(|file| {
        let status = file.text.lines().find_map(|line| line.strip_prefix("Status:"));
        !status.is_some_and(|status| WORDS.iter().any(|word| status.trim().starts_with(word)))
    });
    let problem = "add a line `Status: proposed`, `accepted`, `rejected` or `replaced by N`";
    silent.map(|file| Complaint::new(&file.path, 0, problem)).collect()
}

/// Rust files that have grown long. A reason to look, not to fail.
pub(super) fn long_files(files: &[File]) -> Vec<Complaint> {
    let long = files.iter().filter(|file| file.kind() == "rs");
    long.filter_map(|file| {
        let lines = file.text.lines().count();
        let problem = format!("{lines} lines; does it have one subject?");
        (lines > LONG).then(|| Complaint::new(&file.path, 0, problem))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn lines(found: &[Complaint]) -> Vec<usize> {
        found.iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn a_rust_file_says_what_lives_in_it() {
        let files =
            [file("crates/a/src/b.rs", "//! B.\n"), file("crates/a/src/c.rs", "use x;\n"), file("d.md", "x")];
        let found = without_a_head(&files);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/a/src/c.rs");
    }

    #[test]
    fn blanks_at_the_end_of_lines_are_found_but_not_in_transcripts() {
        let files = [file("a.rs", "//! A. \nfine\n\t\nno end "), file("tests/story.txt", "kept \n")];
        assert_eq!(lines(&trailing_blanks(&files)), [1, 3, 4]);
    }

    #[test]
    fn what_is_left_to_do_names_an_issue() {
        let text = "// NOTE(#12): known\n// NOTE: when?\n// NOTE(#x)\n// NOTES are fine\nlet x = NOTE;\n";
        let text = text.replace("NOTE", &["TO", "DO"].concat());
        assert_eq!(lines(&open_ends(&[file("a.rs", &text), file("a.md", &text)])), [2, 3, 5]);
    }

    #[test]
    fn a_decision_says_whether_it_holds() {
        let files = [
            file("docs/adr/0001-a.md", "# 1. A\n\nStatus: accepted\n"),
            file("docs/adr/0002-b.md", "# 2. B\n\nStatus: replaced by 3\n"),
            file("docs/adr/0003-c.md", "# 3. C\n"),
            file("docs/adr/0004-d.md", "# 4. D\n\nStatus: who knows\n"),
            file("docs/adr/README.md", "# Decisions\n"),
        ];
        let found = decisions_without_status(&files);
        let paths: Vec<&str> = found.iter().map(|complaint| complaint.path.as_str()).collect();
        assert_eq!(paths, ["docs/adr/0003-c.md", "docs/adr/0004-d.md"]);
    }

    #[test]
    fn long_files_are_noticed() {
        let files = [
            file("a.rs", &"x\n".repeat(501)),
            file("b.rs", &"x\n".repeat(500)),
            file("c.md", &"x\n".repeat(900)),
        ];
        assert_eq!(long_files(&files).len(), 1);
    }
}
