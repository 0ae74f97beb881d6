//! Values as `printf()` and `format()` write them.

use super::conversion::{Conversion, FieldAlignment, FormatSyntax};
use crate::error::FunctionError;

/// Digits behind the point where a conversion does not say how many.
const DIGITS: usize = 6;
/// Numbers from this power of ten on are written with an exponent where nothing else is asked for.
const LONGEST: i32 = 16;
/// The same of small ones.
const SMALLEST: i32 = -4;

#[derive(Debug, Clone, Copy)]
pub(super) enum Printed<'a> {
    Whole(i128),
    Double(f64),
    Flag(bool),
    Text(&'a str),
}

impl Printed<'_> {
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Whole(_) => "a whole number",
            Self::Double(_) => "a fraction",
            Self::Flag(_) => "a boolean",
            Self::Text(_) => "a text",
        }
    }

    fn as_double(self) -> Option<f64> {
        match self {
            Self::Whole(n) => Some(n as f64),
            // There is no zero below zero.
            Self::Double(x) => Some(x + 0.0),
            Self::Flag(_) | Self::Text(_) => None,
        }
    }
}

/// A value in characters, before its width is filled up.
struct Rendered {
    is_negative: bool,
    is_number: bool,
    text: String,
}

impl Rendered {
    fn text(text: String) -> Self {
        Self { is_negative: false, is_number: false, text }
    }

    fn whole(n: i128, digits: impl FnOnce(u128) -> String) -> Self {
        Self { is_negative: n < 0, is_number: true, text: digits(n.unsigned_abs()) }
    }

    fn double(x: f64, digits: impl FnOnce(f64) -> String) -> Self {
        let text = match (x.is_nan(), x.is_infinite()) {
            (true, _) => "nan".to_owned(),
            (false, true) => "inf".to_owned(),
            (false, false) => digits(x.abs()),
        };
        Self { is_negative: x < 0.0, is_number: true, text }
    }
}

impl Conversion {
    pub(super) fn not_for(&self, value: &Printed<'_>) -> FunctionError {
        let (written, function, what) = (&self.written, self.syntax.function(), value.what());
        let error = FunctionError::invalid(format!("`{written}` of {function}() is not for {what}"));
        error.hint(match value {
            Printed::Double(_) => "write %f or {:f}, or x::BIGINT for a whole number",
            Printed::Whole(_) => "write %d or {:d}, or x::DOUBLE for a number with digits after the point",
            Printed::Flag(_) | Printed::Text(_) => "write %s or {}",
        })
    }

    pub(super) fn put(&self, value: Printed<'_>, to: &mut String) -> Result<(), FunctionError> {
        let Rendered { is_negative, is_number, mut text } =
            self.rendered(value).ok_or_else(|| self.not_for(&value))?;
        if let Some(group) = self.group.filter(|_| is_number) {
            text = grouped(&text, group);
        }
        let sign = if is_negative { Some('-') } else { self.sign.filter(|_| is_number) };
        let length = text.chars().count() + usize::from(sign.is_some());
        let open = self.width.saturating_sub(length);
        let is_percent = self.syntax == FormatSyntax::Percent;
        let usual = if is_number || is_percent { FieldAlignment::Right } else { FieldAlignment::Left };
        let (before, zeros) = match self.alignment.unwrap_or(usual) {
            _ if is_number && self.zeros && !["inf", "nan"].contains(&text.as_str()) => (0, open),
            FieldAlignment::Left => (0, 0),
            FieldAlignment::Center => (open / 2, 0),
            FieldAlignment::Right => (open, 0),
        };
        let fill = |count: usize, with: char, to: &mut String| to.extend(std::iter::repeat_n(with, count));
        fill(before, self.fill, to);
        to.extend(sign);
        fill(zeros, '0', to);
        to.push_str(&text);
        fill(open - before - zeros, self.fill, to);
        Ok(())
    }

    fn rendered(&self, value: Printed<'_>) -> Option<Rendered> {
        let digits = self.precision.unwrap_or(DIGITS);
        let radix = |n: i128| {
            // C takes a negative number for the large one of the same 64 bits.
            let is_percent = self.syntax == FormatSyntax::Percent;
            let n = if is_percent && n < 0 { n.saturating_add(1 << 64) } else { n };
            let kind = self.kind;
            Rendered::whole(n, |n| match kind {
                Some('x') => format!("{n:x}"),
                Some('X') => format!("{n:X}"),
                Some('o') => format!("{n:o}"),
                Some('b') => format!("{n:b}"),
                _ => n.to_string(),
            })
        };
        let has_precision = self.precision.is_some();
        Some(match (self.kind, value) {
            (None | Some('s'), Printed::Text(text)) => Rendered::text(match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.to_owned(),
            }),
            (None | Some('s'), Printed::Flag(flag)) => Rendered::text(flag.to_string()),
            (None | Some('s' | 'd' | 'i'), Printed::Whole(n)) if !has_precision => {
                Rendered::whole(n, |n| n.to_string())
            }
            (Some('d' | 'i' | 'u' | 'x' | 'X' | 'o' | 'b'), Printed::Flag(flag)) => {
                Rendered::whole(flag.into(), |n| n.to_string())
            }
            (Some('u' | 'x' | 'X' | 'o' | 'b'), Printed::Whole(n)) if !has_precision => radix(n),
            (Some('c'), Printed::Whole(n)) => {
                Rendered::text(u32::try_from(n).ok().and_then(char::from_u32)?.to_string())
            }
            (None, Printed::Double(_)) if has_precision => {
                Rendered::double(value.as_double()?, |x| general(x, digits, Zeros::Point))
            }
            (None | Some('s'), Printed::Double(_)) => Rendered::double(value.as_double()?, shortest),
            (Some('f' | 'F'), _) => Rendered::double(value.as_double()?, |x| format!("{x:.digits$}")),
            (Some('e'), _) => Rendered::double(value.as_double()?, |x| exponential(x, digits)),
            (Some('E'), _) => Rendered::double(value.as_double()?, |x| exponential(x, digits).to_uppercase()),
            (Some('g'), _) => Rendered::double(value.as_double()?, |x| general(x, digits, Zeros::None)),
            (Some('G'), _) => {
                Rendered::double(value.as_double()?, |x| general(x, digits, Zeros::None).to_uppercase())
            }
            _ => return None,
        })
    }
}

/// Zeros that stay behind a point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    None,
    /// All of a number from 1 on, and at least one.
    Point,
}

/// The digits and the exponent of a number of Rust's `1.5e-7`.
fn parts(text: &str) -> (&str, i32) {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (digits, exponent.parse().unwrap_or(0))
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn exponential(x: f64, digits: usize) -> String {
    let text = format!("{x:.digits$e}");
    let (digits, exponent) = parts(&text);
    with_exponent(digits, exponent)
}

/// So many digits in all, with an exponent where the point would be far away.
fn general(x: f64, digits: usize, zeros: Zeros) -> String {
    let digits = digits.max(1);
    let behind = digits - 1;
    let text = format!("{x:.behind$e}");
    let (mantissa, exponent) = parts(&text);
    let most = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < SMALLEST || exponent >= most {
        let mantissa = if zeros == Zeros::None { without_zeros(mantissa) } else { mantissa };
        return with_exponent(mantissa, exponent);
    }
    let behind = usize::try_from(most - 1 - exponent).unwrap_or(0);
    let fixed = format!("{x:.behind$}");
    let short = if zeros == Zeros::None || exponent < 0 { without_zeros(&fixed) } else { fixed.as_str() };
    match zeros == Zeros::Point && !short.contains('.') {
        true => format!("{short}.0"),
        false => short.to_owned(),
    }
}

/// The fewest digits that are read as the same number.
fn shortest(x: f64) -> String {
    let text = format!("{x:e}");
    let (digits, exponent) = parts(&text);
    if !(SMALLEST..LONGEST).contains(&exponent) {
        return with_exponent(digits, exponent);
    }
    let fixed = x.to_string();
    if fixed.contains('.') { fixed } else { format!("{fixed}.0") }
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// The whole digits of a number in groups of three.
fn grouped(text: &str, between: char) -> String {
    let whole = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(whole);
    let mut grouped = String::with_capacity(text.len() + whole.len());
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(between);
        }
        grouped.push(digit);
    }
    grouped + rest
}
