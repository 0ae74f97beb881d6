//! Calls with more or fewer arguments than their function takes.

use std::collections::BTreeSet;

use datafusion::execution::SessionState;
use datafusion::logical_expr::TypeSignature;
use datafusion::logical_expr_common::signature::Arity;
use gstore_core::many_of;

/// How many arguments a function may have; `None` where it looks at them itself, or takes any number.
pub(crate) fn wanted(state: &SessionState, name: &str) -> Option<BTreeSet<usize>> {
    let aggregate = state.aggregate_functions().get(name).map(|function| function.signature());
    let scalar = || state.scalar_functions().get(name).map(|function| function.signature());
    let window = || state.window_functions().get(name).map(|function| function.signature());
    counts(&aggregate.or_else(scalar).or_else(window)?.type_signature)
}

fn counts(signature: &TypeSignature) -> Option<BTreeSet<usize>> {
    match (signature, signature.arity()) {
        (TypeSignature::OneOf(all), _) => {
            let all: Option<Vec<BTreeSet<usize>>> = all.iter().map(counts).collect();
            Some(all?.into_iter().flatten().collect())
        }
        (_, Arity::Fixed(count)) => Some(BTreeSet::from([count])),
        (_, Arity::Variable) => None,
    }
}

/// How many arguments a call has that a message shows with their types; `None` where it shows none of them.
pub(crate) fn shown(call: &str) -> Option<usize> {
    let (_, types) = call.split_once('(')?;
    let types = types.strip_suffix(')').unwrap_or(types);
    if types == ".." {
        return None;
    }
    // Types have types in them.
    let (mut depth, mut in_quotes) = (0i32, false);
    let commas = types.chars().filter(|c| {
        match c {
            '"' => in_quotes = !in_quotes,
            '(' | '[' | '{' if !in_quotes => depth += 1,
            ')' | ']' | '}' if !in_quotes => depth -= 1,
            _ => {}
        }
        *c == ',' && depth == 0 && !in_quotes
    });
    Some(if types.is_empty() { 0 } else { commas.count() + 1 })
}

/// What is said of a call of the function with this name.
pub(crate) fn said(name: &str, wanted: &BTreeSet<usize>, given: usize) -> String {
    let numbers: Vec<String> = wanted.iter().map(|count| count.to_string()).collect();
    let arguments = match numbers.split_last() {
        Some((last, [])) if last == "0" => "no arguments".to_owned(),
        Some((last, [])) if last == "1" => "1 argument".to_owned(),
        Some((last, [])) => format!("{last} arguments"),
        Some((last, others)) => format!("{} or {last} arguments", others.join(", ")),
        None => "other arguments".to_owned(),
    };
    format!("{name}() takes {arguments}; {}", many_of(given as u64, "was given", "were given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_arguments_are_told() {
        for (wanted, given, says) in [
            (&[0][..], 1, "f() takes no arguments; 1 was given"),
            (&[1], 0, "f() takes 1 argument; 0 were given"),
            (&[1, 2], 3, "f() takes 1 or 2 arguments; 3 were given"),
            (&[3, 2, 4], 1, "f() takes 2, 3 or 4 arguments; 1 was given"),
        ] {
            assert_eq!(said("f", &wanted.iter().copied().collect(), given), says);
        }
    }

    #[test]
    fn commas_within_a_type_part_no_arguments() {
        for (call, count) in [
            ("f()", Some(0)),
            ("f(..)", None),
            ("f(DECIMAL(9, 2))", Some(1)),
            ("f(STRUCT(a BIGINT, \"b)\" VARCHAR)[], VARCHAR)", Some(2)),
        ] {
            assert_eq!(shown(call), count, "{call}");
        }
    }
}
