//! What the setup and the notes of a transcript about the gateway mean, for those who play one: as pure functions or
//! over real sockets. What both must agree on is here.
//!
//! A `--- setup` may say:
//!
//! | Key | Meaning | Without it |
//! |---|---|---|
//! | `provider` | the type of the one provider, or `none` | `vllm` |
//! | `name` | what it is called; must begin with its type | its type, with hyphens |
//! | `models` | the models it lists | `tern-8b`, `tern-embed`, `tern-rerank` |
//! | `key` | the key that it wants | none |
//! | `path` | the path of its base URL | `/v1` |
//! | `routes` | the paths that it says it can be posted to | it does not say |
//! | `master key` | the gateway's own key | the gateway is open |
//! | `retries` | attempts after the first | `0` |
//! | `usage` | `off`: usage is not asked for | on |
//! | `provider member` | `off`: replies do not get one | on |
//! | `rewrite errors` | `on`: the passthrough puts every refusal into the envelope | off |
//! | `upstream` | `cut`: the last answer's connection closes before the body has ended | it ends |
//! | `fill` | how many letters `x` the mark `{{fill}}` stands for in every body | not a mark |

use std::str::FromStr;

use crate::transcript::{Side, Transcript};

/// The id that every story's request has.
pub const REQUEST_ID: &str = "story-1";

/// The mark that stands for a long run of `x`.
const FILL: &str = "{{fill}}";

/// What must be configured for a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The provider's type; `None` without one.
    pub provider: Option<String>,
    /// What it is called.
    pub name: String,
    /// The models that it lists.
    pub models: Vec<String>,
    /// The key that it wants.
    pub key: Option<String>,
    /// The path of its base URL.
    pub path: String,
    /// The paths that it says it can be posted to.
    pub routes: Option<Vec<String>>,
    /// The gateway's own key.
    pub master_key: Option<String>,
    /// Attempts after the first.
    pub retries: u32,
    /// Whether usage is asked for on behalf of clients.
    pub usage: bool,
    /// Whether replies get the `provider` member.
    pub provider_member: bool,
    /// Whether the passthrough puts every refusal into the envelope.
    pub rewrite_errors: bool,
    /// Whether the connection of the last answer closes before its body has ended.
    pub cut: bool,
    /// How many letters `{{fill}}` stands for; 0 if it is no mark.
    pub fill: usize,
}

impl Setup {
    /// Reads it out of a story.
    ///
    /// # Panics
    /// When a key or a value is not one of those above.
    pub fn read(story: &Transcript) -> Setup {
        let known = [
            "provider",
            "name",
            "models",
            "key",
            "path",
            "routes",
            "master key",
            "retries",
            "usage",
            "provider member",
            "rewrite errors",
            "upstream",
            "fill",
        ];
        for (key, _) in &story.setup {
            assert!(known.contains(&key.as_str()), "{:?}: no setup key is called {key:?}", story.title);
        }
        let text = |key: &str| story.setting(key).map(str::to_owned);
        let list = |key: &str| {
            story.setting(key).map(|all| all.split(',').map(|one| one.trim().to_owned()).collect())
        };
        let provider = text("provider").unwrap_or_else(|| "vllm".into());
        let models = || ["tern-8b", "tern-embed", "tern-rerank"].map(str::to_owned).to_vec();
        Setup {
            name: text("name").unwrap_or_else(|| provider.replace('_', "-")),
            provider: Some(provider).filter(|kind| kind != "none"),
            models: list("models").unwrap_or_else(models),
            key: text("key"),
            path: text("path").unwrap_or_else(|| "/v1".into()),
            routes: list("routes"),
            master_key: text("master key"),
            retries: number(story, "retries"),
            usage: !switch(story, "usage", "off"),
            provider_member: !switch(story, "provider member", "off"),
            rewrite_errors: switch(story, "rewrite errors", "on"),
            cut: switch(story, "upstream", "cut"),
            fill: number(story, "fill"),
        }
    }

    /// A body with what `{{fill}}` stands for.
    pub fn filled(&self, body: &[u8]) -> Vec<u8> {
        self.exchange(body, FILL.as_bytes(), &self.run())
    }

    /// A body as the file tells it.
    pub fn unfilled(&self, body: &[u8]) -> Vec<u8> {
        self.exchange(body, &self.run(), FILL.as_bytes())
    }

    fn run(&self) -> Vec<u8> {
        vec![b'x'; self.fill]
    }

    fn exchange(&self, body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        if self.fill == 0 {
            return body.to_vec();
        }
        let (mut out, mut rest) = (Vec::with_capacity(body.len()), body);
        while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(to);
            rest = &rest[at + from.len()..];
        }
        out.extend_from_slice(rest);
        out
    }
}

fn switch(story: &Transcript, key: &str, word: &str) -> bool {
    match story.setting(key) {
        None => false,
        Some(value) if value == word => true,
        Some(other) => panic!("{:?}: {key} is {word} or left out, not {other:?}", story.title),
    }
}

fn number<T: FromStr + Default>(story: &Transcript, key: &str) -> T {
    story.setting(key).map_or_else(T::default, |value| {
        value.parse().unwrap_or_else(|_| panic!("{:?}: {key} is a number, not {value:?}", story.title))
    })
}

/// The story's request with the headers that every story has: its id, and the content type of a JSON body.
#[must_use]
pub fn request(story: &Transcript) -> Side {
    let mut side = story.request.clone();
    let mut default = |name: &str, value: &str| {
        if side.header(name).is_none() {
            side.headers.push((name.to_owned(), value.to_owned()));
        }
    };
    default("x-request-id", REQUEST_ID);
    if !story.request.body.is_empty() {
        default("content-type", "application/json");
    }
    side
}

/// An upstream's answer with what `{{fill}}` stands for.
#[must_use]
pub fn answer(setup: &Setup, side: &Side) -> Side {
    Side { body: setup.filled(&side.body), ..side.clone() }
}

/// What an upstream was asked, as a story tells it: without the headers that every request has.
pub fn asked(setup: &Setup, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Side {
    let usual = |name: &str, value: &str| match name {
        "host" | "content-length" | "transfer-encoding" => true,
        "accept-encoding" => value == "identity",
        "content-type" => value == "application/json",
        "user-agent" => value.starts_with("ferrovia/"),
        "x-request-id" | "x-client-request-id" => value == REQUEST_ID,
        _ => false,
    };
    Side { head: format!("{method} {target}"), headers: told(headers, usual), body: setup.unfilled(body) }
}

/// What a client got, as a story tells it: without the headers that every response has.
pub fn got(setup: &Setup, status: u16, headers: &[(String, String)], body: &[u8]) -> Side {
    let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    let usual = |name: &str, value: &str| match name {
        "content-type" | "content-length" | "transfer-encoding" | "date" | "server-timing" => true,
        "x-ferrovia-changes" => true,
        "x-request-id" => value == REQUEST_ID,
        _ => false,
    };
    let head = match kind {
        Some(kind) => format!("{status} {kind}"),
        None => status.to_string(),
    };
    Side { head, headers: told(headers, usual), body: setup.unfilled(body) }
}

/// The headers that are not usual, in lower case and in the order of their names.
fn told(headers: &[(String, String)], usual: impl Fn(&str, &str) -> bool) -> Vec<(String, String)> {
    let lower = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut told: Vec<_> = lower.filter(|(name, value)| !usual(name, value)).collect();
    told.sort();
    told
}

/// What a call used, as it was accounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Tokens in.
    pub input: u64,
    /// Tokens out.
    pub output: u64,
    /// Tokens that a cache served.
    pub cached: u64,
    /// Whether the figures are a guess.
    pub estimated: bool,
}

/// What else is known of a call that is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// What was changed on the way, as the client was told.
    pub changes: Option<String>,
    /// What was used.
    pub used: Used,
    /// How it ended: `complete`, `refused`, `failed`, `client_gone`.
    pub outcome: String,
    /// The word for programs that a fault had.
    pub code: Option<String>,
    /// Whether the client's connection was cut inside the body.
    pub cut: bool,
}

impl Ending {
    /// Writes the `===` lines.
    pub fn tell(&self, story: &mut Transcript) {
        if let Some(changes) = &self.changes {
            story.set_note("changes", changes);
        }
        let Used { input, output, cached, estimated } = self.used;
        if self.used != Used::default() {
            let cached = if cached > 0 { format!(" cached={cached}") } else { String::new() };
            let estimated = if estimated { " estimated" } else { "" };
            story.set_note("usage", &format!("input={input} output={output}{cached}{estimated}"));
        }
        let code = self.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        story.set_note("end", &format!("{}{code}", self.outcome));
        if self.cut {
            story.set_note("connection", "cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(lines: &str) -> Setup {
        Setup::read(&Transcript::parse(&format!("# t\n--- setup\n{lines}>>> client GET /\n")).unwrap())
    }

    #[test]
    fn a_fill_stands_for_a_long_run_both_ways() {
        let setup = setup("fill = 5\n");
        assert_eq!(setup.filled(b"a{{fill}}b{{fill}}"), b"axxxxxbxxxxx");
        assert_eq!(setup.unfilled(b"axxxxxbxxxxx"), b"a{{fill}}b{{fill}}");
        assert_eq!(super::Setup { fill: 0, ..setup }.filled(b"{{fill}}"), b"{{fill}}");
    }

    #[test]
    fn a_setup_that_is_not_understood_is_no_setup() {
        for wrong in ["retrys = 1\n", "retries = one\n", "usage = on\n"] {
            assert!(std::panic::catch_unwind(|| setup(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(setup("provider = none\n").provider, None);
    }

    #[test]
    fn only_what_is_unusual_is_told() {
        let headers = [
            ("Host", "h"),
            ("accept-encoding", "gzip"),
            ("X-B", "2"),
            ("x-a", "1"),
            ("content-type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let names: Vec<_> =
            asked(&setup(""), "POST", "/", &headers, b"").headers.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["accept-encoding", "x-a", "x-b"]);
    }
}
