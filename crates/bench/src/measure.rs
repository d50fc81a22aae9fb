//! `ferrovia-bench measure`: rounds in which every target has its turn.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::process::machine::{Machine, find_command, load_average};
use crate::report;
use crate::rounds::{in_turn, note, progress};
use crate::run::Run;
use crate::samples::Samples;
use crate::scenario::{Extent, SCENARIOS, Scenario};
use crate::stage::Stage;
use crate::target::{External, REFERENCE, Target};
use crate::vendor;

/// What `--help` says.
pub const USAGE: &str = "\
usage: cargo xtask bench [flags]      (or: ferrovia-bench measure --gateway FILE [flags])

what
  --only S1,S4          these scenarios; all of them: S1, S2, S3, S3M, S4, S5, S7, S10
  --vendor              the shape of GoModel's published benchmark instead: everything on the same two cores
  --rounds N            how often every target has its turn (5)
  --quick               two rounds of a tenth: to see that it works, not to publish
  --streams N           streams open at once in S5 (2000; try 10000)
  --without nginx,haproxy   leave reference proxies out

another gateway, started by you and pointed at the mock upstream; may be repeated
  --mock-port N         where the mock upstream will listen
  --url URL --pid PID   the gateway, and its process (children count)
  --name NAME           how it is called in results
  --key KEY             the key that it wants
  --model-prefix P      what it wants before the mock's model names: `vllm/`

results
  --json FILE           every figure of every round
  --charts FOLDER       charts as SVG
  --page FILE           writes tables and charts between the markers of this Markdown file

  --cpus A,B            cores: load and mock on A, what is measured on B (the first two that may be used)
";

/// Reference proxies.
const REFERENCES: [&str; 2] = [REFERENCE, "haproxy"];

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    gateway: Option<PathBuf>,
    only: Vec<String>,
    vendor: bool,
    rounds: Option<usize>,
    quick: bool,
    streams: usize,
    without: Vec<String>,
    mock_port: Option<u16>,
    externals: Vec<External>,
    cpus: Option<(usize, usize)>,
    results: report::Files,
}

impl Request {
    /// Reads a command line.
    pub fn parse(words: &[String]) -> anyhow::Result<Request> {
        let mut request = Request {
            gateway: None,
            only: Vec::new(),
            vendor: false,
            rounds: None,
            quick: false,
            streams: 2000,
            without: Vec::new(),
            mock_port: None,
            externals: Vec::new(),
            cpus: None,
            results: report::Files::default(),
        };
        let mut arguments = Arguments::new(words);
        while let Some(flag) = arguments.flag()? {
            request.flag(&flag, &mut arguments)?;
        }
        request.check()?;
        Ok(request)
    }

    fn flag(&mut self, flag: &str, arguments: &mut Arguments<'_>) -> anyhow::Result<()> {
        match flag {
            "gateway" => self.gateway = Some(arguments.value(flag)?.into()),
            "only" => self.only = list(&arguments.value(flag)?.to_ascii_uppercase()),
            "vendor" => self.vendor = true,
            "rounds" => self.rounds = Some(arguments.number(flag)?),
            "quick" => self.quick = true,
            "streams" => self.streams = arguments.number(flag)?,
            "without" => self.without = list(&arguments.value(flag)?),
            "mock-port" => self.mock_port = Some(arguments.number(flag)?),
            "url" => self.externals.push(External::parse(&arguments.value(flag)?)?),
            "pid" | "name" | "key" | "model-prefix" => {
                let value = arguments.value(flag)?;
                let external = self.externals.last_mut();
                let external = external.with_context(|| format!("--{flag} belongs behind a --url"))?;
                match flag {
                    "pid" => external.pid = value.parse().with_context(|| format!("--pid {value}"))?,
                    "name" => external.name = value,
                    "key" => external.key = Some(value),
                    _ => external.model_prefix = value,
                }
            }
            "json" => self.results.json = Some(arguments.value(flag)?.into()),
            "charts" => self.results.charts = Some(arguments.value(flag)?.into()),
            "page" => self.results.page = Some(arguments.value(flag)?.into()),
            "cpus" => {
                let value = arguments.value(flag)?;
                let cores = value.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                self.cpus = Some(cores.with_context(|| format!("--cpus {value}: write two cores, as 0,1"))?);
            }
            other => bail!("`measure` knows no --{other}\n\n{USAGE}"),
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        for name in &self.only {
            if !SCENARIOS.iter().any(|scenario| scenario.id == name) {
                let known = SCENARIOS.map(|scenario| scenario.id).join(", ");
                bail!("--only: there is no scenario `{name}`; there are {known}");
            }
        }
        for name in &self.without {
            if !REFERENCES.contains(&name.as_str()) {
                bail!("--without: `{name}` is not nginx or haproxy");
            }
        }
        for external in &self.externals {
            if external.pid == 0 {
                bail!("--url http://{} needs --pid: CPU and memory are counted by process", external.address);
            }
            if self.mock_port.is_none() {
                bail!("--url needs --mock-port: the gateway has to know where its upstream will be");
            }
        }
        if self.rounds == Some(0) || self.rounds.is_some_and(|rounds| rounds > 100) {
            bail!("--rounds is from 1 to 100");
        }
        if self.streams == 0 || self.streams > 50_000 {
            bail!("--streams is from 1 to 50000");
        }
        if self.gateway.is_none() && self.externals.is_empty() {
            bail!("there is nothing to measure: --gateway FILE or --url URL --pid PID");
        }
        Ok(())
    }

    /// Who takes part, and what to say about those who do not.
    fn targets(&self, remarks: &mut Vec<String>) -> Vec<Target> {
        let mut targets = vec![Target::Direct];
        for name in REFERENCES {
            if self.without.iter().any(|without| without == name) {
                continue;
            }
            match find_command(name) {
                Some(program) if name == REFERENCE => targets.push(Target::Nginx(program)),
                Some(program) => targets.push(Target::Haproxy(program)),
                None => remarks.push(format!("{name} is missing (apt install {name}): not measured")),
            }
        }
        targets.extend(self.gateway.clone().map(Target::Ferrovia));
        targets.extend(self.externals.iter().cloned().map(Target::External));
        targets
    }

    fn cores(&self, machine: &Machine) -> (Vec<usize>, Vec<usize>) {
        let first = machine.cores.first().copied().unwrap_or(0);
        let (load, gateway) = self.cpus.unwrap_or((first, machine.cores.get(1).copied().unwrap_or(first)));
        // the vendor's table has everything on the same two cores
        let both = if load == gateway { vec![load] } else { vec![load, gateway] };
        if self.vendor { (both.clone(), both) } else { (vec![load], vec![gateway]) }
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Measures, and tells the figures.
pub async fn run(request: &Request) -> anyhow::Result<()> {
    let began = Instant::now();
    let machine = Machine::here();
    let (load_cores, gateway_cores) = request.cores(&machine);
    let stage = Stage::open(load_cores, gateway_cores, request.mock_port, request.streams).await?;
    let mut remarks = stage.remarks();
    let targets = request.targets(&mut remarks);
    let rounds = request.rounds.unwrap_or(if request.quick { 2 } else { 5 });
    if request.streams > stage.most_streams() {
        remarks.push(format!(
            "S5 has {} streams instead of {}: a process may open {} files (ulimit -n)",
            stage.most_streams(),
            request.streams,
            stage.machine.open_files
        ));
    }
    for remark in &remarks {
        progress(&format!("note: {remark}"));
    }
    let mut samples = Samples::default();
    if request.vendor {
        vendor::measure(&stage, &targets, rounds, request.quick, &mut samples).await;
    } else {
        let chosen = |scenario: &&Scenario| {
            request.only.is_empty() || request.only.iter().any(|name| name == scenario.id)
        };
        let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(chosen).collect();
        let divisor = if request.quick { 10 } else { 1 };
        let extent = Extent { divisor, streams: request.streams };
        for round in 1..=rounds {
            samples.load_average.push(load_average());
            for scenario in &scenarios {
                measure_once(&stage, scenario, &in_turn(&targets, round), round, &extent, &mut samples).await;
            }
        }
    }
    let version = |target: &Target| Some((target.name().to_owned(), target.version()?));
    let run = Run {
        vendor: request.vendor,
        quick: request.quick,
        rounds,
        streams: request.streams,
        versions: targets.iter().filter_map(version).collect(),
        remarks,
        machine: stage.machine.clone(),
        seconds: began.elapsed().as_secs_f64(),
    };
    report::tell(&run, &samples, &request.results, &mut std::io::stdout())
}

async fn measure_once(
    stage: &Stage,
    scenario: &Scenario,
    targets: &[&Target],
    round: usize,
    extent: &Extent,
    samples: &mut Samples,
) {
    for target in targets.iter().filter(|target| scenario.is_for(target)) {
        let figures = scenario.measure(stage, target, extent).await;
        note(samples, round, scenario.id, target.name(), figures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Request> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Request::parse(&words)
    }

    #[test]
    fn flags_of_another_gateway_belong_to_the_url_before_them() {
        let request = parse(
            "--gateway g --mock-port 9000 --url http://127.0.0.1:1 --pid 7 --name one --url http://127.0.0.1:2 --pid 8 --model-prefix p/",
        )
        .unwrap();
        let [one, two] = &request.externals[..] else { panic!("two gateways") };
        assert_eq!((one.pid, one.name.as_str(), one.model_prefix.as_str()), (7, "one", ""));
        assert_eq!((two.pid, two.name.as_str(), two.model_prefix.as_str()), (8, "port 2", "p/"));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for (line, part) in [
            ("", "nothing to measure"),
            ("--gateway g --only S6", "no scenario `S6`"),
            ("--gateway g --pid 7", "behind a --url"),
            ("--mock-port 1 --url http://127.0.0.1:1", "needs --pid"),
            ("--url http://127.0.0.1:1 --pid 1", "needs --mock-port"),
            ("--gateway g --without caddy", "`caddy`"),
            ("--gateway g --rounds 0", "from 1 to 100"),
            ("--gateway g --streams 999999", "from 1 to 50000"),
            ("--gateway g --cpus 1", "two cores"),
            ("--gateway g --fast", "--fast"),
        ] {
            let problem = parse(line).unwrap_err().to_string();
            assert!(problem.contains(part), "{line}: {problem}");
        }
    }

    #[test]
    fn load_and_gateway_have_cores_of_their_own_except_in_the_vendors_shape() {
        let machine = Machine { cores: vec![3, 5, 6], ..Machine::default() };
        assert_eq!(parse("--gateway g").unwrap().cores(&machine), (vec![3], vec![5]));
        assert_eq!(parse("--gateway g --vendor").unwrap().cores(&machine), (vec![3, 5], vec![3, 5]));
        assert_eq!(parse("--gateway g --cpus 6,3").unwrap().cores(&machine), (vec![6], vec![3]));
    }
}
