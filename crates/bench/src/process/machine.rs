//! The machine that is measured on: its cores, its load, its limits.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What a reader of the figures has to know about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that this program may use.
    pub cores: Vec<usize>,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory in GiB, rounded.
    pub memory_gib: u64,
    /// How many files a process may open.
    pub open_files: u64,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = field(&read("/proc/self/status"), "Cpus_allowed_list:").map(|list| cores(&list));
        let kib = field(&read("/proc/meminfo"), "MemTotal:");
        let kib = kib.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cores.filter(|cores| !cores.is_empty()).unwrap_or_else(|| vec![0]),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_gib: (kib + (1 << 19)) >> 20,
            open_files: open_files(&read("/proc/self/limits")).unwrap_or(1024),
        }
    }
}

/// Load average of the last minute.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Where a command is, looked for as a shell does, and in the folders of system programs.
#[expect(clippy::disallowed_methods, reason = "PATH is no setting of the gateway")]
pub fn find_command(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    let candidates = folders.filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join(name));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// Whether this program runs as root.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// The value of a line `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

/// `0-2,5` is 0, 1, 2, 5.
fn cores(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The soft limit of `/proc/self/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(1 << 20) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        for (list, expect) in
            [("0-1", &[0, 1][..]), ("0,2-4", &[0, 2, 3, 4]), ("7", &[7]), ("", &[]), ("x-2", &[])]
        {
            assert_eq!(cores(list), expect);
        }
    }

    #[test]
    fn limits_are_read() {
        let text = "Limit      Soft Limit   Hard Limit   Units\nMax open files            20000                20000                files\n";
        assert_eq!(open_files(text), Some(20_000));
        assert_eq!(open_files("Max open files  unlimited unlimited files\n"), Some(1 << 20));
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn fields_are_found_whatever_stands_between() {
        assert_eq!(field("a: 1\nmodel name\t: EPYC 7\n", "model name").as_deref(), Some("EPYC 7"));
        assert_eq!(field("", "model name"), None);
    }

    #[test]
    fn a_machine_has_cores_and_a_shell() {
        let machine = Machine::here();
        assert!(!machine.cores.is_empty() && machine.open_files > 0);
        assert!(find_command("sh").is_some() && find_command("no-such-command-here").is_none());
    }
}
