//! Which scenarios are played, in which order and with which words: drawn from a seed.

use std::collections::HashSet;

use bytes::Bytes;
use simulator::{Match, Rule, Schedule, When};

use crate::front::{Dialect, Front};
use crate::rows::{self, Manner, Row};

/// One fault on one front.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// `chat.stream/reset-mid-event`.
    pub(crate) id: String,
    pub(crate) front: Front,
    pub(crate) row: Row,
    /// The model that meets the fault, and nobody else.
    pub(crate) model: String,
    pub(crate) prompt: String,
    /// Whether the client asks to be told the usage of its stream. Where it does not, that is not its to see.
    pub(crate) asks_usage: bool,
}

impl Scenario {
    /// What is asked, with this name for the model.
    pub(crate) fn request(&self, model: &str) -> Bytes {
        let with_tool = self.row.injection.fault().name().starts_with("tool-");
        self.front.request(model, &self.prompt, with_tool, self.asks_usage)
    }
}

/// What is chosen on the command line.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Decides order and words.
    pub seed: u64,
    /// Ids, or parts of them; a scenario is played if its id is one of them or has one in it that is nobody's id. Empty:
    /// all are. `*` stands for anything.
    pub only: Vec<String>,
    /// Each row on one front alone.
    pub quick: bool,
    /// Whether the gateway is our own, whose breaker, time limits and instances are known.
    pub own: bool,
}

/// The scenarios of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) seed: u64,
    pub(crate) own: bool,
}

const WHO: [&str; 6] =
    ["the driver", "a passenger", "the dispatcher", "a porter", "the cook", "an inspector"];
const WHAT: [&str; 6] =
    ["night trains", "mountain passes", "a late letter", "old bridges", "the first snow", "signals"];

impl Plan {
    /// Draws the scenarios of a run: the same for the same choice.
    pub fn draw(choice: &Choice) -> Plan {
        let mut scenarios = Vec::new();
        for (at, row) in rows::all().into_iter().enumerate() {
            let fronts: Vec<Front> = Front::ALL.into_iter().filter(|front| row.applies(*front)).collect();
            // which one a shortened wall takes turns from row to row, so that all of them come up
            let turn = at % fronts.len().max(1);
            for (index, front) in fronts.into_iter().enumerate() {
                let ours = row.needs_our_own() || front.dialect == Dialect::Foreign;
                if choice.quick && index != turn || !choice.own && ours {
                    continue;
                }
                let id = format!("{}/{}", front.name(), row.name);
                let drawn = mix(choice.seed ^ fold(&id));
                let prompt = format!("{} writes about {}", pick(&WHO, drawn), pick(&WHAT, drawn >> 8));
                let (model, asks_usage) = (id.replace('/', "."), drawn & (1 << 40) > 0);
                scenarios.push(Scenario { model, id, front, row: row.clone(), prompt, asks_usage });
            }
        }
        if !choice.only.is_empty() {
            let ids: HashSet<String> = scenarios.iter().map(|scenario| scenario.id.clone()).collect();
            let chosen =
                |pattern: &String, id: &String| pattern == id || !ids.contains(pattern) && fits(pattern, id);
            scenarios.retain(|scenario| choice.only.iter().any(|pattern| chosen(pattern, &scenario.id)));
        }
        scenarios.sort_by_key(|scenario| mix(choice.seed ^ fold(&scenario.id)));
        Plan { scenarios, seed: choice.seed, own: choice.own }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.scenarios.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// Id and sentence of each, sorted by id.
    pub fn list(&self) -> Vec<(&str, &str)> {
        let mut list: Vec<_> = self
            .scenarios
            .iter()
            .map(|scenario| (scenario.id.as_str(), scenario.row.about.as_str()))
            .collect();
        list.sort_unstable();
        list
    }

    /// Which model meets which fault.
    pub(crate) fn schedule(&self) -> Schedule {
        let rules =
            self.scenarios.iter().filter(|scenario| scenario.row.manner != Manner::Gone).map(|scenario| {
                Rule {
                    matches: Match { model: Some(scenario.model.clone()), ..Match::default() },
                    when: match scenario.row.manner {
                        Manner::FirstOnly => When::Nth(1),
                        _ => When::Always,
                    },
                    fault: scenario.row.injection.clone(),
                }
            });
        Schedule { seed: self.seed, rules: rules.collect() }
    }

    /// The models of one engine.
    pub(crate) fn models(&self, gone: bool) -> Vec<String> {
        let of = self.scenarios.iter().filter(|scenario| (scenario.row.manner == Manner::Gone) == gone);
        of.map(|scenario| scenario.model.clone()).collect()
    }
}

impl Row {
    /// Whether it can be played on a gateway only whose configuration is ours.
    fn needs_our_own(&self) -> bool {
        matches!(self.manner, Manner::Again | Manner::Gone)
    }
}

/// Whether a pattern fits: every part between its stars occurs, in order.
fn fits(pattern: &str, id: &str) -> bool {
    let mut rest = id;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn pick<'a>(words: &[&'a str], drawn: u64) -> &'a str {
    let at = usize::try_from(drawn % words.len() as u64).unwrap_or(0);
    words.get(at).copied().unwrap_or_default()
}

/// FNV-1a.
fn fold(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// splitmix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Choice {
        Choice { own: true, ..Choice::default() }
    }

    #[test]
    fn the_wall_is_high_and_every_name_is_there_once() {
        let plan = Plan::draw(&own());
        assert!(plan.len() >= 150, "{}", plan.len());
        let ids: HashSet<&str> = plan.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
        let models: HashSet<&str> = plan.scenarios.iter().map(|scenario| scenario.model.as_str()).collect();
        assert_eq!((ids.len(), models.len()), (plan.len(), plan.len()));
        assert!(ids.contains("chat.stream/reset-mid-event") && ids.contains("rerank/status-503"));
    }

    #[test]
    fn a_shortened_wall_has_every_row_once_and_every_front() {
        let plan = Plan::draw(&Choice { quick: true, ..own() });
        let rows: HashSet<&str> = plan.scenarios.iter().map(|scenario| scenario.row.name.as_str()).collect();
        let fronts: HashSet<Front> = plan.scenarios.iter().map(|scenario| scenario.front).collect();
        assert_eq!((rows.len(), fronts.len()), (plan.len(), Front::ALL.len()));
    }

    #[test]
    fn a_seed_decides_order_and_words() {
        let told = |seed| {
            let plan = Plan::draw(&Choice { seed, ..own() });
            plan.scenarios.iter().map(|one| (one.id.clone(), one.prompt.clone())).collect::<Vec<_>>()
        };
        assert_eq!(told(3), told(3));
        assert_ne!(told(3), told(4));
    }

    #[test]
    fn some_can_be_chosen_and_foreign_gateways_play_what_they_can() {
        let only = |pattern: &str| Plan::draw(&Choice { only: vec![pattern.to_owned()], ..own() });
        assert_eq!((only("chat.stream/gzip").len(), only("chat.stream/gzi").len()), (1, 3));
        assert!(only("messages*/reset-").list().iter().all(|(id, _)| id.starts_with("messages")));
        assert!(only("no such thing").is_empty());
        let foreign = Plan::draw(&Choice::default());
        assert!(foreign.list().iter().all(|(id, _)| !id.ends_with("engine-gone")));
        assert!(foreign.list().iter().all(|(id, _)| !id.starts_with("passthrough")));
    }
}
