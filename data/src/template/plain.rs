//! Text without roles: contents joined by a space or a newline.
//!
//! The joint is one space (`prompt`, `completion`) or newline (messages) where there is no white space.

use super::RenderedText;
use crate::{Message, Role};

/// What LESS takes for white space at a joint.
const BLANKS: [char; 3] = [' ', '\n', '\t'];

/// A prompt and its completion, closed by the end token; completion and end token are scored.
pub(super) fn pair(prompt: &str, completion: &str, eos: &str) -> RenderedText {
    let mut rendered = RenderedText::with_special();
    rendered.push(prompt);
    // The boundary is the end of the prompt, as in LESS: a space that is put in between counts with the
    // completion, into whose first token nearly all tokenizers merge it.
    let joint = if prompt.ends_with(BLANKS) || completion.starts_with(BLANKS) { "" } else { " " };
    rendered.push_scored(&[joint, completion, eos]);
    rendered
}

/// Contents as they are, one after the other; an assistant's is closed by the end token, and both are scored,
/// unless its weight is 0.
pub(super) fn messages(messages: &[Message], eos: &str) -> RenderedText {
    let mut rendered = RenderedText::with_special();
    for message in messages {
        if !message.content.starts_with(BLANKS) {
            open(&mut rendered);
        }
        let end = if message.role == Role::Assistant { eos } else { "" };
        rendered.push_parts(&[&message.content, end], message.scored);
    }
    rendered
}

/// A conversation, up to where the next message stands.
pub(super) fn prompt(before: &[Message], eos: &str) -> RenderedText {
    let mut rendered = RenderedText { scored: Vec::new(), ..messages(before, eos) };
    open(&mut rendered);
    rendered
}

/// Sets off what is to follow.
fn open(rendered: &mut RenderedText) {
    if !rendered.text.is_empty() && !rendered.text.ends_with(BLANKS) {
        rendered.push("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(rendered: &RenderedText) -> Vec<&str> {
        rendered.scored.iter().map(|r| &rendered.text[r.clone()]).collect()
    }

    #[test]
    fn joints_of_prompt_and_completion() {
        for (prompt, completion, text) in [
            ("p", "c", "p c</s>"),
            ("p ", "c", "p c</s>"),
            ("p", "\nc", "p\nc</s>"),
            ("p\t", " c", "p\t c</s>"),
            ("p\r", "c", "p\r c</s>"),
            ("", "c", " c</s>"),
        ] {
            let rendered = pair(prompt, completion, "</s>");
            assert_eq!(rendered.text, text);
            assert_eq!(scored(&rendered), [&text[prompt.len()..]]);
        }
    }

    #[test]
    fn messages_are_joined_by_newlines() {
        let message = Message::new;
        let rendered = messages(
            &[
                message(Role::System, "s"),
                message(Role::User, "u\n"),
                message(Role::Assistant, "a"),
                message(Role::User, "v"),
            ],
            "</s>",
        );
        assert_eq!(rendered.text, "s\nu\na</s>\nv");
        assert_eq!(scored(&rendered), ["a</s>"]);
    }
}
