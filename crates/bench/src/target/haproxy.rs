//! HAProxy as a reverse proxy.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::Standing;
use crate::process::Start;
use crate::stage::Stage;

pub(super) async fn start(
    program: &Path,
    stage: &Stage,
    port: u16,
    folder: &Path,
) -> anyhow::Result<Standing> {
    let file = folder.join("haproxy.cfg");
    fs::write(&file, configuration(stage, port)).with_context(|| file.display().to_string())?;
    let start = Start {
        program: program.to_owned(),
        arguments: vec!["-db".into(), "-f".into(), file.into_os_string()],
        environment: Vec::new(),
        folder: folder.to_owned(),
        cores: stage.gateway_cores.clone(),
    };
    Standing::begin("haproxy", port, &start, &folder.join("haproxy.log")).await
}

/// Keep-alive on both sides. `http-no-delay`, because without it HAProxy holds the first token of a stream back.
fn configuration(stage: &Stage, port: u16) -> String {
    // each proxied connection is two files, and HAProxy refuses to start if they cannot all be open
    let open = usize::try_from(stage.machine.open_files / 2).unwrap_or(usize::MAX).saturating_sub(100);
    let most = (stage.proxy_connections / 2).min(open).max(100);
    format!(
        "global
  nbthread {threads}
  maxconn {most}
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option http-keep-alive
  option http-no-delay
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  maxconn {most}
  default_backend engine
backend engine
  server mock {mock} pool-max-conn 1024
",
        threads = stage.gateway_cores.len().max(1),
        mock = stage.mock,
    )
}
