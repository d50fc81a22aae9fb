//! The report on a terminal: the matrix, what failed, and how to see it again.

use std::fmt::Write;

use crate::front::Front;
use crate::report::{Column, Report, Scored, State};

/// Words in colours, or not.
#[derive(Clone, Copy, Debug)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The fronts' names as they fit above narrow columns.
const HEADS: [&str; 16] = [
    "chat", "chat~", "compl", "compl~", "resp", "resp~", "mess", "mess~", "embed", "rerank", "trans",
    "trans~", "text", "large", "pass", "pass~",
];

impl Report {
    /// The report as text. `again` is the command that runs one scenario once more, without its pattern.
    pub fn text(&self, colours: bool, again: &str) -> String {
        let paint = Paint(colours);
        let mut out = String::new();
        let width = self.scenarios.iter().map(|scored| scored.fault.len()).max().unwrap_or(0);
        // writing into a string cannot fail
        let _ = writeln!(
            out,
            "{:width$}  {}",
            "fault",
            paint.with("1", &HEADS.map(|head| format!("{head:>6}")).join(" "))
        );
        for row in self.rows() {
            let cells = Front::ALL.map(|front| {
                let cell = row.iter().find(|scored| scored.front == front.name());
                match cell.map(|scored| scored.passed()) {
                    Some(true) => paint.with("32", "     ✓"),
                    Some(false) => paint.with("31;1", "     ✗"),
                    None => paint.with("2", "     ·"),
                }
            });
            let name = row.first().map_or("", |scored| scored.fault.as_str());
            let _ = writeln!(out, "{name:width$}  {}", cells.join(" "));
        }
        let _ = writeln!(out, "\n{:12} {:>7} {:>7} {:>7}", "check", "passed", "failed", "n/a");
        for column in Column::ALL {
            let (passed, failed, unseen) = self.of_column(column);
            let _ = writeln!(out, "{:12} {passed:>7} {failed:>7} {unseen:>7}", column.name());
        }
        out.push('\n');
        for (what, state) in &self.afterwards {
            let _ = match state {
                State::Passed => writeln!(out, "{} {what}", paint.with("32", "✓")),
                State::NotSeen => writeln!(out, "{} {what}: n/a", paint.with("2", "·")),
                State::Failed { expected, got } => {
                    writeln!(out, "{} {what}: expected {expected}, got {got}", paint.with("31;1", "✗"))
                }
            };
        }
        for scored in self.scenarios.iter().filter(|scored| !scored.passed()) {
            let _ = writeln!(
                out,
                "\n{} {}\n  {}",
                paint.with("31;1", "✗"),
                paint.with("1", &scored.id),
                scored.about
            );
            for check in &scored.checks {
                if let State::Failed { expected, got } = &check.state {
                    let name = check.column.name();
                    let _ = writeln!(
                        out,
                        "  {name}: expected {}\n  {:>2$} {got}",
                        expected,
                        "got",
                        name.len() + 1
                    );
                }
            }
            let _ = writeln!(
                out,
                "  {}",
                paint.with("2", &format!("{again} --seed {} --only {}", self.seed, scored.id))
            );
        }
        let (passed, failed) = self.counts();
        let verdict = if self.passed() { paint.with("32;1", "true") } else { paint.with("31;1", "not true") };
        let _ = writeln!(out, "\n{verdict}: {passed} scenarios passed, {failed} failed (seed {})", self.seed);
        out
    }

    /// Scenarios by row.
    pub(crate) fn rows(&self) -> Vec<Vec<&Scored>> {
        let mut rows: Vec<Vec<&Scored>> = Vec::new();
        for scored in &self.scenarios {
            match rows.last_mut().filter(|row| row.first().is_some_and(|first| first.fault == scored.fault)) {
                Some(row) => row.push(scored),
                None => rows.push(vec![scored]),
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Check;

    fn scored(front: &'static str, check: Check) -> Scored {
        Scored {
            id: format!("{front}/gzip"),
            fault: "gzip".into(),
            front,
            about: "A compressed body.".into(),
            came: "a <lie>".into(),
            checks: vec![check],
        }
    }

    fn report() -> Report {
        let failed = Check::failed(Column::Status, "a refusal with 502", "a success <b>");
        let scenarios = vec![scored("chat", Check::passed(Column::Status)), scored("chat.stream", failed)];
        let afterwards = vec![("the gateway still answers", State::NotSeen)];
        Report { gateway: "itself".into(), seed: 7, scenarios, afterwards }
    }

    #[test]
    fn what_failed_is_told_with_the_command_to_see_it_again() {
        let text = report().text(false, "ferrovia torture");
        assert!(text.contains("gzip       ✓      ✗      ·"), "{text}");
        assert!(text.contains("  status: expected a refusal with 502\n      got a success <b>\n"), "{text}");
        assert!(text.contains("  ferrovia torture --seed 7 --only chat.stream/gzip\n"), "{text}");
        assert!(text.ends_with("not true: 1 scenarios passed, 1 failed (seed 7)\n"), "{text}");
        assert!(report().text(true, "x").contains("\x1b[31;1m     ✗\x1b[0m"));
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let page = report().page();
        assert!(page.contains("a success &lt;b&gt;") && !page.contains("<b>"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "no other resource");
        assert!(page.contains("prefers-color-scheme"));
    }

    #[test]
    fn the_json_says_the_same() {
        let json = report().json();
        assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
        assert_eq!(json["scenarios"][1]["checks"]["status"]["expected"], "a refusal with 502");
        assert_eq!(json["afterwards"]["the gateway still answers"], "n/a");
        assert!(!report().passed());
        let text = report().json_text();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), json);
        assert!(text.lines().any(|line| line.starts_with("    {\"id\":\"chat/gzip\"")), "{text}");
    }
}
