//! What this machine has: cores, memory (or its container's), a name.
//!
//! Reads `/proc` and `/sys`; what it says goes to `run.json` and into limits, never into results.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
};

use super::io;

/// Cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Bytes of memory this process may use: the machine's, or its control group's if that is less.
pub fn memory_bytes() -> u64 {
    let machine = io::read_text(Path::new("/proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?.to_owned();
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    machine.unwrap_or(4 << 30).min(memory_limit().unwrap_or(u64::MAX))
}

/// Bytes of memory that the control groups of this process allow, where they set a limit.
pub fn memory_limit() -> Option<u64> {
    let own = io::read_text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limit = |path: &PathBuf| io::read_text(path).ok()?.trim().parse::<u64>().ok();
    group_limits(&own).iter().filter_map(limit).filter(|bytes| *bytes > 0).min()
}

/// The files with the memory limits of a process, by its `/proc/self/cgroup`: of its own control
/// group and of every group above, since each limit holds (`man 7 cgroups`: version 2 is the line
/// `0::PATH`, version 1 the one that names `memory`).
fn group_limits(own: &str) -> Vec<PathBuf> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(place)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = Path::new(place.trim_start_matches('/'));
        limits.extend(own.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    limits
}

/// The largest memory this process has held, in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    status_bytes("VmHWM:").unwrap_or(0)
}

/// The bytes that a line of `/proc/self/status` says, which counts in KiB.
fn status_bytes(name: &str) -> Option<u64> {
    let text = io::read_text(Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Bytes of memory that this process holds now, where the system says. Cost: some tens of
/// microseconds.
pub fn held_memory_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_no_more_than_it_has_held_at_most() {
        let held = held_memory_bytes().unwrap();
        // Both are counted page by page, by each core for itself (`man 5 proc`).
        assert!(held > 1 << 20 && held <= peak_memory_bytes() + (16 << 20), "{held}");
    }

    #[test]
    fn the_limits_of_a_group_and_of_those_above_it_count_in_both_versions() {
        let shown = |own: &str| {
            let limits = group_limits(own);
            limits.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let two = ["/sys/fs/cgroup/user/job/memory.max", "/sys/fs/cgroup/user/memory.max"];
        assert_eq!(shown("0::/user/job\n"), [&two[..], &["/sys/fs/cgroup/memory.max"]].concat());
        let one = "/sys/fs/cgroup/memory/box/memory.limit_in_bytes";
        let top = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(shown("5:cpu:/x\n4:memory:/box\n"), [one, top]);
        assert!(shown("").is_empty());
    }
}
