//! Memory of this machine, or of the container or service that the process runs in, where the system says how
//! much there is (Linux), and how a process allocates it.

mod cgroup;
mod freed;
mod large_pages;

use std::path::Path;
use std::sync::OnceLock;

pub use freed::{REUSED_BLOCK, keep_freed_memory, release_freed_memory};
pub use large_pages::{LargePages, use_large_pages};

/// Bytes of memory that the machine has, or that the process is allowed, if that is less.
pub fn total_memory() -> Option<u64> {
    static TOTAL: OnceLock<Option<u64>> = OnceLock::new();
    *TOTAL.get_or_init(|| total(Path::new("/")))
}

/// Bytes of memory that programs can still have, on the machine and within what the process is allowed.
pub fn available_memory() -> Option<u64> {
    available(Path::new("/"))
}

fn total(system: &Path) -> Option<u64> {
    read(system, "MemTotal:").into_iter().chain(cgroup::limit(system)).min()
}

fn available(system: &Path) -> Option<u64> {
    read(system, "MemAvailable:").into_iter().chain(cgroup::room(system)).min()
}

fn read(system: &Path, name: &str) -> Option<u64> {
    find(&fs_err::read_to_string(system.join("proc/meminfo")).ok()?, name)
}

fn find(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_bytes() {
        let meminfo =
            "MemTotal:       16384 kB\nMemFree:        1 kB\nMemAvailable:   512 kB\nHugePages_Total:   0\n";
        assert_eq!(find(meminfo, "MemTotal:"), Some(16384 << 10));
        assert_eq!(find(meminfo, "MemAvailable:"), Some(512 << 10));
        assert_eq!(find(meminfo, "HugePages_Total:"), None, "not a size");
        assert_eq!(find(meminfo, "SwapTotal:"), None);
    }

    #[test]
    fn the_smaller_of_the_machine_and_its_groups_counts() {
        let system = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = system.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        assert_eq!((total(system.path()), available(system.path())), (None, None));
        write("proc/meminfo", "MemTotal:       16 kB\nMemAvailable:   8 kB\n");
        assert_eq!((total(system.path()), available(system.path())), (Some(16 << 10), Some(8 << 10)));
        write("proc/self/cgroup", "0::/\n");
        write("proc/self/mountinfo", "31 25 0:26 / /groups rw - cgroup2 cgroup2 rw\n");
        write("groups/memory.max", "12288\n");
        assert_eq!((total(system.path()), available(system.path())), (Some(12 << 10), Some(8 << 10)));
        write("groups/memory.current", "10240\n");
        assert_eq!((total(system.path()), available(system.path())), (Some(12 << 10), Some(2 << 10)));
    }
}
