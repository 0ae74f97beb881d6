//! Planes of codes that a sketch keeps: a choice of its builder, which its header has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rotation::padded_dim;
use super::section::Section;
use crate::error::QueryError;
use crate::kernel::CodeKind;

/// A set of planes, one at least. A sketch also has a record for each vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct Planes([bool; 3]);

/// All planes with their names, in the order of a file. The number of a kind is its place here.
const KNOWN: [(CodeKind, &str); 3] =
    [(CodeKind::Sign, "sign"), (CodeKind::Nibble, "nibble"), (CodeKind::Int8, "int8")];

impl Planes {
    /// Every plane.
    pub const ALL: Self = Self([true; 3]);

    /// One plane.
    pub(crate) fn only(kind: CodeKind) -> Self {
        Self(KNOWN.map(|(known, _)| known == kind))
    }

    /// Whether these are all that there are.
    pub(super) fn is_all(&self) -> bool {
        *self == Self::ALL
    }

    /// Whether a plane is among them.
    pub fn has(self, kind: CodeKind) -> bool {
        self.kinds().any(|own| own == kind)
    }

    /// Those of both; `None` where they have none in common.
    pub fn common(self, other: Self) -> Option<Self> {
        let both = Self(std::array::from_fn(|i| self.0[i] && other.0[i]));
        both.0.contains(&true).then_some(both)
    }

    /// Each of them.
    pub fn kinds(self) -> impl Iterator<Item = CodeKind> {
        self.own().map(|(kind, _)| kind)
    }

    /// Their names.
    pub fn words(self) -> Vec<&'static str> {
        self.own().map(|(_, word)| word).collect()
    }

    /// The sections of a sketch that keeps them.
    pub fn sections(self) -> impl Iterator<Item = Section> {
        Section::ALL.into_iter().filter(move |section| section.plane().is_none_or(|kind| self.has(kind)))
    }

    /// Bytes that a sketch with them has for each vector of `dim` coordinates.
    pub fn vector_bytes(self, dim: usize) -> u64 {
        self.sections().map(|section| section.vector_bytes(padded_dim(dim)) as u64).sum()
    }

    fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, QueryError> {
        let mut planes = Self([false; 3]);
        for word in words {
            match KNOWN.iter().position(|(_, known)| *known == word) {
                Some(place) => planes.0[place] = true,
                None => return Err(unknown(word)),
            }
        }
        // A sketch without codes would tell nothing.
        if planes.0.contains(&true) { Ok(planes) } else { Err(unknown("")) }
    }

    fn own(self) -> impl Iterator<Item = (CodeKind, &'static str)> {
        KNOWN.into_iter().zip(self.0).filter(|(_, kept)| *kept).map(|(known, _)| known)
    }
}

impl Default for Planes {
    fn default() -> Self {
        Self::ALL
    }
}

impl TryFrom<Vec<String>> for Planes {
    type Error = QueryError;

    fn try_from(words: Vec<String>) -> Result<Self, QueryError> {
        Self::of_words(words.iter().map(String::as_str))
    }
}

impl From<Planes> for Vec<&'static str> {
    fn from(planes: Planes) -> Self {
        planes.words()
    }
}

/// Names with commas between them.
impl FromStr for Planes {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::of_words(text.split(',').map(str::trim))
    }
}

impl fmt::Display for Planes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

fn unknown(word: &str) -> QueryError {
    QueryError::option("a plane", word, &KNOWN.map(|(_, known)| known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_named_in_any_order_and_unknown_ones_are_refused_with_the_list() {
        let planes: Planes = "nibble, sign".parse().unwrap();
        assert_eq!((planes.to_string().as_str(), planes.words()), ("sign, nibble", vec!["sign", "nibble"]));
        assert!(planes.has(CodeKind::Sign) && !planes.has(CodeKind::Int8) && !planes.is_all());
        assert_eq!("int8,nibble,sign".parse::<Planes>().unwrap(), Planes::ALL);
        for bad in ["signs", "", "sign,,int8", "sign,certified"] {
            let error = bad.parse::<Planes>().unwrap_err().to_string();
            assert!(error.contains("sign, nibble, int8"), "{bad}: {error}");
        }
        let text = serde_json::to_string(&planes).unwrap();
        assert_eq!(text, r#"["sign","nibble"]"#);
        assert_eq!(serde_json::from_str::<Planes>(&text).unwrap(), planes);
        assert!(serde_json::from_str::<Planes>("[]").is_err());
    }

    #[test]
    fn planes_in_common_are_those_of_both() {
        let (sign, nibble) = (Planes::only(CodeKind::Sign), Planes::only(CodeKind::Nibble));
        assert_eq!(sign.common(nibble), None);
        assert_eq!(sign.common(Planes::ALL), Some(sign));
        assert_eq!(KNOWN.map(|(kind, _)| Planes::only(kind).kinds().collect::<Vec<_>>()).concat().len(), 3);
    }

    /// A record of 12 bytes; 8 bytes of factors, and 16 of bytes; a bit, a nibble and a byte a coordinate.
    #[test]
    fn a_plane_takes_its_codes_and_their_factors() {
        let bytes = |text: &str| text.parse::<Planes>().unwrap().vector_bytes(4096);
        assert_eq!(bytes("sign"), 12 + 8 + 512);
        assert_eq!(bytes("nibble"), 12 + 8 + 2048);
        assert_eq!(bytes("int8"), 12 + 16 + 4096);
        assert_eq!(bytes("sign,nibble"), 12 + 8 + 512 + 8 + 2048);
        assert_eq!(bytes("sign,nibble,int8"), 12 + 8 + 512 + 8 + 2048 + 16 + 4096);
    }
}
