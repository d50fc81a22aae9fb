//! A simulated inference engine: vLLM's routes and wire shapes, without a model behind them; also a fleet of such
//! engines, older versions of vLLM, three other engines, and every way in which any of them can go wrong.
//!
//! It ships in the product (`ferrovia simulate`, `ferrovia demo`) and is the upstream of the tests. What it
//! says is made up but never random: the same prompt with the same parameters gives the same text at any
//! speed. What it sends as vLLM is meant to be byte for byte what vLLM 0.32 sends around its own text; ids, times
//! and numbers a model would have computed are the only things left open.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let engine = simulator::start(simulator::Settings::default()).await?;
//! println!("curl {}/v1/models", engine.base_url());
//! engine.stop().await;
//! # std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```
//!
//! # Replicas
//!
//! [`start_fleet`] starts many engines in one process, each with an address of its own and with everything a
//! router looks at: a KV cache of blocks of 16 tokens, shared by prefix and given up least recently used first (so
//! only what is not cached takes time to read, and `cached_tokens` is true); a bounded batch, a queue in order of
//! arrival; `/metrics` with the values of the moment; aborts with their time ([`Seen`], [`Ending::Aborted`]). With
//! [`Settings::dev_mode`] an engine sleeps and wakes, and loads and unloads LoRA adapters.
//!
//! # Versions
//!
//! [`Settings::version`] decides what vLLM says: thoughts are `reasoning_content` before 0.11.1, both until 0.16,
//! then `reasoning`; `guided_*` hold before 0.12, `structured_outputs` from 0.10.2 on; errors are flat before
//! 0.10.1; the metrics of the cache carry `gpu` in their names before 0.10; `/v1/responses` and `/v1/messages` come
//! with 0.10 and 0.11.1. Where each of these is from stands in the module `vllm::version`. All else is as in 0.32.
//!
//! # Personalities
//!
//! [`Settings::played_by`] turns the engine into SGLang, llama.cpp's server or Ollama, in what a gateway gets to see
//! of them: which routes there are and what the others answer, lists of models and context lengths, the routes that
//! tell what an engine is, errors, streams, health, metrics. The documentation of each module says what differs.
//!
//! # Faults
//!
//! A request meets a [`Fault`] because its header `x-simulate-fault` asks for it, because its model does
//! (`fault:NAME/the-model`, or a served model whose id is `broken-NAME`), or because [`Settings::faults`] has it in
//! store. Numbers stand behind the name: `retry-after-seconds:503:30`, `reset-mid-event:5`. A name that is no fault
//! is answered with 400 and the list of those that are. [`Fault::ALL`] with [`Fault::about`] and
//! [`Fault::parameters`] is the catalogue, [`Fault::applies`] tells where one changes anything; [`Seen::fault`] and
//! [`Ending::Cut`] tell afterwards what happened. What hyper would never send is written on the bare connection:
//! hyper reads the request and steps aside.
//!
//! # Inside
//!
//! Here are the parts any engine has: `engine` (what it serves and counts), `scheduler` and `blocks` (who runs, and
//! what is cached), `conversation` (what is asked, in no dialect), `compose` (what is answered), `script` (the answer
//! as tokens), `pace` (when a token is due), `reply` and `deliver` (how an answer leaves). Each engine's own
//! spelling is a folder: `vllm`, `sglang`, `llamacpp`, `ollama`, with `openai` for what the last three share. A fault
//! is an edit of a reply and a plan for sending it (`fault`), which `exchange` carries out on a `socket`.

mod blocks;
mod compose;
mod connections;
mod conversation;
mod deliver;
mod engine;
mod exchange;
mod fault;
mod form;
mod llamacpp;
mod logprobs;
mod metrics;
mod ollama;
mod openai;
mod pace;
mod pattern;
mod personality;
mod reply;
mod scheduler;
mod schema;
mod script;
mod seed;
mod seen;
mod server;
mod settings;
mod sglang;
mod socket;
mod text;
mod ticket;
mod tokens;
mod vector;
mod vllm;

pub use fault::{Fault, Injection, Match, Parameter, Rule, Schedule, When};
pub use seen::{Ending, Seen};
pub use server::{Running, start, start_fleet};
pub use settings::{Model, Personality, Settings, Tasks};
