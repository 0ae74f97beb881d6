//! `strftime` and `strptime`: times by the formats of DuckDB, which the engine has with other letters.

use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr};

use crate::dialect::exprs::{binary, call, nested, text, text_of};
use crate::wording::BETWEEN;

/// A part of a time that a format may leave out: what is read in its place, and the letters that read it.
type Part = [&'static str; 2];

const YEAR: Part = [" 1900", " %Y"];
const MONTH: Part = [" 01", " %m"];
const DAY: Part = [" 01", " %d"];
const MINUTE: Part = [" 00", " %M"];

/// The text of a time; its format stands on either side of it.
pub(super) fn strftime(left: &Expr, right: &Expr) -> Option<Expr> {
    let (time, format) = match (text_of(left), text_of(right)) {
        (_, Some(format)) => (left, format),
        (Some(format), None) => (right, format),
        (None, None) => return None,
    };
    Some(call("to_char", vec![time.clone(), text(&written(format, false))]))
}

/// The time in a text, by a format or the first of several that it has.
pub(super) fn strptime(of: &Expr, format: &Expr) -> Option<Expr> {
    let formats = match format {
        Expr::Array(Array { elem, .. }) => elem.as_slice(),
        one => std::slice::from_ref(one),
    };
    if formats.is_empty() {
        return None;
    }
    let formats: Vec<&str> = formats.iter().map(text_of).collect::<Option<_>>()?;
    let lacks: Vec<Vec<Part>> = formats.iter().map(|format| lacking(format)).collect::<Option<_>>()?;
    // Behind the text stands what any of them leaves out. Something is between them: `%b %d` would else read
    // the day of `Mar 1900` as 19.
    let any = [YEAR, MONTH, DAY, MINUTE].into_iter();
    let any: Vec<Part> = any.filter(|part| lacks.iter().any(|lacks| lacks.contains(part))).collect();
    let values: String = any.iter().map(|[value, _]| *value).collect();
    let mut time = call("btrim", vec![of.clone()]);
    if !values.is_empty() {
        time = *nested(binary(time, BinaryOperator::StringConcat, text(&format!("{BETWEEN}{values}"))));
    }
    let formats = formats.iter().zip(&lacks).map(|(format, lacks)| {
        let mut format = written(format.trim(), true);
        if !any.is_empty() {
            format.extend([" ", BETWEEN]);
        }
        // A format that has a part passes over the value as it stands there.
        let behind = |part: &Part| if lacks.contains(part) { part[1] } else { part[0] };
        format.extend(any.iter().map(behind));
        text(&format)
    });
    Some(call("to_timestamp", std::iter::once(time).chain(formats).collect()))
}

/// A format in the letters of the engine, to read a time by it or to write one.
fn written(format: &str, is_read: bool) -> String {
    let mut written = String::with_capacity(format.len() + 8);
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            written.push(sign);
            continue;
        }
        match signs.next() {
            Some('c') => written.push_str("%Y-%m-%d %H:%M:%S"),
            Some('x') => written.push_str("%Y-%m-%d"),
            Some('X') => written.push_str("%H:%M:%S"),
            // With the point before it, as the engine reads fewer digits than all of them.
            Some('f' | 'g' | 'n') if is_read && written.ends_with('.') => {
                written.truncate(written.len() - 1);
                written.push_str("%.f");
            }
            Some('f') => written.push_str("%6f"),
            Some('g') => written.push_str("%3f"),
            Some('n') => written.push_str("%9f"),
            other => {
                written.push('%');
                written.extend(other);
            }
        }
    }
    written
}

/// What a format leaves out of a date and of the hours of a day; `None` where it has twelve hours and not
/// which.
fn lacking(format: &str) -> Option<Vec<Part>> {
    let format = format.replace("%%", "").replace("%-", "%");
    let has = |letters: &[&str]| letters.iter().any(|letter| format.contains(letter));
    let is_date = has(&["%c", "%x"]);
    let has_day = is_date || has(&["%j"]);
    if has(&["%I"]) && !has(&["%p"]) {
        return None;
    }
    let parts = [
        (is_date || has(&["%Y", "%y"]), YEAR),
        (has_day || has(&["%m", "%b", "%B", "%h"]), MONTH),
        (has_day || has(&["%d"]), DAY),
        (!has(&["%H", "%I"]) || has(&["%M"]), MINUTE),
    ];
    Some(parts.into_iter().filter(|(has, _)| !has).map(|(_, part)| part).collect())
}

#[cfg(test)]
mod tests {
    use crate::dialect::tests::expression;
    use crate::wording::BETWEEN;

    #[test]
    fn formats_have_the_letters_of_the_engine() {
        for (sql, expected) in [
            ("strftime(d, '%Y-%m')", "to_char(d, '%Y-%m')"),
            ("strftime('%-d %c', d)", "to_char(d, '%-d %Y-%m-%d %H:%M:%S')"),
            ("strftime(d, '%X.%g %f%%f %n')", "to_char(d, '%H:%M:%S.%3f %6f%%f %9f')"),
            ("strftime(d, f)", "strftime(d, f)"),
            ("strptime(x, '%Y-%m-%d')", "to_timestamp(btrim(x), '%Y-%m-%d')"),
            ("strptime(x, '%d.%m.%Y %H:%M:%S.%f')", "to_timestamp(btrim(x), '%d.%m.%Y %H:%M:%S%.f')"),
            (
                "strptime(x, ['%Y-%m', '%b %Y'])",
                "to_timestamp((btrim(x) || '| 01'), '%Y-%m | %d', '%b %Y | %d')",
            ),
            ("strptime(x, '%I %p')", "to_timestamp((btrim(x) || '| 1900 01 01 00'), '%I %p | %Y %m %d %M')"),
            ("strptime(x, '%I:%M')", "strptime(x, '%I:%M')"),
            (
                "strptime(x, ['%Y-%m', '%Y'])",
                "to_timestamp((btrim(x) || '| 01 01'), '%Y-%m | 01 %d', '%Y | %m %d')",
            ),
            ("strptime(x, ['%Y-%m', '%I:%M'])", "strptime(x, ['%Y-%m', '%I:%M'])"),
        ] {
            assert_eq!(expression(sql).replace(BETWEEN, "|"), expected);
        }
    }
}
