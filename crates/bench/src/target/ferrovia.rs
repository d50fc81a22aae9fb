//! Ferrovia with the ordinary configuration of production: a master key, metrics, usage accounted, a line in the log
//! for each call. There is no other mode.

use std::path::Path;

use super::{JUDGED, Standing};
use crate::gate;
use crate::process::Start;
use crate::stage::Stage;

/// The master key, which every call carries.
pub(super) const KEY: &str = "key-of-the-benchmark";

/// The instance's name in the model names of calls: the gateway has to take it off again.
pub(super) const MODEL_PREFIX: &str = "vllm/";

pub(super) async fn start(
    program: &Path,
    stage: &Stage,
    port: u16,
    folder: &Path,
) -> anyhow::Result<Standing> {
    let start = configured(program, stage, port, folder);
    Standing::begin(JUDGED, port, &start, &folder.join("ferrovia.log")).await
}

/// The same under callgrind, with one thread that serves: where the kernel sends a connection would count otherwise.
pub(super) async fn start_counted(
    valgrind: &Path,
    program: &Path,
    stage: &Stage,
    port: u16,
    folder: &Path,
) -> anyhow::Result<Standing> {
    let mut start = configured(valgrind, stage, port, folder);
    start.arguments = gate::arguments(folder, program);
    start.environment.push(("FERROVIA_THREADS".to_owned(), "1".to_owned()));
    Standing::begin(JUDGED, port, &start, &folder.join("ferrovia.log")).await
}

fn configured(program: &Path, stage: &Stage, port: u16, folder: &Path) -> Start {
    let set = [
        ("FERROVIA_HOST", "127.0.0.1".to_owned()),
        ("PORT", port.to_string()),
        ("FERROVIA_MASTER_KEY", KEY.to_owned()),
        ("VLLM_BASE_URL", format!("http://{}/v1", stage.mock)),
        ("METRICS_ENABLED", "true".to_owned()),
        ("USAGE_ENABLED", "true".to_owned()),
        ("LOG_LEVEL", "info".to_owned()),
        ("FERROVIA_CACHE_DIR", folder.join("cache").display().to_string()),
    ];
    Start {
        program: program.to_owned(),
        arguments: Vec::new(),
        environment: set.map(|(name, value)| (name.to_owned(), value)).into(),
        folder: folder.to_owned(),
        cores: stage.gateway_cores.clone(),
    }
}
