//! Porter's stemmer (Porter 1980) with the extensions that nltk has by default.
//!
//! Words are stemmed in small letters; all that is no vowel of `a` to `z` counts as a consonant.

/// Words that have a form of their own.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Endings and what takes their place if what is before them has a measure above 0, in the order in which
/// they are tried.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// The same of the third step.
const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Endings that go if what is before them has a measure above 1.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a word.
pub fn stem(word: &str) -> String {
    let small = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == small) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return small;
    }
    let word = step_1b(step_1a(small));
    let word = step_2(step_1c(word));
    step_5(step_4(step_3(word)))
}

/// Which letters are consonants. `y` is one unless it follows one.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.chars() {
        let flag = match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => flags.last().is_none_or(|before| !before),
            _ => true,
        };
        flags.push(flag);
    }
    flags
}

/// How often consonants follow vowels.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_consonant(stem: &str) -> bool {
    consonants(stem).last() == Some(&true)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let mut letters = word.chars().rev();
    let last = letters.next();
    last.is_some() && last == letters.next() && ends_in_consonant(word)
}

fn is_letter(stem: &str) -> bool {
    stem.chars().count() == 1
}

/// Consonant, vowel, consonant at the end, the last of which is not w, x or y; or a vowel and a consonant and
/// nothing else.
fn ends_short(word: &str) -> bool {
    match consonants(word).as_slice() {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

/// Plurals.
fn step_1a(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}{}", if is_letter(stem) { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("sses") {
        return format!("{stem}ss");
    }
    match word.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    }
}

/// Past tenses and participles.
fn step_1b(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if is_letter(stem) { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word };
    }
    let stem =
        ["ed", "ing"].iter().find_map(|ending| word.strip_suffix(ending).filter(|stem| has_vowel(stem)));
    let Some(stem) = stem else { return word };
    if ["at", "bl", "iz"].iter().any(|ending| stem.ends_with(ending)) {
        return format!("{stem}e");
    }
    if ends_in_double_consonant(stem) {
        let mut stem = stem.to_owned();
        if !stem.ends_with(['l', 's', 'z']) {
            stem.pop();
        }
        return stem;
    }
    if measure(stem) == 1 && ends_short(stem) { format!("{stem}e") } else { stem.to_owned() }
}

fn step_1c(word: String) -> String {
    match word.strip_suffix('y') {
        Some(stem) if !is_letter(stem) && ends_in_consonant(stem) => format!("{stem}i"),
        _ => word,
    }
}

fn step_2(word: String) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(format!("{stem}al"));
    }
    if let Some(replaced) = replaced(&word, &STEP_2) {
        return replaced;
    }
    // The `l` counts with the stem, so that "geologi" is changed as "archaeologi" is.
    match word.strip_suffix("ogi") {
        Some(stem) if stem.ends_with('l') && measure(stem) > 0 => format!("{stem}og"),
        _ => word,
    }
}

fn step_3(word: String) -> String {
    replaced(&word, &STEP_3).unwrap_or(word)
}

/// What the first ending of a list that the word has makes of it; none if it has none of them.
fn replaced(word: &str, endings: &[(&str, &str)]) -> Option<String> {
    let first = |(ending, new): &(&str, &str)| Some((word.strip_suffix(ending)?, (*new).to_owned()));
    let (stem, new) = endings.iter().find_map(first)?;
    Some(if measure(stem) > 0 { format!("{stem}{new}") } else { word.to_owned() })
}

fn step_4(word: String) -> String {
    let first = STEP_4.iter().find_map(|ending| Some((word.strip_suffix(ending)?, *ending)));
    let Some((stem, ending)) = first else { return word };
    let fits = ending != "ion" || stem.ends_with(['s', 't']);
    if fits && measure(stem) > 1 { stem.to_owned() } else { word }
}

fn step_5(mut word: String) -> String {
    if let Some(stem) = word.strip_suffix('e') {
        let measure = measure(stem);
        if measure > 1 || (measure == 1 && !ends_short(stem)) {
            word.pop();
        }
    }
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of Porter's paper, and of what the extensions change.
    #[test]
    fn stems_of_words() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("flies", "fli"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("spied", "spi"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("geology", "geolog"),
            ("hopefully", "hope"),
            ("electriciti", "electr"),
            ("adoption", "adopt"),
            ("controlling", "control"),
            ("news", "news"),
            ("succeed", "succeed"),
            ("as", "as"),
            ("2nd", "2nd"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    /// Words of other letters, in capitals and with apostrophes, each with its stem by nltk 3.10.
    const WRITTEN: &str = "\
        Indians indian, Indian indian, INDIANS indian, Skies sky, SKY sky, News news, \
        Dying die, Proceed proceed, As as, IS is, Flies fli, DIES die, TIED tie, Ponies poni, \
        Caresses caress, Agreed agre, FEED feed, Plastered plaster, Motoring motor, \
        HOPPING hop, Falling fall, Filing file, Happy happi, ENJOY enjoy, Relational relat, \
        GENERALLY gener, Hopefully hope, Geology geolog, Valerie’s valerie’, boy's boy', \
        boys’ boys’, don't don't, it’s it’, dogs. dogs., (running) (running), \
        well-being well-b, co-operating co-oper, 3rd 3rd, 1990s 1990, e-mailed e-mail, \
        naïve naïv, naïvely naïv, NAÏVETÉS naïveté, café café, cafés café, CAFÉS café, \
        résumés résumé, fiancée fiancé, façades façad, Zoë’s zoë’, Björk’s björk’, \
        Müllers müller, ÉCOLES école, über über, señoritas señorita, piñatas piñata, \
        jalapeños jalapeño, élèves élève, déjà déjà, mañanas mañana, ééed ééed, éying éy, \
        éies éie, ties tie, 日本語ing 日本語ing, кошками кошками, ΣΟΦΟΣ σοφος, \
        İstanbulling i̇stanbul, straßes straße, ößed ößed, “Quoted” “quoted”, \
        mooing… mooing…, passé—ied passé—i, x’ied x’i";

    #[test]
    fn stems_of_words_as_they_are_written() {
        let pairs = WRITTEN.split(", ").map(|pair| pair.split_once(' ').unwrap());
        for (word, expected) in pairs {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
