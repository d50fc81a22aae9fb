//! A readable line diff for the messages of failing tests.

use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Beyond this many comparisons, what differs is shown as a whole instead.
const EFFORT: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The differences as hunks of `-` old, `+` new and ` ` common lines, under `@@ old line, new line @@`. A carriage
/// return and a missing final line feed are made visible. Empty when the texts are equal.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let script = script(&lines(old), &lines(new));
    let mut out = String::new();
    let (mut old_line, mut new_line) = (1, 1);
    let mut shown_to = 0;
    for (index, line) in script.iter().enumerate() {
        let around = index.saturating_sub(CONTEXT)..(index + CONTEXT + 1).min(script.len());
        if script[around].iter().any(|near| !matches!(near, Line::Same(_))) {
            if shown_to != index || index == 0 {
                let _ = writeln!(out, "@@ {old_line}, {new_line} @@");
            }
            shown_to = index + 1;
            let (sign, text) = match line {
                Line::Same(text) => (' ', text),
                Line::Old(text) => ('-', text),
                Line::New(text) => ('+', text),
            };
            let text = text.strip_suffix('\n').map_or_else(|| format!("{text}⟨no line feed⟩"), str::to_owned);
            let _ = writeln!(out, "{sign}{}", text.replace('\r', "␍"));
        }
        old_line += usize::from(!matches!(line, Line::New(_)));
        new_line += usize::from(!matches!(line, Line::Old(_)));
    }
    out
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The shortest way from `old` to `new` by lines, by the longest common subsequence.
fn script<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let rest = old[head..].iter().rev().zip(new[head..].iter().rev());
    let tail = rest.take_while(|(old, new)| old == new).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut script: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    middle(&old[head..old_end], &new[head..new_end], &mut script);
    script.extend(old[old_end..].iter().map(|line| Line::Same(line)));
    script
}

fn middle<'a>(old: &[&'a str], new: &[&'a str], script: &mut Vec<Line<'a>>) {
    if old.len().saturating_mul(new.len()) > EFFORT {
        script.extend(old.iter().map(|line| Line::Old(line)));
        script.extend(new.iter().map(|line| Line::New(line)));
        return;
    }
    // common[i][j]: how many lines old[i..] and new[j..] have in common at most.
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            script.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len()
            && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            script.push(Line::Old(old[i]));
            i += 1;
        } else {
            script.push(Line::New(new[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_its_surroundings() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("5\n6\n", "5\nfive and a half\n6\n").replace("18\n", "eighteen\n");
        assert_eq!(
            unified(&old, &new),
            "@@ 3, 3 @@\n 3\n 4\n 5\n+five and a half\n 6\n 7\n 8\n\
             @@ 15, 16 @@\n 15\n 16\n 17\n-18\n+eighteen\n 19\n 20\n"
        );
        assert_eq!(unified(&old, &old), "");
    }

    #[test]
    fn invisible_differences_are_made_visible() {
        assert_eq!(unified("a\r\n", "a\n"), "@@ 1, 1 @@\n-a␍\n+a\n");
        assert_eq!(unified("a\n", "a"), "@@ 1, 1 @@\n-a\n+a⟨no line feed⟩\n");
    }

    #[test]
    fn huge_differences_are_shown_too() {
        let old: String = (0..3000).map(|n| format!("old {n}\n")).collect();
        let new: String = (0..3000).map(|n| format!("new {n}\n")).collect();
        let shown = unified(&old, &new);
        assert!(shown.contains("-old 2999\n") && shown.contains("+new 0\n"));
    }
}
