//! What a call and an event cost in this crate: `cargo bench -p dialect --bench hot`. Figures for comparing two builds on
//! one machine; `scan` compares with other parsers.

use bytes::Bytes;
use dialect::json::scan::scan;
use dialect::json::top_level::TopLevel;
use dialect::reply::{self, Asked};
use dialect::stream::EventStream;
use dialect::{Body, Edit, marks, sse};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use domain::{Dialect, Operation};

/// Counts allocations of each run beside its time.
#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

/// Sizes of requests: a question, an agent's context, a book.
const SIZES: [usize; 3] = [1 << 10, 100 << 10, 1 << 20];

fn main() {
    divan::main();
}

/// A chat request of about this size, its members in the order of the OpenAI SDK.
fn chat(size: usize) -> Bytes {
    let text = "Look at `fn route(name: &str)`: it says \\\"not found\\\" where it should ask again.\\n";
    let mut messages = Vec::new();
    while messages.len() * 160 + 160 < size {
        messages.push(format!("{{\"role\":\"user\",\"content\":\"{text}{}\"}}", "x".repeat(40)));
    }
    let messages = messages.join(",");
    format!("{{\"messages\":[{messages}],\"model\":\"vllm/org/model\",\"temperature\":0.2,\"stream\":true}}")
        .into()
}

/// A body taken in: checked whole, members found, the guarded ones compared.
#[divan::bench(args = SIZES)]
fn peek(bencher: Bencher<'_, '_>, size: usize) {
    let text = chat(size);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| Body::read(black_box(&text).clone()).map(|body| body.string("model")));
}

/// The scanner alone.
#[divan::bench(args = SIZES)]
fn scanning(bencher: Bencher<'_, '_>, size: usize) {
    let text = chat(size);
    bencher.counter(BytesCount::new(text.len())).bench(|| scan(black_box(&text)).is_ok());
}

/// The model's prefix taken off, and usage asked for.
#[divan::bench(args = SIZES)]
fn splice(bencher: Bencher<'_, '_>, size: usize) {
    let body = Body::read(chat(size)).expect("a body");
    let edits = [
        Edit::set("model", "\"org/model\""),
        Edit::default_to("stream_options", "{\"include_usage\":true}"),
        Edit::remove("provider"),
    ];
    bencher.bench(|| black_box(&body).apply(black_box(&edits)));
}

/// A whole reply, judged, its usage read: as vLLM writes it.
#[divan::bench]
fn reply(bencher: Bencher<'_, '_>) {
    let text = Bytes::from(format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"m\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{}\",\"refusal\":null,\"tool_calls\":[],\"reasoning\":null}},\
         \"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}}],\"service_tier\":null,\"usage\":{{\
         \"prompt_tokens\":210,\"total_tokens\":290,\"completion_tokens\":80,\"prompt_tokens_details\":null}}}}",
        "A gateway passes on what it is told. ".repeat(8)
    ));
    let asked =
        Asked { operation: Operation::Generate, dialect: Dialect::Chat, documents: 0, something: true };
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let body = Body::read(black_box(&text).clone()).expect("a reply");
        (reply::judge(&asked, &body).is_ok(), reply::usage(Operation::Generate, &body))
    });
}

/// A large reply that passes in pieces of 16 KiB.
#[divan::bench(args = SIZES)]
fn top_level(bencher: Bencher<'_, '_>, size: usize) {
    let text = chat(size);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut scanner = TopLevel::new(&["usage", "error"], &["provider", "choices"]);
        for piece in text.chunks(16 << 10) {
            black_box(scanner.push(piece));
        }
        scanner.finish().is_ok()
    });
}

const TOKEN: &[u8] = b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"m\",\
\"choices\":[{\"index\":0,\"delta\":{\"content\":\" gateway\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
const LAST: &[u8] = b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"m\",\
\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":64,\"total_tokens\":95}}\n\n";

/// Where an event ends.
#[divan::bench]
fn sse_end() -> Option<usize> {
    sse::event_end(black_box(TOKEN), 0)
}

/// A look at an event that says nothing but a token, and at one that tells usage and has to be decoded.
#[divan::bench(args = [("token", TOKEN), ("usage", LAST)].map(Event))]
fn mark(event: &Event) -> marks::Marks {
    marks::look(Dialect::Chat, black_box(event.0.1))
}

struct Event((&'static str, &'static [u8]));

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.0)
    }
}

/// An event through the reader of a stream, as it arrives: alone in its read.
#[divan::bench]
fn event(bencher: Bencher<'_, '_>) {
    let (mut stream, mut frames) = (EventStream::new(Dialect::Chat, 1, true), Vec::new());
    let token = Bytes::from_static(TOKEN);
    bencher.counter(BytesCount::new(TOKEN.len())).bench_local(|| {
        frames.clear();
        stream.push(black_box(token.clone()), &mut frames);
        frames.len()
    });
}
