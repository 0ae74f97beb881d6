//! Ticks on axes of times, which are seconds since the beginning of 1970, and the texts of times.

use gstore_core::calendar::{date, first_day, month_of};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;

/// Seconds of a day.
pub(super) const DAY: f64 = 24.0 * HOUR;

/// Seconds of a mean year and month.
pub(super) const YEAR: f64 = 365.2425 * DAY;
const MONTH: f64 = YEAR / 12.0;

/// Days that have a date; those of times in whole seconds are fewer.
const FARTHEST: f64 = 1e15;

/// Most decimals of a second.
const DECIMALS: usize = 9;

/// The smallest part of a time that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    Month,
    Day,
    Minute,
    /// With so many decimals.
    Second(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Distance {
    /// Seconds.
    Even(f64),
    /// Months, at least one.
    Months(i64),
}

/// The smallest round distance of at least `least` seconds, and the part of the time that labels its ticks;
/// none beyond half a year.
pub(super) fn round(least: f64) -> Option<(Distance, Part)> {
    let even: [(f64, Part, &[f64]); 4] = [
        (1.0, Part::Second(0), &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
        (MINUTE, Part::Minute, &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
        (HOUR, Part::Minute, &[1.0, 2.0, 3.0, 6.0, 12.0]),
        (DAY, Part::Day, &[1.0, 2.0, 7.0, 14.0]),
    ];
    let even = even.into_iter().flat_map(|(unit, part, times)| {
        times.iter().map(move |times| (times * unit, Distance::Even(times * unit), part))
    });
    let months = [1i64, 2, 3, 6].map(|n| (n as f64 * MONTH, Distance::Months(n), Part::Month));
    even.chain(months).find(|(seconds, ..)| *seconds >= least).map(|(_, distance, part)| (distance, part))
}

/// The ticks between two times.
pub(super) fn ticks(distance: Distance, low: f64, high: f64) -> Vec<f64> {
    match distance {
        Distance::Even(step) => {
            // 1970 began on a Thursday, and weeks begin on Monday.
            let first = if step >= 7.0 * DAY { 4.0 * DAY } else { 0.0 };
            let (from, to) = (((low - first) / step).ceil(), ((high - first) / step).floor());
            (from as i64..=to as i64).map(|i| first + i as f64 * step).collect()
        }
        Distance::Months(step) => {
            let [from, to] = [low, high].map(|time| month_of(day_of(time)).div_euclid(step));
            let ticks = (from..=to).map(|i| first_day(i * step) as f64 * DAY);
            ticks.filter(|tick| *tick >= low).collect()
        }
    }
}

/// A time down to `part`. Hours and smaller parts are written alone, or with month and day before them if
/// `dated`.
pub(super) fn written(time: f64, part: Part, dated: bool) -> String {
    let day = day_of(time);
    let (year, of_year, of_month) = date(day);
    let decimals = match part {
        Part::Year => return format!("{year:04}"),
        Part::Month => return format!("{year:04}-{of_year:02}"),
        Part::Day => return format!("{year:04}-{of_year:02}-{of_month:02}"),
        Part::Minute => 0,
        Part::Second(decimals) => decimals.min(DECIMALS),
    };
    let unit = 10f64.powi(decimals as i32);
    let parts = ((time - day as f64 * DAY) * unit).round();
    let (seconds, fraction) = ((parts / unit).floor() as i64, parts % unit);
    let mut out = if dated { format!("{of_year:02}-{of_month:02} ") } else { String::new() };
    out += &format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if part != Part::Minute {
        out += &format!(":{:02}", seconds % 60);
    }
    if decimals > 0 {
        out += &format!(".{fraction:0decimals$.0}");
    }
    out
}

/// The day of a time, counted from the beginning of 1970.
pub(super) fn day_of(time: f64) -> i64 {
    (time / DAY).floor().clamp(-FARTHEST, FARTHEST) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let date = |day: i64| written(day as f64 * DAY, Part::Day, false);
        let days = [0, -1, 31, 58, 59, 11_016, 11_017, 20_088, -719_468, 2_932_896];
        let dates = [
            "1970-01-01",
            "1969-12-31",
            "1970-02-01",
            "1970-02-28",
            "1970-03-01",
            "2000-02-29",
            "2000-03-01",
            "2024-12-31",
            "0000-03-01",
            "9999-12-31",
        ];
        assert_eq!(days.map(date), dates);
    }

    #[test]
    fn times_are_written_to_the_part_that_is_wanted() {
        let time = 20_088.0 * DAY + 9.0 * HOUR + 5.0 * MINUTE + 7.25;
        let parts = [Part::Year, Part::Month, Part::Minute, Part::Second(0), Part::Second(2)];
        let texts = parts.map(|part| written(time, part, false));
        assert_eq!(texts, ["2024", "2024-12", "09:05", "09:05:07", "09:05:07.25"]);
        assert_eq!(written(time, Part::Minute, true), "12-31 09:05");
        assert_eq!(written(-0.5, Part::Second(1), true), "12-31 23:59:59.5");
        // Times of any size are written.
        for time in [9e18, -9e18, 1e300, 1e-300] {
            assert!(!written(time, Part::Second(40), true).is_empty());
        }
    }
}
