//! nginx as a reverse proxy that passes bytes on: what every other target is compared with.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{REFERENCE, Standing};
use crate::process::Start;
use crate::process::machine::is_root;
use crate::stage::Stage;

pub(super) async fn start(
    program: &Path,
    stage: &Stage,
    port: u16,
    folder: &Path,
) -> anyhow::Result<Standing> {
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(stage, port)).with_context(|| file.display().to_string())?;
    let start = Start {
        program: program.to_owned(),
        arguments: ["-e", "stderr", "-p"]
            .map(Into::into)
            .into_iter()
            .chain([folder.into(), "-c".into(), file.into_os_string()])
            .collect(),
        environment: Vec::new(),
        folder: folder.to_owned(),
        cores: stage.gateway_cores.clone(),
    };
    Standing::begin(REFERENCE, port, &start, &folder.join("nginx.log")).await
}

/// Keep-alive on both sides, nothing buffered on the way back, no access log: the least that a proxy can do.
fn configuration(stage: &Stage, port: u16) -> String {
    let user = if is_root() { "user root;" } else { "" };
    format!(
        "{user}
worker_processes {workers};
worker_rlimit_nofile {files};
daemon off;
pid nginx.pid;
error_log stderr error;
events {{
  worker_connections {connections};
}}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_body_buffer_size 2m;
  client_max_body_size 64m;
  keepalive_requests 100000000;
  upstream engine {{
    server {mock};
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    tcp_nodelay on;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
",
        workers = stage.gateway_cores.len().max(1),
        files = stage.machine.open_files,
        connections = stage.proxy_connections,
        mock = stage.mock,
    )
}
