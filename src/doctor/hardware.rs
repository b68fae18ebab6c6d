//! Processor, memory and disk: of the machine, and what its container leaves of them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::base::{io, machine, size::Bytes};

/// Instruction sets that matter: kernels and `gemm` select by the first three, newer ones could use
/// the others.
const INSTRUCTIONS: [&str; 6] = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd"];

/// The hardware that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hardware {
    pub processor: String,
    pub instructions: Vec<String>,
    /// Cores that this process may use, and those of the machine.
    pub cores: usize,
    pub machine_cores: usize,
    /// Bytes of the machine, those that are free, and what the control group allows.
    pub memory: Option<u64>,
    pub free_memory: Option<u64>,
    pub memory_limit: Option<u64>,
    /// This folder, and the bytes that may be written to its disk.
    pub folder: PathBuf,
    pub free_disk: Option<u64>,
}

impl Hardware {
    /// What this machine has.
    pub fn here() -> Hardware {
        let read = |path: &str| io::read_text(Path::new(path)).unwrap_or_default();
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Hardware {
            cores: machine::cores(),
            memory_limit: machine::memory_limit(),
            free_disk: io::free_bytes(&folder),
            folder,
            ..Hardware::of(&read("/proc/cpuinfo"), &read("/proc/meminfo"))
        }
    }

    /// The hardware that texts of `/proc` describe.
    fn of(processors: &str, memory: &str) -> Hardware {
        let value = |name: &str| {
            let named = |line: &&str| line.split(':').next().is_some_and(|key| key.trim() == name);
            let line = processors.lines().find(named)?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let flags = value("flags").or_else(|| value("Features")).unwrap_or_default();
        let has = |name: &&str| flags.split(' ').any(|flag| flag == *name);
        let cores = processors.lines().filter(|line| line.starts_with("processor"));
        let kib = |name: &str| {
            let line = memory.lines().find(|line| line.starts_with(name))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
        };
        Hardware {
            processor: value("model name").unwrap_or_else(|| "unknown processor".to_owned()),
            instructions: INSTRUCTIONS.iter().filter(|name| has(name)).map(|&n| n.into()).collect(),
            machine_cores: cores.count(),
            memory: kib("MemTotal:"),
            free_memory: kib("MemAvailable:"),
            ..Hardware::default()
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor   {} {}", self.processor, self.instructions.join(" "))?;
        let all = self.machine_cores.max(self.cores);
        writeln!(f, "cores       {} of {all}", self.cores)?;
        if let Some(memory) = self.memory {
            write!(f, "memory      {}", Bytes(memory))?;
            if let Some(free) = self.free_memory {
                write!(f, ", {} free", Bytes(free))?;
            }
            match self.memory_limit.filter(|limit| *limit < memory) {
                Some(limit) => writeln!(f, "; the container allows {}", Bytes(limit))?,
                None => writeln!(f)?,
            }
        }
        match self.free_disk {
            Some(free) => {
                writeln!(f, "disk        {} free at {}", Bytes(free), self.folder.display())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_memory_are_those_that_the_system_names() {
        let one = "model name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 fma\n";
        let processors = format!("processor\t: 0\n{one}\nprocessor\t: 1\n{one}");
        let found = Hardware::of(&processors, "MemTotal:  2048 kB\nMemAvailable:  1024 kB\n");
        assert_eq!((found.processor.as_str(), found.machine_cores), ("Some CPU @ 2GHz", 2));
        assert_eq!(found.instructions, ["avx2", "fma"]);
        assert_eq!((found.memory, found.free_memory), (Some(2 << 20), Some(1 << 20)));
        let limited = Hardware { memory_limit: Some(1 << 20), ..found };
        assert!(
            limited.to_string().contains("2.0 MiB, 1.0 MiB free; the container allows 1.0 MiB")
        );
        assert_eq!(Hardware::of("", "").processor, "unknown processor");
    }
}
