//! Tables, for a terminal and for Markdown.

use crate::goals::{Judged, QUIET};
use crate::samples::Samples;
use crate::scenario::{SCENARIOS, Scenario};
use crate::statistics::Spread;

/// A table. The first column names its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Rows, each as long as the heads.
    pub rows: Vec<Vec<String>>,
    /// What has to be said below.
    pub notes: Vec<String>,
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().chain([&self.columns]).filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let mut line = String::from(" ");
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = width - cell.chars().count();
                let (before, after) = if at == 0 { (0, gap) } else { (gap, 0) };
                line.push_str(&format!(" {}{cell}{} ", " ".repeat(before), " ".repeat(after)));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("  {note}\n"));
        }
        text
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("**{}**\n\n{}", self.title, line(&self.columns));
        let rule = |at: usize| if at == 0 { "---".to_owned() } else { "--:".to_owned() };
        text.push_str(&format!("|{}|\n", (0..self.columns.len()).map(rule).collect::<Vec<_>>().join("|")));
        text.extend(self.rows.iter().map(|row| line(row)));
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }
}

/// The tables of the scenarios that were measured.
pub(super) fn all(samples: &Samples) -> Vec<Table> {
    let mut tables = SCENARIOS.iter().map(|scenario| of_scenario(samples, scenario)).collect::<Vec<_>>();
    tables.retain(|table| !table.rows.is_empty() || !table.notes.is_empty());
    tables
}

/// One scenario: a row for each target.
fn of_scenario(samples: &Samples, scenario: &Scenario) -> Table {
    let mut columns = vec!["target".to_owned()];
    for figure in scenario.figures {
        columns.push(figure.title.to_owned());
        if figure.ratio {
            columns.push("× nginx (min–max)".to_owned());
        }
    }
    let mut rows = Vec::new();
    for target in samples.targets(scenario.id) {
        let mut row = vec![target.to_owned()];
        for figure in scenario.figures {
            row.push(cell(samples.spread(scenario.id, target, figure.key), figure.decimals));
            if figure.ratio {
                row.push(with_range(samples.ratio(scenario.id, target, figure.key), 2));
            }
        }
        rows.push(row);
    }
    let title = format!("{} · {}", scenario.id, scenario.title);
    Table { title, columns, rows, notes: failures(samples, scenario.id) }
}

/// What was not measured, and why.
pub(super) fn failures(samples: &Samples, scenario: &str) -> Vec<String> {
    let failures = samples.failures.iter().filter(|failure| failure.scenario == scenario);
    let told = failures.map(|failure| {
        format!("round {}, {}, {scenario}: not measured: {}", failure.round, failure.target, failure.problem)
    });
    told.collect()
}

/// The goals and how they were met.
pub(super) fn goals(judged: &[Judged], samples: &Samples) -> Table {
    let row = |goal: &Judged| {
        let limit = |value: f64| format!("≤ {value}");
        vec![
            format!("{} · {}", goal.row, goal.title),
            with_range(goal.measured, 2),
            goal.unit.to_owned(),
            limit(goal.must),
            goal.stretch.map_or("–".to_owned(), limit),
            goal.verdict.words().to_owned(),
        ]
    };
    let busiest = samples.load_average.iter().copied().fold(0.0, f64::max);
    let mut notes = vec![
        "Medians are judged. Rows 5 and 17 (instructions, allocations) are counted by the gate.".to_owned(),
    ];
    if busiest > QUIET {
        notes.push(format!(
            "The load average reached {busiest:.1}: times (rows 7, 8, 9, 19) say little; ratios of CPU do."
        ));
    }
    Table {
        title: "Goals".to_owned(),
        columns: ["goal", "ferrovia (min–max)", "unit", "must", "stretch", "verdict"]
            .map(str::to_owned)
            .into(),
        rows: judged.iter().map(row).collect(),
        notes,
    }
}

pub(super) fn cell(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| number(spread.median, decimals))
}

fn with_range(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { min, median, max, .. }| {
            format!("{} ({}–{})", number(median, decimals), number(min, decimals), number(max, decimals))
        },
    )
}

/// A number with its thousands apart.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let zero = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    let sign = if value < 0.0 && !zero { "−" } else { "" };
    rest.map_or_else(|| format!("{sign}{grouped}"), |rest| format!("{sign}{grouped}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        for (value, decimals, expect) in [
            (1234567.0, 0, "1,234,567"),
            (999.94, 1, "999.9"),
            (1000.0, 1, "1,000.0"),
            (-12.5, 1, "−12.5"),
            (-0.001, 2, "0.00"),
        ] {
            assert_eq!(number(value, decimals), expect);
        }
    }

    #[test]
    fn a_table_is_told_twice() {
        let table = Table {
            title: "S1".into(),
            columns: vec!["target".into(), "µs".into()],
            rows: vec![vec!["nginx".into(), "28.5".into()], vec!["a".into(), "1,000".into()]],
            notes: vec!["busy".into()],
        };
        assert_eq!(table.text(), "S1\n  target     µs\n  nginx    28.5\n  a       1,000\n  busy\n");
        assert_eq!(
            table.markdown(),
            "**S1**\n\n| target | µs |\n|---|--:|\n| nginx | 28.5 |\n| a | 1,000 |\n\nbusy\n"
        );
    }

    #[test]
    fn what_failed_is_told_where_its_figure_would_stand() {
        let mut samples = Samples::default();
        samples.note(1, "S1", "nginx", "cpu_us", 20.0);
        samples.fail(1, "S1", "haproxy", "it fell".into());
        let tables = all(&samples);
        let [table] = &tables[..] else { panic!("one table: {tables:?}") };
        assert_eq!(table.rows[0][..3], ["nginx", "20.0", "1.00 (1.00–1.00)"]);
        assert_eq!(table.notes, ["round 1, haproxy, S1: not measured: it fell"]);
    }
}
