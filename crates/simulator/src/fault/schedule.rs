//! Faults by plan: which requests meet which fault, repeatable by a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Asked, Injection};
use crate::seed::mix;

/// Faults by plan. The first rule that strikes decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// With the same seed the same requests in the same order meet the same faults.
    pub seed: u64,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// One rule: some of the requests that match meet a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which requests it is about; all of them by default.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Which of those it strikes; all of them by default.
    #[serde(default)]
    pub when: When,
    /// The fault.
    pub fault: Injection,
}

/// Which requests a rule is about. What is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The beginning of the path.
    pub path: Option<String>,
    /// The model, as the request names it.
    pub model: Option<String>,
    /// Whether a stream is asked for.
    pub stream: Option<bool>,
}

/// Which of the matching requests a rule strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Each of them.
    #[default]
    Always,
    /// Each with this probability, 0 to 1.
    Probability(f64),
    /// Only this one, counted from 1.
    Nth(u64),
    /// Each that comes at a multiple of this number.
    Every(u64),
}

impl Schedule {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// Names the rule, and what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (index, rule) in self.rules.iter().enumerate() {
            let place = format!("rule {} of the fault schedule", index + 1);
            match rule.when {
                When::Probability(chance) if !(0.0..=1.0).contains(&chance) => {
                    return Err(format!("{place} has a probability of {chance}; give one from 0 to 1"));
                }
                When::Nth(0) | When::Every(0) => {
                    return Err(format!("{place} counts from 0; requests are counted from 1"));
                }
                When::Always | When::Probability(_) | When::Nth(_) | When::Every(_) => {}
            }
        }
        Ok(())
    }
}

/// How many requests each rule has seen.
#[derive(Debug, Default)]
pub(crate) struct Draws(Vec<AtomicU64>);

impl Draws {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        Draws(schedule.rules.iter().map(|_| AtomicU64::new(0)).collect())
    }

    /// Lets each rule count a request, and gives the fault of the first that strikes.
    pub(crate) fn draw(&self, schedule: &Schedule, asked: &Asked) -> Option<Injection> {
        let mut struck = None;
        for (index, (rule, seen)) in schedule.rules.iter().zip(&self.0).enumerate() {
            if !rule.matches.fits(asked) {
                continue;
            }
            let count = seen.fetch_add(1, Ordering::Relaxed) + 1;
            let strikes = match rule.when {
                When::Always => true,
                When::Nth(nth) => count == nth,
                When::Every(nth) => count % nth == 0,
                When::Probability(chance) => {
                    let drawn = mix(mix(schedule.seed ^ mix(index as u64)) ^ count) >> 11;
                    (drawn as f64) < chance * (1_u64 << 53) as f64
                }
            };
            if strikes && struck.is_none() {
                struck = Some(rule.fault.clone());
            }
        }
        struck
    }
}

impl Match {
    fn fits(&self, asked: &Asked) -> bool {
        self.path.as_ref().is_none_or(|path| asked.path.starts_with(path.as_str()))
            && self.model.as_ref().is_none_or(|model| asked.model.as_ref() == Some(model))
            && self.stream.is_none_or(|stream| asked.stream == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Asked {
        let mut asked = Asked::default();
        path.clone_into(&mut asked.path);
        asked
    }

    fn drawn(schedule: &Schedule, count: usize) -> Vec<usize> {
        let draws = Draws::new(schedule);
        (1..=count).filter(|_| draws.draw(schedule, &asked("/v1/x")).is_some()).collect()
    }

    #[test]
    fn a_schedule_reads_as_it_is_written() {
        let text = r#"{"seed": 7, "rules": [
            {"match": {"path": "/v1/chat", "stream": true}, "when": {"probability": 0.5}, "fault": "status:503"},
            {"when": {"nth": 3}, "fault": "gzip"}, {"fault": "empty"}]}"#;
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(schedule.rules[0].when, When::Probability(0.5));
        assert_eq!(schedule.rules[2].when, When::Always);
        let again: Schedule = serde_json::from_str(&serde_json::to_string(&schedule).unwrap()).unwrap();
        assert_eq!(again, schedule);
        assert!(serde_json::from_str::<Schedule>(r#"{"rules": [{"fault": "nope"}]}"#).is_err());
    }

    #[test]
    fn rules_strike_when_they_should() {
        let rule = |when| Schedule {
            seed: 1,
            rules: vec![Rule { matches: Match::default(), when, fault: super::super::Fault::Empty.into() }],
        };
        assert_eq!(drawn(&rule(When::Nth(2)), 6), [2]);
        assert_eq!(drawn(&rule(When::Every(2)), 6), [2, 4, 6]);
        assert_eq!(drawn(&rule(When::Probability(0.0)), 99), [0; 0]);
        assert_eq!(drawn(&rule(When::Probability(1.0)), 9).len(), 9);
        let some = drawn(&rule(When::Probability(0.25)), 1_000);
        assert!((200..300).contains(&some.len()), "{}", some.len());
        assert_eq!(some, drawn(&rule(When::Probability(0.25)), 1_000));
        assert_ne!(some, drawn(&Schedule { seed: 2, ..rule(When::Probability(0.25)) }, 1_000));
    }

    #[test]
    fn the_first_rule_that_strikes_decides_and_all_of_them_count() {
        use super::super::Fault::{Empty, Html};
        let rule =
            |when, fault: super::super::Fault| Rule { matches: Match::default(), when, fault: fault.into() };
        let schedule =
            Schedule { seed: 0, rules: vec![rule(When::Nth(2), Empty), rule(When::Every(2), Html)] };
        let draws = Draws::new(&schedule);
        let faults: Vec<_> = (0..4).map(|_| draws.draw(&schedule, &asked("/"))).collect();
        assert_eq!(faults, [None, Some(Empty.into()), None, Some(Html.into())]);
    }
}
