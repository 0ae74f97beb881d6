//! Similarity of two texts: `jaro_similarity(a, b)`, `jaro_winkler_similarity(a, b)`, `jaccard(a, b)` and
//! `hamming(a, b)`, by their characters.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ScalarUDF, TypeSignature};
use strsim::{generic_jaro, generic_jaro_winkler};

use super::columnar::{Compute, function};
use crate::error::FunctionError;

/// The functions: the mean of the shares of common characters, and of these in order; the same, and more for
/// texts that are alike and begin alike; the share of the characters of either text that both have; in how
/// many places two texts of one length differ.
pub(super) fn functions() -> [ScalarUDF; 4] {
    fn of_texts(name: &'static str, gives: DataType, compute: Compute) -> ScalarUDF {
        function(name, TypeSignature::Exact(vec![DataType::Utf8; 2]), gives, compute)
    }
    [
        of_texts("jaro_similarity", DataType::Float64, |arrays| shares(arrays, |a, b| generic_jaro(a, b))),
        of_texts("jaro_winkler_similarity", DataType::Float64, |arrays| {
            shares(arrays, |a, b| generic_jaro_winkler(a, b))
        }),
        of_texts("jaccard", DataType::Float64, |arrays| shares(arrays, |a, b| jaccard(a, b))),
        of_texts("hamming", DataType::Int64, |arrays| {
            let (a, b) = texts(arrays)?;
            Ok(Arc::new(differences(a, b)?))
        }),
    ]
}

fn texts(arrays: &[ArrayRef]) -> Result<(&StringArray, &StringArray), FunctionError> {
    let texts = match arrays {
        [a, b] => a.as_string_opt::<i32>().zip(b.as_string_opt::<i32>()),
        _ => None,
    };
    texts.ok_or_else(|| FunctionError::internal("types of texts that are compared"))
}

/// How much two texts have in common, from 0 to 1.
type Share = fn(&Vec<char>, &Vec<char>) -> f64;

fn shares(arrays: &[ArrayRef], of: Share) -> DfResult<ArrayRef> {
    let (a, b) = texts(arrays)?;
    let of_row = |(a, b): (Option<&str>, Option<&str>)| Some(share(a?, b?, of));
    Ok(Arc::new(a.iter().zip(b).map(of_row).collect::<Float64Array>()))
}

fn share(a: &str, b: &str, of: Share) -> f64 {
    match (chars(a), chars(b)) {
        // Nothing is common to two texts of which neither has a character.
        (a, b) if a.is_empty() && b.is_empty() => 0.0,
        (a, b) => of(&a, &b),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn differences(a: &StringArray, b: &StringArray) -> Result<Int64Array, FunctionError> {
    let of_row = |(a, b): (Option<&str>, Option<&str>)| {
        let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
        let (a, b) = (chars(a), chars(b));
        if a.len() != b.len() {
            let why = format!("hamming() takes texts of one length, not of {} and {}", a.len(), b.len());
            return Err(FunctionError::invalid(why).hint("levenshtein(a, b) also counts what is left out"));
        }
        let number = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        Ok(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    };
    a.iter().zip(b).map(of_row).collect()
}

fn jaccard(a: &[char], b: &[char]) -> f64 {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_alike_as_in_duckdb() {
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
        for (a, b, of_jaro, of_winkler) in [
            ("martha", "marhta", 0.944_444_444_444_444_5, 0.961_111_111_111_111_1),
            ("dixon", "dicksonx", 0.766_666_666_666_666_7, 0.813_333_333_333_333_2),
            ("prefixabc", "prefixabd", 0.925_925_925_925_925_9, 0.955_555_555_555_555_6),
            ("abcx", "abdy", 0.666_666_666_666_666_6, 0.666_666_666_666_666_6),
            ("abc", "xyz", 0.0, 0.0),
            ("", "a", 0.0, 0.0),
            ("", "", 0.0, 0.0),
        ] {
            let jaro = share(a, b, |a, b| generic_jaro(a, b));
            let winkler = share(a, b, |a, b| generic_jaro_winkler(a, b));
            assert!(near(jaro, of_jaro) && near(winkler, of_winkler), "{a}, {b}: {jaro}, {winkler}");
        }
        for (a, b, expected) in [("duck", "luck", 0.6), ("aab", "ba", 1.0), ("", "a", 0.0), ("", "", 0.0)] {
            assert!(near(share(a, b, |a, b| jaccard(a, b)), expected), "{a}, {b}");
        }
    }

    #[test]
    fn texts_of_one_length_differ_in_so_many_places() {
        let of = |a: &str, b: &str| differences(&StringArray::from(vec![a]), &StringArray::from(vec![b]));
        assert_eq!(of("dück", "luck").unwrap().value(0), 2);
        assert!(of("a", "ab").is_err());
    }
}
