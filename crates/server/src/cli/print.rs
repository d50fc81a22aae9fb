//! What commands write: text, tables and JSON on standard output, colours only where somebody sees them.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use config::{Finding, Origin, Report, Severity};
use serde::Serialize;
use serde_json::{Value, json};

/// For titles.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// For what is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what should be looked at.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default().bold();
/// For what failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Standard output. Colours are taken out unless it is a terminal that shows them.
pub(crate) fn out() -> anstream::Stdout {
    anstream::stdout()
}

/// The text in a style.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// How this program was called, for lines that are to be pasted.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().and_then(|name| name.into_string().ok());
    called.filter(|name| !name.is_empty() && !name.contains(' ')).unwrap_or_else(|| "ferrovia".to_owned())
}

/// One line about what went wrong, on standard error.
pub(crate) fn error(sentence: &str) {
    anstream::eprintln!("{} {sentence}", paint(BAD, "error:"));
}

/// One line about what should be looked at, on standard error.
pub(crate) fn warning(sentence: &str) {
    anstream::eprintln!("{} {sentence}", paint(NOTE, "warning:"));
}

/// A value as JSON for scripts, indented.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = out();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Aligned columns under a header: as wide as the terminal at most, and never broken where there is none.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    let terminal = table.width();
    table.load_style(presets::NOTHING).set_header(header.to_vec()).add_rows(rows);
    // colours are ours to set: comfy_table does not know NO_COLOR
    table.force_no_tty();
    match terminal {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.trim_fmt();
    match text.split_once('\n') {
        Some((head, rest)) => format!("{}\n{rest}", paint(BOLD, head)),
        None => paint(BOLD, text),
    }
}

/// A finding as the report prints it, with its first word coloured.
pub(crate) fn finding(finding: &Finding) -> String {
    let text = finding.to_string();
    let (word, style) = match finding.severity {
        Severity::Error => ("error", BAD),
        Severity::Warning => ("warning", NOTE),
    };
    match text.strip_prefix(word) {
        Some(rest) => format!("{}{rest}", paint(style, word)),
        None => text,
    }
}

/// All findings of a report, numbered.
pub(crate) fn report(report: &Report) -> String {
    let plain = report.to_string();
    let title = plain.lines().next().unwrap_or_default();
    let mut text = paint(BOLD, title);
    for (at, one) in report.findings.iter().enumerate() {
        text.push_str(&format!("\n\n{:>3}. {}", at + 1, finding(one)));
    }
    text
}

/// A finding for scripts.
pub(crate) fn finding_json(finding: &Finding) -> Value {
    let (file, line, column) = match &finding.source {
        Origin::File { path, line, column } => (Some(path), Some(*line), Some(*column)),
        Origin::DotEnv { path, line, .. } => (Some(path), Some(*line), Some(1)),
        _ => (None, None, None),
    };
    let place = |n: Option<usize>| n.filter(|n| *n > 0);
    json!({
        "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "source": finding.source.to_string(),
        "file": file.map(|path| path.display().to_string()),
        "line": place(line),
        "column": place(line).and(place(column)),
        "setting": finding.setting,
        "problem": finding.problem,
        "nearest": finding.nearest,
        "fix": finding.fix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_long_cells_stay_whole() {
        let long = "x".repeat(300);
        let text = table(&["A", "B"], [vec!["1".into(), long.clone()], vec!["three".into(), "2".into()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("1      {long}"));
        assert_eq!(lines[2], "three  2");
    }

    #[test]
    fn a_report_reads_as_the_plain_one_when_its_colours_are_taken_out() {
        let finding = Finding {
            severity: Severity::Error,
            source: Origin::File { path: "config.yaml".into(), line: 4, column: 3 },
            setting: "server.prot".into(),
            problem: "no such setting".into(),
            nearest: Some("server.port".into()),
            fix: "rename it".into(),
        };
        let whole = Report {
            findings: vec![finding.clone(), Finding { severity: Severity::Warning, ..finding.clone() }],
        };
        let coloured = report(&whole);
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_ne!(coloured, plain);
        assert_eq!(plain, whole.to_string());
        let found = finding_json(&finding);
        assert_eq!((&found["line"], &found["file"]), (&4.into(), &"config.yaml".into()));
    }
}
