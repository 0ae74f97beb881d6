//! Formats of `printf()` and `format()`, parsed into literal texts and conversions.

use std::iter::Peekable;
use std::str::Chars;

use crate::error::FunctionError;

/// Most characters to which a value is filled up that a format puts into a text.
pub const MAX_PRINTED: usize = 500;
/// Most digits that one asks for.
const MAX_PRECISION: usize = 100;

/// How values are marked in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FormatSyntax {
    /// `%5d`, of `printf()`.
    Percent,
    /// `{:>5}`, of `format()`.
    Braces,
}

pub(super) enum FormatPart {
    Text(String),
    Value(Conversion),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldAlignment {
    Left,
    Right,
    Center,
}

pub(super) struct Conversion {
    pub(super) syntax: FormatSyntax,
    /// Which of the values it is, from 0.
    pub(super) place: usize,
    /// As it stands in the format.
    pub(super) written: String,
    pub(super) fill: char,
    /// `None`: numbers to the right, and texts where the syntax has them.
    pub(super) alignment: Option<FieldAlignment>,
    /// What stands before a number that is not negative.
    pub(super) sign: Option<char>,
    /// Whether zeros behind the sign fill a number up.
    pub(super) zeros: bool,
    pub(super) width: usize,
    pub(super) precision: Option<usize>,
    /// What stands between groups of three digits.
    pub(super) group: Option<char>,
    /// The letter of the conversion.
    pub(super) kind: Option<char>,
}

impl FormatSyntax {
    pub(super) fn function(self) -> &'static str {
        match self {
            Self::Percent => "printf",
            Self::Braces => "format",
        }
    }

    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::Percent => "printf() is called as printf('%d of %s', a, b)",
            Self::Braces => "format() is called as format('{} of {}', a, b)",
        }
    }

    pub(super) fn parts(self, format: &str) -> Result<Vec<FormatPart>, FunctionError> {
        let (mut parts, mut text, mut place) = (Vec::new(), String::new(), 0);
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            let sign = match (self, c) {
                (Self::Percent, '%') | (Self::Braces, '{' | '}') => c,
                _ => {
                    text.push(c);
                    continue;
                }
            };
            if chars.next_if_eq(&sign).is_some() {
                text.push(sign);
                continue;
            }
            if !text.is_empty() {
                parts.push(FormatPart::Text(std::mem::take(&mut text)));
            }
            let mut reader = ConversionReader { chars: &mut chars, read: Conversion::new(self, place, sign) };
            let read = match sign {
                '%' => reader.percent(),
                '{' => reader.braces(),
                _ => Err(()),
            };
            let conversion = reader.read;
            if read.is_err() {
                return Err(conversion.unknown());
            }
            conversion.check()?;
            place = place.max(conversion.place.saturating_add(1));
            parts.push(FormatPart::Value(conversion));
        }
        if !text.is_empty() {
            parts.push(FormatPart::Text(text));
        }
        Ok(parts)
    }
}

impl Conversion {
    fn new(syntax: FormatSyntax, place: usize, begin: char) -> Self {
        Self {
            syntax,
            place,
            written: begin.to_string(),
            fill: ' ',
            alignment: None,
            sign: None,
            zeros: false,
            width: 0,
            precision: None,
            group: None,
            kind: None,
        }
    }

    fn unknown(&self) -> FunctionError {
        let why = format!("{}() has no conversion `{}`", self.syntax.function(), self.written);
        FunctionError::invalid(why).hint(match self.syntax {
            FormatSyntax::Percent => {
                "there are %d, %s, %f, %e, %g, %x, %o and %c, as in %-5s, %05d and %.2f, and %% for the sign itself"
            }
            FormatSyntax::Braces => {
                "there are {}, {0}, {:d}, {:f}, {:e}, {:g}, {:x}, {:o} and {:b}, as in {:>5}, {:05d}, {:,} and {:.2f}, \
                 and {{ for a brace itself"
            }
        })
    }

    fn check(&self) -> Result<(), FunctionError> {
        let most =
            match (self.width > MAX_PRINTED, self.precision.is_some_and(|digits| digits > MAX_PRECISION)) {
                (true, _) => format!("{MAX_PRINTED} characters"),
                (false, true) => format!("{MAX_PRECISION} digits"),
                (false, false) => return Ok(()),
            };
        let (written, function) = (&self.written, self.syntax.function());
        Err(FunctionError::refused(format!("`{written}` of {function}() has more than {most}")))
    }

    pub(super) fn no_value(&self, values: usize) -> FunctionError {
        let which = match self.place {
            0 => "a value".to_owned(),
            1 => "a second value".to_owned(),
            place => format!("value {}", place.saturating_add(1)),
        };
        FunctionError::invalid(format!("{}() is asked for {which}, but has {values}", self.syntax.function()))
    }
}

struct ConversionReader<'a, 'f> {
    chars: &'a mut Peekable<Chars<'f>>,
    read: Conversion,
}

impl ConversionReader<'_, '_> {
    /// The next character, if it is one of these.
    fn take(&mut self, wanted: impl FnOnce(char) -> bool) -> Option<char> {
        let taken = self.chars.next_if(|c| wanted(*c))?;
        self.read.written.push(taken);
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let mut number: Option<usize> = None;
        while let Some(digit) = self.take(|c| c.is_ascii_digit()).and_then(|c| c.to_digit(10)) {
            let more = number.unwrap_or(0).saturating_mul(10).saturating_add(digit as usize);
            number = Some(more);
        }
        number
    }

    /// The digits behind a point, if there is one: `none` where it has no number.
    fn precision(&mut self, none: Option<usize>) -> Result<(), ()> {
        if self.take(|c| c == '.').is_some() {
            self.read.precision = Some(self.number().or(none).ok_or(())?);
        }
        Ok(())
    }

    /// The letter; of one that is none, what was read says so.
    fn kind(&mut self, kinds: &str) -> Result<(), ()> {
        self.read.kind = self.take(|_| true);
        self.read.kind.filter(|kind| kinds.contains(*kind)).map(|_| ()).ok_or(())
    }

    fn percent(&mut self) -> Result<(), ()> {
        while let Some(flag) = self.take(|c| "-+ 0,'".contains(c)) {
            match flag {
                '-' => self.read.alignment = Some(FieldAlignment::Left),
                '0' => self.read.zeros = true,
                ',' | '\'' => self.read.group = Some(flag),
                // A plus goes before a blank.
                _ if self.read.sign == Some('+') => {}
                _ => self.read.sign = Some(flag),
            }
        }
        self.read.width = self.number().unwrap_or(0);
        self.precision(Some(0))?;
        // The size of a number in C.
        while self.take(|c| "hl".contains(c)).is_some() {}
        self.kind("dixXobuscfFeEgG")
    }

    fn braces(&mut self) -> Result<(), ()> {
        if let Some(place) = self.number() {
            self.read.place = place;
        }
        if self.take(|c| c == ':').is_some() {
            self.align();
            if let Some(sign) = self.take(|c| "+- ".contains(c)) {
                self.read.sign = Some(sign).filter(|sign| *sign != '-');
            }
            self.read.zeros = self.take(|c| c == '0').is_some();
            self.read.width = self.number().unwrap_or(0);
            self.read.group = self.take(|c| ",_'".contains(c));
            self.precision(None)?;
            if self.chars.peek().is_some_and(|c| *c != '}') {
                self.kind("dxXobsfFeEgG")?;
            }
        }
        match self.take(|_| true) {
            Some('}') => Ok(()),
            _ => Err(()),
        }
    }

    /// The alignment of the value in its width, and the fill character before it.
    fn align(&mut self) {
        let of = |c: char| match c {
            '<' => Some(FieldAlignment::Left),
            '>' => Some(FieldAlignment::Right),
            '^' => Some(FieldAlignment::Center),
            _ => None,
        };
        let is_fill = self.chars.clone().nth(1).is_some_and(|second| of(second).is_some());
        if is_fill && let Some(fill) = self.take(|c| c != '}') {
            self.read.fill = fill;
        }
        if let Some(sign) = self.take(|c| of(c).is_some()) {
            self.read.alignment = of(sign);
        }
    }
}
