//! Texts read as times, dates and times of the day, the same way as literals and from a column.

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef, StringArray};
use arrow_cast::CastOptions;
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::DataType;
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::error::Result as DfResult;
use gstore_core::shortened;

use crate::error::{BEYOND, FunctionError};

/// Most characters of a text in a message.
pub(super) const SAID: usize = 100;

/// Whether a type is of times, dates or times of the day.
pub(super) fn is_time(ty: &DataType) -> bool {
    use DataType as D;
    matches!(ty, D::Timestamp(..) | D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_))
}

/// Whether a type is of times without a day.
pub(super) fn is_time_of_day(ty: &DataType) -> bool {
    matches!(ty, DataType::Time32(_) | DataType::Time64(_))
}

/// The times of texts; where one is none, null if it is `safe`, and else an error.
///
/// # Errors
/// A text that is no time, if it is not `safe`.
pub fn read(texts: &StringArray, to: &DataType, safe: bool) -> DfResult<ArrayRef> {
    let form = |text| match is_time_of_day(to) {
        true => clock(text),
        false => Some(full_time(text).map_or(Cow::Borrowed(text), Cow::Owned)),
    };
    let full: StringArray =
        texts.iter().map(|text| text.and_then(form).filter(|time| !has_leap_second(time))).collect();
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let times = arrow_cast::cast_with_options(&full, to, &options)?;
    let wrong = texts.iter().enumerate().find(|(row, text)| text.is_some() && times.is_null(*row));
    if let (Some((row, Some(text))), false) = (wrong, safe) {
        let text = shortened(text, SAID);
        let day = arrow_cast::cast(&full.slice(row, 1), &DataType::Date32)?;
        let error = match to {
            // It has too many of its units since 1970.
            DataType::Timestamp(..) if day.null_count() == 0 => {
                let why = format!("'{text}'{BEYOND}");
                FunctionError::invalid(why).hint("DATE and TIMESTAMP_S reach further")
            }
            to => FunctionError::no_time(&text, matches!(to, DataType::Date32 | DataType::Date64)),
        };
        return Err(error.into());
    }
    Ok(times)
}

/// How the zone of a time begins.
const ZONES: [char; 4] = ['Z', 'z', '+', '-'];

/// A time of the day as it is written, or that of a whole time; a number without `:` is none, which the engine
/// takes for nanoseconds.
fn clock(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let Some(full) = full_time(text) else {
        return Some(text).filter(|text| text.contains(':')).map(Cow::Borrowed);
    };
    string_to_timestamp_nanos(&full).ok()?;
    // What the clock shows, whatever its zone.
    let clock = full.split_once(' ').map_or("00:00:00", |(_, clock)| clock);
    let end = clock.find(ZONES).unwrap_or(clock.len());
    Some(Cow::Owned(clock.get(..end)?.trim_end().to_owned()))
}

/// Whether a time, one of the day too, has a second 60, which is none as in DuckDB: in nanoseconds it would be
/// one of the next minute, in whole seconds the one before it.
fn has_leap_second(time: &str) -> bool {
    let second = match time.split(':').nth(2) {
        Some(second) => second.get(..2),
        // Without colons: `2024-12-31 235960`.
        None => time.get(15..17),
    };
    second == Some("60")
}

/// The name of a zone as the engine knows it, by one in letters of any case.
pub(super) fn zone_name(name: &str) -> Option<&'static str> {
    // Most are written as they are known, which needs no search.
    let exact = name.parse::<Tz>().ok();
    let any_case = || TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)).copied();
    exact.or_else(any_case).map(|zone| zone.name())
}

/// The text of a time with two digits for each part, with seconds, and with the name of its zone in the usual
/// letters: the engine reads no other. So `2024/1/2 3:4` is `2024-01-02 03:04:00`. `None` for text that is no
/// time, as far as its form says it.
pub fn full_time(text: &str) -> Option<String> {
    let (date, clock) = match text.trim().split_once([' ', 'T']) {
        Some((date, clock)) => (date, Some(clock.trim_start())),
        None => (text.trim(), None),
    };
    let of_digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let between = if date.contains('/') { '/' } else { '-' };
    let [year, month, day] = date.split(between).collect::<Vec<_>>()[..] else { return None };
    if !(of_digits(year, 4) && of_digits(month, 2) && of_digits(day, 2)) {
        return None;
    }
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    let Some(clock) = clock else { return Some(date) };
    let (hour, rest) = clock.split_once(':')?;
    if !of_digits(hour, 2) {
        return None;
    }
    let (rest, zone) = rest.split_at(rest.find(ZONES).unwrap_or(rest.len()));
    let clock = match rest.trim_end().split_once(':') {
        Some((minute, second)) if of_digits(minute, 2) => {
            let digits = second.bytes().take_while(u8::is_ascii_digit).count();
            let zero = if digits == 1 { "0" } else { "" };
            format!("{minute:0>2}:{zero}{second}")
        }
        None if of_digits(rest.trim_end(), 2) => format!("{:0>2}:00", rest.trim_end()),
        _ => rest.to_owned(),
    };
    Some(in_named_zone(format!("{date} {hour:0>2}:{clock}{zone}")))
}

/// A time whose zone, if it has the name of one, is in the usual letters.
fn in_named_zone(mut time: String) -> String {
    let named = time.find(|sign: char| sign.is_ascii_alphabetic());
    // `Z` stands for an offset.
    if let Some(at) = named.filter(|at| at + 1 < time.len())
        && let Some(zone) = time.get(at..).and_then(zone_name)
    {
        time.truncate(at);
        time.push_str(zone);
    }
    time
}
