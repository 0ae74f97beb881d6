//! Names of systems as names of files and keys: no two systems have the same.

use std::collections::HashSet;

pub(crate) fn in_file_names(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// The names, each once: behind one that is `taken`, or that another had before it, stands a number from 2.
pub(crate) fn each_once(names: impl IntoIterator<Item = String>, taken: &[&str]) -> Vec<String> {
    let mut taken: HashSet<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    let own = |name: String| {
        let (mut found, mut number) = (name.clone(), 2);
        while !taken.insert(found.clone()) {
            found = format!("{name}_{number}");
            number += 1;
        }
        found
    };
    names.into_iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::{each_once, in_file_names};

    #[test]
    fn no_two_systems_have_the_same_name() {
        let names = ["a/b", "a_b", "a b", "expected", "a_b_2"].map(in_file_names);
        let expected = ["a_b", "a_b_2", "a_b_3", "expected_2", "a_b_2_2"];
        assert_eq!(each_once(names, &["expected"]), expected);
    }
}
