//! The walls between crates, as ARCHITECTURE.md draws them: who may depend on whom, and who does no IO.

use super::{Complaint, place};
use crate::repository::File;

/// Which of our crates each crate may use. A crate that is not here has no place yet.
const MAY_USE: &[(&str, &[&str])] = &[
    ("bench", &[]),
    ("config", &["domain"]),
    ("dialect", &["domain"]),
    ("domain", &[]),
    ("gateway", &["dialect", "domain", "provider", "upstream"]),
    ("harness", &["config", "dialect", "domain", "provider", "upstream"]),
    ("provider", &["dialect", "domain"]),
    ("server", &["config", "dialect", "domain", "gateway", "provider", "simulator", "torture", "upstream"]),
    ("simulator", &[]),
    ("testkit", &[]),
    ("torture", &["simulator"]),
    ("upstream", &[]),
    ("xtask", &["config", "dialect", "domain", "provider"]),
];

/// Crates that do no IO.
const PURE: [&str; 3] = ["dialect", "domain", "provider"];

/// What others have written that only some crates may use, by the beginning of its name.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "tokio",
        &["bench", "gateway", "server", "simulator", "testkit", "torture", "upstream"],
        "runs and waits",
    ),
    ("hyper", &["harness", "server", "simulator", "testkit", "torture"], "speaks HTTP over sockets"),
    ("socket2", &["server", "simulator", "testkit", "upstream"], "opens sockets"),
    ("rustls", &["server", "upstream"], "is the one TLS stack"),
    ("clap", &["server"], "is the command line"),
    ("granit-parser", &["config"], "reads configuration files"),
];

/// Parts of the standard library that touch the outside.
const OUTSIDE: [&str; 4] = ["std::fs", "std::net", "std::process", "std::env"];

/// One line of a `Cargo.toml` that names a dependency.
struct Dependency<'a> {
    name: &'a str,
    line: usize,
    /// Only for tests.
    dev: bool,
}

/// Dependencies that cross a wall.
pub(super) fn dependencies(files: &[File]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for file in files {
        let Some((name, "Cargo.toml")) = place(file) else { continue };
        let Some((_, may_use)) = MAY_USE.iter().find(|(one, _)| *one == name) else {
            let problem =
                format!("`{name}` is a new crate: say in crates/xtask/src/tidy/walls.rs what it may use");
            found.push(Complaint::new(&file.path, 0, problem));
            continue;
        };
        for dependency in read(&file.text) {
            if let Some(problem) = crosses(name, may_use, &dependency) {
                found.push(Complaint::new(&file.path, dependency.line, problem));
            }
        }
    }
    found
}

fn crosses(name: &str, may_use: &[&str], dependency: &Dependency<'_>) -> Option<String> {
    let used = dependency.name;
    if MAY_USE.iter().any(|(ours, _)| *ours == used) {
        let for_tests = dependency.dev && used == "testkit";
        return (!for_tests && !may_use.contains(&used)).then(|| {
            format!("`{name}` may not use `{used}` (ARCHITECTURE.md, \"Which way dependencies point\")")
        });
    }
    if dependency.dev {
        return None;
    }
    let (_, allowed, what) = RESERVED.iter().find(|(begin, ..)| used.starts_with(begin))?;
    (!allowed.contains(&name)).then(|| {
        format!("`{name}` may not use `{used}`, which {what}: that belongs to {}", allowed.join(", "))
    })
}

/// Every dependency that a `Cargo.toml` names, `[dependencies.name]` included.
fn read(text: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let mut section = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']').trim();
            let header = header.rsplit_once("cfg(").map_or(header, |(_, rest)| rest);
            let dev = header.contains("dev-dependencies");
            section = header.ends_with("dependencies").then_some(dev);
            if let Some((_, name)) = header.split_once("dependencies.") {
                found.push(Dependency { name, line: at + 1, dev });
            }
        } else if let (Some(dev), false) = (section, line.is_empty() || line.starts_with('#')) {
            let name = line.split(['.', '=', ' ']).next().unwrap_or(line).trim_matches('"');
            // a list that goes on from the line before is no dependency
            if line.contains('=') && !name.is_empty() {
                found.push(Dependency { name, line: at + 1, dev });
            }
        }
    }
    found
}

/// Files of a crate without IO that reach outside. Its tests may.
pub(super) fn pure_sources(files: &[File]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.kind() == "rs") {
        let Some((name, path)) = place(file) else { continue };
        if !PURE.contains(&name) || !path.starts_with("src/") || path.ends_with("/tests.rs") {
            continue;
        }
        let own = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, line) in own.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if let Some(part) = OUTSIDE.iter().find(|part| line.contains(**part)) {
                let problem = format!("`{name}` does no IO, and `{part}` is outside");
                found.push(Complaint::new(&file.path, at + 1, problem));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn check(name: &str, manifest: &str, expect: &[(usize, &str)]) {
        let found = dependencies(&[file(&format!("crates/{name}/Cargo.toml"), manifest)]);
        let found: Vec<(usize, &str)> = found.iter().map(|c| (c.line, c.problem.as_str())).collect();
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for ((line, problem), (expected, part)) in found.iter().zip(expect) {
            assert!(line == expected && problem.contains(part), "{line}: {problem}");
        }
    }

    #[test]
    fn a_pure_crate_may_not_wait_or_listen() {
        check(
            "domain",
            "[dependencies]\ntokio.workspace = true\nserde = \"1\"\n",
            &[(2, "`tokio`, which runs")],
        );
        check("dialect", "[dependencies]\nhyper-util = { version = \"1\" }\n", &[(2, "`hyper-util`")]);
        check(
            "gateway",
            "[dependencies]\ntokio.workspace = true\nhyper.workspace = true\n",
            &[(3, "`hyper`")],
        );
        check("gateway", "[target.'cfg(unix)'.dependencies]\nsocket2 = \"1\"\n", &[(2, "`socket2`")]);
        check("config", "[dependencies.clap]\nversion = \"4\"\n", &[(1, "`clap`")]);
    }

    #[test]
    fn our_crates_point_one_way() {
        check("domain", "[dependencies]\ndialect.workspace = true\n", &[(2, "may not use `dialect`")]);
        check("upstream", "[dependencies]\ngateway.workspace = true\n", &[(2, "may not use `gateway`")]);
        check("server", "[dependencies]\ntestkit.workspace = true\n", &[(2, "may not use `testkit`")]);
        check("server", "[dev-dependencies]\ntestkit.workspace = true\nhyper = \"1\"\n", &[]);
        check("warehouse", "[dependencies]\n", &[(0, "new crate")]);
    }

    #[test]
    fn a_pure_source_reaches_outside_in_its_tests_only() {
        let text = "//! Reads with std::fs? No.\nuse std::net::IpAddr;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let found = pure_sources(&[
            file("crates/domain/src/a.rs", text),
            file("crates/server/src/a.rs", text),
            file("crates/dialect/tests/a.rs", text),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), ("crates/domain/src/a.rs", 2));
    }
}
