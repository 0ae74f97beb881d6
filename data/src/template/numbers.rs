//! Digits and numbers in texts, as Python reads them.

/// The zeros of other scripts, each of which has its other nine digits behind it.
const ZEROS: [u32; 67] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x11f50, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
    0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950, 0x1fbf0,
];

/// Other characters that `str.isdigit` is true of, such as raised ones and those in circles: the first and the
/// last of each run.
const OTHER_DIGITS: [u32; 40] = [
    0xb2, 0xb3, 0xb9, 0xb9, 0x1369, 0x1371, 0x19da, 0x19da, 0x2070, 0x2070, 0x2074, 0x2079, 0x2080, 0x2089,
    0x2460, 0x2468, 0x2474, 0x247c, 0x2488, 0x2490, 0x24ea, 0x24ea, 0x24f5, 0x24fd, 0x24ff, 0x24ff, 0x2776,
    0x277e, 0x2780, 0x2788, 0x278a, 0x2792, 0x10a40, 0x10a43, 0x10e60, 0x10e68, 0x11052, 0x1105a, 0x1f100,
    0x1f10a,
];

/// The value of a digit of any script, which `str.isdecimal` is true of.
pub(super) fn decimal(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let c = u32::from(c);
    let before = ZEROS.partition_point(|zero| *zero <= c).checked_sub(1)?;
    Some(c - ZEROS.get(before)?).filter(|value| *value < 10)
}

pub(super) fn is_digit(c: char) -> bool {
    let is_in = |run: &[u32]| matches!(run, [first, last] if (*first..=*last).contains(&u32::from(c)));
    decimal(c).is_some() || OTHER_DIGITS.chunks(2).any(is_in)
}

/// `int(text, base)` of a text without white space around it; none if it is no such number, or has more than
/// 128 bits.
pub(super) fn int(text: &str, base: i128) -> Option<i128> {
    let is_negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefixed = match unsigned.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => 0,
    };
    let (base, digits) = match base {
        0 | 2 | 8 | 16 if prefixed > 0 && (base == 0 || base == prefixed) => {
            (prefixed, unsigned[2..].strip_prefix('_').unwrap_or(&unsigned[2..]))
        }
        0 => (10, unsigned),
        2..=36 => (base, unsigned),
        _ => return None,
    };
    let mut value: i128 = 0;
    let mut is_behind_digit = false;
    for c in digits.chars() {
        match decimal(c).or_else(|| c.to_digit(36)).map(i128::from) {
            Some(digit) if digit < base => {
                let digit = if is_negative { -digit } else { digit };
                value = value.checked_mul(base)?.checked_add(digit)?;
                is_behind_digit = true;
            }
            None if c == '_' && is_behind_digit => is_behind_digit = false,
            _ => return None,
        }
    }
    is_behind_digit.then_some(value)
}

/// `float(text)` of a text without white space around it; none if it is no number.
pub(super) fn float(text: &str) -> Option<f64> {
    let mut plain = String::with_capacity(text.len());
    let mut is_behind_digit = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = decimal(c).and_then(|digit| char::from_digit(digit, 10));
        if c != '_' {
            plain.push(digit.unwrap_or(c));
        } else if !is_behind_digit || chars.peek().is_none_or(|next| decimal(*next).is_none()) {
            return None;
        }
        is_behind_digit = digit.is_some();
    }
    plain.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are those of Python 3.
    #[test]
    fn numbers_are_read_as_by_python() {
        for (text, base, expected) in [
            ("42", 10, Some(42)),
            ("-1_000", 10, Some(-1000)),
            ("+٤٢", 10, Some(42)),
            ("1__0", 10, None),
            ("_1", 10, None),
            ("1_", 10, None),
            ("", 10, None),
            ("-", 10, None),
            ("4.2", 10, None),
            ("½", 10, None),
            ("²", 10, None),
            ("0x1F", 16, Some(31)),
            ("0x_1f", 0, Some(31)),
            ("0b1", 16, Some(0xb1)),
            ("-0b11", 2, Some(-3)),
            ("0o17", 8, Some(15)),
            ("0x", 16, None),
            ("0x1f", 10, None),
            ("12", 2, None),
            ("zZ", 36, Some(35 * 36 + 35)),
            ("1", 1, None),
            ("1", 37, None),
            ("-170141183460469231731687303715884105728", 10, Some(i128::MIN)),
            ("170141183460469231731687303715884105728", 10, None),
        ] {
            assert_eq!(int(text, base), expected, "{text:?} {base}");
        }
        for (text, expected) in [
            ("4.5", Some(4.5)),
            ("-.5e1", Some(-5.0)),
            ("1_0.2_5", Some(10.25)),
            ("١.٥", Some(1.5)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1_.0", None),
            ("1_e5", None),
            ("0x10", None),
            ("1 2", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(float(text), expected, "{text:?}");
        }
        assert!(float("nAn").unwrap().is_nan());
    }

    #[test]
    fn digits_are_those_of_python() {
        assert_eq!("09٣𝟘𝟡".chars().map(decimal).collect::<Option<Vec<u32>>>(), Some(vec![0, 9, 3, 0, 9]));
        assert!("٣²₀①⓿".chars().all(is_digit));
        assert!(!"a½Ⅷ一/:".chars().any(is_digit));
    }
}
