//! What a process and its children have used, as the kernel's books in `/proc` say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The step of `/proc/PID/stat`: the same on every architecture that Rust's Linux targets have.
const TICK: Duration = Duration::from_millis(10);

/// Memory of a tree of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages in memory; shared ones count in every process.
    pub resident: u64,
    /// The same; a shared page counts by the share of each process.
    pub proportional: u64,
}

/// A process and all below it. Empty once it is gone.
pub fn tree(root: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut alive = false;
    for pid in pids {
        if let Some(stat) = Stat::of(pid).filter(|stat| !stat.ended) {
            alive |= pid == root;
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = if alive { vec![root] } else { Vec::new() };
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.get(&pid).into_iter().flatten());
    }
    found
}

/// CPU time that a tree of processes has used until now, in two books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// User and system time, of what runs and of children that have ended. In steps of 10 ms.
    ticks: Duration,
    /// Of the threads that run now, in nanoseconds. Threads that have ended are missing; some kernels keep no such book.
    threads: Option<Duration>,
}

impl Cpu {
    /// Of this process and all below it.
    pub fn of(root: u32) -> Cpu {
        let tree = tree(root);
        let ticks: u64 = tree.iter().filter_map(|pid| Stat::of(*pid)).map(|stat| stat.ticks).sum();
        Cpu { ticks: TICK * u32::try_from(ticks).unwrap_or(u32::MAX), threads: of_threads(&tree) }
    }

    /// What was used since then: by the finer book as long as the coarse one agrees with it.
    pub fn since(self, before: Cpu) -> Duration {
        let ticks = self.ticks.saturating_sub(before.ticks);
        let fine = self.threads.zip(before.threads).and_then(|(now, then)| now.checked_sub(then));
        fine.filter(|fine| fine.abs_diff(ticks) <= TICK * 2).unwrap_or(ticks)
    }

    /// What was used since the beginning.
    pub fn in_all(self) -> Duration {
        self.since(Cpu { ticks: Duration::ZERO, threads: Some(Duration::ZERO) })
    }
}

fn of_threads(tree: &[u32]) -> Option<Duration> {
    let mut sum = 0;
    for pid in tree {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let book = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            sum += book.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    (sum > 0).then(|| Duration::from_nanos(sum))
}

/// Memory of the tree now.
pub fn memory(root: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in tree(root) {
        if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            let memory = rollup(&text);
            sum.resident += memory.resident;
            sum.proportional += memory.proportional;
        }
    }
    sum
}

/// The program that a process runs, in bytes.
pub fn program_size(pid: u32) -> Option<u64> {
    let program = std::fs::canonicalize(Path::new("/proc").join(pid.to_string()).join("exe")).ok()?;
    Some(std::fs::metadata(program).ok()?.len())
}

/// What is read from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// It only waits for its parent to hear of its end.
    ended: bool,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Stat::read(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name stands in parentheses and may hold spaces and parentheses itself: what counts comes behind
    /// the last one (proc(5): state and ppid are
    /// fields 3 and 4, utime to cstime are 14 to 17).
    fn read(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        let ended = matches!(*fields.first()?, "Z" | "X");
        Some(Stat { ended, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// Reads `/proc/PID/smaps_rollup`.
fn rollup(text: &str) -> Memory {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    Memory { resident: bytes("Rss:"), proportional: bytes("Pss:") }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_in_the_book_may_hold_anything() {
        let stat = Stat::read(
            "42 (a) (b c) S 7 42 42 0 -1 4194560 404 0 0 0 10 20 3 4 20 0 1 0 478048 10502144 1675",
        )
        .unwrap();
        assert_eq!(stat, Stat { ended: false, parent: 7, ticks: 37 });
        assert_eq!(Stat::read("42 (short) S 7"), None);
        assert_eq!(Stat::read(""), None);
    }

    #[test]
    fn shared_pages_are_told_apart() {
        let text =
            "55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:   2048 kB\nPss:   1024 kB\nPss_Dirty: 5 kB\n";
        assert_eq!(rollup(text), Memory { resident: 2 << 20, proportional: 1 << 20 });
        assert_eq!(rollup(""), Memory::default());
    }

    #[test]
    fn this_process_is_in_the_book() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(memory(own).resident > 0 && program_size(own).is_some_and(|size| size > 0));
        // work until the book shows it; the steps are of 10 ms
        let (before, began) = (Cpu::of(own), Instant::now());
        while Cpu::of(own).ticks == before.ticks {
            assert!(began.elapsed() < Duration::from_secs(30), "no CPU time in 30 s");
        }
        let used = Cpu::of(own).since(before);
        assert!(used > Duration::ZERO && used < Duration::from_secs(60), "{used:?}");
    }

    #[test]
    fn who_is_gone_uses_nothing() {
        assert_eq!((tree(u32::MAX), memory(u32::MAX)), (Vec::new(), Memory::default()));
        assert_eq!(Cpu::of(u32::MAX), Cpu::default());
    }

    #[test]
    fn the_finer_book_counts_while_the_coarse_one_agrees() {
        let cpu = |ticks, threads: Option<u64>| Cpu {
            ticks: TICK * ticks,
            threads: threads.map(Duration::from_micros),
        };
        for (now, expect) in [
            (cpu(15, Some(151_234)), 50_234),
            // a thread has ended, and took its book with it
            (cpu(15, Some(102_000)), 50_000),
            (cpu(15, Some(90_000)), 50_000),
            (cpu(15, None), 50_000),
        ] {
            let used = now.since(cpu(10, Some(101_000)));
            assert_eq!(used, Duration::from_micros(expect), "{now:?}");
        }
    }
}
