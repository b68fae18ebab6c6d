//! What this machine has: cores, memory (or its container's), a name.
//!
//! Reads `/proc` and `/sys`; what it says goes to `run.json` and into limits, never into results.

use std::{num::NonZero, path::Path};

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
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.iter().find_map(|path| {
        io::read_text(Path::new(path)).ok()?.trim().parse::<u64>().ok().filter(|bytes| *bytes > 0)
    });
    machine.unwrap_or(4 << 30).min(group.unwrap_or(u64::MAX))
}

/// The largest memory this process has held, in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    let text = io::read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
