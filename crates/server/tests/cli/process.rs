//! Running the binary: whole commands, and those that go on until they are told to end. All bounded in time.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything here is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The binary with its arguments, before it runs.
pub(crate) struct Ferrovia {
    command: Command,
    folder: TempDir,
    limit: Duration,
}

/// What a command that has ended left behind.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary with these arguments, in an empty environment and an empty folder.
pub(crate) fn ferrovia(arguments: &[&str]) -> Ferrovia {
    let folder = TempDir::new().expect("a folder can be made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrovia"));
    command.args(arguments).env_clear().current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ferrovia { command, folder, limit: LIMIT }
}

impl Ferrovia {
    /// One environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Ferrovia {
        self.command.env(name, value);
        self
    }

    /// One file in its folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Ferrovia {
        std::fs::write(self.folder.path().join(name), text).expect("the file can be written");
        self
    }

    /// Lets it take longer.
    pub(crate) fn within(mut self, limit: Duration) -> Ferrovia {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Done {
        let mut child = self.command.spawn().expect("the binary can be started");
        let out = read(child.stdout.take().expect("standard output is piped"));
        let err = read(child.stderr.take().expect("standard error is piped"));
        let limit = self.limit;
        let deadline = Instant::now() + limit;
        let mut take = |texts: Receiver<String>| {
            let left = deadline.saturating_duration_since(Instant::now());
            texts.recv_timeout(left).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("the command did not end within {limit:?}: {:?}", self.command)
            })
        };
        let (out, err) = (take(out), take(err));
        let status = child.wait().expect("a child can be waited for");
        assert!(!err.contains("panicked at"), "it panicked:\n{err}");
        let code = status.code().unwrap_or_else(|| panic!("it was killed: {status}\n{err}"));
        Done { code, out, err }
    }

    /// Starts it. What it writes, on either stream, arrives line by line.
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the binary can be started");
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().expect("standard output is piped");
        let err = child.stderr.take().expect("standard error is piped");
        let streams: [Box<dyn Read + Send>; 2] = [Box::new(out), Box::new(err)];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // a test that has ended reads no more
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines, seen: Vec::new(), _folder: self.folder }
    }
}

/// Reads a stream to its end, beside us.
fn read(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, texts) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    texts
}

impl Done {
    /// It ended with this code; what it said is shown if not.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Done {
        assert_eq!(self.code, code, "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    /// What it printed holds all of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Done {
        for part in parts {
            assert!(self.out.contains(part), "{part:?} is not in:\n{}", self.out);
        }
        self
    }

    /// What it printed as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}", self.out))
    }
}

/// A command that goes on. Ends with the value.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    _folder: TempDir,
}

impl Running {
    /// Waits for a line that holds this.
    #[track_caller]
    pub(crate) fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {part:?}:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits for a line that holds a URL, and gives its `http://host:port`.
    #[track_caller]
    pub(crate) fn url(&mut self, part: &str) -> String {
        let line = self.line(part);
        let rest = line.split_once("http://").map(|(_, rest)| rest);
        let rest = rest.unwrap_or_else(|| panic!("no URL in {line:?}"));
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c))).unwrap_or(rest.len());
        format!("http://{}", &rest[..end])
    }

    /// Asks it to end, as an orchestrator does, and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the process can be told to end");
        let deadline = Instant::now() + LIMIT;
        // its streams are closed when it is gone
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end:\n{}", self.seen.join("\n")),
            }
        }
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended already, which is as good
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
