//! The index of the documentation for language models (llmstxt.org), and for people in a hurry: one line for each page.

use std::fmt::Write;

use super::Page;
use crate::repository::File;

/// Parts of the index: title, and which paths belong there. A page stands in the first part that takes it.
const PARTS: [(&str, &[&str]); 5] = [
    ("Start", &["README.md", "CHANGELOG.md", "SECURITY.md"]),
    ("Guides", &["docs/guides/"]),
    ("Reference", &["docs/reference/"]),
    ("How it is built", &["ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "docs/"]),
    ("Decisions", &["docs/adr/"]),
];

/// A summary is not longer, in characters.
const LONGEST: usize = 200;

/// The index. Pages that are just being generated count as they will be.
pub(super) fn page(files: &[File], generated: &[Page]) -> String {
    let text = |path: &str| -> Option<&str> {
        let fresh = generated.iter().find(|page| page.path == path).map(|page| page.text.as_str());
        fresh.or_else(|| files.iter().find(|file| file.path == path).map(|file| file.text.as_str()))
    };
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.extend(generated.iter().map(|page| page.path));
    paths.sort_unstable();
    paths.dedup();
    paths.retain(|path| path.ends_with(".md") && part(path).is_some());

    let mut index = String::from("# Ferrovia\n");
    if let Some(about) = text("README.md").and_then(|text| summary(text, usize::MAX)) {
        let _ = write!(index, "\n> {about}\n");
    }
    index.push_str(
        "\nGenerated from the pages' own first lines; do not edit. Paths are relative to this file.\n",
    );
    for (at, (title, _)) in PARTS.iter().enumerate() {
        let mut lines = String::new();
        for path in paths.iter().filter(|path| part(path) == Some(at)) {
            let Some(text) = text(path) else { continue };
            let Some(heading) = text.lines().find_map(|line| line.strip_prefix("# ")) else { continue };
            let link = path.strip_prefix("docs/").map_or_else(|| format!("../{path}"), str::to_owned);
            let about = summary(text, LONGEST).map(|about| format!(": {about}")).unwrap_or_default();
            let _ = writeln!(lines, "- [{}]({link}){about}", plain(heading));
        }
        if !lines.is_empty() {
            let _ = write!(index, "\n## {title}\n\n{lines}");
        }
    }
    index
}

/// Which part a page stands in: the one whose rule is the longest that fits.
fn part(path: &str) -> Option<usize> {
    let fits = |rule: &str| if rule.ends_with('/') { path.starts_with(rule) } else { path == rule };
    let best = |rules: &[&str]| rules.iter().filter(|rule| fits(rule)).map(|rule| rule.len()).max();
    let ranked = PARTS.iter().enumerate().filter_map(|(at, (_, rules))| Some((best(rules)?, at)));
    ranked.max().map(|(_, at)| at)
}

/// The first sentence of the first paragraph that tells something.
fn summary(text: &str, longest: usize) -> Option<String> {
    let body = text.split_once("\n").map_or("", |(_, rest)| rest);
    let tells = |paragraph: &&str| {
        let begin = paragraph.trim_start();
        let decoration = ["#", "|", "```", "!", "[!", "<", ">", "- ", "Generated", "Status:"];
        !begin.is_empty() && !decoration.iter().any(|mark| begin.starts_with(mark))
    };
    let paragraph = body.split("\n\n").find(tells)?;
    let paragraph = plain(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentence = match paragraph.find(". ") {
        Some(end) => &paragraph[..=end],
        None => paragraph.as_str(),
    };
    let sentence = sentence.trim_end_matches(':');
    if sentence.chars().count() <= longest {
        return Some(sentence.to_owned());
    }
    let cut: String = sentence.chars().take(longest).collect();
    let whole_words = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    Some(format!("{}…", whole_words.trim_end_matches([',', ';', ':', '.'])))
}

/// Markdown's links as their words.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(words, tail)| Some((words, tail.split_once(')')?.1)));
        plain.push_str(before);
        match link {
            Some((words, tail)) => {
                plain.push_str(words);
                rest = tail;
            }
            None => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn each_page_gets_one_line_in_its_part() {
        let files = [
            file("README.md", "# Ferrovia\n\n![x](y)\n\nA gateway. It is fast.\n"),
            file("docs/guides/vllm.md", "# vLLM\n\n[The guide](x.md) of\nvLLM. More.\n"),
            file("docs/adr/0001-a.md", "# 1. A thing\n\nStatus: accepted\n\n## Context\n\nIt was so.\n"),
            file("docs/style.md", "# Style\n"),
            file("docs/reference/old.md", "no heading\n"),
            file("crates/a/README.md", "# Not listed\n"),
        ];
        let generated =
            [Page { path: "docs/reference/cli.md", text: "# CLI\n\nGenerated.\n\nCodes: 0\n".into() }];
        assert_eq!(
            page(&files, &generated),
            "# Ferrovia\n\n> A gateway.\n\nGenerated from the pages' own first lines; do not edit. Paths are relative to this \
             file.\n\n## Start\n\n- [Ferrovia](../README.md): A gateway.\n\n## Guides\n\n- [vLLM](guides/vllm.md): The guide of \
             vLLM.\n\n## Reference\n\n- [CLI](reference/cli.md): Codes: 0\n\n## How it is built\n\n- [Style](style.md)\n\n## \
             Decisions\n\n- [1. A thing](adr/0001-a.md): It was so.\n"
        );
    }

    #[test]
    fn a_long_sentence_is_cut_between_words() {
        let text = format!("# A\n\n{}\n", "word ".repeat(90));
        let cut = summary(&text, 20).expect("a summary");
        assert_eq!(cut, "word word word word…");
    }
}
