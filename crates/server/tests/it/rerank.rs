//! Rerank: four products' requests in, four routes tried, one shape out.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Request};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

/// A reply of vLLM's, in no order.
const RESULTS: &str = r#"{"id":"rerank-1","model":"tiny","usage":{"prompt_tokens":9,"total_tokens":9},"results":[{"index":1,"document":{"text":"Berlin"},"relevance_score":0.9},{"index":0,"document":{"text":"Paris"},"relevance_score":0.25}]}"#;

/// The same as scores, one for every document in order.
const SCORES: &str = r#"{"id":"score-1","object":"list","model":"tiny","data":[{"index":0,"object":"score","score":0.25},{"index":1,"object":"score","score":0.9}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;

/// What FastAPI says of a route that it does not have.
fn no_route() -> Reply {
    Reply::json(404, r#"{"detail":"Not Found"}"#)
}

const ASK: &str = r#"{"model":"tiny","query":"q","documents":["Paris","Berlin"]}"#;

fn paths(upstream: &FakeUpstream) -> Vec<String> {
    upstream.requests()[PROBES..].iter().map(|request| request.path().to_owned()).collect()
}

#[tokio::test]
async fn a_request_in_vllms_shape_is_relayed_and_so_is_its_answer() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/rerank").then(Reply::json(200, RESULTS));
    let gateway = TestGateway::before(&upstream).await;
    let ask = "{ \"query\":\"q\", \"model\":\"tiny\", \"documents\":[\"Paris\",\"Berlin\"] ,\"truncate_prompt_tokens\":5}";
    let response = gateway.post("/v1/rerank", ask).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(upstream.requests().pop().unwrap().text(), ask);
    assert_eq!(response.text(), format!("{},\"provider\":\"vllm\"}}", &RESULTS[..RESULTS.len() - 1]));
    assert_eq!(response.header("x-ferrovia-changes"), Some("response.provider"));
    assert_eq!(gateway.line_of(&response).await["input_tokens"], 9);
}

#[tokio::test]
async fn every_route_is_tried_and_the_one_that_worked_is_remembered() {
    let routes = ["/v1/rerank", "/rerank", "/v2/rerank", "/score", "/v1/score"];
    for (works, route) in routes.iter().enumerate() {
        for missing in [404, 405, 501] {
            let upstream = vllm::engine().await;
            upstream.otherwise(if missing == 404 {
                no_route()
            } else {
                Reply::json(missing, r#"{"detail":"Method Not Allowed"}"#)
            });
            let answer = if route.ends_with("score") { SCORES } else { RESULTS };
            upstream.on("POST", route).then(Reply::json(200, answer));
            let gateway = TestGateway::before(&upstream).await;
            for front in ["/v1/rerank", "/v2/rerank"] {
                let response = gateway.post(front, ASK).await;
                assert_eq!(response.status, 200, "{route} {missing}: {response}");
                let scores: Vec<_> = response.json()["results"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|r| (r["index"].clone(), r["relevance_score"].clone()))
                    .collect();
                assert_eq!(scores, [(json!(1), json!(0.9)), (json!(0), json!(0.25))], "{route}");
                assert_eq!(response.json()["provider"], "vllm");
            }
            let mut expect: Vec<String> = routes[..=works].iter().map(|path| (*path).to_owned()).collect();
            expect.push((*route).to_owned());
            assert_eq!(paths(&upstream), expect, "the second call goes straight to {route}");
        }
    }
}

#[tokio::test]
async fn what_each_route_is_sent() {
    let ask = r#"{"model":"vllm/tiny","query":"q","documents":[{"text":"Paris","id":7},"Berlin"],"top_n":1,"return_documents":true,"truncate_prompt_tokens":5}"#;
    for (route, answer, sent) in [
        (
            "/v1/rerank",
            RESULTS,
            json!({"model": "tiny", "query": "q", "documents": ["Paris", "Berlin"], "top_n": 1, "truncate_prompt_tokens": 5}),
        ),
        (
            "/rerank",
            RESULTS,
            json!({"model": "tiny", "query": "q", "documents": ["Paris", "Berlin"], "top_n": 1, "truncate_prompt_tokens": 5}),
        ),
        (
            "/v2/rerank",
            RESULTS,
            json!({"model": "tiny", "query": "q", "documents": ["Paris", "Berlin"], "top_n": 1, "truncate_prompt_tokens": 5}),
        ),
        (
            "/score",
            SCORES,
            json!({"model": "tiny", "text_1": "q", "text_2": ["Paris", "Berlin"], "truncate_prompt_tokens": 5}),
        ),
    ] {
        let upstream = vllm::engine().await;
        upstream.otherwise(no_route());
        upstream.on("POST", route).then(Reply::json(200, answer));
        let gateway = TestGateway::before(&upstream).await;
        let response = gateway.post("/v1/rerank", ask).await;
        assert_eq!(response.status, 200, "{route}: {response}");
        assert_eq!(upstream.requests().pop().unwrap().json(), sent, "{route}");
        let reply = response.json();
        assert_eq!(
            reply["results"],
            json!([{"index": 1, "document": {"text": "Berlin"}, "relevance_score": 0.9}]),
            "{route}: {reply}"
        );
        assert_eq!(
            (&reply["model"], &reply["usage"]["total_tokens"]),
            (&json!("tiny"), &json!(9)),
            "{route}"
        );
        let changes = response.header("x-ferrovia-changes").unwrap_or_default();
        assert!(changes.contains("request.rerank") && changes.contains("response.rerank"), "{changes}");
    }
}

#[tokio::test]
async fn four_products_requests_are_understood() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/rerank").then(Reply::json(200, RESULTS));
    let gateway = TestGateway::before(&upstream).await;
    let documents = json!(["Paris", "Berlin"]);
    for (product, body, returned) in [
        ("vLLM", json!({"documents": documents, "top_n": 2}), None),
        (
            "Jina",
            json!({"documents": [{"text": "Paris"}, {"text": "Berlin"}], "top_n": 2, "return_documents": false}),
            Some(false),
        ),
        (
            "Cohere v1",
            json!({"documents": [{"title": "x", "text": "Paris"}, {"title": "y", "text": "Berlin"}], "rank_fields": ["text"], "return_documents": true}),
            Some(true),
        ),
        ("Cohere v2", json!({"documents": documents, "top_n": 2, "return_documents": false}), Some(false)),
        (
            "Bifrost",
            json!({"documents": [{"text": "Paris", "id": "a", "meta": {}}, {"text": "Berlin"}], "params": {"top_n": 2, "return_documents": true}}),
            Some(true),
        ),
        ("Voyage", json!({"documents": documents, "top_k": 2, "return_documents": false}), Some(false)),
    ] {
        let mut body = body;
        body["model"] = json!("vllm/tiny");
        body["query"] = json!("q");
        let response = gateway.post("/v1/rerank", body.to_string()).await;
        assert_eq!(response.status, 200, "{product}: {response}");
        let sent = upstream.requests().pop().unwrap().json();
        assert_eq!((&sent["model"], &sent["documents"]), (&json!("tiny"), &documents), "{product}");
        for ours in ["return_documents", "params", "rank_fields", "top_k", "provider"] {
            assert!(sent.get(ours).is_none(), "{product}: {sent}");
        }
        let results = response.json()["results"].clone();
        assert_eq!(results[0]["index"], 1, "{product}");
        if let Some(returned) = returned {
            assert_eq!(results[0].get("document").is_some(), returned, "{product}: {results}");
        }
    }
}

#[tokio::test]
async fn results_of_another_shape_are_sorted_by_score_then_index() {
    let upstream = vllm::engine().await;
    let answer = r#"{"results":[{"index":2,"score":0.5},{"index":0,"relevance_score":0.5},{"index":1,"relevance_score":0.7},{"index":3,"relevance_score":0}]}"#;
    upstream.on("POST", "/v1/rerank").then(Reply::json(200, answer));
    let gateway = TestGateway::before(&upstream).await;
    let ask =
        json!({"model": "tiny", "query": "q", "documents": ["a", "b", "c", "d"], "return_documents": false});
    let reply = gateway.post("/v1/rerank", ask.to_string()).await.json();
    let order: Vec<&Value> = reply["results"].as_array().unwrap().iter().map(|r| &r["index"]).collect();
    assert_eq!(order, [1, 0, 2, 3]);
}

#[tokio::test]
async fn a_404_about_the_model_is_the_clients_answer() {
    for said in [
        vllm::error(404, "NotFoundError", "The model `tiny` does not exist."),
        json!({"error": {"message": "not here", "type": "x", "param": "model", "code": 404}}).to_string(),
        json!({"error": {"message": "not here", "code": "model_not_found"}}).to_string(),
    ] {
        let upstream = vllm::engine().await;
        upstream.on("POST", "/v1/rerank").then(Reply::json(404, &said));
        let gateway = TestGateway::before(&upstream).await;
        let response = gateway.post("/v1/rerank", ASK).await;
        assert_eq!(response.status, 404, "{said}: {response}");
        assert_eq!(told("/v1/rerank", &response).kind, "not_found_error");
        assert_eq!(paths(&upstream), ["/v1/rerank"], "no other route was tried");
    }
}

#[tokio::test]
async fn a_404_inside_a_200_is_no_missing_route() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/rerank").then(Reply::json(200, vllm::error(404, "NotFoundError", "nothing")));
    let gateway = TestGateway::before(&upstream).await;
    assert_eq!(gateway.post("/v1/rerank", ASK).await.status, 404);
    assert_eq!(paths(&upstream), ["/v1/rerank"]);
}

#[tokio::test]
async fn other_refusals_end_the_search() {
    for status in [400, 401, 422, 500] {
        let upstream = vllm::engine().await;
        upstream.on("POST", "/v1/rerank").then(Reply::json(status, vllm::error(status, "X", "no")));
        let gateway = TestGateway::before(&upstream).await;
        assert_eq!(gateway.post("/v1/rerank", ASK).await.status, status);
        assert_eq!(paths(&upstream), ["/v1/rerank"]);
    }
}

#[tokio::test]
async fn an_engine_without_any_of_them_cannot_rerank_and_is_asked_once() {
    let upstream = vllm::engine().await;
    upstream.otherwise(no_route());
    let gateway = TestGateway::before(&upstream).await;
    for _ in 0..3 {
        let response = gateway.post("/v1/rerank", ASK).await;
        assert_eq!(response.status, 501, "{response}");
        let error = told("/v1/rerank", &response);
        assert_eq!(
            (error.kind.as_str(), error.code.as_deref()),
            ("invalid_request_error", Some("unsupported_rerank_operation"))
        );
        assert!(error.message.contains("vllm does not support rerank"), "{}", error.message);
    }
    assert_eq!(paths(&upstream).len(), 5);
}

#[tokio::test]
async fn routes_that_the_engine_tells_of_are_the_only_ones_tried() {
    let upstream = vllm::engine().await;
    upstream
        .on("GET", "/openapi.json")
        .now(Reply::json(200, r#"{"paths":{"/score":{"post":{}},"/v1/chat/completions":{"post":{}}}}"#));
    upstream.on("POST", "/score").then(Reply::json(200, SCORES));
    let gateway = TestGateway::before(&upstream).await;
    assert_eq!(gateway.post("/v1/rerank", ASK).await.status, 200);
    assert_eq!(paths(&upstream), ["/score"]);
}

#[tokio::test]
async fn replies_that_make_no_sense_are_no_successes() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .no_retries()
        .env("CIRCUIT_BREAKER_ENABLED", "false")
        .start()
        .await;
    let ask = ASK.replace("\"query\"", "\"return_documents\":true,\"query\"");
    let ask = ask.replace("\"return_documents\":true", "\"top_k\":2");
    for (reply, why) in [
        (r#"{"results":[{"index":2,"relevance_score":1}]}"#, "result index 2 out of range"),
        (r#"{"results":[{"index":-1,"relevance_score":1}]}"#, "result index -1 out of range"),
        (
            r#"{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}"#,
            "duplicate index 0",
        ),
        (r#"{"results":[{"relevance_score":1}]}"#, "result index is required"),
        (r#"{"results":[{"index":0}]}"#, "relevance_score/score is required"),
        (r#"{"results":{}}"#, "results must be an array"),
        (r#"{"results":[7]}"#, "result item must be an object"),
        (r#"{"x":1}"#, "missing results"),
        ("[]", ""),
    ] {
        upstream.on("POST", "/v1/rerank").now(Reply::json(200, reply));
        let response = gateway.post("/v1/rerank", &ask).await;
        assert_eq!(response.status, 502, "{reply}: {response}");
        assert!(told("/v1/rerank", &response).message.contains(why), "{reply}: {response}");
    }
    upstream.on("POST", "/v1/rerank").now(Reply::json(200, r#"{"results":[]}"#));
    assert_eq!(gateway.post("/v1/rerank", &ask).await.json()["results"], json!([]), "an empty list is one");
}

#[tokio::test]
async fn a_learned_route_that_vanishes_is_looked_for_again() {
    let upstream = vllm::engine().await;
    upstream.otherwise(no_route());
    upstream.on("POST", "/rerank").then(Reply::json(200, RESULTS)).then(no_route());
    let gateway = TestGateway::before(&upstream).await;
    assert_eq!(gateway.post("/v1/rerank", ASK).await.status, 200);
    upstream.on("POST", "/v1/rerank").now(Reply::json(200, RESULTS));
    let response = gateway.send(&Request::post("/v1/rerank").json(ASK)).await;
    assert_eq!(response.status, 200, "an engine that was replaced is found again: {response}");
    assert_eq!(paths(&upstream), ["/v1/rerank", "/rerank", "/rerank", "/v1/rerank"]);
}
