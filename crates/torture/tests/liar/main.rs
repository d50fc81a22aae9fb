//! The wall must be able to fall: a gateway that lies in one thing is red there and nowhere else.

mod proxy;

use proxy::Lie;
use torture::{Choice, Door, Engines, Gateway, Names, Plan, Ports, Report, State};

/// Faults for which the naive gateway has an honest answer.
const PLAYED: [&str; 10] = [
    "chat/error-200",
    "chat/html",
    "chat/error-tells-key",
    "chat/retry-after-seconds",
    "chat/close-after-answer",
    "chat.stream/error-null",
    "chat.stream/close-mid-event",
    "chat.stream/truncate",
    "chat/client-leaves-early",
    "chat.stream/client-leaves-late",
];

async fn report(lie: Lie) -> Report {
    let only = PLAYED.map(str::to_owned).into();
    let plan = Plan::draw(&Choice { only, ..Choice::default() });
    assert_eq!(plan.len(), PLAYED.len());
    let engines = Engines::start(&plan, Ports::default()).await.expect("engines start");
    let (address, task) = proxy::start(lie, engines.faulty(), engines.steady()).await;
    let door = Door { address: address.to_string(), prefix: String::new(), key: None };
    let model = "{model}".to_owned();
    let names = Names {
        faulty: model.clone(),
        steady: Some(model.clone()),
        hasty: model.clone(),
        speech: model.clone(),
        mortal: model,
    };
    let gateway = Gateway { name: "a naive one".to_owned(), door, names, inside: None };
    let report = torture::run(&plan, &engines, &gateway, 4, |_| {}).await.expect("the engines answer");
    task.abort();
    engines.stop().await;
    report
}

/// Plays the faults against a gateway that lies, and looks where it is red.
async fn check(lie: Lie, expected: &[(&str, &str)]) {
    let report = report(lie).await;
    let mut red: Vec<(&str, &str)> = Vec::new();
    for scored in &report.scenarios {
        let failed = scored.checks.iter().filter(|check| matches!(check.state, State::Failed { .. }));
        red.extend(failed.map(|check| (scored.id.as_str(), check.column.name())));
    }
    red.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(red, expected, "{lie:?}\n{}", report.text(false, "torture"));
    let unwell = lie == Lie::Neighbour;
    assert_eq!(report.passed(), expected.is_empty() && !unwell);
}

#[tokio::test]
async fn an_honest_gateway_stands() {
    check(Lie::None, &[]).await;
    // what is inside of it cannot be seen
    let report = report(Lie::None).await;
    assert!(report.json()["columns"]["log"]["not_seen"] == PLAYED.len());
}

#[tokio::test]
async fn an_error_that_passes_for_a_success_is_red() {
    check(Lie::Errors, &[("chat/error-200", "status"), ("chat/html", "status")]).await;
}

#[tokio::test]
async fn an_invented_ending_is_red() {
    check(Lie::Endings, &[("chat.stream/close-mid-event", "status"), ("chat.stream/truncate", "status")])
        .await;
}

#[tokio::test]
async fn a_retry_after_the_first_event_is_red() {
    check(Lie::Retries, &[("chat.stream/close-mid-event", "retries"), ("chat.stream/truncate", "retries")])
        .await;
}

#[tokio::test]
async fn a_wait_that_is_not_passed_on_is_red() {
    check(Lie::Waits, &[("chat/retry-after-seconds", "headers")]).await;
}

#[tokio::test]
async fn a_key_that_is_told_is_red() {
    check(Lie::Keys, &[("chat/error-tells-key", "secrets")]).await;
}

#[tokio::test]
async fn an_engine_that_works_for_nobody_is_red() {
    let left = [("chat/client-leaves-early", "connection"), ("chat.stream/client-leaves-late", "connection")];
    // it relays naively as well, so that more than this is red
    let report = report(Lie::Leaving).await;
    for (id, column) in left {
        let scored = report.scenarios.iter().find(|scored| scored.id == id).expect("it was played");
        let red = |check: &&torture::Check| matches!(check.state, State::Failed { .. });
        let columns: Vec<&str> = scored.checks.iter().filter(red).map(|check| check.column.name()).collect();
        assert_eq!(columns, [column], "{id}");
    }
}

#[tokio::test]
async fn a_neighbour_that_suffers_is_red() {
    let every = PLAYED.map(|id| (id, "neighbour"));
    check(Lie::Neighbour, &every).await;
}
