//! Loading as an operator meets it: files, variables and flags in; a configuration or a report out.

mod changes;
mod discovery;
mod findings;
mod known;
mod precedence;
mod providers;
mod robust;
mod secrets;

use std::path::Path;

use config::{Loaded, ProviderType, Report, Sources, load};
use tempfile::TempDir;

const BASE: ProviderType =
    ProviderType { name: "", default_base_url: None, keyless: false, needs_base_url: false, built: true };

/// A catalogue with one type of each sort.
pub(crate) fn types() -> Vec<ProviderType> {
    vec![
        ProviderType {
            name: "vllm",
            default_base_url: Some("http://localhost:8000/v1"),
            keyless: true,
            ..BASE
        },
        ProviderType {
            name: "sglang",
            default_base_url: Some("http://localhost:30000/v1"),
            keyless: true,
            ..BASE
        },
        ProviderType {
            name: "ollama",
            default_base_url: Some("http://localhost:11434/v1"),
            keyless: true,
            ..BASE
        },
        ProviderType { name: "llamacpp", keyless: true, needs_base_url: true, ..BASE },
        ProviderType { name: "openai", default_base_url: Some("https://api.openai.com/v1"), ..BASE },
        ProviderType { name: "openai_compatible", needs_base_url: true, keyless: true, ..BASE },
        ProviderType {
            name: "groq",
            default_base_url: Some("https://api.groq.com/openai/v1"),
            built: false,
            ..BASE
        },
        ProviderType { name: "azure", needs_base_url: true, built: false, ..BASE },
        ProviderType { name: "bedrock-mantle", needs_base_url: true, ..BASE },
        ProviderType { name: "opencode_go", built: false, ..BASE },
    ]
}

/// A folder with files, variables and flags; an empty one is a first start.
pub(crate) struct Place {
    folder: TempDir,
    sources: Sources,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let sources = Sources { types: types(), cwd: folder.path().into(), ..Sources::default() };
        Place { folder, sources }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Place {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("files lie in the folder"))
            .expect("a folder for the test");
        std::fs::write(path, text).expect("a file for the test");
        self
    }

    pub(crate) fn yaml(self, text: &str) -> Place {
        self.file("config.yaml", text)
    }

    /// Variables as `NAME=value`.
    pub(crate) fn env(mut self, pairs: &[&str]) -> Place {
        let pairs = pairs.iter().map(|p| p.split_once('=').expect("NAME=value"));
        self.sources.env.extend(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
        self
    }

    pub(crate) fn flag(mut self, path: &str, value: &str) -> Place {
        self.sources.flags.push((path.into(), value.into()));
        self
    }

    pub(crate) fn named(mut self, path: &str) -> Place {
        self.sources.config_path = Some(path.into());
        self
    }

    pub(crate) fn load(&self) -> Result<Loaded, Report> {
        load(&self.sources)
    }

    pub(crate) fn ok(&self) -> Loaded {
        self.load().unwrap_or_else(|report| panic!("{report}"))
    }

    pub(crate) fn report(&self) -> Report {
        self.load().map(drop).expect_err("the start is refused")
    }

    /// Each finding as `severity place setting: problem`, in the order of the report.
    pub(crate) fn findings(&self) -> Vec<String> {
        let findings = match self.load() {
            Ok(loaded) => loaded.warnings,
            Err(report) => report.findings,
        };
        findings
            .iter()
            .map(|f| format!("{:?} {} {}: {}", f.severity, f.source, f.setting, f.problem))
            .collect()
    }
}
