//! Similarity of two texts: `jaro_similarity(a, b)`, `jaro_winkler_similarity(a, b)`, `jaccard(a, b)` and
//! `hamming(a, b)`, by their characters.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ScalarUDF, TypeSignature};

use super::columnar::{Compute, function};
use crate::error::FunctionError;

/// The similarity above which a common prefix counts.
const ALIKE: f64 = 0.7;
/// Most characters of a common prefix that count, and the weight of each.
const BEGINNING: usize = 4;
const EACH: f64 = 0.1;

/// The functions: the mean of the shares of common characters, and of these in order; the same, and more for
/// texts that begin alike; the share of the characters of either text that both have; in how many places two
/// texts of one length differ.
pub(super) fn functions() -> [ScalarUDF; 4] {
    fn of_texts(name: &'static str, gives: DataType, compute: Compute) -> ScalarUDF {
        function(name, TypeSignature::Exact(vec![DataType::Utf8; 2]), gives, compute)
    }
    [
        of_texts("jaro_similarity", DataType::Float64, |arrays| shares(arrays, jaro)),
        of_texts("jaro_winkler_similarity", DataType::Float64, |arrays| shares(arrays, jaro_winkler)),
        of_texts("jaccard", DataType::Float64, |arrays| shares(arrays, jaccard)),
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

fn shares(arrays: &[ArrayRef], share: fn(&[char], &[char]) -> f64) -> DfResult<ArrayRef> {
    let (a, b) = texts(arrays)?;
    let of_row = |(a, b): (Option<&str>, Option<&str>)| Some(share(&chars(a?), &chars(b?)));
    Ok(Arc::new(a.iter().zip(b).map(of_row).collect::<Float64Array>()))
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

fn jaro(a: &[char], b: &[char]) -> f64 {
    let near = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut of_a = Vec::new();
    for (place, c) in a.iter().enumerate() {
        let mut window = place.saturating_sub(near)..b.len().min(place.saturating_add(near + 1));
        let found = window.find(|other| b.get(*other) == Some(c) && taken.get(*other) == Some(&false));
        if let Some(taken) = found.and_then(|other| taken.get_mut(other)) {
            *taken = true;
            of_a.push(*c);
        }
    }
    if of_a.is_empty() {
        return 0.0;
    }
    let of_b = b.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| c);
    let moved = of_a.iter().zip(of_b).filter(|(a, b)| a != b).count() / 2;
    let (common, moved) = (of_a.len() as f64, moved as f64);
    (common / a.len() as f64 + common / b.len() as f64 + (common - moved) / common) / 3.0
}

fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    let jaro = jaro(a, b);
    let same = a.iter().zip(b).take(BEGINNING).take_while(|(a, b)| a == b).count();
    match jaro > ALIKE {
        true => jaro + EACH * same as f64 * (1.0 - jaro),
        false => jaro,
    }
}

fn jaccard(a: &[char], b: &[char]) -> f64 {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
    match a.union(&b).count() {
        0 => 0.0,
        all => a.intersection(&b).count() as f64 / all as f64,
    }
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
            let (a, b) = (chars(a), chars(b));
            assert!(near(jaro(&a, &b), of_jaro), "{a:?}, {b:?}: {}", jaro(&a, &b));
            assert!(near(jaro_winkler(&a, &b), of_winkler), "{a:?}, {b:?}: {}", jaro_winkler(&a, &b));
        }
        assert!(near(jaccard(&chars("duck"), &chars("luck")), 0.6));
        assert!(near(jaccard(&chars("aab"), &chars("ba")), 1.0));
        assert!(near(jaccard(&[], &[]), 0.0));
    }

    #[test]
    fn texts_of_one_length_differ_in_so_many_places() {
        let of = |a: &str, b: &str| differences(&StringArray::from(vec![a]), &StringArray::from(vec![b]));
        assert_eq!(of("dück", "luck").unwrap().value(0), 2);
        assert!(of("a", "ab").is_err());
    }
}
