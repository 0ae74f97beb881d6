//! Memory of this machine, where the system says how much there is (Linux).

use std::sync::OnceLock;

/// Bytes of memory that the machine has.
pub fn total_memory() -> Option<u64> {
    static TOTAL: OnceLock<Option<u64>> = OnceLock::new();
    *TOTAL.get_or_init(|| read("MemTotal:"))
}

/// Bytes of memory that programs can still have.
pub fn available_memory() -> Option<u64> {
    read("MemAvailable:")
}

fn read(name: &str) -> Option<u64> {
    find(&fs_err::read_to_string("/proc/meminfo").ok()?, name)
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
}
