//! What rounds of any kind have in common: whose turn it is, and what is said on the way.

use std::io::Write;

use crate::samples::Samples;
use crate::scenario::Figures;
use crate::target::Target;

/// The targets forth in one round and back in the next, so that a drift of the machine favours nobody.
pub(crate) fn in_turn(targets: &[Target], round: usize) -> Vec<&Target> {
    if round % 2 == 1 { targets.iter().collect() } else { targets.iter().rev().collect() }
}

/// Notes what came out, and says it.
pub(crate) fn note(
    samples: &mut Samples,
    round: usize,
    scenario: &str,
    target: &str,
    figures: anyhow::Result<Figures>,
) {
    let place = format!("round {round}  {scenario:<16} {target:<10}");
    match figures {
        Ok(figures) => {
            let told: Vec<String> = figures.iter().map(|(key, value)| format!("{key} {value:.1}")).collect();
            progress(&format!("{place} {}", told.join("  ")));
            for (key, value) in figures {
                samples.note(round, scenario, target, key, value);
            }
        }
        Err(error) => {
            progress(&format!("{place} FAILED: {error:#}"));
            samples.fail(round, scenario, target, format!("{error:#}"));
        }
    }
}

/// A line for who waits.
pub(crate) fn progress(line: &str) {
    // nobody is left to be told that nobody listens
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_targets_changes_with_every_round() {
        let targets = [Target::Direct, Target::Nginx("n".into())];
        let names = |round| in_turn(&targets, round).into_iter().map(Target::name).collect::<Vec<_>>();
        assert_eq!((names(1), names(2)), (vec!["direct", "nginx"], vec!["nginx", "direct"]));
    }

    #[test]
    fn what_fails_is_noted_as_such() {
        let mut samples = Samples::default();
        note(&mut samples, 1, "S1", "nginx", Ok(vec![("cpu_us", 3.0)]));
        note(&mut samples, 1, "S1", "haproxy", Err(anyhow::anyhow!("it fell").context("after 1 s")));
        assert_eq!(samples.value(1, "S1", "nginx", "cpu_us"), Some(3.0));
        assert_eq!(samples.failures[0].problem, "after 1 s: it fell");
    }
}
