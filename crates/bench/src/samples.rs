//! Every figure of every round, and what can be asked of them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::statistics::Spread;
use crate::target::{DIRECT, REFERENCE};

/// One figure of one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// From 1.
    pub round: usize,
    /// The scenario's name.
    pub scenario: String,
    /// The target's name.
    pub target: String,
    /// The figure's key.
    pub figure: String,
    /// Its value, in the unit that the key ends with.
    pub value: f64,
}

/// A measurement that did not come about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// From 1.
    pub round: usize,
    /// The scenario's name.
    pub scenario: String,
    /// The target's name.
    pub target: String,
    /// Why.
    pub problem: String,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Load average of the last minute at the beginning of each round.
    pub load_average: Vec<f64>,
    /// The figures.
    pub values: Vec<Sample>,
    /// What failed.
    pub failures: Vec<Failure>,
}

impl Samples {
    /// Notes a figure.
    pub fn note(&mut self, round: usize, scenario: &str, target: &str, figure: &str, value: f64) {
        let [scenario, target, figure] = [scenario, target, figure].map(str::to_owned);
        self.values.push(Sample { round, scenario, target, figure, value });
    }

    /// Notes that there is none.
    pub fn fail(&mut self, round: usize, scenario: &str, target: &str, problem: String) {
        let [scenario, target] = [scenario, target].map(str::to_owned);
        self.failures.push(Failure { round, scenario, target, problem });
    }

    /// A figure in one round.
    pub fn value(&self, round: usize, scenario: &str, target: &str, figure: &str) -> Option<f64> {
        let is_it = |sample: &&Sample| {
            sample.round == round
                && sample.scenario == scenario
                && sample.target == target
                && sample.figure == figure
        };
        self.values.iter().find(is_it).map(|sample| sample.value)
    }

    /// A figure over all rounds.
    pub fn spread(&self, scenario: &str, target: &str, figure: &str) -> Option<Spread> {
        self.derive(|round| self.value(round, scenario, target, figure))
    }

    /// A figure in parts of nginx's in the same round.
    pub fn ratio(&self, scenario: &str, target: &str, figure: &str) -> Option<Spread> {
        self.derive(|round| {
            let reference = self.value(round, scenario, REFERENCE, figure)?;
            Some(self.value(round, scenario, target, figure)? / reference)
        })
    }

    /// What a target adds to the figure that the mock alone has in the same round.
    pub fn added(&self, scenario: &str, target: &str, figure: &str) -> Option<Spread> {
        self.derive(|round| self.added_in(round, scenario, target, figure))
    }

    /// The same in one round.
    pub fn added_in(&self, round: usize, scenario: &str, target: &str, figure: &str) -> Option<f64> {
        let alone = self.value(round, scenario, DIRECT, figure)?;
        Some(self.value(round, scenario, target, figure)? - alone)
    }

    /// Something made of the figures of one round, over all rounds in which it can be made.
    pub fn derive(&self, of: impl Fn(usize) -> Option<f64>) -> Option<Spread> {
        let rounds: BTreeSet<usize> = self.values.iter().map(|sample| sample.round).collect();
        Spread::of(rounds.into_iter().filter_map(of))
    }

    /// Everything by scenario, target and figure: the values of the rounds, in thousandths, `null` where there is none.
    pub fn json(&self) -> Value {
        let rounds = self.values.iter().map(|sample| sample.round).max().unwrap_or(0);
        let mut all = Map::new();
        for sample in &self.values {
            let mut place = &mut all;
            for key in [&sample.scenario, &sample.target] {
                let inner = place.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(inner) = inner else { return Value::Null };
                place = inner;
            }
            let none = || Value::Array(vec![Value::Null; rounds]);
            if let Value::Array(values) = place.entry(sample.figure.clone()).or_insert_with(none) {
                values[sample.round - 1] = ((sample.value * 1000.0).round() / 1000.0).into();
            }
        }
        Value::Object(all)
    }

    /// The targets that have figures in a scenario, in the order in which they are told.
    pub fn targets(&self, scenario: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        let of_it = self.values.iter().filter(|sample| sample.scenario == scenario);
        for sample in of_it {
            if !found.contains(&sample.target.as_str()) {
                found.push(&sample.target);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_within_a_round() {
        let mut samples = Samples::default();
        for (round, nginx, ours) in [(1, 10.0, 20.0), (2, 100.0, 150.0)] {
            samples.note(round, "S1", "nginx", "cpu_us", nginx);
            samples.note(round, "S1", "ours", "cpu_us", ours);
        }
        samples.note(3, "S1", "ours", "cpu_us", 7.0);
        let ratio = samples.ratio("S1", "ours", "cpu_us").unwrap();
        assert_eq!((ratio.min, ratio.max, ratio.rounds), (1.5, 2.0, 2));
        assert_eq!(samples.spread("S1", "ours", "cpu_us").unwrap().rounds, 3);
        assert_eq!(samples.ratio("S2", "ours", "cpu_us"), None);
        assert_eq!(samples.targets("S1"), ["nginx", "ours"]);
    }

    #[test]
    fn in_json_the_rounds_of_a_figure_stand_together() {
        let mut samples = Samples::default();
        samples.note(1, "S1", "nginx", "cpu_us", 10.00049);
        samples.note(3, "S1", "nginx", "cpu_us", 30.0);
        samples.note(2, "S2", "nginx", "p50_us", 1.5);
        assert_eq!(
            samples.json().to_string(),
            r#"{"S1":{"nginx":{"cpu_us":[10.0,null,30.0]}},"S2":{"nginx":{"p50_us":[null,1.5,null]}}}"#
        );
    }

    #[test]
    fn what_is_added_is_added_to_the_mock_alone() {
        let mut samples = Samples::default();
        samples.note(1, "S2", "direct", "p50_us", 16.0);
        samples.note(1, "S2", "ours", "p50_us", 60.0);
        assert_eq!(samples.added("S2", "ours", "p50_us").unwrap().median, 44.0);
        assert_eq!(samples.added("S2", "theirs", "p50_us"), None);
    }
}
