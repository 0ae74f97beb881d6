//! Formats of DuckDB: in the letters of the engine to write times by them, and in parts to read them.
//!
//! The engine reads a fraction without a point only if it has all digits, and an offset only with its
//! minutes.

use arrow_schema::DataType;
use chrono::format::{Item, Parsed, StrftimeItems, parse_and_remainder};

/// What stands behind `%` for an offset in a format to write by: the engine's letter for one without minutes.
const OFFSET: &str = ":::z";

/// The signs of a format, and behind each `%` its letter.
fn signs(format: &str) -> impl Iterator<Item = (char, Option<char>)> {
    let mut signs = format.chars();
    std::iter::from_fn(move || {
        let sign = signs.next()?;
        Some((sign, if sign == '%' { signs.next() } else { None }))
    })
}

/// Puts a sign behind what the engine has of a format.
fn put(engine: &mut String, sign: char, letter: Option<char>) {
    match letter {
        Some('c') => engine.push_str("%Y-%m-%d %H:%M:%S"),
        Some('x') => engine.push_str("%Y-%m-%d"),
        Some('X') => engine.push_str("%H:%M:%S"),
        letter => {
            engine.push(sign);
            engine.extend(letter);
        }
    }
}

/// A format in the letters of the engine, to write a time by it.
pub fn engine_format(format: &str) -> String {
    let mut engine = String::with_capacity(format.len() + 8);
    for (sign, letter) in signs(format) {
        match letter {
            Some('f') => engine.push_str("%6f"),
            Some('g') => engine.push_str("%3f"),
            Some('n') => engine.push_str("%9f"),
            Some('z') => engine.extend(["%", OFFSET]),
            letter => put(&mut engine, sign, letter),
        }
    }
    engine
}

/// A format of the engine for times of a type: with what DuckDB writes for the offset and the zone of times
/// in UTC, and of those without a zone, for which the engine has none.
pub(crate) fn of_type(format: &str, ty: &DataType) -> String {
    let (offset, zone) = match ty {
        DataType::Timestamp(_, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => ("+00", "UTC"),
        DataType::Timestamp(_, Some(_)) => ("%:z", "%Z"),
        _ => ("+00", ""),
    };
    let (mut engine, mut rest) = (String::with_capacity(format.len()), format);
    while let Some((before, behind)) = rest.split_once('%') {
        engine.push_str(before);
        rest = if let Some(rest) = behind.strip_prefix(OFFSET) {
            engine.push_str(offset);
            rest
        } else if let Some(rest) = behind.strip_prefix('Z') {
            engine.push_str(zone);
            rest
        } else {
            let mut signs = behind.chars();
            engine.push('%');
            engine.extend(signs.next());
            signs.as_str()
        };
    }
    engine + rest
}

/// Whether a format has an offset or a zone: what is read by it is an instant.
pub fn has_zone(format: &str) -> bool {
    signs(format).any(|(_, letter)| matches!(letter, Some('z' | 'Z')))
}

/// A part of a format.
pub(super) enum FormatPart {
    /// One that the engine reads.
    Engine(Item<'static>),
    /// The digits of a fraction of a second, so many at most.
    Fraction(usize),
    /// An offset from UTC: `+02`, `+0230`, `+02:30` or `+02:30:15`.
    Offset,
}

impl FormatPart {
    /// The parts of a format; `None` of what is none.
    pub(super) fn all(format: &str) -> Option<Vec<Self>> {
        let (mut parts, mut engine) = (Vec::new(), String::new());
        for (sign, letter) in signs(format) {
            let part = match letter {
                Some('f') => Self::Fraction(6),
                Some('g') => Self::Fraction(3),
                Some('n') => Self::Fraction(9),
                Some('z') => Self::Offset,
                letter => {
                    put(&mut engine, sign, letter);
                    continue;
                }
            };
            parts.extend(engine_parts(&engine)?);
            parts.push(part);
            engine.clear();
        }
        parts.extend(engine_parts(&engine)?);
        Some(parts)
    }

    /// Reads the part at the beginning of a text; what stands behind it, or `None` if it is not there.
    pub(super) fn read<'t>(&self, into: &mut Parsed, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Engine(item) => parse_and_remainder(into, text, std::iter::once(item)).ok(),
            Self::Fraction(most) => {
                let (fraction, rest) = digits(text, *most);
                if fraction.is_empty() {
                    return None;
                }
                into.set_nanosecond(format!("{fraction:0<9}").parse().ok()?).ok()?;
                Some(rest)
            }
            Self::Offset => {
                let (seconds, rest) = offset(text)?;
                into.set_offset(seconds).ok()?;
                Some(rest)
            }
        }
    }
}

fn engine_parts(format: &str) -> Option<Vec<FormatPart>> {
    let items = StrftimeItems::new(format).parse_to_owned().ok()?;
    Some(items.into_iter().map(FormatPart::Engine).collect())
}

/// The digits that a text begins with, so many at most, and what stands behind them.
fn digits(text: &str, most: usize) -> (&str, &str) {
    text.split_at(text.bytes().take(most).take_while(u8::is_ascii_digit).count())
}

/// The seconds of an offset that a text begins with, and what stands behind it.
fn offset(text: &str) -> Option<(i64, &str)> {
    let (sign, hours) = match text.strip_prefix('-') {
        Some(hours) => (-1, hours),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, rest) = two_digits(hours)?;
    let (minutes, seconds, rest) = match rest.strip_prefix(':') {
        Some(minutes) => {
            let (minutes, rest) = two_digits(minutes)?;
            let (seconds, rest) = rest.strip_prefix(':').map_or(Some((0, rest)), two_digits)?;
            (minutes, seconds, rest)
        }
        None if rest.starts_with(|sign: char| sign.is_ascii_digit()) => {
            let (minutes, rest) = two_digits(rest)?;
            (minutes, 0, rest)
        }
        None => (0, 0, rest),
    };
    Some((sign * (hours * 3600 + minutes * 60 + seconds), rest))
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (number, rest) = digits(text, 2);
    Some((number.parse().ok().filter(|_| number.len() == 2)?, rest))
}

#[cfg(test)]
mod tests {
    use arrow_schema::TimeUnit;

    use super::*;

    #[test]
    fn formats_to_write_by_have_the_letters_of_the_engine() {
        for (format, engine) in [
            ("%Y-%m", "%Y-%m"),
            ("%-d %c", "%-d %Y-%m-%d %H:%M:%S"),
            ("%X.%g %f%%f %n", "%H:%M:%S.%3f %6f%%f %9f"),
            ("%x %z %%z", "%Y-%m-%d %:::z %%z"),
            ("%", "%"),
        ] {
            assert_eq!(engine_format(format), engine);
        }
    }

    #[test]
    fn times_without_a_zone_have_the_offset_of_utc() {
        let time = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Second, zone.map(Into::into));
        for (ty, written) in [
            (time(None), "%H +00  %%Z %"),
            (DataType::Date32, "%H +00  %%Z %"),
            (time(Some("UTC")), "%H +00 UTC %%Z %"),
            (time(Some("Europe/Berlin")), "%H %:z %Z %%Z %"),
        ] {
            assert_eq!(of_type("%H %:::z %Z %%Z %", &ty), written);
        }
    }

    #[test]
    fn a_zone_in_a_format_is_one_of_its_letters() {
        for (format, has) in [("%H %z", true), ("%Z", true), ("%H%%z", false), ("%%%z", true), ("z%", false)]
        {
            assert_eq!(has_zone(format), has, "{format}");
        }
    }
}
