//! `/v1/audio/transcriptions` and `/v1/audio/translations`, as vLLM 0.32 answers them.
//!
//! What is heard is made up, but always the same for the same bytes. How long it is follows from the file: a WAV file
//! says how many bytes make a second, anything else is taken for 128 kbit/s.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::fields::Fields;
use super::generation::{self, Asking, Generation, Step, Steps};
use super::json;
use super::refusal::{Invalid, Refusal};
use super::sampling::Asked;
use super::usage::UsageSoFar;
use crate::conversation::{Conversation, Turn};
use crate::engine::{self, Engine};
use crate::form::Form;
use crate::reply::{Event, Reply};
use crate::script::Piece;
use crate::seed::hash;
use crate::ticket::Ticket;

/// Bytes of a second of audio that does not say so itself: 128 kbit/s.
const BYTES_PER_SECOND: u32 = 16_000;

/// Tokens that a speech model makes of a second: Voxtral's and Whisper's are of this order.
const TOKENS_PER_SECOND: f64 = 12.5;

/// Which of the two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// In the language that is spoken.
    Transcribe,
    /// In English.
    Translate,
}

impl Task {
    fn api(self) -> &'static str {
        match self {
            Task::Transcribe => "Transcriptions",
            Task::Translate => "Translations",
        }
    }

    fn chunk(self) -> &'static str {
        match self {
            Task::Transcribe => "transcription.chunk",
            Task::Translate => "translation.chunk",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Task::Transcribe => "transcribe",
            Task::Translate => "translate",
        }
    }
}

/// Answers a request.
pub(crate) fn answer(
    engine: &Arc<Engine>,
    task: Task,
    form: Option<&Form>,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let file = form.and_then(|form| form.file.as_ref().map(|file| (form, file)));
    let Some((form, file)) = file else {
        let missing = Invalid::new("missing", "body.file", "Field required", &Value::Null);
        return Err(Refusal::Invalid(vec![missing]));
    };
    let streamed = form.flag("stream");
    for option in ["stream_include_usage", "stream_continuous_usage_stats"] {
        if form.flag(option) && !streamed {
            let message = "Stream options can only be defined when `stream=True`.";
            return Err(Refusal::parameter(message, option));
        }
    }
    let name = form.text("model").filter(|name| !name.is_empty());
    let served = engine.model(name, |tasks| tasks.transcribe).ok_or_else(|| {
        let aliases = generation::aliases(engine, |tasks| tasks.transcribe);
        Refusal::unknown_model(name.unwrap_or_default(), Some(&aliases))
    })?;
    if !served.tasks.transcribe {
        return Err(Refusal::unable(task.api()));
    }
    if let Some(refusal) = too_long(engine, file.len()) {
        return Err(refusal);
    }
    let format = Format::read(engine, form, &served.id)?;
    if streamed && format == Format::Verbose {
        return Err(Refusal::bad("verbose_json format doesn't support streaming case"));
    }
    let seconds = duration(file);
    let prompt = form.text("prompt").unwrap_or_default();
    let asked = asked(form)?;
    let mut prepared =
        generation::generate(engine, &served, vec![asking(engine, file, seconds, prompt)], &asked, None)?;
    prepared.enter(ticket)?;
    let language = form.text("language").unwrap_or("en").to_owned();
    let (model, include_usage) = (served.id.clone(), form.flag("stream_include_usage"));
    let id = format!("{}-{}", task.prefix(), engine::id());
    let continuous = include_usage && form.flag("stream_continuous_usage_stats");
    if streamed {
        return Ok(Reply::stream(move |admission| {
            let heard = Heard { generation: prepared.begin(admission), model, id, created: engine::now() };
            let (steps, ending) = (heard.generation.steps(), VecDeque::new());
            Chunks { task, heard, steps, include_usage, continuous, said: 0, ending, closed: false }
        }));
    }
    let mut reply = Reply::later(move |admission| {
        let generation = prepared.begin(admission);
        let text = generation.scripts[0].whole().text.unwrap_or_default().trim_start().to_owned();
        format.write(task, &text, seconds, &language, &generation)
    });
    reply.kind = format.kind().or(reply.kind);
    Ok(reply)
}

/// What is being told.
struct Heard {
    generation: Generation,
    model: String,
    id: String,
    created: u64,
}

/// In which form the text comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Verbose,
    Text,
    Srt,
    Vtt,
}

impl Format {
    fn read(engine: &Engine, form: &Form, model: &str) -> Result<Format, Refusal> {
        let texts = engine.settings.subtitles;
        match form.text("response_format").unwrap_or("json") {
            "text" if texts => Ok(Format::Text),
            "srt" if texts => Ok(Format::Srt),
            "vtt" if texts => Ok(Format::Vtt),
            "json" | "text" => Ok(Format::Json),
            "verbose_json" => Ok(Format::Verbose),
            "diarized_json" => {
                Err(Refusal::bad(format!("Currently do not support diarized_json for {model}")))
            }
            "srt" | "vtt" => Err(Refusal::bad(
                "Currently only support response_format: `text`, `json`, `verbose_json` or `diarized_json`",
            )),
            other => Err(Refusal::Invalid(vec![Invalid::literal(
                "body.response_format",
                "'json', 'text', 'srt', 'verbose_json', 'vtt' or 'diarized_json'",
                &json!(other),
            )])),
        }
    }

    fn kind(self) -> Option<&'static str> {
        match self {
            Format::Json | Format::Verbose => None,
            Format::Text | Format::Srt => Some("text/plain; charset=utf-8"),
            Format::Vtt => Some("text/vtt; charset=utf-8"),
        }
    }

    fn write(self, task: Task, text: &str, seconds: f64, language: &str, generation: &Generation) -> Vec<u8> {
        let clock = |mark: char| {
            let millis = (seconds * 1e3) as u64;
            let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
            format!("{hours:02}:{minutes:02}:{:02}{mark}{:03}", millis / 1_000 % 60, millis % 1_000)
        };
        match self {
            Format::Text => format!("{text}\n").into_bytes(),
            Format::Srt => format!("1\n00:00:00,000 --> {}\n{text}\n\n", clock(',')).into_bytes(),
            Format::Vtt => format!("WEBVTT\n\n00:00:00.000 --> {}\n{text}\n\n", clock('.')).into_bytes(),
            // translations tell no usage
            Format::Json if task == Task::Translate => json::python(&json!({ "text": text })),
            Format::Json => {
                let usage = json!({ "type": "duration", "seconds": seconds.ceil() as u64 });
                json::python(&json!({ "text": text, "usage": usage }))
            }
            Format::Verbose => json::python(&Verbose {
                duration: seconds,
                language,
                text,
                segments: [Segment {
                    id: 0,
                    avg_logprob: -0.25,
                    compression_ratio: 1.2,
                    end: seconds,
                    no_speech_prob: None,
                    seek: 0,
                    start: 0.0,
                    temperature: 0.0,
                    text,
                    tokens: generation.scripts[0].ids(),
                }],
                words: None,
            }),
        }
    }
}

#[derive(Serialize)]
struct Verbose<'a> {
    duration: f64,
    language: &'a str,
    text: &'a str,
    segments: [Segment<'a>; 1],
    words: Option<()>,
}

#[derive(Serialize)]
struct Segment<'a> {
    id: u32,
    avg_logprob: f64,
    compression_ratio: f64,
    end: f64,
    no_speech_prob: Option<f64>,
    seek: u32,
    start: f64,
    temperature: f64,
    text: &'a str,
    tokens: Vec<u32>,
}

/// Seconds of audio in a file.
fn duration(file: &Bytes) -> f64 {
    let wave = file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WAVE");
    let said =
        file.get(28..32).filter(|_| wave).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let rate = said.filter(|rate| *rate > 0).unwrap_or(BYTES_PER_SECOND);
    let header = if wave { 44 } else { 0 };
    (file.len().saturating_sub(header) as f64 / f64::from(rate) * 1e3).round() / 1e3
}

/// What the model hears, as a prompt.
fn asking(engine: &Engine, file: &Bytes, seconds: f64, prompt: &str) -> Asking {
    let heard = hash(file.iter().copied());
    let most = engine.settings.max_model_len as usize / 2;
    let tokens = ((seconds * TOKENS_PER_SECOND) as usize).clamp(1, most);
    let text = format!("{prompt} {heard:016x}");
    // no token of a text has such a number: what was heard is no prefix of anything that was said
    let prompt = (0..tokens).map(|at| 0x8000_0000 | ((heard as u32) ^ at as u32) & 0x7fff_ffff).collect();
    let turn = Turn { role: "user".to_owned(), text, ..Turn::default() };
    Asking {
        conversation: Conversation { turns: vec![turn], ..Conversation::default() },
        prompt,
        plain: true,
    }
}

/// The sampling that the form asks for.
fn asked(form: &Form) -> Result<Asked, Refusal> {
    let mut body = serde_json::Map::new();
    for name in [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "frequency_penalty",
        "repetition_penalty",
        "presence_penalty",
    ] {
        if let Some(number) = form.text(name).and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            body.insert(name.to_owned(), number);
        }
    }
    let body = Value::Object(body);
    let mut fields = Fields::new(&body);
    let mut asked = Asked::read(&mut fields);
    asked.max_tokens = form.text("max_completion_tokens").and_then(|text| text.parse().ok());
    fields.finish()?;
    Ok(asked)
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageSoFar>,
}

#[derive(Serialize)]
struct Choice<'a> {
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Option<()>>,
}

#[derive(Serialize)]
struct Delta<'a> {
    content: &'a str,
}

/// The chunks of a stream, each made when it is asked for.
struct Chunks {
    task: Task,
    heard: Heard,
    steps: Steps,
    include_usage: bool,
    continuous: bool,
    /// Tokens said so far.
    said: usize,
    ending: VecDeque<Event>,
    closed: bool,
}

impl Chunks {
    fn chunk(&self, due: Instant, choices: Vec<Choice<'_>>, with_usage: bool) -> Event {
        let prompt = self.heard.generation.work.prompt_tokens;
        let chunk = Chunk {
            id: &self.heard.id,
            object: self.task.chunk(),
            created: self.heard.created,
            model: &self.heard.model,
            choices,
            usage: with_usage.then_some(UsageSoFar {
                prompt_tokens: prompt,
                total_tokens: prompt + self.said,
                completion_tokens: self.said,
                completion_tokens_details: None,
            }),
        };
        Event { due, bytes: format!("data: {}\n\n", json::event(&chunk)).into() }
    }

    fn step(&mut self, step: Step) -> Option<Event> {
        self.said += 1;
        let script = &self.heard.generation.scripts[step.sequence];
        let mut text = String::new();
        for piece in script.pieces(step.from, step.to) {
            if let Piece::Text(part) = piece {
                text.push_str(part);
            }
        }
        if text.is_empty() && !step.last {
            return None;
        }
        let finish = step.last.then(|| script.finish().reason());
        let choice = Choice {
            delta: Delta { content: &text },
            finish_reason: finish,
            stop_reason: finish.map(|_| None),
        };
        Some(self.chunk(step.due, vec![choice], self.continuous))
    }
}

impl Iterator for Chunks {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        while let Some(step) = self.steps.next(&self.heard.generation) {
            if let Some(event) = self.step(step) {
                return Some(event);
            }
        }
        if !std::mem::replace(&mut self.closed, true) {
            let due = self.heard.generation.done();
            if self.include_usage {
                let usage = self.chunk(due, Vec::new(), true);
                self.ending.push_back(usage);
            }
            self.ending.push_back(Event { due, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
        }
        self.ending.pop_front()
    }
}

/// vLLM's own limit for a file (`VLLM_MAX_AUDIO_CLIP_FILESIZE_MB`), where it is set.
fn too_long(engine: &Engine, file: usize) -> Option<Refusal> {
    let limit = engine.settings.max_audio_bytes?;
    let message = "Maximum file size exceeded";
    let megabytes = file as f64 / f64::from(1 << 20);
    (file > limit).then(|| {
        Refusal::error(
            StatusCode::BAD_REQUEST,
            "BadRequestError",
            format!("{message} (parameter=audio_filesize_mb, value={megabytes})"),
            Some("audio_filesize_mb"),
        )
    })
}
