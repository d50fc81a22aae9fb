//! Entries as lines: a JSON object for machines, `name=value` for people. There is a line for each call, so it is written
//! by hand.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::CallEntry;
use crate::figures::Figure;

/// Writes one line after the other.
#[derive(Default)]
pub struct Lines {
    /// The second in which the last entry ended, and how it is written: up to the dot. Many entries end in the same one.
    second: Option<(i64, String)>,
}

/// The value of a field.
enum Value<'a> {
    /// A text that may hold anything.
    Text(&'a str),
    /// A word of ours: nothing in it needs an escape.
    Word(&'static str),
    Number(u64),
    /// A duration, in milliseconds.
    Millis(Duration),
    Yes(bool),
    Address(IpAddr),
}

impl Lines {
    /// Adds an entry as a JSON object.
    pub fn json(&mut self, entry: &CallEntry, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.moment(entry.timestamp, out);
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(entry.level.as_bytes());
        out.extend_from_slice(b"\",\"message\":\"call\"");
        fields(entry, |name, value| {
            out.extend_from_slice(name.as_bytes());
            put(&value, out);
        });
        out.extend_from_slice(b"}\n");
    }

    /// Adds an entry as a text.
    pub fn text(&mut self, entry: &CallEntry, out: &mut Vec<u8>) {
        self.moment(entry.timestamp, out);
        // a vector takes whatever is written
        let _ = write!(out, " {:>5} call", entry.level);
        fields(entry, |name, value| {
            out.push(b' ');
            out.extend_from_slice(name.trim_matches([',', '"', ':']).as_bytes());
            out.push(b'=');
            put(&value, out);
        });
        out.push(b'\n');
    }

    /// Adds a moment, to the microsecond.
    fn moment(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let micros = at.as_microsecond();
        let (second, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let (_, written) = match &mut self.second {
            Some(same) if same.0 == second => same,
            other => {
                let mut written = format!("{at:.6}");
                written.truncate(written.len() - "000000Z".len());
                other.insert((second, written))
            }
        };
        out.extend_from_slice(written.as_bytes());
        let digits = Figure::number(micros.unsigned_abs());
        out.extend_from_slice(&b"000000"[digits.digits().len()..]);
        out.extend_from_slice(digits.digits());
        out.push(b'Z');
    }
}

/// Every field behind the first three, in order, with its name as JSON's members have theirs.
fn fields<'a>(entry: &'a CallEntry, mut field: impl FnMut(&'static str, Value<'a>)) {
    use Value::{Address, Millis, Number, Text, Word, Yes};
    field(r#","request_id":"#, Text(&entry.request_id));
    if let Some(trace) = &entry.trace_id {
        field(r#","trace_id":"#, Text(trace));
    }
    field(r#","method":"#, Text(entry.method.as_str()));
    field(r#","route":"#, Word(entry.route));
    if let Some(operation) = entry.operation {
        field(r#","operation":"#, Word(operation));
    }
    field(r#","status":"#, Number(entry.status.into()));
    field(r#","outcome":"#, Word(entry.outcome));
    if let Some(provider) = &entry.provider {
        field(r#","provider":"#, Text(provider.as_str()));
    }
    if let Some(model) = &entry.model {
        field(r#","model":"#, Text(model.as_str()));
    }
    field(r#","stream":"#, Yes(entry.stream));
    field(r#","input_tokens":"#, Number(entry.input_tokens));
    field(r#","output_tokens":"#, Number(entry.output_tokens));
    field(r#","cached_tokens":"#, Number(entry.cached_tokens));
    if entry.audio_seconds > 0 {
        field(r#","audio_seconds":"#, Number(entry.audio_seconds));
    }
    field(r#","estimated":"#, Yes(entry.estimated));
    field(r#","attempts":"#, Number(entry.attempts.into()));
    field(r#","duration_ms":"#, Millis(entry.duration));
    if let Some(first_byte) = entry.first_byte {
        field(r#","first_byte_ms":"#, Millis(first_byte));
    }
    field(r#","upstream_ms":"#, Millis(entry.upstream));
    field(r#","gateway_ms":"#, Millis(entry.gateway));
    field(r#","auth":"#, Word(entry.auth));
    if let Some(path) = &entry.user_path {
        field(r#","user_path":"#, Text(path));
    }
    if let Some(client) = entry.client {
        field(r#","client":"#, Address(client));
    }
    if let Some(error) = &entry.error {
        field(r#","error":"#, Text(error));
    }
    if let Some(code) = &entry.error_code {
        field(r#","error_code":"#, Text(code));
    }
    if let Some(status) = entry.upstream_status {
        field(r#","upstream_status":"#, Number(status.into()));
    }
}

/// Adds a value, as JSON has it.
fn put(value: &Value<'_>, out: &mut Vec<u8>) {
    match *value {
        Value::Text(text) => {
            // looked at as a whole: a loop that may stop at each byte takes one at a time
            let escaped = |some, byte| some | (byte < 0x20) | (byte == b'"') | (byte == b'\\');
            if text.bytes().fold(false, escaped) {
                let written = serde_json::to_writer(out, text);
                debug_assert!(written.is_ok(), "a vector takes whatever is written");
            } else {
                put_plain(text, out);
            }
        }
        Value::Word(word) => put_plain(word, out),
        Value::Number(number) => out.extend_from_slice(Figure::number(number).digits()),
        Value::Millis(duration) => out.extend_from_slice(Figure::millis(duration).shortest()),
        Value::Yes(yes) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
        Value::Address(IpAddr::V4(address)) => {
            out.push(b'"');
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(Figure::number(octet.into()).digits());
            }
            out.push(b'"');
        }
        Value::Address(IpAddr::V6(address)) => {
            let _ = write!(out, "\"{address}\"");
        }
    }
}

/// Adds a text in which nothing needs an escape.
fn put_plain(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value as Json, json};

    /// What people and upstreams write where a text is asked for.
    const TEXTS: [&str; 9] = [
        "",
        "plain",
        "7f0c9a52-3c1b-4d0e-8a57-0d3b1f6c9e21",
        "a \"quoted\" one",
        "C:\\path\\",
        "two\nlines\tand\r\u{8}\u{c}",
        "\u{0}\u{1f}\u{7f}",
        "naïve – \u{1f511} \u{2028}",
        "a long one without anything in it that would have to be escaped, which is what most messages of upstreams are",
    ];

    /// Entries with every field there and missing, and every text in every place.
    fn entries() -> impl Iterator<Item = CallEntry> {
        let moments: [i128; 7] =
            [0, 1, 999_999_999, 1_795_304_096_000_000_999, 1_795_304_096_100_000_000, -1_000, -1_500_000_000];
        (0..4096_usize).map(move |n| {
            let some = |bit: usize| n >> bit & 1 == 1;
            let text = |at: usize| TEXTS[(n / 3 + at) % TEXTS.len()];
            let spent = |at: usize| Duration::from_nanos((n * n * 7919 + at * 104_729) as u64);
            CallEntry {
                timestamp: Timestamp::from_nanosecond(moments[n % moments.len()]).expect("a moment"),
                level: if some(0) { "INFO" } else { "WARN" },
                request_id: text(0).into(),
                trace_id: some(1).then(|| text(1).to_owned()),
                method: if some(2) { http::Method::POST } else { http::Method::GET },
                route: "/v1/models/{id}",
                operation: some(3).then_some("generate"),
                status: [200, 404, 499, 502][n % 4],
                outcome: "complete",
                provider: some(4).then(|| text(2).into()),
                model: some(5).then(|| text(3).into()),
                stream: some(6),
                input_tokens: n as u64 * 977,
                output_tokens: n as u64 % 11,
                cached_tokens: u64::MAX - n as u64,
                audio_seconds: n as u64 % 3,
                estimated: some(7),
                attempts: n as u32 % 4,
                duration: spent(0),
                first_byte: some(8).then(|| spent(1)),
                upstream: Duration::from_micros(n as u64 * 10),
                gateway: spent(3),
                auth: "no_key",
                user_path: some(9).then(|| text(4).to_owned()),
                client: some(10)
                    .then(|| ["127.0.0.1", "192.0.2.255", "2001:db8::1", "::"][n % 4].parse().expect("one")),
                error: some(11).then(|| text(5).to_owned()),
                error_code: some(11).then(|| text(6).to_owned()),
                upstream_status: some(3).then_some(503),
            }
        })
    }

    /// The entry as a JSON object, by the library's own writer.
    fn object(entry: &CallEntry) -> Map<String, Json> {
        let millis = |duration: Duration| ((duration.as_nanos() + 500) / 1000) as f64 / 1e3;
        let all = json!({
            "timestamp": format!("{:.6}", entry.timestamp),
            "level": entry.level,
            "message": "call",
            "request_id": &*entry.request_id,
            "trace_id": entry.trace_id,
            "method": entry.method.as_str(),
            "route": entry.route,
            "operation": entry.operation,
            "status": entry.status,
            "outcome": entry.outcome,
            "provider": entry.provider,
            "model": entry.model,
            "stream": entry.stream,
            "input_tokens": entry.input_tokens,
            "output_tokens": entry.output_tokens,
            "cached_tokens": entry.cached_tokens,
            "audio_seconds": (entry.audio_seconds > 0).then_some(entry.audio_seconds),
            "estimated": entry.estimated,
            "attempts": entry.attempts,
            "duration_ms": millis(entry.duration),
            "first_byte_ms": entry.first_byte.map(millis),
            "upstream_ms": millis(entry.upstream),
            "gateway_ms": millis(entry.gateway),
            "auth": entry.auth,
            "user_path": entry.user_path,
            "client": entry.client,
            "error": entry.error,
            "error_code": entry.error_code,
            "upstream_status": entry.upstream_status,
        });
        let Json::Object(all) = all else { panic!("an object") };
        all.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    #[test]
    fn a_line_is_what_a_library_would_write() {
        let mut lines = Lines::default();
        for entry in entries() {
            let mut line = Vec::new();
            lines.json(&entry, &mut line);
            let expect = serde_json::to_string(&object(&entry)).expect("an object") + "\n";
            assert_eq!(std::str::from_utf8(&line).expect("a text"), expect);
        }
    }

    #[test]
    fn people_read_the_same_fields() {
        let mut lines = Lines::default();
        for entry in entries() {
            let mut line = Vec::new();
            lines.text(&entry, &mut line);
            let mut expect = format!("{:.6}  {} call", entry.timestamp, entry.level);
            for (name, value) in object(&entry).iter().skip(3) {
                expect.push_str(&format!(" {name}={value}"));
            }
            assert_eq!(std::str::from_utf8(&line).expect("a text"), expect + "\n");
        }
    }
}
