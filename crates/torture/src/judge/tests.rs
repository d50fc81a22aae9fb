//! A call about which everything is true, and one untruth at a time: each is red in its own column.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use simulator::{Ending as Ended, Seen};

use super::*;
use crate::client::Ending;
use crate::plan::{Choice, Plan};
use crate::report::State;

const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
const SECOND: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"A\"}}]}\n\n";
const THIRD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\" train\"}}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"type\":\"provider_error\",\"message\":\"cut\",\"param\":null,\"code\":\"stream_incomplete\"}}\n\n";
const SECRET: &str = "sk-a-secret-key";

/// What is known of `chat.stream/close-mid-event`.
struct Story {
    scenario: Scenario,
    calls: Vec<Heard>,
    probes: Vec<Heard>,
    seen: Vec<Seen>,
    connections: Connections,
    line: Value,
    lines: usize,
    figures: String,
}

fn heard(id: &str, kind: &'static str, body: String) -> Heard {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(kind));
    headers
        .extend(HeaderValue::try_from(id).ok().map(|id| (http::HeaderName::from_static("x-request-id"), id)));
    let (status, ending, ended) = (Some(200), Ending::Clean, Instant::now());
    Heard { id: id.to_owned(), status, headers, body: body.into_bytes(), ending, ended }
}

fn scenario(id: &str) -> Scenario {
    let choice = Choice { only: vec![id.to_owned()], own: true, ..Choice::default() };
    Plan::draw(&choice).scenarios.remove(0)
}

fn true_story() -> Story {
    let scenario = scenario("chat.stream/close-mid-event");
    let model = &scenario.model;
    let now = Instant::now();
    let seen = Seen {
        method: Method::POST,
        target: "/v1/chat/completions".to_owned(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        body_length: 0,
        body_hash: 0,
        model: None,
        answer: HeaderMap::new(),
        at: now,
        status: Some(200),
        ended: Some(Ended::Cut { at: now }),
        fault: None,
        connection: 7,
        sent: [FIRST, SECOND, THIRD].concat().into_bytes(),
    };
    let whole = json!({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]});
    let labels = format!("provider_name=\"faulty\",model=\"{model}\"");
    Story {
        calls: vec![heard("r-1", "text/event-stream", [FIRST, SECOND, ERROR].concat())],
        probes: vec![heard("p-1", "application/json", whole.to_string())],
        seen: vec![seen],
        connections: Connections::default(),
        line: json!({
            "message": "call", "request_id": "r-1", "level": "WARN", "outcome": "failed", "status": 200, "stream": true,
            "provider": "faulty", "model": model, "attempts": 1, "error": "cut", "estimated": true,
            "input_tokens": 9, "output_tokens": 2,
        }),
        lines: 1,
        figures: format!(
            "gomodel_requests_total{{{labels},status_type=\"error\"}} 1\n\
             ferrovia_tokens_total{{{labels},kind=\"input\"}} 9\nferrovia_tokens_total{{{labels},kind=\"output\"}} 2\n\
             ferrovia_breaker_open{{deployment=\"faulty/{model}\"}} 1\n"
        ),
        scenario,
    }
}

/// The same on the passthrough: what broke off is cut.
fn relayed_story() -> Story {
    let mut story = true_story();
    story.scenario = scenario("passthrough.stream/close-mid-event");
    let asked = story.scenario.request(&story.scenario.model);
    let seen = &mut story.seen[0];
    (seen.body_length, seen.body_hash) = (asked.len(), Seen::hash(&asked));
    for (name, value) in [("content-type", "text/event-stream"), ("vary", "Origin"), ("set-cookie", "a=b")] {
        seen.answer.insert(name, HeaderValue::from_static(value));
    }
    story.calls[0].headers.insert("vary", HeaderValue::from_static("Origin"));
    story.calls[0].ending = Ending::Cut("x".into());
    say(&mut story, &[FIRST, SECOND]);
    story.line["model"] = json!(story.scenario.model);
    (story.line["input_tokens"], story.line["output_tokens"]) = (json!(0), json!(0));
    let labels = format!("provider_name=\"faulty\",model=\"{}\"", story.scenario.model);
    story.figures = format!("gomodel_requests_total{{{labels},status_type=\"error\"}} 1\n");
    story
}

/// Where a story is red.
fn red(change: impl FnOnce(&mut Story)) -> Vec<&'static str> {
    red_in(true_story(), change)
}

fn red_in(mut story: Story, change: impl FnOnce(&mut Story)) -> Vec<&'static str> {
    change(&mut story);
    let calls = [("r-1".to_owned(), vec![story.line.clone(); story.lines])].into();
    let view = View { calls, figures: Figures::read(&story.figures), idle: 0, open: 0 };
    let scored = judge(&Evidence {
        expected: Expected::of(&story.scenario),
        scenario: &story.scenario,
        own: true,
        calls: &story.calls,
        probes: &story.probes,
        probe_text: "well",
        seen: &story.seen,
        connections: &story.connections,
        secrets: &[SECRET.to_owned()],
        inside: Some(&view),
        provider: "faulty",
    });
    let failed = scored.checks.iter().filter(|check| matches!(check.state, State::Failed { .. }));
    failed.map(|check| check.column.name()).collect()
}

fn say(story: &mut Story, parts: &[&str]) {
    story.calls[0].body = parts.concat().into_bytes();
}

#[test]
fn what_is_true_is_green() {
    assert_eq!(red(|_| {}), [""; 0]);
}

#[test]
fn an_untrue_ending_is_red() {
    let done = "data: [DONE]\n\n";
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    // what comes of a lie is judged by the lie: the log calls it a failure, and nobody says who failed
    let status = |parts: &[&str]| red(|story| say(story, parts)).contains(&"status");
    assert!(
        status(&[FIRST, SECOND]) && status(&[FIRST, SECOND, done]) && status(&[FIRST, SECOND, finish, done])
    );
    assert!(red(|story| story.calls[0].ending = Ending::Cut("x".into())).contains(&"status"));
    assert_eq!(red(|story| say(story, &[FIRST, SECOND, ERROR, done])), ["body"]);
    assert_eq!(red(|story| say(story, &[FIRST, SECOND, finish, ERROR])), ["body"]);
    assert_eq!(red(|story| say(story, &[FIRST, SECOND, ERROR, ERROR])), ["body"]);
}

#[test]
fn what_is_lost_or_changed_on_the_way_is_red() {
    assert_eq!(red(|story| say(story, &[FIRST, ERROR])), ["body"]);
    assert_eq!(red(|story| say(story, &[FIRST, &SECOND.replace('A', "B"), ERROR])), ["body"]);
    assert_eq!(red(|story| say(story, &[FIRST, SECOND, &ERROR.replace("stream_incomplete", "x")])), ["body"]);
}

#[test]
fn usage_is_shown_to_who_asked_and_to_nobody_else() {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
    let told = |asks_usage: bool, parts: &[&str]| {
        red(|story| {
            story.scenario.asks_usage = asks_usage;
            story.seen[0].sent = [FIRST, usage, SECOND, THIRD].concat().into_bytes();
            say(story, parts);
        })
    };
    let (shown, hidden) = ([FIRST, usage, SECOND, ERROR], [FIRST, SECOND, ERROR]);
    assert_eq!((told(true, &shown), told(false, &hidden)), (vec![], vec![]));
    assert_eq!((told(true, &hidden), told(false, &shown)), (vec!["body"], vec!["body"]));
}

#[test]
fn what_the_passthrough_changes_is_red() {
    let red = |change: fn(&mut Story)| red_in(relayed_story(), change);
    assert_eq!(red(|_| {}), [""; 0]);
    assert_eq!(red(|story| say(story, &[FIRST, &SECOND.replace('A', "B")])), ["body"]);
    assert_eq!(red(|story| say(story, &[FIRST, SECOND, THIRD, ERROR])), ["body"]);
    assert_eq!(red(|story| story.seen[0].body_length += 1), ["body"], "what was asked");
    assert_eq!(red(|story| drop(story.calls[0].headers.remove("vary"))), ["headers"]);
    // what was cut must not look whole
    assert!(red(|story| story.calls[0].ending = Ending::Clean).contains(&"status"));
    // it neither asks the breaker nor tells it
    assert_eq!(
        red(|story| {
            let model = &story.scenario.model;
            story.figures.push_str(&format!("ferrovia_breaker_open{{deployment=\"faulty/{model}\"}} 1\n"));
        }),
        ["breaker"]
    );
    // nor does it ask twice
    assert_eq!(red(|story| story.seen.push(story.seen[0].clone())), ["retries", "log"]);
}

#[test]
fn what_passes_by_is_asked_for_once() {
    for (id, truth) in [
        ("transcriptions/once-status-503", Truth::Whole),
        ("transcriptions.text/once-status-503", Truth::Whole),
        ("transcriptions.large/once-status-503", Truth::Refused(vec![503])),
        ("transcriptions.large/close-on-reuse", Truth::Whole),
        ("passthrough/once-status-503", Truth::Refused(vec![503])),
        ("passthrough/error-200", Truth::Relayed),
        ("passthrough/unterminated", Truth::Cut),
    ] {
        let expected = Expected::of(&scenario(id));
        assert_eq!(expected.own, [truth], "{id}");
        let large = id.starts_with("transcriptions.large") || id.starts_with("passthrough");
        assert!(!(large && expected.retries), "{id}");
    }
}

#[test]
fn the_rest_is_red_in_its_own_column() {
    let kind = HeaderValue::from_static("text/plain");
    assert_eq!(red(|story| drop(story.calls[0].headers.insert("content-type", kind))), ["headers"]);
    assert_eq!(red(|story| drop(story.calls[0].headers.remove("x-request-id"))), ["headers"]);
    assert_eq!(red(|story| story.seen[0].ended = None), ["connection"]);
    assert_eq!(red(|story| story.connections.open.extend([7])), ["connection"]);
    let later = Instant::now() + std::time::Duration::from_secs(9);
    assert_eq!(red(|story| story.connections.last.extend([(7, later)])), ["connection"]);
    assert_eq!(red(|story| story.probes[0].status = Some(503)), ["neighbour"]);
    assert_eq!(red(|story| story.probes[0].body = b"{}".to_vec()), ["neighbour"]);
    let told = HeaderValue::from_static(SECRET);
    assert_eq!(red(|story| drop(story.calls[0].headers.insert("x-hint", told))), ["secrets"]);
    // the log knows of one attempt
    assert_eq!(red(|story| story.seen.push(story.seen[0].clone())), ["retries", "log"]);
}

#[test]
fn an_untrue_log_or_figure_is_red() {
    for (member, value) in [
        ("outcome", json!("refused")),
        ("status", json!(502)),
        ("stream", json!(false)),
        ("provider", json!("steady")),
        ("model", json!("x")),
        ("level", json!("INFO")),
        ("error", json!(null)),
        ("estimated", json!(false)),
    ] {
        assert_eq!(red(|story| story.line[member] = value), ["log"], "{member}");
    }
    // what the figures are held against is the log
    assert_eq!(red(|story| story.line["outcome"] = json!("complete")), ["log", "accounting"]);
    // without its one line there is nothing that the figures could be held against
    assert_eq!(red(|story| story.lines = 0), ["log", "accounting"]);
    assert_eq!(red(|story| story.lines = 2), ["log", "accounting"]);
    let figure = |from: &'static str, to: &'static str| {
        red(move |story| story.figures = story.figures.replace(from, to))
    };
    assert_eq!(figure("status_type=\"error\"} 1", "status_type=\"error\"} 2"), ["accounting"]);
    assert_eq!(figure("status_type=\"error\"", "status_type=\"success\""), ["accounting"]);
    assert_eq!(figure("kind=\"output\"} 2", "kind=\"output\"} 3"), ["accounting"]);
    assert_eq!(figure("kind=\"input\"} 9", "kind=\"input\"} 0"), ["accounting"]);
    assert_eq!(figure("close-mid-event\"} 1\n", "close-mid-event\"} 0\n"), ["breaker"]);
}
