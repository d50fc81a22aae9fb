//! Tests that need what is not here: they say so where it cannot be missed, and fail where it must be there.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says loudly that a test is skipped: what is missing, and how to get it. The caller then returns.
///
/// Writes to the process's standard error directly, which the test harness does not capture (it captures
/// only what the print macros write), so that a green run still shows what it did not test.
///
/// # Panics
/// With `CI` set to `true` or `1`: there everything must be present, and a skip would be a hole in the gate.
#[track_caller]
pub fn skip(missing: &str, remedy: &str) {
    let (thread, place) = (std::thread::current(), std::panic::Location::caller());
    let test = format!("{} ({}:{})", thread.name().unwrap_or("a test"), place.file(), place.line());
    assert!(!in_ci(), "{test} cannot be skipped with CI set: {missing} is missing. To get it: {remedy}");
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    let notice = format!("\nSKIPPED {test}\n   missing: {missing}\n   to run it: {remedy}\n\n");
    // One write, so that notices of parallel tests do not mix; without a standard error nobody would read it.
    let _ = std::io::stderr().lock().write_all(notice.as_bytes());
}

/// How many tests of this process have been skipped.
pub fn skipped() -> usize {
    SKIPPED.load(Ordering::Relaxed)
}

#[expect(clippy::disallowed_methods, reason = "the test environment is no setting of the product")]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    /// Set for the child in which the skipping happens for real.
    const CHILD: &str = "TESTKIT_SKIP_CHILD";

    /// Runs the test of this name alone, in a process of its own, with its output captured as usual.
    fn run_child(name: &str, ci: Option<&str>) -> Output {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = format!("skip::tests::{name}");
        child.args(["--exact", &name, "--test-threads=2"]).env(CHILD, "1");
        child.env_remove("CI").env_remove("RUST_TEST_NOCAPTURE");
        if let Some(value) = ci {
            child.env("CI", value);
        }
        child.output().unwrap()
    }

    fn is_child() -> bool {
        std::env::var_os(CHILD).is_some()
    }

    #[test]
    fn a_skip_is_seen_although_the_test_passes() {
        if is_child() {
            let before = skipped();
            skip("a vLLM server", "run the script that starts one");
            eprintln!("this line the harness swallows");
            assert_eq!(skipped(), before + 1);
            return;
        }
        let output = run_child("a_skip_is_seen_although_the_test_passes", None);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("SKIPPED skip::tests::a_skip_is_seen_although_the_test_passes"), "{stderr}");
        assert!(stderr.contains("missing: a vLLM server"), "{stderr}");
        assert!(stderr.contains("to run it: run the script that starts one"), "{stderr}");
        assert!(!stderr.contains("swallows"), "{stderr}");
    }

    #[test]
    fn nothing_is_skipped_in_ci() {
        if is_child() {
            skip("Python", "install it");
            return;
        }
        let refused = run_child("nothing_is_skipped_in_ci", Some("true"));
        let stdout = String::from_utf8_lossy(&refused.stdout);
        assert!(!refused.status.success());
        assert!(stdout.contains("cannot be skipped with CI set: Python is missing"), "{stdout}");
        let allowed = run_child("nothing_is_skipped_in_ci", Some("false"));
        assert!(allowed.status.success());
    }
}
