//! Records as text to read.

use gstore_core::one_line;
use gstore_data::{Content, Message, parse_record};

/// Characters of a beginning.
const PREVIEW: usize = 200;

/// What a record says: the whole of it, or its beginning on one line.
pub fn record_text(record: &[u8], full: bool) -> String {
    let text = match parse_record(record) {
        Ok(record) => content_text(&record.content),
        // Whatever was stored is shown rather than nothing.
        Err(_) => self::record(record),
    };
    if full { text } else { preview(&text) }
}

/// A record as text, from which the others here make theirs.
pub fn record(record: &[u8]) -> String {
    String::from_utf8_lossy(record).into_owned()
}

/// What a record asks, and its answer: the completion, or the last message. A text alone has none.
pub fn parts(record: &[u8]) -> (String, Option<String>) {
    match parse_record(record).map(|record| record.content) {
        Ok(Content::PromptCompletion { prompt, completion }) => (prompt, Some(completion)),
        Ok(Content::Messages(messages)) if messages.len() > 1 => {
            let (before, last) = messages.split_at(messages.len() - 1);
            (turns(before), Some(turns(last)))
        }
        Ok(content) => (content_text(&content), None),
        Err(_) => (self::record(record), None),
    }
}

/// The beginnings of both, below each other.
pub fn beginnings(record: &[u8]) -> String {
    match parts(record) {
        (prompt, Some(answer)) => format!("prompt: {}\ncompletion: {}", preview(&prompt), preview(&answer)),
        (text, None) => preview(&text),
    }
}

/// Both with their white space folded, as they are where nothing is cut.
pub fn folded_parts(record: &[u8]) -> impl Iterator<Item = String> {
    let (prompt, answer) = parts(record);
    std::iter::once(prompt).chain(answer).map(|text| one_line(&text))
}

fn turns(messages: &[Message]) -> String {
    messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>().join("\n")
}

fn content_text(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        Content::PromptCompletion { prompt, completion } => {
            format!("prompt: {prompt}\ncompletion: {completion}")
        }
        Content::Messages(messages) => turns(messages),
    }
}

/// The beginning of a text with its white space folded.
pub fn preview(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().nth(PREVIEW) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
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
    fn a_prompt_and_its_answer_have_their_own_beginnings() {
        let long = "a ".repeat(PREVIEW);
        let pair = format!(r#"{{"prompt":"{long}","completion":"b\nc"}}"#);
        assert_eq!(parts(pair.as_bytes()), (long.clone(), Some("b\nc".to_owned())));
        assert!(beginnings(pair.as_bytes()).ends_with("…\ncompletion: b c"));
        let talk = br#"{"messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2"}]}"#;
        assert_eq!(parts(talk), ("user: 1+1?".to_owned(), Some("assistant: 2".to_owned())));
        assert_eq!(parts(br#"{"text":"a"}"#), ("a".to_owned(), None));
        assert_eq!(parts(b"not a record"), ("not a record".to_owned(), None));
        assert_eq!(folded_parts(pair.as_bytes()).last().as_deref(), Some("b c"));
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
