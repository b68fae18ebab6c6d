//! What the processors use, as their own counters say.
//!
//! In → two readings; out → joules between them, of all processor packages (RAPL, Linux'
//! `/sys/class/powercap/intel-rapl:N/energy_uj`, which AMD's have too). **Invariants.** Where one
//! counter cannot be read there is no figure: virtual machines have none, and Linux shows them to
//! root alone since 5.10. A counter begins anew at its range, some minutes to an hour of full work:
//! a meter is for less. **Cost.** A small file a package and reading.

use std::path::{Path, PathBuf};

use super::io;

/// Where Linux shows the counters.
const COUNTERS: &str = "/sys/class/powercap";

/// The counters of one measurement, each with its reading at the start.
#[derive(Debug)]
pub struct Meter(Vec<Counter>);

#[derive(Debug)]
struct Counter {
    path: PathBuf,
    /// Microjoules at which it begins anew.
    range: u64,
    start: u64,
}

impl Meter {
    /// Starts a measurement; `None` where this machine shows no counters.
    pub fn begin() -> Option<Meter> {
        Meter::of(Path::new(COUNTERS))
    }

    fn of(folder: &Path) -> Option<Meter> {
        let packages = io::list(folder).ok()?.into_iter().filter(|path| is_package(path));
        let counter = |package: PathBuf| {
            let path = package.join("energy_uj");
            let range = number(&package.join("max_energy_range_uj"))?;
            Some(Counter { start: number(&path)?, range, path })
        };
        let counters: Vec<Counter> = packages.map(counter).collect::<Option<_>>()?;
        (!counters.is_empty()).then_some(Meter(counters))
    }

    /// Joules since it began.
    pub fn joules(&self) -> Option<f64> {
        let used = |counter: &Counter| {
            let now = number(&counter.path)?;
            let anew = if now < counter.start { counter.range } else { 0 };
            Some((now + anew).saturating_sub(counter.start))
        };
        let microjoules = self.0.iter().map(used).sum::<Option<u64>>()?;
        Some(microjoules as f64 / 1e6)
    }
}

/// `intel-rapl:0`; `intel-rapl:0:1` is a part of it, `intel-rapl-mmio:0` the same once more.
fn is_package(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("intel-rapl:").is_some_and(|number| number.parse::<u32>().is_ok())
}

fn number(path: &Path) -> Option<u64> {
    io::read_text(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_summed_and_counters_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Meter::of(folder.path()).is_none());
        let write = |package: &str, name: &str, value: u64| {
            let package = folder.path().join(package);
            std::fs::create_dir_all(&package).unwrap();
            std::fs::write(package.join(name), format!("{value}\n")).unwrap();
        };
        for package in ["intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl-mmio:0"] {
            write(package, "energy_uj", 9_000_000);
            write(package, "max_energy_range_uj", 10_000_000);
        }
        let meter = Meter::of(folder.path()).unwrap();
        write("intel-rapl:0", "energy_uj", 9_500_000);
        write("intel-rapl:1", "energy_uj", 2_000_000);
        write("intel-rapl:0:0", "energy_uj", 9_900_000);
        assert_eq!(meter.joules(), Some(3.5));
        write("intel-rapl:2", "max_energy_range_uj", 10_000_000);
        assert!(Meter::of(folder.path()).is_none(), "a counter that cannot be read");
    }
}
