//! Suggestions for misspelt names.

use strsim::osa_distance;

/// Characters of a name that are compared.
const COMPARED: usize = 128;

/// The candidate that is closest to `name` by edit distance, if one is close enough to be a slip; one that
/// begins with it counts as one slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = name.chars().count();
    let near = |c: &'a str| {
        let distance = osa_distance(start(name), start(c));
        let slips = if letters > 1 && c.starts_with(name) { distance.min(1) } else { distance };
        // One letter that is another says nothing of what was meant, nor do two of a few unless the name
        // begins alike.
        let few = if c.chars().next() == name.chars().next() { 2 } else { 1 };
        let limit = (letters / 3).max(few).min(letters.saturating_sub(1));
        let is_near = slips <= limit || c.starts_with(name) || (c.len() > 2 && name.starts_with(c));
        is_near.then_some((slips, distance, c))
    };
    candidates.into_iter().filter_map(near).min().map(|(.., c)| c)
}

/// The question after a misspelt name, `; did you mean ...?`; nothing where no candidate is close.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
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
        assert_eq!(nearest("se", ["id", "row", "sentiment"]), Some("sentiment"));
        assert_eq!(nearest("sou", ["row", "source"]), Some("source"));
        assert_eq!(nearest("sc", ["id", "row"]), None);
        assert_eq!(nearest("e4", ["b"]), None);
        assert_eq!(nearest("foo", ["id", "row"]), None);
        assert_eq!(nearest("pos", ["id", "ok"]), None);
        assert_eq!(nearest("poll", ["pool"]), Some("pool"));
        assert_eq!(nearest("cnt", ["count"]), Some("count"));
        assert_eq!(nearest("c", ["a", "b"]), None);
        assert_eq!(nearest("c", ["a", "cache"]), Some("cache"));
        assert_eq!(did_you_mean("gsmk8", names), "; did you mean `gsm8k`?");
        assert_eq!(did_you_mean("weather", names), "");
    }
}
