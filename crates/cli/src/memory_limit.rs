//! How much memory `inspect` and `verify` may take, and how they end when that is reached.
//!
//! By default they take half of the memory that is free, and no more than [`MOST`]. So they never take so much that the system ends other
//! processes, or in a container this one and the receiver beside it.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use promarchive_allocator::limit::{self, End};
use promarchive_api::ByteSize;

use crate::commands::output::bytes;

/// The default where more is free: four times what `verify` took for 1.4 million series in files that overlap in time
/// (docs/reference/verify.md#memory).
const MOST: u64 = 1 << 30;
/// The default where less is free: the program itself takes some of it.
const LEAST: u64 = 64 << 20;
/// Exit code when the limit is reached.
const REACHED: u8 = 3;

/// Limits what this process takes from now on.
pub(crate) fn start(given: Option<ByteSize>) {
    let limit = given.map_or_else(|| default(free()), |ByteSize(bytes)| bytes);
    // The line of a progress bar has no end.
    let line_end = if std::io::stderr().is_terminal() { "\n" } else { "" };
    let end = End {
        code: REACHED,
        before: format!("{line_end}error: the memory limit of {} was reached while reading ", bytes(limit)),
        after: "; if you trust the archive, increase --memory-limit; otherwise find out which program wrote this"
            .to_owned(),
    };
    limit::set(usize::try_from(limit).unwrap_or(usize::MAX), end);
    limit::phase("the archive");
}

/// What is taken at most, if so many bytes are free, or nobody knows how many.
fn default(free: Option<u64>) -> u64 {
    free.map_or(MOST, |free| (free / 2).clamp(LEAST, MOST))
}

/// Memory that is free on this machine and in this container; none where the system does not tell, as on macOS.
fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().filter_map(|line| of_group(Path::new("/sys/fs/cgroup"), line)).chain(machine).min()
}

/// `MemAvailable:   123 kB`.
fn of_machine(meminfo: &str) -> Option<u64> {
    let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kilobytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What a control group has left, from a line of `/proc/self/cgroup`: `0::/path` of version 2, `4:memory:/path` of version 1.
fn of_group(mount: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let path = Path::new(path.trim_start_matches('/'));
    let (mount, files) = match controllers {
        "" => (mount.to_path_buf(), ["memory.max", "memory.current", "inactive_file"]),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            (mount.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
        }
        _ => return None,
    };
    // Groups around it have limits too. In a container the path may be one of the host, and only the root is there.
    path.ancestors().filter_map(|group| left(&mount.join(group), files)).min()
}

/// What is left of the limit of one group; what is cached of files is given up when it is needed.
fn left(group: &Path, [limit, used, cached]: [&str; 3]) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?;
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = statistics.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse::<u64>().ok());
    let used = number(used)?.saturating_sub(cached.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_free() {
        assert_eq!([None, Some(0), Some(1 << 30), Some(1 << 40)].map(default), [MOST, LEAST, 512 << 20, MOST]);
        assert_eq!(of_machine("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(of_machine("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_container_has_less_than_its_machine() {
        let mount = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = mount.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pods/one/memory.max", "1000\n");
        write("pods/one/memory.current", "700\n");
        write("pods/one/memory.stat", "anon 1\ninactive_file 200\n");
        write("pods/memory.max", "max\n");
        write("pods/memory.current", "900\n");
        assert_eq!(of_group(mount.path(), "0::/pods/one"), Some(500));
        write("pods/memory.max", "1000\n");
        assert_eq!(of_group(mount.path(), "0::/pods/one"), Some(100));
        assert_eq!(of_group(mount.path(), "0::/elsewhere"), None);
        write("memory/memory.limit_in_bytes", "100");
        write("memory/memory.usage_in_bytes", "90");
        assert_eq!(of_group(mount.path(), "4:cpu,memory:/of/the/host"), Some(10));
        assert_eq!(of_group(mount.path(), "4:cpu:/"), None);
    }
}
