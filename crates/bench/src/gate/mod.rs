//! `ferrovia-bench gate`: instructions and allocations of a call and of an event, held against committed figures.
//!
//! The shipped program runs under callgrind in its production configuration, on one serving thread, between the load and
//! the mock upstream. Each workload runs twice, once small and once large: the difference is what the calls cost, and
//! starting and stopping cancel out. Instructions of the whole process count, also those of the thread that writes the
//! log. Counts do not depend on how busy the machine is, but for two things: events that arrive together cost less than
//! apart, and a slower run has the log written more often. Both are small, and a figure that strays is counted again.

mod callgrind;
mod figures;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use callgrind::Profile;
use figures::{Cost, Figures};

use crate::arguments::Arguments;
use crate::load::Plan;
use crate::process::machine::{Machine, find_command};
use crate::scenario::{Loader, whole};
use crate::stage::Stage;
use crate::target::Target;

/// How often figures that stray are counted again before they are believed.
const TRIES: usize = 3;

/// Calls of the small run, and of the large one.
const CALLS: [u64; 2] = [200, 1200];

/// Events of each stream in the small run, and in the large one. The mock sends one every 10 ms: time enough to be read
/// before the next, even under callgrind.
const EVENTS: [u32; 2] = [20, 270];

/// Streams, all at once.
const STREAMS: usize = 4;

/// A run under callgrind ends within this time after it was asked to.
const END: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Debug, Default)]
struct Request {
    gateway: Option<PathBuf>,
    figures: Option<PathBuf>,
    rustc: String,
    bless: bool,
    top: usize,
}

impl Request {
    fn parse(words: &[String]) -> anyhow::Result<Request> {
        let mut arguments = Arguments::new(words);
        let mut request = Request::default();
        while let Some(flag) = arguments.flag()? {
            match flag.as_str() {
                "gateway" => request.gateway = Some(arguments.value("gateway")?.into()),
                "figures" => request.figures = Some(arguments.value("figures")?.into()),
                "rustc" => request.rustc = arguments.value("rustc")?,
                "bless" => request.bless = true,
                "top" => request.top = arguments.number("top")?,
                other => bail!("`gate` knows no --{other}; there are --bless and --top N"),
            }
        }
        Ok(request)
    }
}

/// Counts, and says what came of it. Fails if a figure strays.
pub async fn run(words: &[String], mut say: impl FnMut(&str)) -> anyhow::Result<()> {
    let request = Request::parse(words)?;
    let gateway = request.gateway.as_deref().context("--gateway FILE: which program?")?;
    let path = request.figures.as_deref().context("--figures FILE: held against what?")?;
    let valgrind = find_command("valgrind").context("`valgrind` is missing (apt install valgrind)")?;
    let cores = Machine::here().cores;
    let other = cores.get(1).or(cores.first()).copied().unwrap_or(0);
    let stage = Stage::open(vec![cores.first().copied().unwrap_or(0)], vec![other], None, STREAMS).await?;
    let counter = Counter { stage: &stage, target: Target::Counted(valgrind, gateway.to_owned()) };

    let committed = if request.bless { None } else { Some(Figures::read(path)?) };
    let mut tried = 1;
    let (figures, strays) = loop {
        let (call, event) = (counter.calls().await?, counter.events().await?);
        if tried == 1 && request.top > 0 {
            say(&call.top("instructions per call", request.top));
            say(&event.top("instructions per event", request.top));
        }
        let figures = Figures { rustc: request.rustc.clone(), call: call.cost(), event: event.cost() };
        let strays = committed.as_ref().map(|committed| figures.strays(committed)).unwrap_or_default();
        if strays.is_empty() || tried == TRIES {
            break (figures, strays);
        }
        tried += 1;
    };
    say(&figures.table(committed.as_ref()));
    let Some(committed) = committed else {
        figures.write(path)?;
        say(&format!("written to {}\n", path.display()));
        return Ok(());
    };
    if strays.is_empty() {
        return Ok(());
    }
    let what = strays.join(", ");
    if committed.rustc != figures.rustc {
        say(&format!(
            "WARNING: {what} differ by more than 5 %, and so do the compilers: {} then, {} now. Nothing is judged; \
             `cargo xtask gate --bless` writes figures of this one.\n",
            committed.rustc, figures.rustc
        ));
        return Ok(());
    }
    bail!(
        "{what}: more than 5 % from the committed figures, {TRIES} times over; if that is meant, write and commit them: \
         cargo xtask gate --bless"
    )
}

struct Counter<'a> {
    stage: &'a Stage,
    target: Target,
}

/// Two runs, and by how many calls or events they differ.
struct Pair {
    small: Profile,
    large: Profile,
    times: f64,
}

impl Counter<'_> {
    async fn calls(&self) -> anyhow::Result<Pair> {
        let plan = |calls| Plan { calls, ..Plan::one_call(self.stage.mock, "") };
        let [small, large] = CALLS;
        let times = (large - small) as f64;
        Ok(Pair {
            small: self.count("bench", plan(small)).await?,
            large: self.count("bench", plan(large)).await?,
            times,
        })
    }

    async fn events(&self) -> anyhow::Result<Pair> {
        let plan = |events| Plan {
            events: Some(events),
            pause: Duration::from_millis(10),
            connections: STREAMS,
            calls: STREAMS as u64,
            ..Plan::one_call(self.stage.mock, "")
        };
        let [small, large] = EVENTS;
        let times = f64::from(large - small) * STREAMS as f64;
        Ok(Pair {
            small: self.count("bench-10ms", plan(small)).await?,
            large: self.count("bench-10ms", plan(large)).await?,
            times,
        })
    }

    /// Runs one workload, and reads what it executed.
    async fn count(&self, model: &str, plan: Plan) -> anyhow::Result<Profile> {
        let standing = self.target.start(self.stage).await?;
        let told = standing.plan(model);
        let plan = Plan { address: told.address, key: told.key, model: told.model, limit: END * 3, ..plan };
        let mut loader = Loader::ready(self.stage, &plan).await?;
        loader.go().await?;
        whole(&loader.done().await?)?;
        drop(loader);
        let folder = standing.end(END).await?;
        Profile::read(&folder.path.join(OUT))
    }
}

/// The file that callgrind writes, in the target's folder.
pub(crate) const OUT: &str = "callgrind.out";

/// How a program is started under callgrind.
pub(crate) fn arguments(folder: &Path, program: &Path) -> Vec<std::ffi::OsString> {
    let out = format!("--callgrind-out-file={}", folder.join(OUT).display());
    vec!["--tool=callgrind".into(), out.into(), program.into()]
}

impl Pair {
    fn cost(&self) -> Cost {
        let each = |large: u64, small: u64| (large as f64 - small as f64) / self.times;
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        Cost {
            instructions: each(self.large.instructions(), self.small.instructions()).round(),
            allocations: rounded(each(self.large.allocations(), self.small.allocations())),
        }
    }

    /// The functions in which most instructions are, their callees' not counted.
    fn top(&self, title: &str, most: usize) -> String {
        let each = |large: u64, small: u64| (large as f64 - small as f64) / self.times;
        let of = |counts: &std::collections::BTreeMap<String, u64>, name: &str| {
            counts.get(name).copied().unwrap_or(0)
        };
        let mut rows: Vec<(f64, f64, &str)> = self
            .large
            .own
            .iter()
            .map(|(name, own)| {
                let calls = each(of(&self.large.calls, name), of(&self.small.calls, name));
                (each(*own, of(&self.small.own, name)), calls, name.as_str())
            })
            .collect();
        rows.sort_by(|one, other| other.0.total_cmp(&one.0));
        let rows = rows.iter().take(most);
        let rows = rows.map(|(own, calls, name)| format!("{own:>9.0}{calls:>9.2} calls  {name}\n"));
        format!("{title}, by function:\n{}\n", rows.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_cancels_out() {
        let profile = |own: u64, calls: u64| Profile {
            own: [("f".to_owned(), own)].into(),
            calls: [("malloc".to_owned(), calls), ("f".to_owned(), calls)].into(),
        };
        let pair = Pair { small: profile(1_000, 50), large: profile(3_000, 75), times: 10.0 };
        assert_eq!(pair.cost(), Cost { instructions: 200.0, allocations: 2.5 });
        assert!(pair.top("per call", 1).contains("200     2.50 calls  f"), "{}", pair.top("", 1));
    }
}
