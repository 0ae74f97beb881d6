//! Months and dates of days in the Gregorian calendar, for any year.
//!
//! Days are counted from 1 January 1970, months from January of the year 0. The formulas are those of Howard
//! Hinnant (`civil_from_days`, `days_from_civil`): years that begin in March have their leap day at the end,
//! and every 400 years are equally long.

/// Days from 1 March of the year 0 to 1 January 1970.
const EPOCH: i64 = 719_468;

/// The month of a day.
pub fn month_of(day: i64) -> i64 {
    let day = day + EPOCH;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    (era * 400 + year) * 12 + from_march + 2
}

/// The first day of a month.
pub fn first_day(month: i64) -> i64 {
    let (year, from_march) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * from_march + 2) / 5 - EPOCH
}

/// Year, month and day of the month of a day; the latter two begin at 1.
pub fn date(day: i64) -> (i64, i64, i64) {
    let month = month_of(day);
    (month.div_euclid(12), month.rem_euclid(12) + 1, day - first_day(month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_has_them() {
        // 1970-01-01, 1970-01-31, 1970-02-01, 2000-02-29, 2000-03-01, 1969-12-31.
        for (day, year, month_of_year) in
            [(0, 1970, 0), (30, 1970, 0), (31, 1970, 1), (11_016, 2000, 1), (11_017, 2000, 2), (-1, 1969, 11)]
        {
            assert_eq!(month_of(day), year * 12 + month_of_year, "{day}");
        }
        assert!((-800_000..800_000).all(|day| {
            let month = month_of(day);
            first_day(month) <= day && day < first_day(month + 1)
        }));
    }

    #[test]
    fn days_have_their_dates() {
        let days = [0, -1, 58, 59, 11_016, 20_088, -719_468, 2_932_896];
        let dates = [
            (1970, 1, 1),
            (1969, 12, 31),
            (1970, 2, 28),
            (1970, 3, 1),
            (2000, 2, 29),
            (2024, 12, 31),
            (0, 3, 1),
            (9999, 12, 31),
        ];
        assert_eq!(days.map(date), dates);
    }
}
