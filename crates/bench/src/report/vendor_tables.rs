//! Tables in the shape of those that GoModel's makers publish, so that rows can stand beside theirs.

use super::table::{Table, cell, failures, number};
use crate::samples::Samples;
use crate::target::DIRECT;
use crate::vendor;

/// The variant that speaks for a gateway as a whole.
const CHAT: &str = "chat";

/// The tables of a run in the vendor's shape.
pub(super) fn all(samples: &Samples) -> Vec<Table> {
    vec![headline(samples), variants(samples), added(samples), sweep(samples)]
}

/// A row for each target.
fn headline(samples: &Samples) -> Table {
    let columns = [
        "target",
        "p50 ms",
        "p99 ms",
        "calls/s, peak",
        "idle / peak RSS MiB",
        "program MiB",
        "start ms",
        "CPU %",
        "calls/s per CPU-%",
    ];
    let row = |target: &str| {
        let chat = |figure| samples.spread(CHAT, target, figure);
        let held = |figure| samples.spread(vendor::HOLDING, target, figure);
        let per_cpu = samples.derive(|round| {
            let cpu = samples.value(round, CHAT, target, "cpu_percent")?;
            Some(samples.value(round, CHAT, target, "calls_per_s")? / cpu)
        });
        vec![
            target.to_owned(),
            cell(chat("p50_ms"), 2),
            cell(chat("p99_ms"), 2),
            peak(samples, target),
            format!("{} / {}", cell(held("idle_rss_mib"), 1), cell(held("peak_rss_mib"), 1)),
            cell(held("program_mib"), 1),
            cell(held("start_ms"), 0),
            cell(chat("cpu_percent"), 0),
            cell(per_cpu, 0),
        ]
    };
    Table {
        title: "Chat, 10 connections, everything on the same two cores".to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: samples.targets(CHAT).into_iter().map(row).collect(),
        notes: vec!["CPU is the target's own; that of `direct` is the mock upstream's.".to_owned()],
    }
}

/// The best point of the sweep.
fn peak(samples: &Samples, target: &str) -> String {
    let at = |connections: &usize| {
        let spread = samples.spread(vendor::SWEEPING, target, &format!("c{connections}"))?;
        Some((spread.median, *connections))
    };
    let best = vendor::SWEEP.iter().filter_map(at).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(|| "–".to_owned(), |(calls, at)| format!("{} @c{at}", number(calls, 0)))
}

/// A row for each variant, a column for each target.
fn variants(samples: &Samples) -> Table {
    let targets = samples.targets(CHAT);
    let one = |variant: &str, target: &str| {
        let part = |figure, decimals| cell(samples.spread(variant, target, figure), decimals);
        let times = ["p50_ms", "p90_ms", "p99_ms"].map(|figure| part(figure, 2)).join("/");
        let first = samples.spread(variant, target, "first_p50_ms");
        let first = first.map_or_else(String::new, |first| format!(" first {}", number(first.median, 2)));
        format!("{times} ({}){first}", part("calls_per_s", 0))
    };
    let row = |variant: &str| {
        std::iter::once(variant.to_owned()).chain(targets.iter().map(|target| one(variant, target))).collect()
    };
    let mut table = of_targets(
        "All variants: p50/p90/p99 ms (calls/s), streams with the p50 of their first event",
        "variant",
        &targets,
    );
    for (variant, _, _) in vendor::VARIANTS {
        table.rows.push(row(variant));
        table.notes.extend(failures(samples, variant));
    }
    table.notes.extend(failures(samples, "start"));
    table
}

/// What each target adds to each variant.
fn added(samples: &Samples) -> Table {
    let targets: Vec<&str> = samples.targets(CHAT).into_iter().filter(|target| *target != DIRECT).collect();
    let mut table = of_targets("Latency added, p50 ms (target − direct, same round)", "variant", &targets);
    for (variant, _, _) in vendor::VARIANTS {
        let cells = targets.iter().map(|target| cell(samples.added(variant, target, "p50_ms"), 2));
        table.rows.push(std::iter::once(variant.to_owned()).chain(cells).collect());
    }
    table
}

/// A row for each target, a column for each number of connections.
fn sweep(samples: &Samples) -> Table {
    let columns: Vec<String> = vendor::SWEEP.iter().map(|connections| format!("c={connections}")).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = of_targets("Chat, calls/s by connections", "target", &columns);
    for target in samples.targets(vendor::SWEEPING) {
        let at = |connections: &usize| {
            cell(samples.spread(vendor::SWEEPING, target, &format!("c{connections}")), 0)
        };
        table.rows.push(std::iter::once(target.to_owned()).chain(vendor::SWEEP.iter().map(at)).collect());
    }
    table.notes.extend(failures(samples, vendor::SWEEPING));
    table
}

fn of_targets(title: &str, first: &str, columns: &[&str]) -> Table {
    let columns = std::iter::once(first).chain(columns.iter().copied()).map(str::to_owned).collect();
    Table { title: title.to_owned(), columns, ..Table::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_its_row_and_its_column() {
        let mut samples = Samples::default();
        for (target, p50) in [("direct", 0.25), ("ferrovia", 0.75)] {
            for (figure, value) in [
                ("p50_ms", p50),
                ("p90_ms", 1.0),
                ("p99_ms", 2.0),
                ("calls_per_s", 4000.0),
                ("cpu_percent", 50.0),
            ] {
                samples.note(1, "chat", target, figure, value);
            }
        }
        samples.note(1, "sweep", "ferrovia", "c1", 10.0);
        samples.note(1, "sweep", "ferrovia", "c16", 30.0);
        samples.fail(1, "messages", "ferrovia", "it fell".into());
        let [headline, variants, added, sweep] = &all(&samples)[..] else { panic!("four tables") };
        assert_eq!(
            headline.rows[1][..],
            ["ferrovia", "0.75", "2.00", "30 @c16", "– / –", "–", "–", "50", "80"]
        );
        assert_eq!(variants.columns, ["variant", "direct", "ferrovia"]);
        assert_eq!(variants.rows[0][2], "0.75/1.00/2.00 (4,000)");
        assert_eq!(variants.notes, ["round 1, ferrovia, messages: not measured: it fell"]);
        assert_eq!(added.rows[0][..], ["chat", "0.50"]);
        assert_eq!(sweep.rows[0][..3], ["ferrovia", "10", "–"]);
    }
}
