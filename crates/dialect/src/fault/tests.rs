//! Every error shape of our upstreams in, every error shape of our clients out.

use domain::{Blame, Dialect, Fault, FaultKind, Retry};

use super::*;

fn check_reply(json: &str, expect: Option<(u16, &str)>) {
    let fault = in_reply(json.as_bytes());
    let found = fault.as_ref().map(|f| (status(f).as_u16(), f.message.as_str()));
    assert_eq!(found, expect, "{json}");
}

#[test]
fn an_error_inside_a_success_gets_the_status_it_names() {
    check_reply(r#"{"error":{"code":404,"message":"gone"}}"#, Some((404, "gone")));
    check_reply(r#"{"error":{"code":"429","message":"slow down"}}"#, Some((429, "slow down")));
    check_reply(r#"{"error":{"type":"BadRequestError","message":"bad"}}"#, Some((400, "bad")));
    check_reply(
        r#"{"error":{"type":"InternalServerError","message":"oops","code":500}}"#,
        Some((500, "oops")),
    );
    check_reply(r#"{"error":{"message":"?"}}"#, Some((502, "?")));
    check_reply(r#"{"error":"Unauthorized"}"#, Some((502, "Unauthorized")));
    check_reply(
        r#"{"object":"error","message":"old","type":"NotFoundError","param":null,"code":404}"#,
        Some((404, "old")),
    );
    check_reply(
        r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#,
        Some((503, "busy")),
    );
    check_reply(r#"{"type":"error","error":{"type":"api_error","message":"oops"}}"#, Some((500, "oops")));
}

#[test]
fn an_answer_with_an_error_member_is_an_answer() {
    check_reply(r#"{"id":"resp_1","error":null,"output":[]}"#, None);
    check_reply(r#"{"choices":[{"error":{"message":"no"}}],"error":{"message":"x"}}"#, None);
    check_reply(r#"{"error":null}"#, None);
    check_reply(r#"{"error":{}}"#, None);
    check_reply(r#"{"data":[],"error":"x"}"#, None);
    check_reply("not json", None);
}

#[test]
fn refusals_keep_status_and_words() {
    let fault = refusal(
        400,
        br#"{"error":{"message":"too long","type":"BadRequestError","param":"messages","code":400}}"#,
    );
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Refused(400), "too long"));
    assert_eq!((fault.param.as_deref(), fault.code.as_deref()), (Some("messages"), Some("400")));
    assert_eq!((fault.blame, fault.retry), (Blame::Caller, Retry::Never));

    assert_eq!(refusal(401, br#"{"error":"Unauthorized"}"#).message, "Unauthorized");
    assert_eq!(refusal(404, br#"{"detail":"Not Found"}"#).message, "Not Found");
    assert_eq!(refusal(422, br#"{"detail":[{"loc":["body"]}]}"#).message, r#"[{"loc":["body"]}]"#);
    assert_eq!(refusal(502, b"<html>nginx</html>").message, "the upstream answered 502 with an HTML page");
    assert_eq!(refusal(503, b"").message, "the upstream answered 503 without a body");
    assert_eq!(refusal(503, b"loading").retry, Retry::Same);
    assert_eq!(status(&refusal(302, b"")).as_u16(), 502);
}

#[test]
fn a_missing_model_is_told_from_a_missing_route() {
    assert!(is_about_the_model(
        br#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#
    ));
    assert!(!is_about_the_model(br#"{"detail":"Not Found"}"#));
    assert!(!is_about_the_model(
        br#"{"error":{"message":"Not Found","type":"NotFoundError","param":null,"code":404}}"#
    ));
    assert!(!is_about_the_model(b"404 page not found"));
}

#[test]
fn faults_are_written_in_the_clients_dialect() {
    let fault = Fault::invalid("no \"model\"").param("model");
    assert_eq!(
        body(Dialect::Chat, &fault, "r1"),
        r#"{"error":{"type":"invalid_request_error","message":"no \"model\"","param":"model","code":null}}"#
    );
    assert_eq!(
        body(Dialect::Messages, &fault, "r1"),
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"no \"model\""},"request_id":"r1"}"#
    );
    let fault = Fault::new(FaultKind::Broken, "cut").code("stream_incomplete");
    assert_eq!(
        event(Dialect::Chat, &fault, "r1", 0),
        "data: {\"error\":{\"type\":\"provider_error\",\"message\":\"cut\",\"param\":null,\"code\":\"stream_incomplete\"}}\n\n"
    );
    assert!(
        event(Dialect::Messages, &fault, "r1", 0).starts_with(b"event: error\ndata: {\"type\":\"error\"")
    );
    let event = event(Dialect::Responses, &fault, "r1", 9);
    let text = std::str::from_utf8(&event).expect("text");
    let json: serde_json::Value =
        serde_json::from_str(text.trim().split_once("data: ").expect("data").1).expect("json");
    assert_eq!((&json["type"], &json["sequence_number"]), (&"error".into(), &9.into()));
    assert_eq!(json["error"]["code"], "stream_incomplete");
}

#[test]
fn events_that_carry_errors_are_seen() {
    assert!(in_event(b"", br#"{"error":{"message":"x","code":500}}"#).is_some());
    assert!(in_event(b"error", br#"{"type":"error","code":"E","message":"x"}"#).is_some());
    assert!(in_event(b"", br#"{"choices":[],"usage":{}}"#).is_none());
    assert!(
        in_event(b"response.created", br#"{"type":"response.created","response":{"error":null}}"#).is_none()
    );
    assert!(in_event(b"", b"[DONE]").is_none());
}
