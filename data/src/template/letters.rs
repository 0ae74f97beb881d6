//! Characters as Python has them: white space, and large and small letters.

/// What `str.isspace` is true of: four separators more than Unicode's white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// What ends a line for `str.splitlines`.
pub(super) fn ends_line(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What begins a word large and all else small: `it's a_b` becomes `It's A_b`.
pub(super) fn title_of_words(text: &str) -> String {
    let ends_word = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let title = |word: &str| {
        let mut chars = word.chars();
        let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
        first + &chars.as_str().to_lowercase()
    };
    text.split_inclusive(ends_word).map(title).collect()
}

/// Each letter behind one is small and any other large: `it's a_b` becomes `It'S A_B`.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut behind_letter = false;
    in_lowercase(text, |c, small| {
        match behind_letter {
            true => out.push_str(small),
            false => push_title(c, &mut out),
        }
        behind_letter = c.is_lowercase() || is_large(c);
    });
    out
}

/// Large letters are small and small ones large.
pub(super) fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    in_lowercase(text, |c, small| match c.is_uppercase() {
        true => out.push_str(small),
        false if c.is_lowercase() => out.extend(c.to_uppercase()),
        false => out.push(c),
    });
    out
}

/// What is equal for texts that differ only in large and small letters.
pub(super) fn casefold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ı' => out.push(c),
            'ẞ' => out.push_str("ss"),
            // Cherokee, whose small letters came later.
            '\u{13a0}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => out.extend(c.to_uppercase()),
            _ => out.extend(c.to_uppercase().flat_map(char::to_lowercase)),
        }
    }
    out
}

/// Whether large letters are at the start of words only, and no word begins with a small one.
pub(super) fn is_title(text: &str) -> bool {
    let (mut behind_letter, mut has_letter) = (false, false);
    for c in text.chars() {
        let is_letter = is_large(c) || c.is_lowercase();
        if is_letter && is_large(c) == behind_letter {
            return false;
        }
        behind_letter = is_letter;
        has_letter |= is_letter;
    }
    has_letter
}

/// Also of letters such as `ǅ`, which are two, a large and a small one.
fn is_large(c: char) -> bool {
    c.is_uppercase() || (!c.is_lowercase() && c.to_lowercase().next() != Some(c))
}

/// Each character, and what it is in a text of small letters.
fn in_lowercase(text: &str, mut each: impl FnMut(char, &str)) {
    // Not by single letters: a sigma at the end of a word is written differently.
    let small = text.to_lowercase();
    let mut small = small.as_str();
    for c in text.chars() {
        let (own, rest) = small.split_at_checked(length_in_lowercase(c)).unwrap_or((small, ""));
        small = rest;
        each(c, own);
    }
}

/// What `str.isprintable` is true of: what Rust shows as it is, too.
pub(super) fn is_printable(c: char) -> bool {
    // Behind a letter, since a mark that joins what stands before it is shown by its number at the start.
    matches!(c, '\'' | '"' | '\\') || format!("a{c}").escape_debug().count() == 2
}

/// The first letter large and all others small.
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    if let Some(first) = text.chars().next() {
        push_title(first, &mut out);
        out.push_str(text.to_lowercase().get(length_in_lowercase(first)..).unwrap_or_default());
    }
    out
}

fn length_in_lowercase(c: char) -> usize {
    c.to_lowercase().map(char::len_utf8).sum()
}

/// A letter as it begins a word. Those of two letters, and Greek ones with an iota below, are not as in a text
/// of large letters.
fn push_title(c: char, out: &mut String) {
    let title = match c {
        '\u{1c4}'..='\u{1c6}' => "\u{1c5}",
        '\u{1c7}'..='\u{1c9}' => "\u{1c8}",
        '\u{1ca}'..='\u{1cc}' => "\u{1cb}",
        '\u{1f1}'..='\u{1f3}' => "\u{1f2}",
        // Georgian has large letters for texts of them alone.
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => return out.push(c),
        '\u{1f80}'..='\u{1faf}' => return out.extend(char::from_u32(u32::from(c) | 8)),
        '\u{1fb3}' | '\u{1fbc}' => "\u{1fbc}",
        '\u{1fc3}' | '\u{1fcc}' => "\u{1fcc}",
        '\u{1ff3}' | '\u{1ffc}' => "\u{1ffc}",
        '\u{1fb2}' => "\u{1fba}\u{345}",
        '\u{1fb4}' => "\u{386}\u{345}",
        '\u{1fb7}' => "\u{391}\u{342}\u{345}",
        '\u{1fc2}' => "\u{1fca}\u{345}",
        '\u{1fc4}' => "\u{389}\u{345}",
        '\u{1fc7}' => "\u{397}\u{342}\u{345}",
        '\u{1ff2}' => "\u{1ffa}\u{345}",
        '\u{1ff4}' => "\u{38f}\u{345}",
        '\u{1ff7}' => "\u{3a9}\u{342}\u{345}",
        _ => {
            let mut large = c.to_uppercase();
            let first = large.next().unwrap_or(c);
            out.push(first);
            return match first.is_uppercase() {
                true => out.extend(large.flat_map(char::to_lowercase)),
                false => out.extend(large),
            };
        }
    };
    out.push_str(title);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_ends_of_lines_are_those_of_python() {
        let all = |is: fn(char) -> bool| ('\0'..=char::MAX).filter(|c| is(*c)).collect::<String>();
        // "".join(c for c in map(chr, range(0x110000)) if c.isspace())
        let spaces = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\
            \u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
        assert_eq!(all(is_space), spaces);
        // The same with: if len(f"a{c}b".splitlines()) == 2
        assert_eq!(all(ends_line), "\n\x0b\x0c\r\x1c\x1d\x1e\u{85}\u{2028}\u{2029}");
    }

    #[test]
    fn letters_begin_a_word_as_in_python() {
        let with = |found: &mut String, c: char| {
            let mut title = String::new();
            push_title(c, &mut title);
            if !title.chars().eq(c.to_uppercase()) {
                found.push(c);
                found.push_str(&title);
            }
        };
        let mut found = String::new();
        ('\0'..=char::MAX).for_each(|c| with(&mut found, c));
        // hashlib.sha256("".join(c + c.title() for c in map(chr, ..) if c.title() != c.upper()).encode())
        assert_eq!(
            gstore_store::sha256_hex(found.as_bytes()),
            "1601e3816fdbe1ebea1121de85e68d0398b6bf2a278b32aa4d818cd18a8682f6"
        );
    }

    /// Expected values are those of Python 3.
    #[test]
    fn cases_are_those_of_python() {
        assert_eq!(swapcase("Ab ΑΣ ας ǅß 中ª"), "aB ας ΑΣ ǅSS 中ª");
        assert_eq!(casefold("AbẞßΣςﬁİıǰ Ꭰꭰᏸ"), "abssssσσfii\u{307}ıj\u{30c} ᎠᎠᏰ");
        let all = |texts: &[&str]| texts.iter().map(|text| is_title(text)).collect::<Vec<bool>>();
        assert_eq!(all(&["Ab C", "Ab'S 3D", "ǅx", "中A"]), [true; 4]);
        assert_eq!(all(&["", "1", "ab", "AB", "A b", "Aǅ"]), [false; 6]);
        assert!("aé中 '\"\\\u{301}🦀".chars().all(is_printable));
        assert!(!"\n\t\0\x7f\u{a0}\u{ad}\u{200b}\u{2028}\u{3000}\u{e000}\u{378}".chars().any(is_printable));
    }
}
