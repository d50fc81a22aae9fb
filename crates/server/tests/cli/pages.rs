//! What is printed and done: version, help, completions, man pages, and usage that is not understood.

use crate::process::ferrovia;

#[test]
fn the_version_is_told_in_every_spelling() {
    let version = format!("ferrovia {}", env!("CARGO_PKG_VERSION"));
    for arguments in [["version"], ["--version"], ["-version"], ["-V"]] {
        let done = ferrovia(&arguments).run().code(0);
        assert!(done.out.starts_with(&version), "{arguments:?}: {}", done.out);
    }
    let told = ferrovia(&["version", "--json"]).run().code(0).json();
    assert_eq!((&told["app"], &told["version"]), (&"ferrovia".into(), &env!("CARGO_PKG_VERSION").into()));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef ferrovia"), ("fish", "complete -c ferrovia")]
    {
        ferrovia(&["completions", shell]).run().code(0).says(&[part, "doctor"]);
    }
    ferrovia(&["completions", "tcsh"]).run().code(2);
}

#[test]
fn man_pages_are_printed() {
    ferrovia(&["man"]).run().code(0).says(&[".TH ferrovia 1", "doctor", "server.port"]);
    ferrovia(&["man", "simulate"]).run().code(0).says(&[".TH ferrovia-simulate 1", "prefill"]);
    let done = ferrovia(&["man", "sing"]).run().code(1);
    assert!(done.err.contains("no subcommand \"sing\""), "{}", done.err);
}

#[test]
fn help_names_every_subcommand() {
    let words = [
        "serve",
        "demo",
        "simulate",
        "check",
        "config",
        "doctor",
        "models",
        "health",
        "version",
        "completions",
        "man",
    ];
    let done = ferrovia(&["--help"]).run().code(0).says(&words);
    assert!(!done.out.contains("reference  "), "the hidden one is hidden:\n{}", done.out);
}

#[test]
fn what_is_not_understood_ends_with_two() {
    let wrong: [&[&str]; 6] = [
        &["serv"],
        &["--set", "no-value"],
        &["--health", "--ready"],
        &["--health", "doctor"],
        &["--port", "1", "demo"],
        &["health", "--timeout", "0"],
    ];
    for arguments in wrong {
        let done = ferrovia(arguments).run().code(2);
        assert!(done.err.contains("error:") && done.out.is_empty(), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn no_colours_where_nobody_sees_them() {
    for arguments in [&["check"][..], &["config", "show"], &["doctor"], &["--help"]] {
        let done = ferrovia(arguments).run().code(0);
        assert!(
            !done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'),
            "{arguments:?}: {:?}",
            done.out
        );
    }
}
