//! Reports in words.

use super::collect::{GcReport, KeptBecause};
use super::report::Swept;
use std::fmt;

/// Names that a report gives before it only counts.
const FEW: usize = 10;

/// A number of bytes for people.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        while value >= 1024.0
            && let Some(next) = units.next()
        {
            value /= 1024.0;
            unit = Some(next);
        }
        write!(f, "{value:.1} {}", unit.unwrap_or(&""))
    }
}

impl fmt::Display for GcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gone, goes) = if self.dry_run { ("would be removed", "would go") } else { ("removed", "went") };
        write!(f, "{} files {gone} ({})", self.swept.files(), Bytes(self.swept.bytes()))?;
        for (i, (kind, n)) in self.swept.removed.iter().enumerate() {
            write!(f, "{}{} {kind}", if i == 0 { ": " } else { ", " }, n.files)?;
        }
        write!(
            f,
            "\n{} snapshots {goes}; the history begins with snapshot {}",
            self.snapshots_removed, self.oldest
        )?;
        for kept in &self.kept {
            write!(f, "\nsnapshot {} stays: ", kept.snapshot)?;
            match &kept.because {
                KeptBecause::Tag(name) => write!(f, "tag {name}")?,
                KeptBecause::Lease { pid, command } => write!(f, "process {pid} reads it ({command})")?,
            }
        }
        write!(f, "{}", self.swept)
    }
}

/// What was left, each on a line of its own.
impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for job in &self.jobs {
            let state = match (job.running, job.dropped) {
                (true, _) => "at work",
                (false, true) => "dropped",
                (false, false) => "interrupted; its command goes on with it, --drop-jobs removes it",
            };
            write!(f, "\ntmp/{}: {} ({state})", job.id, Bytes(job.bytes))?;
            if let Some(command) = &job.command {
                write!(f, ": {command}")?;
            }
        }
        for name in self.strangers.iter().take(FEW) {
            write!(f, "\n{name} is not gstore's and stays")?;
        }
        let more = self.strangers.len().saturating_sub(FEW) as u64 + self.more_strangers;
        if more > 0 { write!(f, "\n{more} more things are not gstore's and stay") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        let shown: Vec<String> =
            [0, 1023, 1024, 1536, 5 << 20, u64::MAX].map(|n| Bytes(n).to_string()).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "16384.0 PiB"]);
    }
}
