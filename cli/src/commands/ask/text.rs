//! Records as text to read.

use gstore_data::{Content, parse_record};

/// Characters of a beginning.
const PREVIEW: usize = 200;

/// What a record says: the whole of it, or its beginning on one line.
pub fn record_text(record: &[u8], full: bool) -> String {
    let text = match parse_record(record) {
        Ok(record) => content_text(&record.content),
        // Whatever was stored is shown rather than nothing.
        Err(_) => String::from_utf8_lossy(record).into_owned(),
    };
    if full { text } else { preview(&text) }
}

fn content_text(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        Content::PromptCompletion { prompt, completion } => {
            format!("prompt: {prompt}\ncompletion: {completion}")
        }
        Content::Messages(messages) => {
            let turns: Vec<String> = messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect();
            turns.join("\n")
        }
    }
}

/// The beginning of a text with its white space folded.
fn preview(text: &str) -> String {
    let mut short = String::new();
    let mut count = 0;
    for word in text.split_whitespace() {
        for c in (!short.is_empty()).then_some(' ').into_iter().chain(word.chars()) {
            if count == PREVIEW {
                short.push('…');
                return short;
            }
            short.push(c);
            count += 1;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_with_who_says_what() {
        let talk = br#"{"id":"a","messages":[{"role":"user","content":"1+1?\n"},{"role":"assistant","content":"2"}]}"#;
        assert_eq!(record_text(talk, true), "user: 1+1?\n\nassistant: 2");
        assert_eq!(record_text(talk, false), "user: 1+1? assistant: 2");
        assert_eq!(record_text(br#"{"prompt":"a","completion":"b"}"#, false), "prompt: a completion: b");
        assert_eq!(record_text(b"not a record", true), "not a record");
    }

    #[test]
    fn a_beginning_ends_after_whole_characters() {
        let long = "\u{e9}".repeat(PREVIEW + 1);
        assert_eq!(preview(&long).chars().count(), PREVIEW + 1);
        assert!(preview(&long).ends_with('…'));
        assert_eq!(preview(&"x".repeat(PREVIEW)), "x".repeat(PREVIEW));
        assert_eq!(preview("  "), "");
    }
}
