//! Audio uploads: every part in its order, nothing stored that need not be, every format of answer, and bad forms.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::Settings;
use testkit::client::Leaving;
use testkit::{FakeUpstream, Reply, Request, Response, eventually};

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

const ROUTE: &str = "/v1/audio/transcriptions";
const BOUNDARY: &str = "------------------------d74496d66958873e";
const DONE: &str = r#"{"text":"Hello there.","usage":{"type":"duration","seconds":3}}"#;

/// One part: name, file name if it is a file, value.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, value) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: audio/wav"));
        let file = file.unwrap_or_default();
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn upload(body: impl AsRef<[u8]>) -> Request {
    Request::post(ROUTE)
        .header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(body)
}

/// Some bytes of audio: no two places alike, and all of them hostile to text.
fn audio(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at * 31) ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Waits until something lies on disk, or nothing.
async fn spooled(gateway: &TestGateway, some: bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while gateway.metrics().await.contains("ferrovia_upload_spool_bytes{} 0") == some {
        assert!(Instant::now() < until, "something lies on disk: {}", !some);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn engine(reply: Reply) -> FakeUpstream {
    let upstream = vllm::engine().await;
    upstream.on("POST", ROUTE).then(reply);
    upstream
}

fn refused(response: &Response, status: u16, param: Option<&str>, says: &str) {
    let error = &response.json()["error"];
    assert_eq!((response.status, &error["param"]), (status, &json!(param)), "{response}");
    assert!(error["message"].as_str().unwrap_or_default().contains(says), "{response}");
}

#[tokio::test]
async fn every_part_arrives_in_its_order_and_only_the_model_is_changed() {
    // small, so read whole; large with the model first, so never stored; large with the model last, so stored
    for (bytes, model_first) in [(5_000, true), (5_000, false), (3 << 20, true), (3 << 20, false)] {
        let upstream = engine(Reply::json(200, DONE)).await;
        let gateway =
            TestGateway::setup().vllm("vllm", &upstream).env("METRICS_ENABLED", "true").start().await;
        let audio = audio(bytes);
        let with = |model: &'static [u8]| {
            let model: Part<'_> = ("model", None, model);
            let file: Part<'_> = ("file", Some("a b.wav"), &audio);
            let more: [Part<'_>; 4] = [
                ("timestamp_granularities[]", None, b"word"),
                ("timestamp_granularities[]", None, b"segment"),
                ("x_unknown", None, "à la carte\r\n".as_bytes()),
                ("vllm_xargs", None, b"{\"a\":1}"),
            ];
            let order = if model_first { vec![model, file] } else { vec![file, model] };
            form(&[&[("language", None, &b"it"[..])], &order[..], &more].concat())
        };
        for chunked in [false, true] {
            let request = upload(with(b"vllm/tiny"));
            let request = if chunked { request.chunked(50_000) } else { request };
            let response = gateway.send(&request).await;
            assert_eq!((response.status, response.text().as_str()), (200, DONE), "{bytes} {model_first}");
            assert_eq!(response.header("x-ferrovia-changes"), Some("request.model"));
            let sent = upstream.requests().pop().expect("it went upstream");
            assert!(sent.body == with(b"tiny"), "{bytes}, model first: {model_first}, chunked: {chunked}");
            assert_eq!(
                sent.header("content-type"),
                Some(&*format!("multipart/form-data; boundary={BOUNDARY}"))
            );
            let line = gateway.line_of(&response).await;
            assert_eq!(
                (&line["operation"], &line["audio_seconds"], &line["model"], &line["outcome"]),
                (&json!("transcription"), &json!(3), &json!("tiny"), &json!("complete"))
            );
        }
        let metrics = gateway.metrics().await;
        assert!(metrics.contains("ferrovia_audio_seconds_total{"), "{metrics}");
        for gauge in ["ferrovia_upload_spool_bytes{} 0", "ferrovia_request_memory_bytes{} 0"] {
            assert!(metrics.contains(gauge), "{gauge}: {metrics}");
        }
    }
}

#[tokio::test]
async fn a_form_that_needs_no_change_goes_byte_for_byte() {
    let upstream = engine(Reply::json(200, DONE)).await;
    let gateway = TestGateway::before(&upstream).await;
    let body = form(&[("model", None, b"tiny"), ("file", Some("a.wav"), &audio(2 << 20))]);
    let response = gateway.send(&upload(&body)).await;
    assert_eq!((response.status, response.header("x-ferrovia-changes")), (200, None));
    assert!(upstream.requests()[PROBES].body == body);
}

#[tokio::test]
async fn a_large_file_goes_upstream_while_it_arrives() {
    let upstream = engine(Reply::json(200, DONE)).await;
    let gateway = TestGateway::before(&upstream).await;
    let body = form(&[("model", None, b"vllm/tiny"), ("file", Some("a.wav"), &audio(4 << 20))]);
    let request = upload(&body).to_bytes(gateway.address());
    let mut client = gateway.connect().await;
    client.send(&request[..2 << 20]).await.expect("half of it is taken");
    let seen = upstream.wait_for_body(PROBES + 1, 1 << 20).await;
    assert!(!seen.complete, "the other half is not even sent");
    client.send(&request[2 << 20..]).await.expect("and the rest");
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_uploads_stops_the_upstream_and_frees_the_spool() {
    let upstream = engine(Reply::json(200, DONE)).await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("METRICS_ENABLED", "true").start().await;
    let (file, model): (Part<'_>, Part<'_>) =
        (("file", Some("a"), &audio(4 << 20)), ("model", None, b"tiny"));
    for (parts, streamed) in [([model, file], true), ([file, model], false)] {
        let request = upload(form(&parts)).to_bytes(gateway.address());
        let mut client = gateway.connect().await;
        client.send(&request[..3 << 20]).await.expect("most of it is taken");
        if streamed {
            upstream.wait_for_body(PROBES + 1, 1 << 20).await;
            client.leave(Leaving::Close);
            upstream.wait_for_hangup(PROBES + 1).await;
        } else {
            spooled(&gateway, true).await;
            client.leave(Leaving::Reset);
        }
        spooled(&gateway, false).await;
    }
    assert_eq!(upstream.requests().len(), PROBES + 1);
    eventually(Duration::from_secs(10), || gateway.count("call") == 2).await;
}

#[tokio::test]
async fn a_whole_form_is_sent_again_and_one_under_way_is_not() {
    for (bytes, model_first, attempts) in [(1_000, true, 3), (2 << 20, false, 3), (2 << 20, true, 1)] {
        let upstream = vllm::engine().await;
        let busy = || Reply::json(503, r#"{"error":{"message":"full"}}"#);
        upstream.on("POST", ROUTE).then(busy()).then(busy()).then(Reply::json(200, DONE));
        let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
        let audio = audio(bytes);
        let (file, model): (Part<'_>, Part<'_>) =
            (("file", Some("a"), &audio), ("model", None, b"vllm/tiny"));
        let parts = if model_first { [model, file] } else { [file, model] };
        let response = gateway.send(&upload(form(&parts))).await;
        assert_eq!(response.status, if attempts == 3 { 200 } else { 503 }, "{response}");
        let bodies: Vec<_> =
            upstream.requests().into_iter().skip(PROBES).map(|request| request.body).collect();
        assert_eq!(bodies.len(), attempts);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "the same each time");
    }
}

#[tokio::test]
async fn each_format_comes_back_as_the_engine_wrote_it() {
    let verbose = r#"{"duration":2.5,"language":"en","text":"Hi.","segments":[],"words":null}"#;
    let srt = "1\n00:00:00,000 --> 00:00:02,500\nHi.\n\n";
    for (format, kind, body, seconds) in [
        ("json", "application/json", DONE, json!(3)),
        ("verbose_json", "application/json", verbose, json!(3)),
        ("text", "text/plain; charset=utf-8", "Hi.\n", json!(null)),
        ("text", "application/json", DONE, json!(3)),
        ("text", "text/plain", "", json!(null)),
        ("srt", "text/plain; charset=utf-8", srt, json!(null)),
        ("srt", "application/x-subrip", srt, json!(null)),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00.000 --> 00:02.500\n<v Ann>Hi.\n", json!(null)),
    ] {
        let upstream = engine(Reply::bytes(200, kind, body)).await;
        let gateway = TestGateway::before(&upstream).await;
        let parts: [Part<'_>; 3] = [
            ("model", None, b"tiny"),
            ("response_format", None, format.as_bytes()),
            ("file", Some("a"), b"RIFF"),
        ];
        let response = gateway.send(&upload(form(&parts))).await;
        assert_eq!(
            (response.status, response.header("content-type"), response.text().as_str()),
            (200, Some(kind), body),
            "{format}"
        );
        assert_eq!(gateway.line_of(&response).await["audio_seconds"], seconds, "{format}");
    }
}

#[tokio::test]
async fn a_long_text_is_streamed_and_one_that_breaks_off_is_not_whole() {
    let text = "A long way to say it. ".repeat(20_000);
    let plain = || Reply::bytes(200, "text/plain", &text);
    let upstream = vllm::engine().await;
    upstream.on("POST", ROUTE).then(plain()).then(plain().truncate_after(200_000));
    let gateway = TestGateway::before(&upstream).await;
    let parts: [Part<'_>; 3] =
        [("model", None, b"tiny"), ("response_format", None, b"text"), ("file", Some("a"), b"RIFF")];
    assert_eq!(gateway.send(&upload(form(&parts))).await.text(), text);
    let mut client = gateway.connect().await;
    client.request(&upload(form(&parts))).await.expect("it is sent");
    let broken = client.try_response().await;
    assert!(broken.map_or(true, |response| !response.is_whole()), "nobody takes it for whole");
    let failed = gateway.line("the broken call", |line| line["outcome"] == "failed").await;
    assert_eq!(failed["operation"], "transcription");
}

#[tokio::test]
async fn what_is_no_transcript_is_no_success() {
    for (format, reply, status) in [
        ("json", Reply::bytes(200, "text/plain", "Hi."), 502),
        ("json", Reply::json(200, r#"{"error":{"message":"no ear","code":404}}"#), 404),
        ("json", Reply::json(200, r#"{"txt":"Hi."}"#), 502),
        ("text", Reply::html(200, "<html>Bad gateway</html>"), 502),
        ("text", Reply::bytes(200, "text/plain", "<!DOCTYPE html><p>proxy"), 502),
        ("srt", Reply::bytes(200, "text/plain", r#"{"error":{"message":"no ear","code":503}}"#), 503),
        ("vtt", Reply::bytes(200, "application/octet-stream", "WEBVTT"), 502),
    ] {
        let upstream = engine(reply).await;
        let gateway = TestGateway::setup().vllm("vllm", &upstream).no_retries().start().await;
        let parts: [Part<'_>; 3] = [
            ("model", None, b"tiny"),
            ("response_format", None, format.as_bytes()),
            ("file", Some("a"), b"RIFF"),
        ];
        let response = gateway.send(&upload(form(&parts))).await;
        assert_eq!(response.status, status, "{format}: {response}");
        assert!(response.json()["error"]["message"].is_string(), "{response}");
    }
}

fn chunk(rest: &str) -> String {
    format!(r#"{{"id":"trsc-1","object":"transcription.chunk","created":1700000000,"model":"tiny",{rest}}}"#)
}

#[tokio::test]
async fn a_stream_that_nobody_asked_for_is_no_transcript() {
    let events = "data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n";
    let audio = audio(2 << 20);
    let (model, file): (Part<'_>, Part<'_>) = (("model", None, b"tiny"), ("file", Some("a"), &audio));
    let no: Part<'_> = ("stream", None, b"false");
    let small: Part<'_> = ("file", Some("a"), b"RIFF");
    for (parts, status) in [
        (vec![model, small], 502),
        (vec![file, model], 502),
        (vec![model, no, file], 502),
        // the wish may come behind the file
        (vec![model, file], 200),
    ] {
        let upstream = engine(Reply::sse().raw(events).end()).await;
        let gateway = TestGateway::before(&upstream).await;
        let response = gateway.send(&upload(form(&parts))).await;
        assert_eq!(response.status, status, "{response}");
    }
    // JSON that is called a stream is JSON, as on every other route
    let called = Reply::bytes(200, "text/event-stream", DONE);
    let upstream = engine(called).await;
    let gateway = TestGateway::before(&upstream).await;
    assert_eq!(gateway.send(&upload(form(&[model, small]))).await.text(), DONE);
}

#[tokio::test]
async fn a_stream_is_whole_with_its_trailing_usage_however_often_a_choice_finished() {
    let said = |text: &str| chunk(&format!(r#""choices":[{{"delta":{{"content":"{text}"}}}}]"#));
    // vLLM cuts long audio, and every cut finishes
    let stop = chunk(r#""choices":[{"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]"#);
    let usage = chunk(r#""choices":[],"usage":{"prompt_tokens":40,"total_tokens":45,"completion_tokens":5}"#);
    let events =
        [said(" Hello"), stop.clone(), said(" there"), stop.clone(), usage.clone(), "[DONE]".to_owned()];
    let sse = |events: &[String]| events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
    let reply = |events: &[String]| Reply::sse().raw(sse(events)).end();
    let upstream = vllm::engine().await;
    upstream
        .on("POST", ROUTE)
        .then(reply(&events).cut_into(13))
        .then(reply(&events[..5]))
        .then(reply(&events[..2]));
    let gateway = TestGateway::before(&upstream).await;
    let parts: [Part<'_>; 4] = [
        ("model", None, b"tiny"),
        ("stream", None, b"true"),
        ("stream_include_usage", None, b"true"),
        ("file", Some("a"), b"RIFF"),
    ];
    let whole = gateway.send(&upload(form(&parts))).await;
    assert_eq!(whole.text(), sse(&events));
    assert_eq!(whole.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let line = gateway.line_of(&whole).await;
    assert_eq!(
        (&line["stream"], &line["input_tokens"], &line["output_tokens"], &line["outcome"]),
        (&json!(true), &json!(40), &json!(5), &json!("complete"))
    );
    let no_done = gateway.send(&upload(form(&parts))).await;
    assert_eq!(no_done.text(), sse(&events[..5]), "the usage chunk is its end");
    let cut = gateway.send(&upload(form(&parts))).await;
    let text = cut.text();
    assert!(text.starts_with(&sse(&events[..2])) && !text.contains("[DONE]"), "{text}");
    assert!(text.contains("stream_incomplete"), "{text}");
    assert_eq!(gateway.line_of(&cut).await["outcome"], "failed");
}

#[tokio::test]
async fn openais_events_are_understood_and_an_unstreamed_answer_is_told_as_a_stream() {
    let done = r#"{"type":"transcript.text.done","text":"Hi.","usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16}}"#;
    let events =
        format!("data: {{\"type\":\"transcript.text.delta\",\"delta\":\"Hi.\"}}\n\ndata: {done}\n\n");
    let upstream = vllm::engine().await;
    upstream.on("POST", ROUTE).then(Reply::sse().raw(&events).end()).then(Reply::json(200, DONE));
    let gateway = TestGateway::before(&upstream).await;
    let parts: [Part<'_>; 3] =
        [("model", None, b"tiny"), ("stream", None, b"True"), ("file", Some("a"), b"RIFF")];
    let native = gateway.send(&upload(form(&parts))).await;
    assert_eq!(native.text(), events);
    let line = gateway.line_of(&native).await;
    assert_eq!((&line["input_tokens"], &line["outcome"]), (&json!(14), &json!("complete")));
    // whisper-1 ignores that a stream was asked for
    let told = gateway.send(&upload(form(&parts))).await;
    assert_eq!(told.header("x-ferrovia-changes"), Some("response.stream"));
    assert_eq!(
        told.text(),
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hello there.\"}\n\n\
         data: {\"text\":\"Hello there.\",\"usage\":{\"type\":\"duration\",\"seconds\":3},\"type\":\"transcript.text.done\"}\n\n\
         data: [DONE]\n\n"
    );
    assert_eq!(gateway.line_of(&told).await["audio_seconds"], 3);
}

#[tokio::test]
async fn bad_forms_are_refused_in_words_before_anything_goes_upstream() {
    let upstream = engine(Reply::json(200, DONE)).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_UPLOAD_SIZE_LIMIT", "2M").start().await;
    let model: Part<'_> = ("model", None, b"tiny");
    let file: Part<'_> = ("file", Some("a.wav"), b"RIFF");
    let whole = form(&[model, file]);
    let send = |body: Vec<u8>| {
        let gateway = &gateway;
        async move { gateway.send(&upload(body)).await }
    };
    refused(&send(form(&[file])).await, 400, Some("model"), "model is required");
    refused(&send(form(&[("model", None, b""), file])).await, 400, Some("model"), "model is required");
    refused(&send(form(&[model])).await, 400, Some("file"), "Missing required parameter");
    refused(&send(form(&[model, file, model])).await, 400, Some("model"), "stands twice");
    refused(&send(form(&[("Model", None, b"x"), file])).await, 400, Some("model"), "stands twice");
    refused(
        &send(form(&[model, ("stream", None, b"maybe"), file])).await,
        400,
        Some("stream"),
        "true or false",
    );
    refused(&send(form(&[("model", Some("m"), b"tiny"), file])).await, 400, Some("model"), "file name");
    refused(&send(form(&[("model", None, &[0xff]), file])).await, 400, Some("model"), "UTF-8");
    refused(&send(form(&[("model", None, b"nope"), file])).await, 400, Some("model"), "unsupported model");
    refused(&send(whole[..whole.len() - 9].to_vec()).await, 400, None, "before its last delimiter");
    refused(&send([&b"x"[..], &whole].concat()).await, 400, None, "does not begin with its boundary");
    refused(&send(Vec::new()).await, 400, None, "empty");
    refused(&send(form(&[model, ("file", Some("a"), &audio(3 << 20))])).await, 413, None, "larger than");
    let large = upload(form(&[("file", Some("a"), &audio(3 << 20)), model])).chunked(10_000);
    refused(&gateway.send(&large).await, 413, None, "larger than");
    let json = Request::post(ROUTE).json(r#"{"model":"tiny"}"#);
    refused(&gateway.send(&json).await, 400, Some("content-type"), "multipart/form-data");
    let unnamed = Request::post(ROUTE).header("content-type", "multipart/form-data").body(&whole);
    refused(&gateway.send(&unnamed).await, 400, Some("content-type"), "boundary");
    let packed = upload(&whole).header("content-encoding", "gzip");
    refused(&gateway.send(&packed).await, 400, Some("content-encoding"), "compressed");
    assert_eq!(upstream.requests().iter().filter(|request| request.method == "POST").count(), 0);
    assert_eq!(send(whole).await.status, 200, "and a good one is heard");
}

#[tokio::test]
async fn a_form_that_turns_bad_on_its_way_is_refused_and_never_whole_upstream() {
    let model: Part<'_> = ("model", None, b"tiny");
    let large = audio(2 << 20);
    let file: Part<'_> = ("file", Some("a"), &large);
    let whole = form(&[model, file]);
    let smuggled = form(&[model, file, ("model", None, b"secret-model")]);
    for (body, param, says) in [
        (smuggled, Some("model"), "stands twice"),
        (whole[..whole.len() - 9].to_vec(), None, "before its last delimiter"),
        ([&whole[..], b"more"].concat(), None, "follows its last delimiter"),
    ] {
        let upstream = engine(Reply::json(200, DONE)).await;
        let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
        let response = gateway.send(&upload(body).chunked(60_000)).await;
        refused(&response, 400, param, says);
        upstream.wait_for_hangup(PROBES + 1).await;
        let seen = upstream.requests();
        assert!(seen.len() == PROBES + 1 && !seen[PROBES].complete, "it never became a request");
        // the client's doing: the engine is not blamed
        let good = upload(form(&[model, ("file", Some("a"), b"RIFF")]));
        assert_eq!(gateway.send(&good).await.status, 200);
    }
}

#[tokio::test]
async fn a_full_spool_is_said_and_the_way_around_it_too() {
    let upstream = engine(Reply::json(200, DONE)).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_UPLOAD_SPOOL_LIMIT", "1M").start().await;
    let large = audio(3 << 20);
    let (file, model): (Part<'_>, Part<'_>) = (("file", Some("a"), &large), ("model", None, b"tiny"));
    let full = gateway.send(&upload(form(&[file, model]))).await;
    refused(&full, 503, None, "send `model` before the file");
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(full.json()["error"]["code"], "upload_spool_unavailable");
    assert_eq!(gateway.send(&upload(form(&[model, file]))).await.status, 200);
    let nowhere = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_UPLOAD_SPOOL_DIR", "/nowhere/at/all")
        .start()
        .await;
    refused(&nowhere.send(&upload(form(&[file, model]))).await, 503, None, "before the file");
    nowhere
        .line("why", |line| line["message"].as_str().unwrap_or_default().contains("server.upload_spool_dir"))
        .await;
}

#[tokio::test]
async fn an_engine_without_ears_is_a_501_and_a_translation_goes_its_own_way() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/audio/translations").then(Reply::json(200, r#"{"text":"Hello."}"#));
    upstream.on("POST", ROUTE).then(Reply::json(404, r#"{"detail":"Not Found"}"#));
    let gateway = TestGateway::before(&upstream).await;
    let body = form(&[("model", None, b"tiny"), ("file", Some("a"), b"RIFF")]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let deaf = gateway.send(&upload(&body)).await;
    refused(&deaf, 501, None, "transcription is not supported by vllm provider");
    let translated = gateway
        .send(&Request::post("/v1/audio/translations").header("content-type", &kind).body(&body))
        .await;
    assert_eq!((translated.status, translated.text().as_str()), (200, r#"{"text":"Hello."}"#));
    assert_eq!(gateway.line_of(&translated).await["operation"], "translation");
}

#[tokio::test]
async fn the_simulated_engine_hears_every_format() {
    let settings = Settings { subtitles: true, ..Settings::default().at_full_speed() };
    let engine = simulator::start(settings).await.expect("it starts");
    let gateway = TestGateway::setup().provider("vllm", &format!("{}/v1", engine.base_url())).start().await;
    let wave = [
        &b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0"[..],
        &audio(64_000),
    ]
    .concat();
    let ask = async |format: &str, stream: &str| {
        let parts: [Part<'_>; 5] = [
            ("model", None, b"vllm/simulated"),
            ("response_format", None, format.as_bytes()),
            ("stream", None, stream.as_bytes()),
            ("stream_include_usage", None, stream.as_bytes()),
            ("file", Some("a.wav"), &wave),
        ];
        let response = gateway.send(&upload(form(&parts))).await;
        assert_eq!(response.status, 200, "{format}: {response}");
        response
    };
    let json = ask("json", "false").await.json();
    let text = json["text"].as_str().expect("it heard something").to_owned();
    assert_eq!(json["usage"], json!({"type": "duration", "seconds": 2}));
    assert_eq!(ask("text", "false").await.text(), format!("{text}\n"));
    assert!(ask("srt", "false").await.text().starts_with("1\n00:00:00,000 --> 00:00:02,000\n"));
    assert!(ask("vtt", "false").await.text().starts_with("WEBVTT\n\n"));
    let verbose = ask("verbose_json", "false").await;
    assert_eq!((&verbose.json()["text"], &verbose.json()["duration"]), (&json!(text), &json!(2.0)));
    assert_eq!(gateway.line_of(&verbose).await["audio_seconds"], 2);
    let stream = ask("json", "true").await;
    let spoken: String = stream
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<serde_json::Value>(event.data.as_deref()?).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(spoken.trim(), text);
    let line = gateway.line_of(&stream).await;
    assert!(line["input_tokens"].as_u64() > Some(0) && line["output_tokens"].as_u64() > Some(0), "{line}");
}

#[tokio::test]
async fn an_upload_that_breaks_says_nothing_of_the_engine() {
    let upstream = engine(Reply::json(500, r#"{"error":{"message":"no ear","code":500}}"#)).await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .no_retries()
        .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")
        .env("CIRCUIT_BREAKER_SUCCESS_THRESHOLD", "1")
        .env("CIRCUIT_BREAKER_TIMEOUT", "100ms")
        .env("METRICS_ENABLED", "true")
        .start()
        .await;
    let open = async || gateway.metrics().await.contains("ferrovia_breaker_open{deployment=\"vllm/tiny\"} 1");
    let large = audio(2 << 20);
    let whole = form(&[("model", None, b"tiny"), ("file", Some("a"), &large)]);
    assert_eq!(gateway.send(&upload(&whole)).await.status, 500);
    assert!(open().await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // the one call that may try whether it is well again does not come to its end
    let broken = gateway.send(&upload(&whole[..whole.len() - 9])).await;
    refused(&broken, 400, None, "before its last delimiter");
    assert!(open().await, "nobody knows yet whether it is well");
}
