//! Options that take one of some words, each of which stands for a value.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A word, with other spellings behind `|`; what help says of it; and its value.
pub type Word<T> = (&'static str, &'static str, T);

/// Reads one of some words.
pub fn one_of<T>(words: &'static [Word<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let known = words.iter().map(|(word, about, _)| {
        let mut spellings = word.split('|');
        PossibleValue::new(spellings.next().unwrap_or_default()).aliases(spellings).help(*about)
    });
    PossibleValuesParser::new(known).try_map(move |given| {
        let is_given = |(spellings, ..): &&Word<T>| spellings.split('|').any(|word| word == given);
        words.iter().find(is_given).map(|(.., value)| *value).ok_or("not one of the accepted words")
    })
}
