//! The configuration read again: asked for by SIGHUP, or because a file has changed.
//!
//! It is read and built whole before anything changes. What cannot be started with is refused, with the report that a
//! start would give, and the gateway goes on as it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use config::{Changes, Finding, Loaded, Severity, Sources};
use gateway::Metrics;
use tokio::time::{Interval, MissedTickBehavior};

/// How often the files are looked at. Two looks must find the same before they are read: an editor may not be done.
const EVERY: Duration = Duration::from_secs(1);

/// More names than this are counted, not listed.
const LISTED: usize = 40;

/// What makes the configuration be read again, and the configuration in force.
pub(crate) struct Reloads {
    sources: Sources,
    loaded: Loaded,
    /// How many configurations have been in force.
    revision: u64,
    watch: Watch,
    hangups: Hangups,
}

impl Reloads {
    /// From now on SIGHUP asks for it. Must be called inside a runtime.
    pub(crate) fn new(sources: Sources, loaded: Loaded) -> io::Result<Reloads> {
        let watch = Watch::new(files(&loaded));
        Ok(Reloads { sources, loaded, revision: 1, watch, hangups: Hangups::new()? })
    }

    /// The configuration in force.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Waits until there is a reason to read the configuration again, and names it.
    pub(crate) async fn asked(&mut self) -> &'static str {
        let watches = self.loaded.config.watch;
        let changed = async {
            if !watches {
                std::future::pending::<()>().await;
            }
            self.watch.changed().await;
        };
        tokio::select! {
            () = self.hangups.next() => "SIGHUP",
            () = changed => "a file has changed",
        }
    }

    /// Reads the configuration again, and goes on under it if it is one that could be started with. `take_over` is given
    /// the configuration before and the new one, and does all of it or nothing.
    pub(crate) fn reload(
        &mut self,
        cause: &'static str,
        metrics: &Metrics,
        take_over: impl FnOnce(&Loaded, &Loaded) -> anyhow::Result<()>,
    ) {
        // looked at before they are read: what changes meanwhile is a change
        self.watch.look();
        let refused = |errors: usize| {
            metrics.reloaded(false);
            tracing::error!(
                cause,
                errors,
                "configuration refused; nothing has changed, the one in force stays"
            );
        };
        let read = loop {
            match config::load(&self.sources) {
                // a file that it names for the first time was not looked at: once more, so that no change is missed
                Ok(now) if !self.watch.knows(files(&now)) => {}
                read => break read,
            }
        };
        let now = match read {
            Ok(now) => now,
            Err(report) => {
                refused(report.errors());
                for finding in report.findings.iter().filter(|finding| finding.severity == Severity::Error) {
                    tracing::error!(
                        setting = finding.setting,
                        source = %finding.source,
                        fix = told(finding),
                        "{}",
                        finding.problem
                    );
                }
                return;
            }
        };
        if let Err(problem) = self.keeps_what_protects(&now) {
            refused(1);
            tracing::error!("{problem}");
            return;
        }
        if let Err(error) = take_over(&self.loaded, &now) {
            refused(1);
            tracing::error!("{error:#}");
            return;
        }
        metrics.reloaded(true);
        warn(&now);
        let changes = now.changes_since(&self.loaded);
        self.revision += 1;
        self.watch.only(&files(&now));
        self.loaded = now;
        report(cause, self.revision, &changes);
    }

    /// A file that is gone, or empty because somebody is about to write it, is a valid configuration of a gateway that is
    /// open to everybody and has nothing to serve. That is not what an edit means.
    fn keeps_what_protects(&self, now: &Loaded) -> Result<(), String> {
        if let (Some(before), None) = (&self.loaded.file, &now.file) {
            return Err(format!(
                "the configuration file {} is gone; put it back, or restart to go on without one",
                before.display()
            ));
        }
        if !self.loaded.config.server.master_key.is_empty() && now.config.server.master_key.is_empty() {
            return Err(
                "server.master_key (FERROVIA_MASTER_KEY) is gone; a reload does not open the gateway to \
                        everybody: put a key back, or restart to run without one"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Says what was left out of a configuration.
pub(crate) fn warn(loaded: &Loaded) {
    for finding in &loaded.warnings {
        tracing::warn!(setting = finding.setting, source = %finding.source, fix = finding.fix, "{}", finding.problem);
    }
}

fn told(finding: &Finding) -> String {
    match &finding.nearest {
        Some(nearest) => format!("did you mean `{nearest}`? {}", finding.fix),
        None => finding.fix.clone(),
    }
}

fn report(cause: &str, revision: u64, changes: &Changes) {
    let changed = list(&changes.changed);
    let (needs_restart, overridden) = (list(&changes.needs_restart), list(&changes.overridden));
    if needs_restart.is_some() || overridden.is_some() {
        tracing::warn!(
            cause,
            revision,
            changed,
            needs_restart,
            overridden,
            "configuration reloaded; not all of it takes effect"
        );
    } else {
        tracing::info!(cause, revision, changed, "configuration reloaded");
    }
}

fn list(names: &[String]) -> Option<String> {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        some if some > LISTED => Some(format!("{shown} and {} more", some - LISTED)),
        _ => Some(shown),
    }
}

/// Every file that a configuration depends on.
fn files(loaded: &Loaded) -> Vec<PathBuf> {
    let tls = &loaded.config.server.tls;
    let own = [&tls.cert_file, &tls.key_file].into_iter().filter(|path| !path.is_empty()).map(PathBuf::from);
    loaded.files.iter().cloned().chain(own).collect()
}

/// What tells one state of a file from another. Links are followed, so that one that leads elsewhere shows, as Kubernetes'
/// mounts do it; editors that put a new file in the old one's place show by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    length: u64,
    modified: Option<SystemTime>,
    number: (u64, u64),
}

fn look(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = {
        use std::os::unix::fs::MetadataExt;
        (found.dev(), found.ino())
    };
    #[cfg(not(unix))]
    let number = (0, 0);
    Some(Look { length: found.len(), modified: found.modified().ok(), number })
}

type Looks = BTreeMap<PathBuf, Option<Look>>;

fn look_at_all(paths: impl IntoIterator<Item = PathBuf>) -> Looks {
    paths.into_iter().map(|path| (path.clone(), look(&path))).collect()
}

/// Looks at files now and then. A few questions to the kernel each second: cheaper than a library that watches folders on
/// every platform, and it sees network disks and mounts that are swapped.
struct Watch {
    /// How they looked when they were last read.
    known: Looks,
    /// How they looked a moment ago, if that is another way.
    changing: Option<Looks>,
    clock: Interval,
}

impl Watch {
    fn new(files: Vec<PathBuf>) -> Watch {
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch { known: look_at_all(files), changing: None, clock }
    }

    /// Takes the files for known as they are now.
    fn look(&mut self) {
        self.known = look_at_all(self.known.keys().cloned());
        self.changing = None;
    }

    /// Whether all of these are watched. From now on they are.
    fn knows(&mut self, files: Vec<PathBuf>) -> bool {
        let before = self.known.len();
        for path in files {
            self.known.entry(path).or_insert_with_key(|path| look(path));
        }
        self.known.len() == before
    }

    /// Watches no others than these any more.
    fn only(&mut self, files: &[PathBuf]) {
        self.known.retain(|path, _| files.contains(path));
    }

    /// Waits until the files look different from what is known, and have looked so for a moment.
    async fn changed(&mut self) {
        loop {
            self.clock.tick().await;
            let paths: Vec<_> = self.known.keys().cloned().collect();
            // a disk may take its time
            let Ok(now) = tokio::task::spawn_blocking(move || look_at_all(paths)).await else { continue };
            if now == self.known {
                self.changing = None;
            } else if self.changing.as_ref() == Some(&now) {
                return;
            } else {
                self.changing = Some(now);
            }
        }
    }
}

/// The signal that asks for a reload.
struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> io::Result<Hangups> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Hangups { signals: signal(SignalKind::hangup())? })
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Hangups> {
        Ok(Hangups {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn changes(watch: &mut Watch) -> bool {
        tokio::time::timeout(EVERY * 5, watch.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_replaced_linked_elsewhere_or_gone_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "one").expect("written");
        let mut watch = Watch::new(vec![path("a"), path("later")]);
        assert!(!changes(&mut watch).await, "nothing happened");
        let mut check = async |what: &str| {
            assert!(changes(&mut watch).await, "{what}");
            watch.look();
            assert!(!changes(&mut watch).await, "{what}: told once");
        };
        std::fs::write(path("a"), "three").expect("written");
        check("written").await;
        std::fs::write(path("b"), "other").expect("written");
        std::fs::rename(path("b"), path("a")).expect("renamed");
        check("replaced by one of the same length").await;
        std::fs::write(path("later"), "here").expect("written");
        check("there at last").await;
        std::fs::remove_file(path("a")).expect("removed");
        check("gone").await;
        #[cfg(unix)]
        {
            for (folder, text) in [("v1", "one"), ("v2", "two")] {
                std::fs::create_dir(path(folder)).expect("made");
                std::fs::write(path(folder).join("a"), text).expect("written");
            }
            let link = |to: &str| {
                std::os::unix::fs::symlink(path(to), path("new")).expect("linked");
                std::fs::rename(path("new"), path("data")).expect("renamed");
            };
            link("v1");
            let mut watch = Watch::new(vec![path("data").join("a")]);
            link("v2");
            assert!(changes(&mut watch).await, "linked elsewhere");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_watched_already_is_known_as_it_was_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "one").expect("written");
        let mut watch = Watch::new(vec![path("a")]);
        watch.look();
        std::fs::write(path("a"), "changed while it was read").expect("written");
        assert!(!watch.knows(vec![path("a"), path("b")]), "one is new");
        assert!(watch.knows(vec![path("a"), path("b")]), "and now is not");
        assert!(changes(&mut watch).await);
        watch.look();
        watch.only(&[path("a")]);
        std::fs::write(path("b"), "nobody cares").expect("written");
        assert!(!changes(&mut watch).await);
    }
}
