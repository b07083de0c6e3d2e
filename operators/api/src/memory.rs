//! Checks whether the memory that a stage is about to take is available.
//!
//! A [`Demand`] lists only buffers that will certainly exist at the same time, so that a stage that
//! would fit is never refused; a stage that passes the check may still run out of memory. Where the
//! system does not report how much is available, nothing is refused.

use std::fs;
use std::path::Path;

use crate::error::{OpError, OpResult};

/// Bytes a stage is going to hold at once, by what they are for.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    parts: Vec<(String, u64)>,
}

impl Demand {
    /// An empty demand.
    pub fn new() -> Self {
        Demand::default()
    }

    /// Adds a buffer of as many bytes as the product of `factors`.
    #[must_use]
    pub fn and(mut self, what: impl Into<String>, factors: &[usize]) -> Self {
        let bytes = factors
            .iter()
            .fold(1u64, |n, f| n.saturating_mul(*f as u64));
        self.parts.push((what.into(), bytes));
        self
    }

    /// Sum over all buffers, in bytes.
    pub fn total(&self) -> u64 {
        let parts = self.parts.iter();
        parts.fold(0, |n, (_, bytes)| n.saturating_add(*bytes))
    }

    /// Checks that the demand fits into the memory available now; `lower` names the parameters that
    /// reduce it, for the error's hint.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn check(&self, lower: &str) -> OpResult<()> {
        self.check_against(available(), lower)
    }

    /// Like [`Demand::check`], with a known amount of available bytes.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn check_against(&self, available: Option<u64>, lower: &str) -> OpResult<()> {
        let Some(there) = available.filter(|there| self.total() > *there) else {
            return Ok(());
        };
        let mut parts: Vec<&(String, u64)> = self.parts.iter().collect();
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let named: Vec<String> = parts
            .iter()
            .take(4)
            .map(|(what, bytes)| format!("{what} {}", shown(*bytes)))
            .collect();
        Err(OpError::resource(format!(
            "this needs at least {} of memory and {} are available ({})",
            shown(self.total()),
            shown(there),
            named.join(", ")
        ))
        .hint(format!(
            "lower {lower}, or run it where there is more memory"
        )))
    }
}

/// Formats an amount of memory for messages.
fn shown(bytes: u64) -> bytesize::Display {
    bytesize::ByteSize(bytes).display().iec()
}

/// Bytes that this process can still take, swap included: the smallest of what the system, the
/// control groups around the process and its own limit on address space leave. `None` where none of
/// them is known.
pub fn available() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").as_deref().and_then(of_system);
    let swap = read("/proc/meminfo")
        .as_deref()
        .and_then(|text| kibibytes(text, "SwapFree:"))
        .unwrap_or(0);
    let groups = read("/proc/self/cgroup").and_then(|text| of_groups(&text, swap));
    let addresses = match (read("/proc/self/limits"), read("/proc/self/status")) {
        (Some(limits), Some(status)) => of_addresses(&limits, &status),
        _ => None,
    };
    [system, groups, addresses].into_iter().flatten().min()
}

/// The value of a line `NAME   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let n: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    n.checked_mul(1024)
}

fn of_system(meminfo: &str) -> Option<u64> {
    let free = kibibytes(meminfo, "MemAvailable:")?;
    Some(free + kibibytes(meminfo, "SwapFree:").unwrap_or(0))
}

/// Bytes that the limit on address space leaves, if there is one.
fn of_addresses(limits: &str, status: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(kibibytes(status, "VmSize:")?))
}

/// Bytes that the control groups of a process leave. `text` is its `/proc/self/cgroup`; version 2
/// and the memory controller of version 1 are understood.
fn of_groups(text: &str, swap: u64) -> Option<u64> {
    let paths = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some(("/sys/fs/cgroup", path)),
            c if c.split(',').any(|c| c == "memory") => Some(("/sys/fs/cgroup/memory", path)),
            _ => None,
        }
    });
    let left = paths.filter_map(|(root, path)| {
        // A group's limit applies to all groups inside it. In a container the path may be one of
        // the host, which does not exist here: then the root is this process's group.
        let path = Path::new(path.trim_start_matches('/'));
        let folders = path.ancestors().map(|p| Path::new(root).join(p));
        folders.filter_map(|folder| of_group(&folder, swap)).min()
    });
    left.min()
}

/// Bytes that one control group leaves. Cached pages of files count as used there, but the system
/// frees them when memory is needed.
fn of_group(folder: &Path, swap: u64) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = read("memory.stat").unwrap_or_default();
    let of_files: u64 = [
        "inactive_file ",
        "active_file ",
        "total_inactive_file ",
        "total_active_file ",
    ]
    .iter()
    .filter_map(|name| {
        let value = stat.lines().find_map(|l| l.strip_prefix(name))?;
        value.trim().parse::<u64>().ok()
    })
    .sum();
    Some(
        limit
            .saturating_sub(used.saturating_sub(of_files))
            .saturating_add(swap),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_does_not_fit_is_refused_with_its_parts() {
        let demand = Demand::new()
            .and("states", &[1 << 20, 512, 4])
            .and("weights", &[3, 1 << 20]);
        assert_eq!(demand.total(), (2 << 30) + (3 << 20));
        let e = demand
            .check_against(Some(1 << 30), "`train.batch_size`")
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Resource);
        assert_eq!(
            e.to_string(),
            "this needs at least 2.0 GiB of memory and 1.0 GiB are available (states 2.0 GiB, weights 3.0 MiB)"
        );
        assert_eq!(
            e.advice(),
            Some("lower `train.batch_size`, or run it where there is more memory")
        );
    }

    #[test]
    fn what_fits_or_cannot_be_known_is_not_refused() {
        let demand = Demand::new().and("rows", &[usize::MAX, usize::MAX, 8]);
        assert_eq!(demand.total(), u64::MAX, "products do not wrap");
        demand.check_against(None, "x").unwrap();
        let demand = Demand::new().and("rows", &[1024]);
        demand.check_against(Some(1024), "x").unwrap();
        demand.check("x").unwrap();
    }

    #[test]
    fn files_of_the_system_are_understood() {
        let meminfo = "MemTotal: 100 kB\nMemAvailable:      64 kB\nSwapFree:   8 kB\n";
        assert_eq!(of_system(meminfo), Some(72 << 10));
        assert_eq!(of_system("MemTotal: 100 kB\n"), None);
        let limits = |n: &str| {
            format!(
                "Max stack size  8388608  unlimited  bytes\nMax address space         {n}   unlimited   bytes\n"
            )
        };
        let status = "VmSize:\t    4 kB\n";
        assert_eq!(of_addresses(&limits("10240"), status), Some(6144));
        assert_eq!(of_addresses(&limits("unlimited"), status), None);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("memory.max", "1000\n"),
            ("memory.current", "700\n"),
            ("memory.stat", "anon 1\ninactive_file 200\nactive_file 50\n"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(of_group(dir.path(), 10), Some(1000 - (700 - 250) + 10));
        fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(of_group(dir.path(), 10), None);
        assert_eq!(of_group(Path::new("/nowhere"), 0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
