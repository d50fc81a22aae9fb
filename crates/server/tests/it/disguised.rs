//! Success statuses that are none: errors in the body, in the first event and in a later one, and replies that are no
//! replies at all.

use serde_json::json;
use testkit::{FakeUpstream, Reply};

use crate::envelope::{anthropic, openai, speaks_anthropic, told};
use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST};

/// The dialects that stream: front, a request, a first event, its name.
const DIALECTS: [(&str, &str, &str, &str); 4] = [
    ("/v1/chat/completions", ASK_STREAM, FIRST, ""),
    (
        "/v1/completions",
        r#"{"model":"tiny","prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null}]}"#,
        "",
    ),
    (
        "/v1/responses",
        r#"{"model":"tiny","input":"x","stream":true}"#,
        r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","error":null}}"#,
        "response.created",
    ),
    (
        "/v1/messages",
        r#"{"model":"tiny","max_tokens":9,"messages":[],"stream":true}"#,
        r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":3,"output_tokens":0}}}"#,
        "message_start",
    ),
];

/// Shapes of errors inside a success, and the status that each means.
const SHAPES: [(&str, u16); 12] = [
    (r#"{"error":{"message":"the reason","type":"BadRequestError","param":null,"code":400}}"#, 400),
    (r#"{"error":{"message":"the reason","type":"BadRequestError","param":null,"code":"400"}}"#, 400),
    (r#"{"error":{"message":"the reason","type":"NotFoundError","code":null}}"#, 404),
    (r#"{"error":{"message":"the reason","type":"RateLimitError"}}"#, 429),
    (r#"{"error":{"message":"the reason","type":"InternalServerError","code":500}}"#, 500),
    (r#"{"error":{"message":"the reason","type":"ServiceUnavailable"}}"#, 503),
    (r#"{"error":{"message":"the reason","type":"Odd","code":7}}"#, 502),
    (r#"{"error":{"message":"the reason"}}"#, 502),
    (r#"{"error":"the reason"}"#, 502),
    (r#"{"object":"error","message":"the reason","type":"BadRequestError","param":null,"code":400}"#, 400),
    (
        r#"{"object":"error","message":"the reason","type":"internal_server_error","param":null,"code":null}"#,
        500,
    ),
    (r#"{"type":"error","error":{"type":"overloaded_error","message":"the reason"}}"#, 503),
];

async fn gateway_before(upstream: &FakeUpstream) -> TestGateway {
    TestGateway::setup()
        .vllm("vllm", upstream)
        .no_retries()
        .env("CIRCUIT_BREAKER_ENABLED", "false")
        .env("METRICS_ENABLED", "true")
        .start()
        .await
}

#[tokio::test]
async fn an_error_in_a_successful_body_is_the_error_that_it_means() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (path, ask) in [
        ("/v1/chat/completions", ASK),
        ("/v1/completions", r#"{"model":"tiny","prompt":"x"}"#),
        ("/v1/responses", r#"{"model":"tiny","input":"x"}"#),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":9,"messages":[]}"#),
        ("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#),
        ("/v1/rerank", r#"{"model":"tiny","query":"q","documents":["d"]}"#),
    ] {
        for (shape, status) in SHAPES {
            upstream.on("POST", path).now(Reply::json(200, shape));
            let response = gateway.post(path, ask).await;
            assert_eq!(response.status, status, "{path} {shape}: {response}");
            assert_eq!(told(path, &response).message, "the reason", "{path} {shape}");
            assert_eq!(response.header("x-ferrovia-upstream-status"), Some("200"), "{path} {shape}");
            let line = gateway.line_of(&response).await;
            let outcome = if status >= 500 { "failed" } else { "refused" };
            assert_eq!((&line["outcome"], &line["status"]), (&json!(outcome), &json!(status)), "{line}");
        }
    }
}

#[tokio::test]
async fn an_error_as_the_first_event_is_the_error_that_it_means() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (path, ask, _, _) in DIALECTS {
        for (shape, status) in SHAPES {
            let tails = [
                Reply::sse().event(shape).done(),
                Reply::sse().event(shape),
                Reply::sse().comment("hello").named_event("error", shape),
            ];
            for reply in tails {
                upstream.on("POST", path).now(reply);
                let response = gateway.post(path, ask).await;
                assert_eq!(response.status, status, "{path} {shape}: {response}");
                assert_eq!(told(path, &response).message, "the reason", "{path} {shape}");
                assert_eq!(response.header("x-ferrovia-upstream-status"), Some("200"));
            }
        }
    }
}

#[tokio::test]
async fn an_error_as_a_later_event_is_told_once_and_nothing_follows() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (path, ask, first, name) in DIALECTS {
        for (shape, status) in SHAPES {
            let begin = || {
                if name.is_empty() {
                    Reply::sse().event(first)
                } else {
                    Reply::sse().named_event(name, first)
                }
            };
            for reply in
                [begin().event(shape).done(), begin().named_event("error", shape).event(DELTA).done()]
            {
                upstream.on("POST", path).now(reply);
                let response = gateway.post(path, ask).await;
                assert_eq!(response.status, 200, "{path} {shape}: {response}");
                assert!(
                    response.is_whole(),
                    "the body ends normally so that SDKs read the event: {response}"
                );
                let events = response.events();
                assert_eq!(events.len(), 2, "{path} {shape}: {response}");
                assert_eq!(events[0].data.as_deref(), Some(first));
                let data = events[1].json();
                let error = match path {
                    "/v1/responses" => {
                        assert_eq!(
                            (events[1].name.as_deref(), &data["type"]),
                            (Some("error"), &json!("error"))
                        );
                        assert_eq!(
                            (&data["message"], &data["sequence_number"]),
                            (&data["error"]["message"], &json!(1)),
                            "{data}"
                        );
                        openai(&json!({ "error": data["error"] }))
                    }
                    path if speaks_anthropic(path) => {
                        assert_eq!(events[1].name.as_deref(), Some("error"));
                        anthropic(&data)
                    }
                    _ => openai(&data),
                };
                assert_eq!(error.message, "the reason", "{path} {shape}");
                let line = gateway.line_of(&response).await;
                let outcome = if status >= 500 { "failed" } else { "refused" };
                assert_eq!(
                    (&line["outcome"], &line["status"]),
                    (&json!(outcome), &json!(200)),
                    "{path} {shape} {line}"
                );
                assert_eq!(line["error"], "the reason", "{path} {shape}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_member_of_an_answer_is_part_of_the_answer() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (path, ask, reply) in [
        ("/v1/chat/completions", ASK, r#"{"choices":[{"index":0,"message":{"content":"x"}}],"error":null}"#),
        (
            "/v1/chat/completions",
            ASK,
            r#"{"choices":[{"index":0,"text":"x"}],"error":{"message":"a remark","code":500}}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"tiny","input":"x"}"#,
            r#"{"object":"response","status":"completed","error":null,"output":[]}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"tiny","input":"x"}"#,
            r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"x"},"output":[]}"#,
        ),
        ("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#, r#"{"data":[{}],"error":{"message":"x"}}"#),
    ] {
        upstream.on("POST", path).now(Reply::json(200, reply));
        let response = gateway.post(path, ask).await;
        assert_eq!(response.status, 200, "{reply}: {response}");
        assert!(response.text().starts_with(&reply[..reply.len() - 1]), "{response}");
    }
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"{\"error\":{\"code\":500}}"},"finish_reason":null}],"error":null}"#;
    upstream.on("POST", "/v1/chat/completions").now(Reply::sse().event(chunk).event(vllm::LAST).done());
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text(), vllm::events(&[chunk, vllm::LAST, "[DONE]"]));
    assert_eq!(gateway.line_of(&response).await["outcome"], "complete");
}

#[tokio::test]
async fn a_success_that_is_no_answer_is_a_bad_gateway() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    let html = "<!doctype html><html><body>Sign in</body></html>";
    for reply in [
        Reply::html(200, html),
        Reply::json(200, html),
        Reply::json(200, ""),
        Reply::status(200),
        Reply::status(204),
        Reply::json(200, "[]"),
        Reply::json(200, "null"),
        Reply::json(200, "\"ok\""),
        Reply::json(200, "{\"choices\":["),
        Reply::json(200, "{\"choices\":[{}]} trailing"),
        Reply::json(200, "{}"),
        Reply::json(200, "{\"choices\":[]}"),
        Reply::json(200, "{\"choices\":null}"),
        Reply::text(200, "OK"),
        vllm::stream(),
        Reply::json(200, vllm::REPLY).wrong_length(20),
        Reply::json(200, vllm::REPLY).wrong_length(9000),
        Reply::json(200, vllm::REPLY).truncate_after(40),
        Reply::json(200, vllm::REPLY).chunked().truncate_after(40),
        Reply::wire("HTTP/1.1 banana\r\n\r\n"),
        Reply::wire("not http at all\r\n\r\n"),
        Reply::wire("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
        Reply::wire("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        Reply::wire("HTTP/1.1 200"),
        Reply::no_response(),
        Reply::no_response().reset(),
    ] {
        upstream.on("POST", "/v1/chat/completions").now(reply.clone());
        let response = gateway.post("/v1/chat/completions", ASK).await;
        assert_eq!(response.status, 502, "{reply:?}: {response}");
        let error = told("/v1", &response);
        assert_eq!(error.kind, "provider_error");
        assert!(!error.message.contains('<') && !error.message.is_empty(), "{}", error.message);
        assert_eq!(gateway.line_of(&response).await["outcome"], "failed");
    }
    let metrics = gateway.metrics().await;
    let succeeded =
        metrics.lines().any(|l| l.starts_with("gomodel_requests_total") && l.contains("\"success\""));
    assert!(!succeeded, "none of them counts as a success:\n{metrics}");
}

#[tokio::test]
async fn a_stream_that_is_none_is_an_error_with_a_status() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    let refusal = vllm::error(400, "BadRequestError", "the reason");
    for (path, ask, _, _) in DIALECTS {
        for (reply, status) in [
            (Reply::json(200, &refusal), 400),
            (Reply::json(200, r#"{"object":"list"}"#), 502),
            (Reply::html(200, "<html>"), 502),
            (Reply::status(200), 502),
            (Reply::sse(), 502),
            (Reply::sse().comment("hello"), 502),
            (Reply::sse().done(), 502),
            (Reply::sse().event(FIRST).truncate_after(20), 502),
            (Reply::no_response(), 502),
            (Reply::sse().reset(), 502),
            (Reply::json(400, &refusal), 400),
            (Reply::json(500, vllm::error(500, "InternalServerError", "the reason")), 500),
            (Reply::html(502, "<html>"), 502),
        ] {
            upstream.on("POST", path).now(reply.clone());
            let response = gateway.post(path, ask).await;
            assert_eq!(response.status, status, "{path} {reply:?}: {response}");
            told(path, &response);
        }
    }
}

#[tokio::test]
async fn refusals_keep_their_status_and_lose_their_odd_shapes() {
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (reply, status, kind, message) in [
        (
            Reply::json(400, vllm::error(400, "BadRequestError", "too long")),
            400,
            "invalid_request_error",
            "too long",
        ),
        (Reply::json(401, r#"{"error":"Unauthorized"}"#), 401, "authentication_error", "Unauthorized"),
        (Reply::json(403, r#"{"error":{"message":"no"}}"#), 403, "authentication_error", "no"),
        (
            Reply::json(404, vllm::error(404, "NotFoundError", "The model `x` does not exist.")),
            404,
            "not_found_error",
            "The model `x` does not exist.",
        ),
        (
            Reply::json(422, r#"{"detail":[{"loc":["body"],"msg":"bad"}]}"#),
            422,
            "invalid_request_error",
            r#"[{"loc":["body"],"msg":"bad"}]"#,
        ),
        (Reply::json(429, r#"{"error":{"message":"slow","type":"x"}}"#), 429, "rate_limit_error", "slow"),
        (
            Reply::json(500, r#"{"object":"error","message":"oops","type":"x","param":null,"code":500}"#),
            500,
            "provider_error",
            "oops",
        ),
        (Reply::json(503, r#"{"detail":"loading"}"#), 503, "provider_error", "loading"),
        (Reply::text(500, "Internal Server Error"), 500, "provider_error", "Internal Server Error"),
        (
            Reply::html(502, "<html>bad</html>"),
            502,
            "provider_error",
            "the upstream answered 502 with an HTML page",
        ),
        (Reply::status(504), 504, "provider_error", "the upstream answered 504 without a body"),
        (
            Reply::status(302).header("location", "http://elsewhere"),
            502,
            "provider_error",
            "the upstream answered 302, a redirect to elsewhere, which is not followed: correct its base URL",
        ),
        (Reply::status(304), 502, "provider_error", "the upstream answered 304 without a body"),
    ] {
        upstream.on("POST", "/v1/chat/completions").now(reply);
        let response = gateway.post("/v1/chat/completions", ASK).await;
        assert_eq!(response.status, status, "{message}: {response}");
        let error = told("/v1", &response);
        assert_eq!((error.kind.as_str(), error.message.as_str()), (kind, message));
    }
    let body = r#"{"error":{"message":"m","type":"t","param":"messages","code":42}}"#;
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(400, body));
    let error = told("/v1", &gateway.post("/v1/chat/completions", ASK).await);
    assert_eq!((error.param.as_deref(), error.code.as_deref()), (Some("messages"), Some("42")));
}

#[tokio::test]
async fn a_large_reply_that_proves_broken_is_cut() {
    let good = format!("{{\"data\":[{}1]}}", "1,".repeat(60_000));
    let upstream = vllm::engine().await;
    let gateway = gateway_before(&upstream).await;
    for (reply, why) in [
        (Reply::json(200, &good).truncate_after(90_000), "closed before its declared end"),
        (Reply::json(200, &good).chunked().truncate_after(90_000), "closed before its last chunk"),
        (Reply::json(200, &good[..90_000]), "ended well, but half an object"),
        (Reply::json(200, format!("{good}{good}")), "more than one object"),
        (Reply::json(200, &good).truncate_after(90_000).reset(), "reset"),
    ] {
        upstream.on("POST", "/v1/embeddings").now(reply);
        let response = gateway.post("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#).await;
        assert_eq!(response.status, 200, "{why}");
        assert!(!response.is_whole(), "{why}: the client must not take it for the whole");
        assert_eq!(gateway.line_of(&response).await["outcome"], "failed", "{why}");
    }
    for (reply, status) in [
        (format!("<html>{}</html>", "x".repeat(90_000)), 502),
        (format!("{{\"error\":{{\"message\":\"{}\",\"code\":400}}}}", "x".repeat(40_000)), 400),
    ] {
        upstream.on("POST", "/v1/embeddings").now(Reply::json(200, reply));
        let response = gateway.post("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#).await;
        assert_eq!(response.status, status, "a large one that is visibly none from the beginning");
    }
}
