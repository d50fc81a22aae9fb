//! What a run found out, scenario by scenario and check by check, and how it is written as JSON.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is looked at in each scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// How the call ended: its status, and whether that is what happened.
    Status,
    /// Content type, request id, when to come back.
    Headers,
    /// The answer itself: whole and unchanged, or an honest error in the client's dialect.
    Body,
    /// How many requests the engine got.
    Retries,
    /// What became of the connection to the engine.
    Connection,
    /// The healthy instance beside it.
    Neighbour,
    /// No key in anything that the client got.
    Secrets,
    /// The call's line in the gateway's log.
    Log,
    /// The gateway's figures about the call.
    Accounting,
    /// Whether the gateway goes on asking that model.
    Breaker,
}

impl Column {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Column; 10] = [
        Column::Status,
        Column::Headers,
        Column::Body,
        Column::Retries,
        Column::Connection,
        Column::Neighbour,
        Column::Secrets,
        Column::Log,
        Column::Accounting,
        Column::Breaker,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Column::Status => "status",
            Column::Headers => "headers",
            Column::Body => "body",
            Column::Retries => "retries",
            Column::Connection => "connection",
            Column::Neighbour => "neighbour",
            Column::Secrets => "secrets",
            Column::Log => "log",
            Column::Accounting => "accounting",
            Column::Breaker => "breaker",
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Passed,
    /// It cannot be seen from outside.
    NotSeen,
    /// Not as it should be.
    Failed {
        /// What should be.
        expected: String,
        /// What is.
        got: String,
    },
}

/// One check of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub column: Column,
    /// What came of it.
    pub state: State,
}

impl Check {
    pub(crate) fn passed(column: Column) -> Check {
        Check { column, state: State::Passed }
    }

    pub(crate) fn not_seen(column: Column) -> Check {
        Check { column, state: State::NotSeen }
    }

    pub(crate) fn failed(column: Column, expected: impl Into<String>, got: impl Into<String>) -> Check {
        Check { column, state: State::Failed { expected: expected.into(), got: got.into() } }
    }

    /// The first complaint, or that there is none.
    pub(crate) fn of(column: Column, complaint: Result<(), (String, String)>) -> Check {
        match complaint {
            Ok(()) => Check::passed(column),
            Err((expected, got)) => Check::failed(column, expected, got),
        }
    }
}

/// One scenario, judged.
#[derive(Clone, Debug)]
pub struct Scored {
    /// `chat.stream/reset-mid-event`.
    pub id: String,
    /// The row.
    pub fault: String,
    /// The column.
    pub front: &'static str,
    /// What happens in it.
    pub about: String,
    /// How the call ended, in a few words.
    pub came: String,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

impl Scored {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.state, State::Failed { .. }))
    }
}

/// What a run found out.
#[derive(Clone, Debug)]
pub struct Report {
    /// What stood before the engines.
    pub gateway: String,
    /// The seed.
    pub seed: u64,
    /// Sorted by row, then by column, as the matrix shows them.
    pub scenarios: Vec<Scored>,
    /// What was looked at once, when all was over: a sentence and what came of it.
    pub afterwards: Vec<(&'static str, State)>,
}

impl Report {
    /// How many scenarios passed, and how many failed.
    pub fn counts(&self) -> (usize, usize) {
        let passed = self.scenarios.iter().filter(|scenario| scenario.passed()).count();
        (passed, self.scenarios.len() - passed)
    }

    /// Whether everything is as it should be.
    pub fn passed(&self) -> bool {
        let afterwards = self.afterwards.iter().all(|(_, state)| !matches!(state, State::Failed { .. }));
        afterwards && self.scenarios.iter().all(Scored::passed)
    }

    /// Passed, failed and unseen checks of a column.
    pub fn of_column(&self, column: Column) -> (usize, usize, usize) {
        let checks = self.scenarios.iter().flat_map(|scenario| &scenario.checks);
        checks.filter(|check| check.column == column).fold((0, 0, 0), |(passed, failed, unseen), check| {
            match check.state {
                State::Passed => (passed + 1, failed, unseen),
                State::Failed { .. } => (passed, failed + 1, unseen),
                State::NotSeen => (passed, failed, unseen + 1),
            }
        })
    }

    /// The whole report as a file: a line for each scenario, so that two of them can be compared.
    pub fn json_text(&self) -> String {
        let Value::Object(mut members) = self.json() else { return String::new() };
        let scenarios = members.shift_remove("scenarios");
        let lines = scenarios.iter().filter_map(Value::as_array).flatten().map(|one| format!("    {one}"));
        let lines: Vec<String> = lines.collect();
        let rest = format!("{:#}", Value::Object(members));
        let rest = rest.strip_suffix("\n}").unwrap_or(&rest);
        format!("{rest},\n  \"scenarios\": [\n{}\n  ]\n}}\n", lines.join(",\n"))
    }

    /// The whole report; its shape is described in `docs/torture.md`.
    pub fn json(&self) -> Value {
        let (passed, failed) = self.counts();
        let columns: Map<String, Value> = Column::ALL
            .into_iter()
            .map(|column| {
                let (passed, failed, unseen) = self.of_column(column);
                (column.name().to_owned(), json!({"passed": passed, "failed": failed, "not_seen": unseen}))
            })
            .collect();
        let faults: Map<String, Value> =
            self.scenarios.iter().map(|scored| (scored.fault.clone(), json!(scored.about))).collect();
        let scenarios: Vec<Value> = self.scenarios.iter().map(Scored::json).collect();
        let afterwards: Map<String, Value> =
            self.afterwards.iter().map(|(what, state)| ((*what).to_owned(), state.json())).collect();
        json!({
            "format": 1,
            "gateway": self.gateway,
            "seed": self.seed,
            "passed": passed,
            "failed": failed,
            "columns": columns,
            "faults": faults,
            "afterwards": afterwards,
            "scenarios": scenarios,
        })
    }
}

impl Scored {
    fn json(&self) -> Value {
        // those that passed are the many
        let others = self.checks.iter().filter(|check| check.state != State::Passed);
        let checks: Map<String, Value> =
            others.map(|check| (check.column.name().to_owned(), check.state.json())).collect();
        json!({
            "id": self.id,
            "fault": self.fault,
            "front": self.front,
            "came": self.came,
            "passed": self.passed(),
            "checks": checks,
        })
    }
}

impl State {
    fn json(&self) -> Value {
        match self {
            State::Passed => json!("passed"),
            State::NotSeen => json!("n/a"),
            State::Failed { expected, got } => json!({"expected": expected, "got": got}),
        }
    }
}
