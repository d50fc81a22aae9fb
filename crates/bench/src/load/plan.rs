//! What a load shall be, as it is told on the command line of `ferrovia-bench load`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::dialect::Dialect;

/// How the clients go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each client asks anew as soon as it is answered, on the same connection.
    Closed,
    /// The same, but the clients begin one after another over the length of a stream.
    Staggered,
    /// Each client asks once, all at the same moment.
    AtOnce,
    /// Each client asks once and reads so many bytes a second, until the time is over.
    Slow {
        /// Bytes that a client reads in a second.
        bytes_per_second: usize,
    },
}

/// A load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where to.
    pub address: SocketAddr,
    /// Stands before the dialect's path.
    pub base: String,
    /// In which dialect.
    pub dialect: Dialect,
    /// Which model.
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<String>,
    /// Size of the request's body.
    pub prompt: usize,
    /// Tokens of a stream; `None` asks for a whole answer.
    pub events: Option<u32>,
    /// How long a stream of this model takes between two tokens.
    pub pause: Duration,
    /// How.
    pub shape: Shape,
    /// Clients, each with a connection.
    pub connections: usize,
    /// Calls by all clients together.
    pub calls: u64,
    /// Calls of each client (closed loop) or of all (otherwise) before it counts.
    pub warm: u32,
    /// It ends after this time, whatever is left.
    pub limit: Duration,
}

impl Plan {
    /// A small chat call, made once.
    pub fn one_call(address: SocketAddr, model: &str) -> Plan {
        Plan {
            address,
            base: String::new(),
            dialect: Dialect::Chat,
            model: model.to_owned(),
            key: None,
            prompt: 900,
            events: None,
            pause: Duration::ZERO,
            shape: Shape::Closed,
            connections: 1,
            calls: 1,
            warm: 0,
            limit: Duration::from_secs(60),
        }
    }

    /// How long a stream takes at least.
    pub fn one_stream(&self) -> Duration {
        self.pause * self.events.unwrap_or(0)
    }

    /// What a stream ends with.
    pub(super) fn marker(&self) -> Option<&'static [u8]> {
        self.events.map(|_| self.dialect.terminal_marker())
    }

    /// The words by which [`Plan::parse`] understands this plan.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--address={}", self.address),
            format!("--base={}", self.base),
            format!("--dialect={}", self.dialect.name()),
            format!("--model={}", self.model),
            format!("--prompt={}", self.prompt),
            format!("--pause-ms={}", self.pause.as_millis()),
            format!("--connections={}", self.connections),
            format!("--calls={}", self.calls),
            format!("--warm={}", self.warm),
            format!("--limit-s={}", self.limit.as_secs()),
        ];
        words.extend(self.key.as_ref().map(|key| format!("--key={key}")));
        words.extend(self.events.map(|events| format!("--events={events}")));
        words.push(match self.shape {
            Shape::Closed => "--shape=closed".to_owned(),
            Shape::Staggered => "--shape=staggered".to_owned(),
            Shape::AtOnce => "--shape=at-once".to_owned(),
            Shape::Slow { bytes_per_second } => format!("--shape=slow:{bytes_per_second}"),
        });
        words
    }

    /// Reads a plan. What is not said is as in [`Plan::one_call`].
    pub fn parse(words: &[String]) -> anyhow::Result<Plan> {
        let mut arguments = Arguments::new(words);
        let mut plan = Plan::one_call(SocketAddr::from(([127, 0, 0, 1], 8000)), "bench");
        while let Some(flag) = arguments.flag()? {
            match flag.as_str() {
                "address" => plan.address = arguments.number("address")?,
                "base" => plan.base = arguments.value("base")?,
                "dialect" => {
                    let name = arguments.value("dialect")?;
                    plan.dialect = Dialect::named(&name)
                        .with_context(|| format!("--dialect: `{name}` is not chat, responses or messages"))?;
                }
                "model" => plan.model = arguments.value("model")?,
                "key" => plan.key = Some(arguments.value("key")?),
                "prompt" => plan.prompt = arguments.number("prompt")?,
                "events" => plan.events = Some(arguments.number("events")?),
                "pause-ms" => plan.pause = Duration::from_millis(arguments.number("pause-ms")?),
                "shape" => plan.shape = shape(&arguments.value("shape")?)?,
                "connections" => plan.connections = arguments.number("connections")?,
                "calls" => plan.calls = arguments.number("calls")?,
                "warm" => plan.warm = arguments.number("warm")?,
                "limit-s" => plan.limit = Duration::from_secs(arguments.number("limit-s")?),
                other => bail!("`load` knows no --{other}"),
            }
        }
        if plan.connections == 0 || plan.connections > 50_000 || plan.limit.as_secs() > 3600 {
            bail!("--connections is from 1 to 50000, --limit-s at most 3600: a load is bounded");
        }
        Ok(plan)
    }
}

fn shape(word: &str) -> anyhow::Result<Shape> {
    Ok(match word {
        "closed" => Shape::Closed,
        "staggered" => Shape::Staggered,
        "at-once" => Shape::AtOnce,
        _ => {
            let bytes = word.strip_prefix("slow:").and_then(|bytes| bytes.parse().ok());
            let unknown =
                || format!("--shape: `{word}` is not closed, staggered, at-once or slow:<bytes per second>");
            Shape::Slow { bytes_per_second: bytes.with_context(unknown)? }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_understood_as_it_is_told() {
        let address = "127.0.0.1:4000".parse().unwrap();
        for shape in [Shape::Closed, Shape::Staggered, Shape::AtOnce, Shape::Slow { bytes_per_second: 1024 }]
        {
            let plan = Plan {
                base: "/ai".into(),
                dialect: Dialect::Messages,
                key: Some("k".into()),
                events: Some(5),
                pause: Duration::from_millis(10),
                shape,
                connections: 7,
                calls: 8,
                warm: 9,
                limit: Duration::from_secs(3),
                ..Plan::one_call(address, "vllm/bench")
            };
            assert_eq!(Plan::parse(&plan.words()).unwrap(), plan);
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let problem = |word: &str| Plan::parse(&[word.to_owned()]).unwrap_err().to_string();
        assert!(problem("--shape=square").contains("square"));
        assert!(problem("--colour=red").contains("colour"));
        assert!(problem("--connections=0").contains("--connections"));
        assert!(problem("--calls=many").contains("many"));
    }
}
