//! Embeddings, scores, ranks and labels.

use serde_json::{Value, json};

use crate::client::{engine, engine_with, masked, post};

fn vector(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn embeddings_have_unit_length_and_a_base64_form() {
    let engine = engine().await;
    let floats =
        post(&engine, "/v1/embeddings", &json!({"model": "sim", "input": ["Hello", "Bye"]})).await.json();
    let hello = vector(&floats["data"][0]["embedding"]);
    assert_eq!(hello.len(), 384);
    let length: f64 = hello.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    let body = json!({"input": "Hello", "encoding_format": "base64"});
    let encoded = post(&engine, "/v1/embeddings", &body).await;
    let text = encoded.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    assert_eq!(text.len(), 384 * 4 / 3 * 4);
    assert_eq!(
        masked(&encoded.body).replace(&masked(&text), "B"),
        r#"{"id":"embd-ID","object":"list","created":0,"model":"sim","data":[{"index":0,"object":"embedding","embedding":"B"}],"usage":{"prompt_tokens":2,"total_tokens":2,"completion_tokens":0,"prompt_tokens_details":null,"completion_tokens_details":null}}"#
    );
    let ids = post(&engine, "/tokenize", &json!({"prompt": "Hello"})).await.json();
    let from_ids = post(&engine, "/v1/embeddings", &json!({"input": ids["tokens"]})).await.json();
    assert_eq!(vector(&from_ids["data"][0]["embedding"]), hello);
}

#[tokio::test]
async fn the_dimension_is_a_setting() {
    let engine = engine_with(|settings| settings.embedding_dimensions = 16).await;
    let answer = post(&engine, "/pooling", &json!({"input": "Hello"})).await.json();
    assert_eq!(
        (vector(&answer["data"][0]["data"]).len(), &answer["data"][0]["object"]),
        (16, &json!("pooling"))
    );
}

#[tokio::test]
async fn the_best_document_comes_first_on_every_spelling_of_rerank() {
    let engine = engine().await;
    let body = json!({"model": "sim", "query": "capital of France", "top_n": 2,
        "documents": ["Bake bread with yeast", "Paris is the capital of France", "France is a country"]});
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let answer = post(&engine, path, &body).await;
        let ranking = answer.json();
        assert_eq!(ranking["results"].as_array().unwrap().len(), 2, "{path}");
        assert_eq!(ranking["results"][0]["index"], 1, "{path}: {ranking}");
        let first = answer.body.split("\"relevance_score\":").next().unwrap();
        let expected = r#"{"id":"score-ID","model":"sim","usage":{"prompt_tokens":26,"total_tokens":26},"results":[{"index":1,"document":{"text":"Paris is the capital of France","multi_modal":null},"#;
        let first = masked(first);
        let (before, after) = first.split_once("\"usage\"").unwrap();
        let (wanted_before, _) = expected.split_once("\"usage\"").unwrap();
        assert_eq!(before, wanted_before);
        assert!(after.ends_with(r#""results":[{"index":1,"document":{"text":"Paris is the capital of France","multi_modal":null},"#));
    }
}

#[tokio::test]
async fn scores_take_every_spelling_of_their_two_sides() {
    let engine = engine().await;
    let mut scores = Vec::new();
    for (one, other) in
        [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
    {
        let answer =
            post(&engine, "/score", &json!({one: "Hello", other: ["Hello there", "car"]})).await.json();
        scores.push((answer["data"][0]["score"].clone(), answer["data"][1]["score"].clone()));
    }
    assert!(scores.windows(2).all(|pair| pair[0] == pair[1]), "{scores:?}");
    assert!(scores[0].0.as_f64() > scores[0].1.as_f64());
    let refused = |body: Value| {
        let engine = &engine;
        async move {
            post(engine, "/v1/score", &body).await.json()["error"]["message"].as_str().unwrap().to_owned()
        }
    };
    assert_eq!(
        refused(json!({"text_1": ["a", "b"], "text_2": ["c", "d", "e"]})).await,
        "Input lengths must be either 1:1, 1:N or N:N"
    );
    assert_eq!(
        refused(json!({"text_1": "a", "text_2": []})).await,
        "At least one text_pair element must be given"
    );
    assert!(refused(json!({"text_1": "a"})).await.starts_with("7 validation errors:\n"));
}

#[tokio::test]
async fn a_text_is_given_one_of_the_labels() {
    let engine =
        engine_with(|settings| settings.labels = ["weather", "sport", "food"].map(str::to_owned).to_vec())
            .await;
    let answer =
        post(&engine, "/classify", &json!({"input": ["what is the weather like", "good food"]})).await.json();
    assert_eq!(
        (&answer["data"][0]["label"], &answer["data"][1]["label"]),
        (&json!("weather"), &json!("food"))
    );
    let probs = vector(&answer["data"][0]["probs"]);
    assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    assert_eq!((probs.len(), &answer["data"][0]["num_classes"]), (3, &json!(3)));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_or_cut() {
    let engine = engine_with(|settings| settings.max_model_len = 20).await;
    let long = "gateway ".repeat(40);
    let refused = post(&engine, "/v1/embeddings", &json!({"input": long})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("maximum context length is 20 tokens"), "{}", refused.body);
    let cut =
        post(&engine, "/v1/embeddings", &json!({"input": long, "truncate_prompt_tokens": 10})).await.json();
    assert_eq!(cut["usage"]["prompt_tokens"], 10);
}
