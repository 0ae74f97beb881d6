//! Suggestions for misspelt names.

use strsim::osa_distance;

/// Characters of a name that are compared.
const COMPARED: usize = 128;

/// The candidate that is closest to `name` by edit distance, if one is close enough to be a slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|c| (osa_distance(start(name), start(c)), c))
        .filter(|(d, c)| *d <= limit || c.starts_with(name) || (c.len() > 2 && name.starts_with(c)))
        .min()
        .map(|(_, c)| c)
}

fn start(name: &str) -> &str {
    name.char_indices().nth(COMPARED).map_or(name, |(end, _)| name.split_at(end).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_only() {
        let names = ["gsm8k", "sentiment", "headline"];
        assert_eq!(nearest("gsmk8", names), Some("gsm8k"));
        assert_eq!(nearest("sentimnet", names), Some("sentiment"));
        assert_eq!(nearest("weather", names), None);
    }
}
