//! Writing transcripts.

use std::fmt::{self, Display, Formatter};

use super::escape::escape;
use super::{Exchange, Side, Transcript};

impl Display for Transcript {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", format!("# {}", self.title).trim_end())?;
        if !self.prose.is_empty() {
            writeln!(f, "\n{}\n", self.prose)?;
        }
        if !self.setup.is_empty() {
            writeln!(f, "--- setup")?;
            for (key, value) in &self.setup {
                writeln!(f, "{}", format!("{key} = {value}").trim_end())?;
            }
        }
        side(f, ">>> client", &self.request)?;
        for Exchange { request, reply } in &self.exchanges {
            if let Some(request) = request {
                side(f, ">>> upstream", request)?;
            }
            if let Some(reply) = reply {
                side(f, "<<< upstream", reply)?;
            }
        }
        if let Some(reply) = &self.reply {
            side(f, "<<< client", reply)?;
        }
        for (name, value) in &self.notes {
            marker(f, &format!("=== {name}"), value)?;
        }
        Ok(())
    }
}

/// The names' column is wide enough for `upstream`; longer names are followed by one blank.
fn marker(f: &mut Formatter<'_>, name: &str, rest: &str) -> fmt::Result {
    writeln!(f, "{}", format!("{name:<15} {rest}").trim_end())
}

fn side(f: &mut Formatter<'_>, name: &str, side: &Side) -> fmt::Result {
    marker(f, name, &side.head)?;
    for (name, value) in &side.headers {
        let line = if value.is_empty() { format!("{name}:") } else { format!("{name}: {value}") };
        writeln!(f, "{}", escape(line.as_bytes()))?;
    }
    if side.body.is_empty() {
        return Ok(());
    }
    writeln!(f)?;
    for line in side.body.split(|&byte| byte == b'\n') {
        writeln!(f, "{}", escape(line))?;
    }
    Ok(())
}
