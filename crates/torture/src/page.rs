//! The report as a page that needs nothing beside it.

use std::fmt::Write;

use crate::front::Front;
use crate::report::{Column, Report, Scored, State};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2430; --paper: #ffffff; --line: #d9dee7; --soft: #667085; --good: #18794e; --bad: #c62a2f; --wash: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --paper: #14171c; --line: #2d333d; --soft: #98a2b3; --good: #4cc38a; --bad: #ff6369; --wash: #3b1219; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: center; }
th:first-child, td:first-child { text-align: left; } thead th { position: sticky; top: 0; background: var(--paper); font-weight: 600; }
.wide { overflow-x: auto; } .good { color: var(--good); } .bad { color: var(--bad); font-weight: 700; background: var(--wash); } .soft { color: var(--soft); }
code { font-family: ui-monospace, monospace; font-size: .9em; } summary { cursor: pointer; }
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Report {
    /// The report as one page of HTML.
    pub fn page(&self) -> String {
        let (passed, failed) = self.counts();
        let verdict = if self.passed() { "true under every fault" } else { "not true under every fault" };
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Fault wall: {passed} of {}</title>\n<style>{STYLE}</style>\n<h1>The fault wall</h1>\n<p>{}: <strong>{verdict}</strong>. \
             {passed} scenarios passed, {failed} failed; seed {}.</p>\n",
            passed + failed,
            escaped(&self.gateway),
            self.seed
        );
        self.failures(&mut out);
        self.checks(&mut out);
        self.matrix(&mut out);
        out.push_str("</html>\n");
        out
    }

    fn failures(&self, out: &mut String) {
        let failed: Vec<&Scored> = self.scenarios.iter().filter(|scored| !scored.passed()).collect();
        if failed.is_empty() {
            return;
        }
        out.push_str("<h2>What failed</h2>\n");
        for scored in failed {
            // writing into a string cannot fail
            let _ = writeln!(
                out,
                "<p id=\"{0}\"><code>{0}</code> {1}</p>\n<ul>",
                escaped(&scored.id),
                escaped(&scored.about)
            );
            for check in &scored.checks {
                if let State::Failed { expected, got } = &check.state {
                    let name = check.column.name();
                    let _ = writeln!(
                        out,
                        "<li>{name}: expected {}, got {}</li>",
                        escaped(expected),
                        escaped(got)
                    );
                }
            }
            out.push_str("</ul>\n");
        }
    }

    fn checks(&self, out: &mut String) {
        out.push_str(
            "<h2>What was looked at</h2>\n<table>\n<thead><tr><th>check<th>passed<th>failed<th>n/a</thead>\n",
        );
        for column in Column::ALL {
            let (passed, failed, unseen) = self.of_column(column);
            let class = if failed > 0 { "bad" } else { "soft" };
            let _ = writeln!(
                out,
                "<tr><td>{}<td>{passed}<td class=\"{class}\">{failed}<td>{unseen}",
                column.name()
            );
        }
        out.push_str("</table>\n<ul>\n");
        for (what, state) in &self.afterwards {
            let (class, text) = match state {
                State::Passed => ("good", "✓".to_owned()),
                State::NotSeen => ("soft", "n/a".to_owned()),
                State::Failed { expected, got } => ("bad", format!("✗ expected {expected}, got {got}")),
            };
            let _ = writeln!(
                out,
                "<li>{}: <span class=\"{class}\">{}</span></li>",
                escaped(what),
                escaped(&text)
            );
        }
        out.push_str("</ul>\n");
    }

    fn matrix(&self, out: &mut String) {
        out.push_str("<h2>Fault by front</h2>\n<p class=\"soft\">How each call ended stands behind its mark.</p>\n<div class=\"wide\">\n<table>\n<thead><tr><th>fault");
        for front in Front::ALL {
            let _ = write!(out, "<th>{}", front.name().replace('.', "<br>"));
        }
        out.push_str("</thead>\n");
        for row in self.rows() {
            let Some(first) = row.first() else { continue };
            let _ = write!(
                out,
                "<tr><td title=\"{}\"><code>{}</code>",
                escaped(&first.about),
                escaped(&first.fault)
            );
            for front in Front::ALL {
                let _ = match row.iter().find(|scored| scored.front == front.name()) {
                    None => write!(out, "<td class=\"soft\">·"),
                    Some(scored) if scored.passed() => {
                        write!(out, "<td class=\"good\" title=\"{}\">✓", escaped(&scored.came))
                    }
                    Some(scored) => write!(out, "<td class=\"bad\" title=\"{}\">✗", escaped(&scored.came)),
                };
            }
            out.push('\n');
        }
        out.push_str("</table>\n</div>\n");
    }
}
