//! Description of the machine, and resource usage.

use serde_json::{Value, json};

/// The processor, its cores and the memory, as reported by the system.
pub fn describe() -> Value {
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .map(str::to_owned)
    };
    let flags = field("flags").unwrap_or_default();
    let simd: Vec<&str> =
        flags.split(' ').filter(|f| f.starts_with("avx") || *f == "f16c" || *f == "fma").collect();
    let meminfo = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "cpu": field("model name"),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        "memory": meminfo.lines().next().map(|line| line.trim_start_matches("MemTotal:").trim()),
        "simd": simd,
    })
}

/// Largest resident memory of this process so far, in MiB.
pub fn peak_rss_mib() -> f64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}

/// Memory of this process now, in KiB: anonymous, and of mapped files.
pub fn resident_kib() -> (u64, u64) {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    (field("RssAnon:"), field("RssFile:"))
}
