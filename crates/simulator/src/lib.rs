//! A simulated inference engine: vLLM's routes and wire shapes, without a model behind them.
//!
//! It ships in the product (`ferrovia simulate`, `ferrovia demo`) and is the upstream of the tests. What it
//! says is made up but never random: the same prompt with the same parameters gives the same text at any
//! speed. What it sends is meant to be byte for byte what vLLM 0.32 sends around its own text; ids, times and
//! numbers a model would have computed are the only things left open.
//!
//! The crate has two floors. Here are the parts any engine has: `engine` (what it serves and counts),
//! `conversation` (what is asked, in no dialect), `compose` (what is answered), `script` (the answer as tokens),
//! `pace` (when a token is due) and `deliver`, the one door through which every answer leaves. In the folder
//! `vllm` is how one engine spells all that on the wire; another engine would be a folder beside it, another
//! replica another `engine::Engine`, and a fault something that `deliver` does to a reply.
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

mod compose;
mod conversation;
mod deliver;
mod engine;
mod logprobs;
mod metrics;
mod pace;
mod pattern;
mod schema;
mod script;
mod seed;
mod seen;
mod server;
mod settings;
mod text;
mod tokens;
mod vector;
mod vllm;

pub use seen::{Ending, Seen};
pub use server::{Running, start};
pub use settings::{Model, Settings, Tasks};
