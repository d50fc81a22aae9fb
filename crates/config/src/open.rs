//! When an open gateway would be one by mistake: keys of GoModel exist, and this version cannot see them.

use std::path::Path;

use crate::Config;
use crate::draft::Draft;
use crate::report::Origin;

/// Where GoModel and Aurora keep their database by default.
const DATABASES: [&str; 2] = ["data/gomodel.db", "data/aurora.db"];

/// Refuses a start without a master key where managed keys may be waiting in a database.
pub(crate) fn check(draft: &mut Draft<'_>, config: &Config, cwd: &Path) {
    let master_key_is_broken =
        draft.findings.iter().any(|f| f.setting.to_ascii_lowercase().ends_with("master_key"));
    if !config.server.master_key.is_empty() || master_key_is_broken {
        return;
    }
    let fix = "set FERROVIA_MASTER_KEY; managed keys are not built in this version";
    if let Some((kind, origin)) = draft.unbuilt.get("storage.type").cloned()
        && ["postgresql", "postgres", "mongodb"].contains(&kind.to_ascii_lowercase().as_str())
    {
        let problem = "the database may hold keys that this version cannot check; without a master key the gateway would be open";
        draft.error(&origin, "storage.type", problem, fix);
        return;
    }
    let configured = draft.unbuilt.get("storage.sqlite.path").cloned();
    let usual =
        DATABASES.map(|path| (path.to_owned(), Origin::File { path: path.into(), line: 0, column: 0 }));
    for (path, origin) in configured.into_iter().chain(usual) {
        if !path.is_empty() && cwd.join(&path).exists() {
            let problem = format!(
                "{path} is a database of GoModel: it may hold keys that this version cannot check, and without a master key the gateway would be open"
            );
            draft.error(&origin, "server.master_key", problem, fix);
            return;
        }
    }
}
