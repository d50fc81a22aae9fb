//! A program that was started, and will be stopped: by its id, when it is dropped, also on a panic.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use super::account;
use super::machine::find_command;

/// A program that was asked to end has so long to do so.
const PATIENCE: Duration = Duration::from_secs(3);

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it runs.
    pub folder: PathBuf,
    /// The cores it may use; none leaves that to the kernel.
    pub cores: Vec<usize>,
}

impl Start {
    /// Starts it with its output in `log`.
    pub fn logging_to(&self, log: &Path) -> anyhow::Result<Running> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        self.spawn(command)
    }

    /// Starts it with its input and its output in our hands.
    pub fn talking(&self) -> anyhow::Result<Running> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> anyhow::Result<Running> {
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let pid = child.id().context("it ended at once")?;
        Ok(Running { child, pid })
    }

    /// The program behind `setpriv`, which ends it should we be killed, and `taskset`, which keeps it on its cores.
    /// Both replace themselves by what they start: the id stays the same.
    fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(setpriv) = find_command("setpriv") {
            words.extend([setpriv.into_os_string(), "--pdeathsig".into(), "TERM".into(), "--".into()]);
        }
        if let (Some(taskset), false) = (find_command("taskset"), self.cores.is_empty()) {
            let list: Vec<String> = self.cores.iter().map(usize::to_string).collect();
            words.extend([taskset.into_os_string(), "-c".into(), list.join(",").into()]);
        }
        words.push(self.program.clone().into_os_string());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.folder).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    /// Its pipes, where it has any.
    pub child: Child,
    /// Its id.
    pub pid: u32,
}

impl Running {
    /// Fails if it has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}"),
        }
    }

    /// Asks it to end, and waits for that.
    pub async fn end(&mut self, limit: Duration) -> anyhow::Result<()> {
        signal("TERM", &account::tree(self.pid));
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => bail!("it ended with {status}"),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("it did not end within {} s", limit.as_secs()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = account::tree(self.pid);
        for name in ["TERM", "KILL"] {
            signal(name, &family);
            let asked = Instant::now();
            while asked.elapsed() < PATIENCE {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Sends a signal to processes by their ids; every shell can.
fn signal(name: &str, pids: &[u32]) {
    let ids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(format!("kill -{name} {}", ids.join(" ")));
    // those that are gone already are what is wanted
    let _ = shell.stderr(Stdio::null()).status();
}

/// What a command prints, on either output. `None` if it cannot be started.
pub fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    fn shell(script: &str) -> Start {
        Start {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            folder: "/".into(),
            cores: Vec::new(),
        }
    }

    /// Starts a script, and waits until it says that it is up.
    async fn up(script: &str) -> Running {
        let mut running = shell(script).talking().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(running.child.stdout.take().unwrap());
        output.read_line(&mut line).await.unwrap();
        assert_eq!(line, "up\n");
        running.still_runs().unwrap();
        running
    }

    async fn is_gone(pid: u32) {
        let began = Instant::now();
        while !account::tree(pid).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10), "{pid} still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_was_started_ends_with_its_guard_and_so_do_its_children() {
        let running = up("sleep 60 & echo up; wait").await;
        let family = account::tree(running.pid);
        assert_eq!(family.len(), 2);
        drop(running);
        for pid in family {
            is_gone(pid).await;
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed() {
        let running = up("trap '' TERM; echo up; while :; do sleep 1; done").await;
        let pid = running.pid;
        drop(running);
        is_gone(pid).await;
    }
}
