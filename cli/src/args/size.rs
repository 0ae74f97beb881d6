//! Sizes in bytes, as every option that takes one reads them.

/// A number of bytes with an optional unit: K, M, G, T, KB, MiB, ...
pub(super) fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 =
        number.parse().map_err(|_| "expected a size such as 2GB, 512MiB or a number of bytes".to_owned())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0f64.powi(4),
        other => return Err(format!("unknown unit {other}: use KB, MB, GB, TB, KiB, MiB, GiB, TiB")),
    };
    let bytes = number * factor;
    match (1.0..1e18).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err("expected a size of at least 1 byte and below 1000000TB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1000", 1000),
            ("1000B", 1000),
            ("8k", 8000),
            ("2KB", 2000),
            ("12MB", 12_000_000),
            ("2GB", 2_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("2KiB", 2048),
            ("64MiB", 64 << 20),
            ("1.5 GiB", 1_610_612_736),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "GB", "1 apple", "-1MiB", "0", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
