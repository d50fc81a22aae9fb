//! The rerank codec: every shape in, every route's shape out, strict about replies.

use bytes::Bytes;
use dialect::body::Body;
use dialect::rerank::{MAX_DOCUMENTS, ReplyShape, Request, Shape, read, read_reply, write_reply};
use domain::{Blame, Fault, FaultKind};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

fn body(value: &Value) -> Body {
    Body::read(Bytes::from(value.to_string())).expect("an object")
}

fn request(value: &Value) -> Request {
    read(&body(value)).expect("a request that makes sense")
}

fn refused(value: &Value) -> Fault {
    let fault = read(&body(value)).expect_err("a request that makes no sense");
    assert_eq!((fault.kind, fault.blame), (FaultKind::Invalid, Blame::Caller));
    fault
}

fn shape(value: &Value) -> Shape {
    request(value).shape
}

fn decoded(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn reply(value: &Value, documents: usize, from: ReplyShape) -> Result<dialect::rerank::Reply, String> {
    read_reply(value.to_string().as_bytes(), documents, from).map_err(|fault| {
        assert_eq!((fault.kind, fault.blame), (FaultKind::Broken, Blame::Upstream));
        fault.message
    })
}

#[test]
fn a_request_in_vllms_shape_is_left_alone() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    for value in [
        json!({"model": "m", "query": "q", "documents": ["a", "b"]}),
        json!({"model": "m", "query": "q", "documents": "a"}),
        json!({"model": "m", "query": "q", "documents": [{"content": parts}, "b"], "top_n": 1}),
        json!({"model": "m", "query": {"content": parts}, "documents": {"content": parts}}),
        json!({"model": "m", "query": "q", "documents": ["a"], "max_tokens_per_doc": 5, "priority": 1, "instruction": "i"}),
        json!({"model": "m", "query": "q", "documents": ["a"], "return_documents": true, "something_else": {}}),
    ] {
        assert_eq!(shape(&value), Shape::Vllm, "{value}");
    }
}

#[test]
fn to_vllm_changes_nothing_but_the_model_of_a_request_in_vllms_shape() {
    let body = Body::read(Bytes::from_static(
        b"{ \"model\":\"v/m\", \"query\":\"q\",\n\"documents\":[ \"a\" ],\"x\":1 }",
    ))
    .unwrap();
    let request = read(&body).unwrap();
    assert_eq!(
        request.to_vllm(&body, "m"),
        "{ \"model\":\"m\", \"query\":\"q\",\n\"documents\":[ \"a\" ],\"x\":1 }"
    );
}

#[test]
fn other_shapes_are_told_apart() {
    for value in [
        json!({"query": "q", "documents": [{"text": "a"}]}),
        json!({"query": "q", "documents": ["a", {"text": "a", "id": "1", "meta": {}}]}),
        json!({"query": "q", "documents": ["a"], "return_documents": false}),
        json!({"query": "q", "documents": ["a"], "params": {}}),
        json!({"query": "q", "documents": ["a"], "fallbacks": ["x/y"]}),
        json!({"query": "q", "documents": ["a"], "top_k": 3}),
        json!({"query": "q", "documents": ["a"], "top_n": null}),
        json!({"query": "q", "documents": [{"title": "a"}], "rank_fields": ["title"]}),
    ] {
        assert_eq!(shape(&value), Shape::Other, "{value}");
    }
}

#[test]
fn bifrosts_shape_becomes_vllms() {
    let value = json!({
        "model": "vllm/m", "provider": "vllm", "query": "q",
        "documents": [{"text": "a\n\"b\"", "id": "1", "meta": {"k": 1}}, {"text": "c"}],
        "params": {"return_documents": true, "top_n": 1, "max_tokens_per_doc": 9, "priority": 2, "model": "forbidden"},
        "priority": 3, "fallbacks": ["other/m"], "unknown": [1],
    });
    let request = request(&value);
    assert_eq!((request.top_n, request.return_documents), (Some(1), Some(true)));
    assert_eq!(
        decoded(&request.to_vllm(&body(&value), "m")),
        json!({
            "model": "m", "query": "q", "documents": ["a\n\"b\"", "c"], "top_n": 1, "max_tokens_per_doc": 9,
            "priority": 3, "unknown": [1],
        })
    );
}

#[test]
fn the_top_level_wins_over_params() {
    let value = json!({
        "query": "q", "documents": ["a"], "top_n": 2, "return_documents": false,
        "params": {"top_n": 1, "return_documents": true},
    });
    let request = request(&value);
    assert_eq!((request.top_n, request.return_documents), (Some(2), Some(false)));
    let value = json!({"query": "q", "documents": ["a"], "top_n": null, "params": {"top_n": 1}});
    assert_eq!(self::request(&value).top_n, Some(1));
}

#[test]
fn coheres_shape_becomes_vllms() {
    let value = json!({
        "model": "m", "query": "q", "documents": [{"title": "T", "text": "t", "n": 5}, {"title": " ", "text": "u"}],
        "rank_fields": ["title", "text", "n"], "max_chunks_per_doc": 10, "top_n": 5, "return_documents": true,
    });
    let request = request(&value);
    assert_eq!(
        decoded(&request.to_vllm(&body(&value), "m")),
        json!({
            "model": "m", "query": "q", "documents": ["title: T\ntext: t\nn: 5", "title:  \ntext: u"], "top_n": 5,
            "max_chunks_per_doc": 10,
        })
    );
    let single = json!({"query": "q", "documents": [{"title": "T", "text": "t"}], "rank_fields": ["title"]});
    assert_eq!(decoded(&self::request(&single).to_vllm(&body(&single), "m"))["documents"], json!(["T"]));
}

#[test]
fn every_route_gets_its_own_shape() {
    let parts = json!([{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]);
    let picture = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    let value = json!({
        "query": {"content": parts}, "documents": ["a", {"content": parts}, {"content": picture}, {"text": "d"}],
        "top_k": 2, "instruction": "i",
    });
    let (request, body) = (request(&value), body(&value));
    assert_eq!(
        decoded(&request.to_cohere(&body, "m")),
        json!({
            "model": "m", "query": "b\nc", "documents": ["a", "b\nc", {"content": picture}, "d"], "top_n": 2,
            "instruction": "i",
        })
    );
    assert_eq!(
        decoded(&request.to_score(&body, "m")),
        json!({
            "model": "m", "text_1": {"content": parts},
            "text_2": ["a", {"content": parts}, {"content": picture}, "d"], "instruction": "i",
        })
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_the_members_name() {
    let cases = [
        (json!({"documents": ["a"]}), "query", "`query` is required"),
        (json!({"query": null, "documents": ["a"]}), "query", "`query` is required"),
        (json!({"query": " \n", "documents": ["a"]}), "query", "`query` must not be blank"),
        (json!({"query": {"content": []}, "documents": ["a"]}), "query", "`query` must not be blank"),
        (
            json!({"query": 1, "documents": ["a"]}),
            "query",
            "`query` must be a string, or an object with a list of `content` parts",
        ),
        (
            json!({"query": {"content": "a"}, "documents": ["a"]}),
            "query",
            "`query` has a `content` that is not a list of parts; a plain text goes into `text`",
        ),
        (json!({"query": "q"}), "documents", "`documents` is required"),
        (json!({"query": "q", "documents": null}), "documents", "`documents` is required"),
        (json!({"query": "q", "documents": []}), "documents", "`documents` must not be empty"),
        (
            json!({"query": "q", "documents": 5}),
            "documents",
            "`documents` must be a list of strings or objects",
        ),
        (json!({"query": "q", "documents": ["a", ""]}), "documents[1]", "`documents[1]` must not be blank"),
        (
            json!({"query": "q", "documents": ["a", "\u{3000}\t"]}),
            "documents[1]",
            "`documents[1]` must not be blank",
        ),
        (
            json!({"query": "q", "documents": [{"text": " "}]}),
            "documents[0]",
            "`documents[0]` `text` must not be blank",
        ),
        (
            json!({"query": "q", "documents": [{"text": 1}]}),
            "documents[0]",
            "`documents[0]` has a `text` that is not a string",
        ),
        (
            json!({"query": "q", "documents": [{"id": 1}]}),
            "documents[0]",
            "`documents[0]` must have a `text`, or a list of `content` parts",
        ),
        (
            json!({"query": "q", "documents": ["a", 2]}),
            "documents[1]",
            "`documents[1]` must be a string, or an object with a `text`",
        ),
        (
            json!({"query": "q", "documents": [{"content": [{"type": "text", "text": " "}]}]}),
            "documents[0]",
            "`documents[0]` must not be blank",
        ),
        (
            json!({"query": "q", "documents": [{"a": "b"}], "rank_fields": ["c", "d"]}),
            "documents[0]",
            "`documents[0]` has none of the `rank_fields` (c, d)",
        ),
        (
            json!({"query": "q", "documents": ["a"], "rank_fields": "a"}),
            "rank_fields",
            "`rank_fields` must be a list of names",
        ),
        (
            json!({"query": "q", "documents": ["a"], "return_documents": "yes"}),
            "return_documents",
            "`return_documents` must be true or false",
        ),
        (json!({"query": "q", "documents": ["a"], "params": [1]}), "params", "`params` must be an object"),
    ];
    for (value, param, message) in cases {
        let fault = refused(&value);
        assert_eq!((fault.param.as_deref(), &*fault.message), (Some(param), message), "{value}");
    }
    for top_n in [json!(0), json!(-1), json!(1.5), json!("1"), json!([])] {
        for member in ["top_n", "top_k"] {
            let fault = refused(&json!({"query": "q", "documents": ["a"], member: top_n}));
            assert_eq!(fault.param.as_deref(), Some(member));
            assert!(fault.message.contains("1 or above"), "{}", fault.message);
        }
        let fault = refused(&json!({"query": "q", "documents": ["a"], "params": {"top_n": top_n}}));
        assert_eq!(fault.param.as_deref(), Some("top_n"));
    }
}

#[test]
fn a_document_that_says_two_things_is_refused() {
    let text = "{\"query\":\"q\",\"documents\":[{\"text\":\"a\",\"te\\u0078t\":\"b\"}]}";
    let fault = read(&Body::read(Bytes::from_static(text.as_bytes())).unwrap()).unwrap_err();
    assert_eq!(fault.message, "`documents[0]` has `text` or `content` twice");
}

#[test]
fn the_number_of_documents_has_a_bound() {
    let documents =
        |count: usize| format!("{{\"query\":\"q\",\"documents\":[{}]}}", vec!["\"a\""; count].join(","));
    let read = |count| read(&Body::read(Bytes::from(documents(count))).unwrap());
    assert_eq!(read(MAX_DOCUMENTS).unwrap().documents.len(), MAX_DOCUMENTS);
    let fault = read(MAX_DOCUMENTS + 1).unwrap_err();
    assert_eq!(fault.message, "`documents` must not have more than 100000 elements");
}

#[test]
fn replies_of_every_kind_are_read() {
    let rerank = json!({
        "id": "score-1", "model": "m", "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "results": [{"index": 1, "document": {"text": "b", "multi_modal": null}, "relevance_score": 0.5},
                    {"index": 0, "relevance_score": "x", "score": 0}],
    });
    let found = reply(&rerank, 2, ReplyShape::Rerank).unwrap();
    assert_eq!(found.id.as_deref(), Some("score-1"));
    assert_eq!(found.results.iter().map(|r| (r.index, r.score)).collect::<Vec<_>>(), [(1, 0.5), (0, 0.0)]);
    assert_eq!(found.usage.map(|usage| (usage.input, usage.output, usage.total())), Some((10, 0, 10)));

    let score = json!({
        "id": "score-2", "object": "list", "created": 1, "model": "m",
        "data": [{"index": 0, "object": "score", "score": -1.5e-3}, {"index": 1, "object": "score", "score": 1}],
        "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0, "prompt_tokens_details": null},
    });
    let found = reply(&score, 2, ReplyShape::Score).unwrap();
    assert_eq!(found.results.iter().map(|r| r.score).collect::<Vec<_>>(), [-0.0015, 1.0]);

    let usage = |members: Value| {
        let mut value = members;
        value["results"] = json!([]);
        reply(&value, 1, ReplyShape::Rerank).unwrap().usage.map(|usage| (usage.input, usage.output))
    };
    assert_eq!(usage(json!({"usage": {"input_tokens": 3, "output_tokens": 1}})), Some((3, 1)));
    assert_eq!(usage(json!({"usage": {"total_tokens": 815}})), Some((815, 0)));
    assert_eq!(
        usage(json!({"meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 9}}})),
        Some((9, 0))
    );
    assert_eq!(usage(json!({"usage": {"prompt_tokens": 0, "total_tokens": 0}})), None);
    assert_eq!(usage(json!({"usage": "many"})), None);
    assert_eq!(usage(json!({"id": 5})), None);
}

#[test]
fn what_is_no_rerank_reply_is_the_upstreams_fault() {
    let result = |value: Value| json!({"results": [value]});
    let cases = [
        (json!({}), "missing results"),
        (json!({"results": null}), "missing results"),
        (json!({"data": []}), "missing results"),
        (json!({"results": {}}), "results must be an array"),
        (json!([]), "not a JSON object"),
        (result(json!([0, 0.5, 0.5])), "result item must be an object"),
        (result(json!(null)), "result item must be an object"),
        (result(json!({"relevance_score": 1})), "result index is required"),
        (result(json!({"index": "0", "relevance_score": 1})), "result index is required"),
        (result(json!({"index": 0.5, "relevance_score": 1})), "result index is required"),
        (result(json!({"index": 2, "relevance_score": 1})), "result index 2 out of range"),
        (result(json!({"index": -1, "relevance_score": 1})), "result index -1 out of range"),
        (result(json!({"index": 0})), "relevance_score/score is required"),
        (
            result(json!({"index": 0, "relevance_score": null, "score": "1"})),
            "relevance_score/score is required",
        ),
        (json!({"results": [{"index": 1, "score": 1}, {"index": 1, "score": 2}]}), "duplicate index 1"),
    ];
    for (value, what) in cases {
        let message = reply(&value, 2, ReplyShape::Rerank).unwrap_err();
        assert_eq!(message, format!("invalid vllm rerank response: {what}"), "{value}");
    }
    for text in [
        "",
        "<html>",
        "{\"results\":[",
        "{\"results\":[{\"index\":0,\"score\":NaN}]}",
        "{\"results\":[],\"results\":[]}",
    ] {
        let fault = read_reply(text.as_bytes(), 2, ReplyShape::Rerank).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Broken, "{text}");
    }
    let huge = read_reply(b"{\"results\":[{\"index\":0,\"score\":1e999}]}", 2, ReplyShape::Rerank);
    assert!(huge.is_err());
}

#[test]
fn a_score_route_must_score_every_document() {
    let data = |count: usize| json!({"data": (0..count).map(|index| json!({"index": index, "score": 1})).collect::<Vec<_>>()});
    assert!(reply(&data(2), 2, ReplyShape::Score).is_ok());
    assert_eq!(
        reply(&data(1), 2, ReplyShape::Score).unwrap_err(),
        "invalid vllm score response: 1 data items for 2 documents"
    );
    assert_eq!(
        reply(&json!({"results": []}), 2, ReplyShape::Score).unwrap_err(),
        "invalid vllm score response: missing data"
    );
    assert_eq!(
        reply(&json!({"data": [{"index": 0, "relevance_score": 1}]}), 1, ReplyShape::Score).unwrap_err(),
        "invalid vllm score response: score is required"
    );
}

#[test]
fn the_reply_is_in_vllms_shape_and_order() {
    let asked = json!({"query": "q", "documents": [{"id": 7, "text": "a"}, "b", {"text": "c"}], "return_documents": true});
    let upstream = json!({
        "id": "score-1", "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "results": [{"index": 2, "score": 0.5}, {"index": 0, "score": 0.5}, {"index": 1, "score": 0.8194264769554138}],
    });
    let found = reply(&upstream, 3, ReplyShape::Rerank).unwrap();
    assert_eq!(
        write_reply(&found, &request(&asked), "vllm/m"),
        concat!(
            r#"{"id":"score-1","model":"vllm/m","usage":{"prompt_tokens":10,"total_tokens":10},"results":["#,
            r#"{"index":1,"document":{"text":"b"},"relevance_score":0.8194264769554138},"#,
            r#"{"index":0,"document":{"id":7,"text":"a"},"relevance_score":0.5},"#,
            r#"{"index":2,"document":{"text":"c"},"relevance_score":0.5}]}"#,
        )
    );
}

#[test]
fn documents_come_back_only_if_they_were_asked_for() {
    let upstream = json!({"results": [{"index": 0, "score": 1}, {"index": 1, "score": 2}]});
    let found = reply(&upstream, 2, ReplyShape::Rerank).unwrap();
    let written = |mut asked: Value| {
        asked["query"] = json!("q");
        asked["documents"] = json!([{"text": "a"}, {"text": "b"}]);
        decoded(&write_reply(&found, &request(&asked), "m"))
    };
    let without = json!({"model": "m", "results": [{"index": 1, "relevance_score": 2.0}, {"index": 0, "relevance_score": 1.0}]});
    assert_eq!(written(json!({})), without);
    assert_eq!(written(json!({"return_documents": false, "params": {"return_documents": true}})), without);
    let first = json!([{"index": 1, "document": {"text": "b"}, "relevance_score": 2.0}]);
    assert_eq!(written(json!({"params": {"return_documents": true}, "top_n": 1}))["results"], first);
}

fn document() -> impl Strategy<Value = (Value, String)> {
    let text = any::<String>().prop_filter("blank texts are refused", |text| !text.trim().is_empty());
    (text, 0..3u8).prop_map(|(text, shape)| match shape {
        0 => (json!(text), text),
        1 => (json!({"text": text}), text),
        _ => (json!({"id": "x", "text": text, "meta": {"text": 1}}), text),
    })
}

proptest! {
    #[test]
    fn every_text_reaches_the_upstream_as_it_was(documents in vec(document(), 1..6), query in "\\PC{0,8}q") {
        let (written, texts): (Vec<Value>, Vec<String>) = documents.into_iter().unzip();
        let value = json!({"model": "a/b", "query": query, "documents": written, "keep": {"a": [1, 2]}});
        let (request, body) = (request(&value), body(&value));
        for upstream in [request.to_vllm(&body, "b"), request.to_cohere(&body, "b")] {
            let expected = json!({"model": "b", "query": query, "documents": texts, "keep": {"a": [1, 2]}});
            prop_assert_eq!(decoded(&upstream), expected);
        }
        let expected = json!({"model": "b", "text_1": query, "text_2": texts, "keep": {"a": [1, 2]}});
        prop_assert_eq!(decoded(&request.to_score(&body, "b")), expected);
    }

    #[test]
    fn results_are_sorted_and_no_more_than_were_wanted(
        scores in vec(prop_oneof![Just(0.5), Just(-0.0), Just(0.0), -1e3..1e3f64], 1..12), top_n in 1usize..14,
        rotation in any::<prop::sample::Index>(),
    ) {
        let documents: Vec<String> = (0..scores.len()).map(|index| index.to_string()).collect();
        let request = request(&json!({"query": "q", "documents": documents, "top_n": top_n}));
        let mut results: Vec<Value> =
            scores.iter().enumerate().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
        let middle = rotation.index(results.len());
        results.rotate_left(middle);
        let found = reply(&json!({"results": results}), scores.len(), ReplyShape::Rerank).unwrap();
        let written = write_reply(&found, &request, "m");
        let mut expected: Vec<usize> = (0..scores.len()).collect();
        expected.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap());
        expected.truncate(top_n);
        // As text: decoding with serde_json may miss the last digit of a score.
        let one = |index: usize| format!("{{\"index\":{index},\"relevance_score\":{}}}", json!(scores[index]));
        let expected: Vec<String> = expected.into_iter().map(one).collect();
        prop_assert_eq!(written, format!("{{\"model\":\"m\",\"results\":[{}]}}", expected.join(",")));
    }

    #[test]
    fn no_reply_makes_it_panic(text in crate::texts::mutated(Just(
        r#"{"id":"x","results":[{"index":0,"relevance_score":0.5},{"index":1,"score":1}],"usage":{"prompt_tokens":1},"meta":{"tokens":{}}}"#.to_owned(),
    ))) {
        for from in [ReplyShape::Rerank, ReplyShape::Score] {
            if let Ok(reply) = read_reply(&text, 2, from) {
                prop_assert!(reply.results.len() <= 2);
            }
        }
    }
}
