//! From files, variables and flags to a configuration: defaults < YAML < environment < flags.

use std::path::{Path, PathBuf};

use domain::Secret;

use crate::change::Written;
use crate::draft::Draft;
use crate::environment::Environment;
use crate::expand::{Gap, expand};
use crate::instance::{Instance, instances};
use crate::origin::Origins;
use crate::report::{Finding, Origin, Report, Severity, nearest};
use crate::setting::catalog;
use crate::{Config, ProviderType, discovery, variables, yaml};

/// Where a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Every provider type that is known, built or not.
    pub types: Vec<ProviderType>,
    /// The process's environment.
    pub env: Vec<(String, String)>,
    /// The folder in which `.env` and the YAML file are looked for.
    pub cwd: PathBuf,
    /// The YAML file that a flag names.
    pub config_path: Option<PathBuf>,
    /// Settings that flags set, by dotted path. They win over everything.
    pub flags: Vec<(String, String)>,
}

/// A configuration that can be started with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The providers that can be used, by name.
    pub providers: Vec<Instance>,
    /// Each setting's value and where it came from.
    pub origins: Origins,
    /// What was left out.
    pub warnings: Vec<Finding>,
    /// Every configured secret of four characters or more, longest first, to be masked wherever text of others is shown.
    pub secrets: Vec<Secret>,
    /// The YAML file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// Every file that was read, or looked for, `.env` and those that values refer to included.
    pub files: Vec<PathBuf>,
    pub(crate) written: Written,
}

/// Where the YAML file is looked for. `configs` is Aurora's place.
const FILES: [&str; 3] = ["config/config.yaml", "configs/config.yaml", "config.yaml"];

/// The largest YAML file that is read, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

/// Reads the configuration, or reports everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    let mut findings = Vec::new();
    let mut environment = Environment::new(&sources.env);
    environment.add_dotenv(&sources.cwd.join(".env"), &mut findings);
    let mut draft = Draft::new(&sources.types, environment, findings);

    let file = read_file(&mut draft, sources);
    variables::read(&mut draft);
    discovery::read(&mut draft);
    variables::read_rest(&mut draft);
    read_flags(&mut draft, &sources.flags);
    draft.complete_instances();

    let mut config: Config = match serde_json::from_value(draft.document()) {
        Ok(config) => config,
        Err(error) => {
            // Every value was checked against its setting; this is a mistake of ours, and must not be silent.
            draft.error(
                &Origin::Default,
                "",
                format!("the values do not fit together: {error}"),
                "please report this",
            );
            Config::default()
        }
    };
    config.settle(&mut draft);
    let providers = instances(&mut draft, &config);
    crate::open::check(&mut draft, &config, &sources.cwd);

    let strict = config.strict;
    let unknown = std::mem::take(&mut draft.unknown);
    draft.findings.extend(unknown.into_iter().map(|finding| match strict {
        true => finding,
        false => Finding { severity: Severity::Warning, ..finding },
    }));
    hide_what_was_brought_in(&mut draft);
    draft.findings.sort_by(|a, b| (a.severity, &a.source).cmp(&(b.severity, &b.source)));
    if variables::any_error(&draft) {
        return Err(Report { findings: draft.findings });
    }
    let origins = Origins::of(&draft, &config);
    let secrets = draft.take_secrets();
    let mut files: Vec<PathBuf> = draft.environment.files.take().into_iter().collect();
    files.push(sources.cwd.join(".env"));
    match &file {
        Some(file) => files.push(file.clone()),
        None => files.extend(FILES.iter().map(|name| sources.cwd.join(name))),
    }
    let written = Written::of(&draft);
    Ok(Loaded { config, providers, origins, warnings: draft.findings, secrets, file, files, written })
}

/// A finding may quote a value. What a reference has put into it may be a key that went to the wrong place.
fn hide_what_was_brought_in(draft: &mut Draft<'_>) {
    let mut brought: Vec<String> = draft.environment.brought.take().into_iter().collect();
    brought.sort_by_key(|text| std::cmp::Reverse(text.len()));
    for finding in &mut draft.findings {
        for text in brought.iter().filter(|text| !text.is_empty()) {
            if finding.problem.contains(text.as_str()) {
                finding.problem = finding.problem.replace(text.as_str(), "…");
            }
        }
    }
}

/// Finds and reads the YAML file.
fn read_file(draft: &mut Draft<'_>, sources: &Sources) -> Option<PathBuf> {
    let named = sources.config_path.clone().map(|path| (path, Origin::Flag("config".into())));
    let named = named.or_else(|| {
        let (_, variable) = variables::agreed(draft, &variables::CONFIG_FILE)?;
        Some((PathBuf::from(variable.value), variable.origin))
    });
    let (shown, origin) = match named {
        Some(named) => named,
        None => {
            let mut found = FILES.iter().map(PathBuf::from).filter(|p| sources.cwd.join(p).exists());
            let first = found.next()?;
            for other in found {
                let problem = format!("the file is ignored: {} is read", first.display());
                draft.warn(
                    &whole(&other),
                    "",
                    problem,
                    "remove one of the two files, or name one with --config",
                );
            }
            let origin = whole(&first);
            (first, origin)
        }
    };
    let path = sources.cwd.join(&shown);
    match text_of(&path) {
        Ok(text) => yaml::read(draft, &shown, &text),
        Err(problem) => {
            let problem = format!("{} cannot be read: {problem}", shown.display());
            draft.error(&origin, "", problem, "name a readable YAML file");
        }
    }
    let overrides = shown.with_file_name("dashboard-overrides.yaml");
    if sources.cwd.join(&overrides).exists() {
        let problem = "Aurora's dashboard wrote this file; it is not read";
        draft.warn(&whole(&overrides), "", problem, "move what you need from it into the configuration file");
    }
    Some(path)
}

fn whole(path: &Path) -> Origin {
    Origin::File { path: path.into(), line: 0, column: 0 }
}

fn text_of(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.kind().to_string())?.len();
    if size > LARGEST_FILE {
        return Err("it is larger than 4 MiB".into());
    }
    let bytes = std::fs::read(path).map_err(|e| e.kind().to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

fn read_flags(draft: &mut Draft<'_>, flags: &[(String, String)]) {
    for (dotted, text) in flags {
        let origin = Origin::Flag(dotted.clone());
        let path = catalog().split(dotted);
        let Some((path, setting)) = path.and_then(|p| Some((p.clone(), catalog().find(&p)?))) else {
            let nearest = nearest(dotted, catalog().settings.iter().map(|s| s.path.as_str()));
            let fix = "`ferrovia config reference` lists every setting";
            draft.error(&origin, dotted, "there is no such setting", fix).nearest = nearest;
            continue;
        };
        match expand(text, &draft.environment, true) {
            Ok(text) => {
                if let [root, name, ..] = path.as_slice()
                    && root == "providers"
                {
                    draft.instances.entry(name.clone()).or_insert_with(|| origin.clone());
                }
                draft.put(path, setting, &text, origin);
            }
            Err(Gap::Unset(name)) => {
                draft.error(&origin, dotted, format!("${{{name}}} is not set"), format!("set {name}"));
            }
            Err(Gap::Broken(problem, fix)) => drop(draft.error(&origin, dotted, problem, fix)),
        }
    }
}
