//! The built binary as a test sees it: started in an empty environment, asked over sockets, read by its log.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Connection, FakeUpstream, Request, Response, client};
use tokio::sync::watch;

/// The longest that anything here is waited for.
const LIMIT: Duration = Duration::from_secs(15);

/// Everything that the program has written so far.
#[derive(Debug, Default)]
struct Log {
    /// The lines as they came.
    text: Vec<String>,
    /// Those that are JSON.
    lines: Vec<Value>,
    /// Whether the program has closed its standard error.
    over: bool,
}

/// A gateway that is not started yet.
pub(crate) struct Setup {
    env: BTreeMap<String, String>,
    yaml: Option<String>,
    /// Instances whose first answer, or first failure, is waited for.
    awaited: Vec<String>,
    folder: Arc<TempDir>,
}

impl Setup {
    /// An instance of the type that its name begins with (`vllm`, `vllm-test`, `openai`), at this address.
    pub(crate) fn provider(mut self, name: &str, url: &str) -> Setup {
        self.awaited.push(name.to_owned());
        self.env(&format!("{}_BASE_URL", variable(name)), url)
    }

    /// A vLLM instance in front of this upstream.
    pub(crate) fn vllm(self, name: &str, upstream: &FakeUpstream) -> Setup {
        self.provider(name, &format!("{}/v1", upstream.url()))
    }

    /// The key of an instance.
    pub(crate) fn key(self, name: &str, key: &str) -> Setup {
        self.env(&format!("{}_API_KEY", variable(name)), key)
    }

    /// One environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Back-offs of a few milliseconds, so that retries cost no time.
    pub(crate) fn quick_retries(self) -> Setup {
        self.env("RETRY_INITIAL_BACKOFF", "2ms").env("RETRY_MAX_BACKOFF", "4ms")
    }

    /// No second attempts.
    pub(crate) fn no_retries(self) -> Setup {
        self.env("RETRY_MAX_RETRIES", "0")
    }

    /// The text of `config.yaml`; instances in it are not waited for.
    pub(crate) fn yaml(mut self, text: &str) -> Setup {
        self.yaml = Some(text.to_owned());
        self
    }

    /// Waits for this instance of the YAML file too.
    pub(crate) fn awaiting(mut self, name: &str) -> Setup {
        self.awaited.push(name.to_owned());
        self
    }

    /// The working folder of another gateway: what it kept there is found.
    pub(crate) fn folder_of(mut self, other: &TestGateway) -> Setup {
        self.folder = other.folder.clone();
        self
    }

    /// The working folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, and waits until it listens and every instance has answered or failed once.
    pub(crate) async fn start(self) -> TestGateway {
        let awaited = self.awaited.clone();
        let gateway = self.launch().await;
        for name in &awaited {
            let known = |line: &Value| {
                line["provider"] == name.as_str()
                    && matches!(
                        line["message"].as_str(),
                        Some("provider answered" | "provider did not answer; it is asked again soon")
                    )
            };
            gateway.line(&format!("news of {name}"), known).await;
        }
        gateway
    }

    /// Starts it, and waits only until it listens.
    pub(crate) async fn launch(self) -> TestGateway {
        if let Some(yaml) = &self.yaml {
            std::fs::write(self.folder.path().join("config.yaml"), yaml).expect("the folder can be written");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrovia"));
        let inherited = std::env::vars_os().filter(|(name, _)| name == "PATH");
        command.env_clear().envs(inherited).envs(&self.env).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built and can be started");
        let (sender, log) = watch::channel(Log::default());
        let lines = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                sender.send_modify(|log| {
                    log.lines.extend(serde_json::from_str(&line));
                    log.text.push(line);
                });
            }
            sender.send_modify(|log| log.over = true);
        });
        let mut gateway = TestGateway { child, address: String::new(), log, folder: self.folder };
        let line = gateway.line("that it listens", |line| line["message"] == "listening").await;
        let address = line["address"].as_str().expect("the line names the address");
        gateway.address = address.replace("0.0.0.0", "127.0.0.1");
        gateway
    }
}

/// `vllm-test` as variables spell it.
fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// A gateway that listens. Killed when dropped; a panic inside it fails the test that started it.
pub(crate) struct TestGateway {
    child: Child,
    address: String,
    log: watch::Receiver<Log>,
    folder: Arc<TempDir>,
}

impl TestGateway {
    /// A gateway that nobody has configured yet: a free port, JSON lines, an empty folder.
    pub(crate) fn setup() -> Setup {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        let env = [("PORT", "0"), ("LOG_FORMAT", "json"), ("FERROVIA_HOST", "127.0.0.1")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Setup { env, yaml: None, awaited: Vec::new(), folder }
    }

    /// One vLLM instance called `vllm`, and nothing else.
    pub(crate) async fn before(upstream: &FakeUpstream) -> TestGateway {
        TestGateway::setup().vllm("vllm", upstream).start().await
    }

    /// Sends one request on a connection of its own and reads the whole response.
    pub(crate) async fn send(&self, request: &Request) -> Response {
        client::send(&self.address, request).await
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send(&Request::post(path).json(body)).await
    }

    /// Asks for a path.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path)).await
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.address).await
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its working folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    // --- what it says

    /// Waits for a line of the log.
    pub(crate) async fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = |log: &Log| log.lines.iter().find(|line| wanted(line)).cloned();
        let mut log = self.log.clone();
        let waiting = tokio::time::timeout(LIMIT, log.wait_for(|log| log.over || find(log).is_some()));
        let found = match waiting.await {
            Ok(Ok(log)) => find(&log),
            _ => None,
        };
        found.unwrap_or_else(|| panic!("the log does not say {what}:\n{}", self.log_text()))
    }

    /// Waits for the line about the call with this request id.
    pub(crate) async fn call_line(&self, request_id: &str) -> Value {
        let what = format!("how the call {request_id} ended");
        self.line(&what, |line| line["message"] == "call" && line["request_id"] == request_id).await
    }

    /// Waits for the line about the call that got this response.
    pub(crate) async fn line_of(&self, response: &Response) -> Value {
        let id = response.header("x-request-id").unwrap_or_else(|| panic!("no request id:\n{response}"));
        self.call_line(id).await
    }

    /// How many lines of the log there are with this message.
    pub(crate) fn count(&self, message: &str) -> usize {
        self.log.borrow().lines.iter().filter(|line| line["message"] == message).count()
    }

    /// Everything that was written, as it was written.
    pub(crate) fn log_text(&self) -> String {
        self.log.borrow().text.join("\n")
    }

    /// The metrics page; the setup must have switched it on.
    pub(crate) async fn metrics(&self) -> String {
        let page = self.get("/metrics").await;
        assert_eq!(page.status, 200, "{page}");
        page.text()
    }

    // --- its end

    /// Asks it to end, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the process can be signalled");
    }

    /// Its process's number.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process is gone.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let child = &mut self.child;
        testkit::wait::eventually_some(LIMIT, || child.try_wait().expect("a child can be asked")).await
    }
}

impl Drop for TestGateway {
    #[expect(clippy::print_stdout, reason = "a test that fails shows what the gateway said")]
    fn drop(&mut self) {
        // it may have ended already, which is as good
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log_text();
        if std::thread::panicking() {
            println!("the gateway's log:\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}
