//! Types of columns of times, by the forms of their texts.

use arrow_schema::{DataType, TimeUnit};
use gstore_functions::full_time;

/// What the texts of a column are as times, as far as they were seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeTexts {
    /// Most digits behind the seconds of one; `None` where all are dates.
    fraction: Option<usize>,
    /// Whether one has an offset, such as `+02:00` or `Z`.
    with_offset: bool,
    without_offset: bool,
    /// Whether one has not the form of a time.
    pub(super) other: bool,
}

impl TimeTexts {
    pub(super) fn see<'a>(&mut self, mut texts: impl Iterator<Item = &'a str>) {
        self.other = self.other || texts.any(|text| !self.takes(text));
    }

    /// False for a text that has not the form of a time. The year has four digits: `1-2-3` is a code.
    fn takes(&mut self, text: &str) -> bool {
        let Some(full) = full_time(text).filter(|full| full.find('-') == Some(4)) else { return false };
        // Behind `2024-02-29 10:00:00` stand fractions and an offset.
        let behind = full.get(19..).unwrap_or_default();
        let fraction = behind.strip_prefix('.').unwrap_or_default();
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if full.len() > "2024-02-29".len() {
            self.fraction = self.fraction.max(Some(digits));
        }
        let has_offset = behind.contains(|c: char| c != '.' && !c.is_ascii_digit());
        *(if has_offset { &mut self.with_offset } else { &mut self.without_offset }) = true;
        digits <= 9
    }

    /// The type of the column, if it is one of times. Those that all have an offset are instants; where some
    /// have none, nothing says when these are.
    pub(super) fn kind(self) -> Option<DataType> {
        let zone = match (self.with_offset, self.without_offset) {
            _ if self.other => return None,
            (true, false) => Some("UTC".into()),
            (false, true) => None,
            _ => return None,
        };
        Some(match self.fraction {
            None => DataType::Date32,
            Some(0) => DataType::Timestamp(TimeUnit::Second, zone),
            Some(1..=3) => DataType::Timestamp(TimeUnit::Millisecond, zone),
            Some(4..=6) => DataType::Timestamp(TimeUnit::Microsecond, zone),
            Some(_) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_form() {
        use TimeUnit as U;
        let time = |unit: TimeUnit, zone: Option<&str>| Some(DataType::Timestamp(unit, zone.map(Into::into)));
        for (texts, kind) in [
            (&["2024-1-1", "2024/01/02"][..], Some(DataType::Date32)),
            (&["2024-01-01 10:00", "2024-01-01T11:00:00", "2024-1-2"], time(U::Second, None)),
            (&["2024-01-01 10:00:00.5", "2024-01-01 3:04"], time(U::Millisecond, None)),
            (&["2024-01-01 10:00:00.12345"], time(U::Microsecond, None)),
            (&["2024-01-01 10:00:00.1234567+02"], time(U::Nanosecond, Some("UTC"))),
            (&["2024-1-1 3:04+02:00", "2024-01-01T11:00Z"], time(U::Second, Some("UTC"))),
            (&["2024-01-01 10:00Z", "2024-01-01"], None),
            (&["2024-01-01 10:00:00.1234567890"], None),
            (&["2024-01-01", "1-2-3"], None),
            (&["24-01-02"], None),
            (&["20240101"], None),
            (&["10:00"], None),
            (&["2024-01-01 10"], None),
            (&["pool-1-2"], None),
            (&[], None),
        ] {
            let mut times = TimeTexts::default();
            times.see(texts.iter().copied());
            assert_eq!(times.kind(), kind, "{texts:?}");
        }
    }
}
