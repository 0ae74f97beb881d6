//! The LESS template: a line with the role's tag, the stripped content, a newline.
//!
//! An assistant's content is closed by the end token before the newline; content, end token and newline are
//! scored. Its tag line never is, also where the LESS code would score it (an assistant that speaks first, or
//! after another assistant).

use super::RenderedText;
use super::python::strip;
use crate::{Message, Role};

/// The assistant's tag line.
const ASSISTANT: &str = "<|assistant|>\n";

pub(super) fn messages(messages: &[Message], eos: &str) -> RenderedText {
    let mut rendered = RenderedText::with_special();
    for message in messages {
        let content = strip(&message.content);
        match message.role {
            Role::System => rendered.push("<|system|>\n"),
            Role::User => rendered.push("<|user|>\n"),
            Role::Assistant => rendered.push(ASSISTANT),
            Role::Tool => rendered.push("<|tool|>\n"),
        }
        let end = if message.role == Role::Assistant { eos } else { "" };
        rendered.push_parts(&[content, end, "\n"], message.scored);
    }
    rendered
}

/// A conversation and the tag line of the assistant who is to speak.
pub(super) fn prompt(before: &[Message], eos: &str) -> RenderedText {
    let mut rendered = RenderedText { scored: Vec::new(), ..messages(before, eos) };
    rendered.push(ASSISTANT);
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, content: &str) -> Message {
        Message::new(role, content)
    }

    fn scored(rendered: &RenderedText) -> Vec<&str> {
        rendered.scored.iter().map(|r| &rendered.text[r.clone()]).collect()
    }

    #[test]
    fn layout_and_scored_parts() {
        let rendered = messages(
            &[
                message(Role::System, " be brief\n"),
                message(Role::User, "\x1f hi \u{a0}"),
                message(Role::Assistant, "\thello "),
                message(Role::User, "bye"),
                message(Role::Tool, "3"),
                message(Role::Assistant, ""),
            ],
            "</s>",
        );
        let text = "<|system|>\nbe brief\n<|user|>\nhi\n<|assistant|>\nhello</s>\n<|user|>\nbye\n<|tool|>\n3\n<|assistant|>\n</s>\n";
        assert_eq!(rendered.text, text);
        assert_eq!(scored(&rendered), ["hello</s>\n", "</s>\n"]);
        assert!(rendered.add_special);
    }

    #[test]
    fn a_message_of_weight_zero_is_closed_and_not_scored() {
        let first = Message { scored: false, ..message(Role::Assistant, "a") };
        let rendered = messages(&[first, message(Role::Assistant, "b")], "</s>");
        assert_eq!(rendered.text, "<|assistant|>\na</s>\n<|assistant|>\nb</s>\n");
        assert_eq!(scored(&rendered), ["b</s>\n"]);
    }

    #[test]
    fn a_prompt_ends_with_the_header() {
        let rendered = prompt(&[message(Role::User, " hi ")], "</s>");
        assert_eq!(rendered.text, "<|user|>\nhi\n<|assistant|>\n");
        assert!(rendered.scored.is_empty() && rendered.add_special);
    }

    #[test]
    fn a_pair_is_a_conversation_where_that_is_asked_for() {
        let template = crate::template::Template::TuluChat { eos: "</s>".to_owned() };
        let pair =
            crate::Content::PromptCompletion { prompt: "hi".to_owned(), completion: "hello".to_owned() };
        let rendered = template.render(&pair).unwrap();
        assert_eq!(rendered.text, "<|user|>\nhi\n<|assistant|>\nhello</s>\n");
        assert_eq!(scored(&rendered), ["hello</s>\n"]);
        assert_eq!(template.prompt(&pair).unwrap().text, "<|user|>\nhi\n<|assistant|>\n");
        let with = template.render(&template.with_system(&pair, "Be brief.")).unwrap();
        assert_eq!(with.text, format!("<|system|>\nBe brief.\n{}", rendered.text));
    }

    #[test]
    fn headers_are_never_scored() {
        let rendered = messages(&[message(Role::Assistant, "a"), message(Role::Assistant, "b")], "</s>");
        assert_eq!(scored(&rendered), ["a</s>\n", "b</s>\n"]);
        assert_eq!(scored(&messages(&[message(Role::User, "a")], "</s>")), [""; 0]);
    }
}
