//! `generate`: everything in the repository that is printed from code.

mod binary;
mod errors;
mod index;
mod providers;

use std::fmt::Write;

use crate::Report;
use crate::repository::Repository;

/// A file that is printed from code.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path from the root.
    pub(crate) path: &'static str,
    /// What has to stand in it.
    pub(crate) text: String,
}

/// Pages that the binary prints, with the words that make it.
const PRINTED: [(&str, &[&str]); 6] = [
    (".env.template", &["config", "env"]),
    ("config.example.yaml", &["config", "example"]),
    ("docs/reference/cli.md", &["reference", "cli"]),
    ("docs/reference/config.md", &["config", "reference"]),
    ("docs/reference/config.schema.json", &["config", "schema"]),
    ("docs/reference/metrics.md", &["reference", "metrics"]),
];

/// Writes what is not current.
pub(crate) fn write(repository: &Repository) -> anyhow::Result<Report> {
    let mut text = String::new();
    let pages = pages(repository)?;
    for page in stale(repository, &pages) {
        repository.write(page.path, &page.text)?;
        let _ = writeln!(text, "wrote {}", page.path);
    }
    let _ = writeln!(text, "generate: {} files are current", pages.len());
    Ok(Report { text, failed: false })
}

/// Fails if something is not current, and names it.
pub(crate) fn check(repository: &Repository) -> anyhow::Result<Report> {
    let mut text = String::new();
    let pages = pages(repository)?;
    let stale = stale(repository, &pages);
    for page in &stale {
        let place = match repository.read(page.path) {
            None => "it is missing".to_owned(),
            Some(there) => format!("it differs from line {} on", first_difference(&there, &page.text)),
        };
        let _ = writeln!(text, "error: {} is not what the code prints: {place}", page.path);
    }
    let failed = !stale.is_empty();
    let _ = match failed {
        true => writeln!(text, "run `cargo run -p xtask -- generate` and commit what it writes"),
        false => writeln!(text, "generate: {} files are current", pages.len()),
    };
    Ok(Report { text, failed })
}

fn pages(repository: &Repository) -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for (path, words) in PRINTED {
        pages.push(Page { path, text: binary::prints(repository, words)? });
    }
    pages.push(Page { path: "docs/reference/errors.md", text: errors::page(&repository.files()?)? });
    pages.push(Page { path: "docs/reference/providers.md", text: providers::page() });
    // last: it tells of the others
    let index = index::page(&repository.files()?, &pages);
    pages.push(Page { path: "docs/llms.txt", text: index });
    Ok(pages)
}

fn stale<'a>(repository: &Repository, pages: &'a [Page]) -> Vec<&'a Page> {
    pages.iter().filter(|page| repository.read(page.path).as_deref() != Some(&page.text)).collect()
}

/// The first line, from 1, in which two texts differ.
fn first_difference(one: &str, other: &str) -> usize {
    let same = one.lines().zip(other.lines()).take_while(|(one, other)| one == other);
    same.count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_stale_when_it_differs_or_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository::at(folder.path());
        let page = |path, text: &str| Page { path, text: text.to_owned() };
        let pages = [page("a.md", "1\n"), page("docs/b.md", "1\n2\n"), page("c.md", "1\n")];
        repository.write("a.md", "1\n").expect("written");
        repository.write("docs/b.md", "1\n3\n").expect("written");
        let found: Vec<&str> = stale(&repository, &pages).iter().map(|page| page.path).collect();
        assert_eq!(found, ["docs/b.md", "c.md"]);
        assert_eq!(first_difference("1\n3\n", "1\n2\n"), 2);
        assert_eq!(first_difference("1\n", "1\n2\n"), 2);
    }
}
