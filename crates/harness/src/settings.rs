//! Whatever is configured, it loads or is reported in words, and a key is never among them.
//!
//! Input: the YAML file, then after record separators `.env`, variables and flags, one `name=value` in a line.

use std::cell::RefCell;

use config::{ProviderType, Severity, Sources, load};
use tempfile::TempDir;

use crate::parts;

/// A key that every input may refer to, and that no message may show.
const KEY: &str = "sk-never-shown-7f3a";

thread_local! {
    /// One folder for all inputs of a thread: making one for each costs more than what is tried.
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

pub(crate) fn run(input: &[u8]) {
    // a file may be named that is a device, or this machine's own: not what is tried here
    if input.windows(5).any(|window| window == b"file:")
        || input.windows(KEY.len()).any(|w| w == KEY.as_bytes())
    {
        return;
    }
    let mut parts = parts(input);
    let mut next = || parts.next().unwrap_or_default();
    let (yaml, dotenv, variables, flags) = (next(), next(), next(), next());
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path().join("config.yaml"), yaml).expect("a file");
        std::fs::write(folder.path().join(".env"), dotenv).expect("a file");
        let mut env = vec![("OPENAI_API_KEY".to_owned(), KEY.to_owned())];
        // which file is read is not what is tried here
        env.extend(pairs(variables).filter(|(name, _)| !name.contains("CONFIG")));
        let sources = Sources {
            types: types(),
            env,
            cwd: folder.path().into(),
            config_path: Some("config.yaml".into()),
            flags: pairs(flags).collect(),
        };
        judge(&sources);
    });
}

fn judge(sources: &Sources) {
    let told = match load(sources) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|finding| finding.severity != Severity::Error));
            let findings = loaded.warnings.iter().map(|finding| finding.to_string());
            findings.collect::<Vec<_>>().join("\n")
        }
        Err(report) => {
            assert!(report.errors() > 0, "refused without a reason");
            report.to_string()
        }
    };
    assert!(!told.contains(KEY), "a key is shown: {told}");
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(text).into_owned();
    let pairs: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    pairs.into_iter()
}

fn types() -> Vec<ProviderType> {
    let types = provider::CATALOG.iter().map(|spec| ProviderType {
        name: spec.name,
        default_base_url: spec.default_base_url,
        keyless: spec.keyless,
        needs_base_url: spec.default_base_url.is_none(),
        built: spec.built,
    });
    types.collect()
}
