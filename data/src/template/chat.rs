//! Chat templates in Jinja: the tokenizer's own, or one that the user gives.
//!
//! An assistant turn that is scored is found by rendering the conversation up to it with the generation
//! prompt, and up to its end without: what lies between is scored. Where a template writes an earlier turn
//! otherwise than a last one (some leave out reasoning), the turn's content is found by rendering once more
//! with a mark in its place.
//!
//! A template that marks the assistant's words (`{% generation %}`) says itself what is scored, as in
//! transformers. A last rendering has characters at the marks that the text does not hold.
//!
//! A template that drops a message of a user or the assistant is refused: its prompts would lack the
//! question, or its training samples the answer. It may rewrite them, and may drop system and tool messages,
//! as some published ones do.

use std::ops::Range;

use minijinja::Value;

use super::RenderedText;
use super::jinja::ChatEnvironment;
use super::python::strip;
use super::tags::MARKS;
use crate::encode_error::EncodeError;
use crate::{Message, Role};

/// A compiled template and the special tokens that it may write.
pub(crate) struct ChatTemplate {
    env: ChatEnvironment,
    /// As it was written.
    pub(crate) source: String,
    special: Vec<(String, Value)>,
    /// Texts that are one token each, wherever they stand.
    atoms: Vec<String>,
}

impl ChatTemplate {
    /// `special`: names and texts of the tokenizer's special tokens; `atoms`: texts of all its added tokens.
    pub(crate) fn new(
        source: &str,
        special: &[(String, String)],
        atoms: Vec<String>,
    ) -> Result<Self, EncodeError> {
        let env = ChatEnvironment::new(source).map_err(EncodeError::TemplateSyntax)?;
        let special = special.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        Ok(Self { env, source: source.to_owned(), special, atoms })
    }

    /// Whether it marks the assistant's words.
    pub(crate) fn has_marks(&self) -> bool {
        self.env.has_marks
    }

    /// Whether an answer may begin after a space, which the template or, where the template writes nothing after
    /// it, a question ends with.
    pub(crate) fn opens_with_space(&self) -> bool {
        let prompt = |text| self.text(&[Message::new(Role::User, text)], true);
        ["a", "a "].into_iter().any(|text| prompt(text).is_ok_and(|prompt| prompt.ends_with(' ')))
    }

    /// A conversation and what opens the assistant's turn.
    pub(super) fn prompt(&self, before: &[Message]) -> Result<RenderedText, EncodeError> {
        let text = self.text(before, true)?;
        for turn in 0..before.len() {
            self.check_shown(before, turn, &text, (&text, true))?;
        }
        Ok(RenderedText { text, scored: Vec::new(), add_special: false })
    }

    pub(super) fn render(&self, messages: &[Message]) -> Result<RenderedText, EncodeError> {
        let full = self.text(messages, false)?;
        let scored = match self.env.has_marks {
            true => self.marked(messages, &full)?,
            false => self.answers(messages, &full)?,
        };
        for turn in 0..messages.len() {
            self.check_shown(messages, turn, &full, (&full, false))?;
        }
        Ok(RenderedText { text: full, scored, add_special: false })
    }

    /// The assistant's turns that are scored.
    fn answers(&self, messages: &[Message], full: &str) -> Result<Vec<Range<usize>>, EncodeError> {
        let mut parts = Vec::new();
        for (turn, _) in messages.iter().enumerate().filter(|(_, m)| m.scored) {
            let part = self.turn(messages, turn, full)?;
            let own = full.get(part.clone()).unwrap_or(full);
            self.check_shown(messages, turn, own, (full, false))?;
            parts.push(part);
        }
        Ok(parts)
    }

    /// What the template marks as the assistant's words, but for messages that are not scored.
    fn marked(&self, messages: &[Message], full: &str) -> Result<Vec<Range<usize>>, EncodeError> {
        let mut unused = unused_in(full);
        let (Some(open), Some(close)) = (unused.next(), unused.next()) else {
            return Err(EncodeError::Marks);
        };
        let marked = self.text_with(messages, false, Some([open, close]))?;
        let mut text = String::with_capacity(full.len());
        let (mut parts, mut opened): (Vec<Range<usize>>, Vec<usize>) = (Vec::new(), Vec::new());
        for c in marked.chars() {
            if c == open {
                opened.push(text.len());
            } else if c == close {
                let start = opened.pop();
                parts.extend(start.filter(|_| opened.is_empty()).map(|start| start..text.len()));
            } else {
                text.push(c);
            }
        }
        if text != full {
            return Err(EncodeError::Marks);
        }
        let unscored = messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant && !m.scored);
        for (turn, _) in unscored {
            let own = self.turn(messages, turn, full)?;
            parts.retain(|part| part.end <= own.start || own.end <= part.start);
        }
        Ok(parts)
    }

    /// Fails at words of a user or the assistant that are not in their `part` of the text as they stand, and
    /// without which the text is the same.
    fn check_shown(
        &self,
        messages: &[Message],
        turn: usize,
        part: &str,
        (full, add_generation_prompt): (&str, bool),
    ) -> Result<(), EncodeError> {
        let Some(Message { role, content, .. }) = messages.get(turn) else { return Ok(()) };
        if !matches!(role, Role::User | Role::Assistant) || part.contains(strip(content)) {
            return Ok(());
        }
        // A template may change what it writes: it may leave out reasoning.
        match self.text(&mark(messages, turn, full)?, add_generation_prompt) {
            Ok(marked) if marked == full => {
                let takes_parts = self.takes_parts(messages, turn);
                Err(EncodeError::LeftOut { turn, role: role.name(), takes_parts })
            }
            _ => Ok(()),
        }
    }

    /// Whether it shows the words of a turn if contents are lists of parts.
    fn takes_parts(&self, messages: &[Message], turn: usize) -> bool {
        let parts = |m: &Message| {
            let part = [("type", "text"), ("text", m.content.as_str())];
            Value::from(vec![Value::from_pairs(part)])
        };
        let words = messages.get(turn).map_or("", |message| strip(&message.content));
        self.written(messages, parts, false, None).is_ok_and(|text| text.contains(words))
    }

    /// Where the assistant's turn stands, after its header.
    fn turn(&self, messages: &[Message], turn: usize, full: &str) -> Result<Range<usize>, EncodeError> {
        let start = self.turn_start(messages, turn, full)?;
        let end = self.turn_end(messages, turn, full)?;
        let is_empty = messages.get(turn).is_none_or(|message| strip(&message.content).is_empty());
        if end < start || (end == start && !is_empty) {
            return Err(EncodeError::TurnNotFound(turn));
        }
        Ok(start..end)
    }

    fn turn_start(&self, messages: &[Message], turn: usize, full: &str) -> Result<usize, EncodeError> {
        // Many templates cannot be rendered without any message: that is no reason to refuse an
        // assistant who speaks first.
        if let Ok(before) = self.text(messages.get(..turn).unwrap_or_default(), true)
            && full.starts_with(&before)
        {
            return Ok(before.len());
        }
        let marked = self.text(&mark(messages, turn, full)?, false)?;
        if marked == full {
            return Err(EncodeError::TurnNotFound(turn));
        }
        Ok(common_prefix(full, &marked))
    }

    fn turn_end(&self, messages: &[Message], turn: usize, full: &str) -> Result<usize, EncodeError> {
        let upto = messages.get(..=turn).unwrap_or(messages);
        if upto.len() == messages.len() {
            return Ok(full.len());
        }
        let last = match self.text(upto, false) {
            Ok(last) => last,
            Err(EncodeError::Render(reason)) => return self.end_as_others(messages, turn, full, reason),
            Err(error) => return Err(error),
        };
        if full.starts_with(&last) {
            return Ok(last.len());
        }
        // What closes the turn where it is the last one, as far as it closes it here too.
        let closing = self.behind(upto, turn, &last)?;
        let rest = self.behind(messages, turn, full)?;
        Ok(full.len() - rest.len() + self.shared(rest, closing))
    }

    /// Where a turn ends that the template refuses as the last one: where what closes another turn ends.
    fn end_as_others(
        &self,
        messages: &[Message],
        turn: usize,
        full: &str,
        reason: String,
    ) -> Result<usize, EncodeError> {
        let rest = self.behind(messages, turn, full)?;
        let others = messages.iter().enumerate().filter(|(at, m)| *at != turn && m.role == Role::Assistant);
        for (other, _) in others {
            let upto = messages.get(..=other).unwrap_or(messages);
            let Ok(last) = self.text(upto, false) else { continue };
            let Ok(closing) = self.behind(upto, other, &last) else { continue };
            let shared = self.shared(rest, closing);
            if shared > 0 || closing.is_empty() {
                return Ok(full.len() - rest.len() + shared);
            }
        }
        Err(EncodeError::PartRefused { turn, reason })
    }

    /// What a text of these messages has behind the words of one.
    fn behind<'t>(&self, messages: &[Message], turn: usize, text: &'t str) -> Result<&'t str, EncodeError> {
        let marked = self.text(&mark(messages, turn, text)?, false)?;
        if marked == text {
            return Err(EncodeError::TurnNotFound(turn));
        }
        Ok(&text[text.len() - common_suffix(text, &marked)..])
    }

    /// How much both texts begin with, without a part of a special token.
    fn shared(&self, a: &str, b: &str) -> usize {
        let common = common_prefix(a, b);
        self.uncut(a, common).min(self.uncut(b, common))
    }

    /// The last place up to `end` that lies inside none of the text's special tokens.
    fn uncut(&self, text: &str, mut end: usize) -> usize {
        let cut_at = |end: usize| {
            let starts = |atom: &String| {
                let first = (end + 1).saturating_sub(atom.len());
                (first..end).find(|at| text.as_bytes()[*at..].starts_with(atom.as_bytes()))
            };
            self.atoms.iter().filter_map(starts).min()
        };
        while let Some(start) = cut_at(end) {
            end = start;
        }
        end
    }

    fn text(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, EncodeError> {
        self.text_with(messages, add_generation_prompt, None)
    }

    /// The text with these characters around what the template marks.
    fn text_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        marks: Option<[char; 2]>,
    ) -> Result<String, EncodeError> {
        self.written(messages, |m| Value::from(m.content.as_str()), add_generation_prompt, marks)
    }

    /// The same with contents in another form.
    fn written(
        &self,
        messages: &[Message],
        content: impl Fn(&Message) -> Value,
        add_generation_prompt: bool,
        marks: Option<[char; 2]>,
    ) -> Result<String, EncodeError> {
        // Keys in the order that transformers gives, which a template that writes a message as JSON shows.
        let fields = |m: &Message| [("role", Value::from(m.role.name())), ("content", content(m))];
        let given: Vec<Value> = messages.iter().map(|m| Value::from_pairs(fields(m))).collect();
        let fixed = [
            ("messages", Value::from(given)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ];
        let marks = marks.into_iter().flat_map(|marks| MARKS.into_iter().zip(marks.map(Value::from)));
        let special = self.special.iter().map(|(name, text)| (name.as_str(), text.clone()));
        let context = Value::from_pairs(special.chain(fixed).chain(marks));
        self.env.render(context).map_err(|mut reason| {
            if messages.iter().any(|m| m.role == Role::Tool) {
                reason
                    .push_str("\n  a template sees roles and contents here, and no tool calls, names or ids");
            }
            EncodeError::Render(reason)
        })
    }
}

/// The conversation with a character that the text does not hold in place of one turn's content.
fn mark(messages: &[Message], turn: usize, full: &str) -> Result<Vec<Message>, EncodeError> {
    let mut marked = messages.to_vec();
    match (unused_in(full).next(), marked.get_mut(turn)) {
        (Some(c), Some(message)) => message.content = c.to_string(),
        _ => return Err(EncodeError::TurnNotFound(turn)),
    }
    Ok(marked)
}

/// Characters without a meaning that the text does not hold.
fn unused_in(full: &str) -> impl Iterator<Item = char> {
    ('\u{e000}'..='\u{f8ff}').filter(move |c| !full.contains(*c))
}

/// Bytes of the longest common beginning that ends on a character boundary.
fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

fn common_suffix(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Template;
    use super::*;
    use crate::Content;

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    fn conversation(turns: &[(Role, &str)]) -> Vec<Message> {
        let message = |(role, content): &(Role, &str)| Message::new(*role, *content);
        turns.iter().map(message).collect()
    }

    fn render(source: &str, turns: &[(Role, &str)]) -> (String, Vec<String>) {
        let template = ChatTemplate::new(
            source,
            &[("eos_token".to_owned(), "</s>".to_owned())],
            vec!["</s>".into(), "<|user|>".into()],
        )
        .unwrap();
        let rendered = template.render(&conversation(turns)).unwrap();
        assert!(!rendered.add_special);
        let scored = rendered.scored.iter().map(|r| rendered.text[r.clone()].to_owned()).collect();
        (rendered.text, scored)
    }

    use Role::{Assistant, System, User};

    #[test]
    fn assistant_turns_are_scored_with_their_end() {
        let (text, scored) =
            render(CHATML, &[(System, "s"), (User, "u"), (Assistant, "a"), (User, "v"), (Assistant, "b")]);
        assert!(text.starts_with("<|im_start|>system\ns<|im_end|>\n"));
        assert_eq!(scored, ["a<|im_end|>\n", "b<|im_end|>\n"]);
        assert_eq!(render(CHATML, &[(User, "u")]).1, [""; 0]);
        assert_eq!(render(CHATML, &[(Assistant, "a")]).1, ["a<|im_end|>\n"]);
    }

    #[test]
    fn a_turn_of_weight_zero_is_text_like_others() {
        let template = ChatTemplate::new(CHATML, &[], vec![]).unwrap();
        let turns = |scored| {
            let first = Message { scored, ..Message::new(Assistant, "a") };
            template.render(&[Message::new(User, "u"), first, Message::new(Assistant, "b")]).unwrap()
        };
        let (all, last) = (turns(true), turns(false));
        assert_eq!((last.text, last.scored.as_slice()), (all.text, &all.scored[1..]));
    }

    #[test]
    fn marks_of_a_template_say_what_is_scored() {
        let marked = CHATML.replace(
            "{{ m.content }}<|im_end|>\n",
            "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}{% endgeneration %}\
             {% else %}{{ m.content }}{% endif %}<|im_end|>\n",
        );
        let all =
            [(System, "\u{e000}"), (User, "u"), (Assistant, " a\u{e001} "), (User, "v"), (Assistant, "b")];
        let (text, scored) = render(&marked, &all);
        assert!(
            text.ends_with("<|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"),
            "{text}"
        );
        assert_eq!(scored, ["a\u{e001}", "b"]);
        // A message of weight 0 is not scored, marked or not.
        let template = ChatTemplate::new(&marked, &[], vec![]).unwrap();
        let first = Message { scored: false, ..Message::new(Assistant, "a") };
        let rendered =
            template.render(&[Message::new(User, "u"), first, Message::new(Assistant, "b")]).unwrap();
        let scored: Vec<&str> = rendered.scored.iter().map(|r| &rendered.text[r.clone()]).collect();
        assert_eq!(scored, ["b"]);
        assert!(template.prompt(&[Message::new(User, "u")]).unwrap().text.ends_with("assistant\n"));
        // A template that counts what it marks writes another number with the characters at its marks.
        let counted = "{% set all %}{% generation %}{{ messages[0].content }}{% endgeneration %}{% endset %}\
            {{ all }}{{ all | length }}";
        let template = ChatTemplate::new(counted, &[], vec![]).unwrap();
        let error = template.render(&conversation(&[(Assistant, "a")])).unwrap_err();
        assert!(error.to_string().contains("{% generation %}"), "{error}");
    }

    #[test]
    fn a_prompt_opens_the_turn_of_the_assistant() {
        let template = ChatTemplate::new(CHATML, &[], vec![]).unwrap();
        let user = Message::new(User, "u");
        assert!(template.prompt(&[user]).unwrap().text.ends_with("u<|im_end|>\n<|im_start|>assistant\n"));
    }

    #[test]
    fn prompt_and_completion_are_two_turns() {
        let template = Template::Chat(Box::new(ChatTemplate::new(CHATML, &[], vec![]).unwrap()));
        let pair = Content::PromptCompletion { prompt: "u".into(), completion: "a".into() };
        let turns = Content::Messages(conversation(&[(User, "u"), (Assistant, "a")]));
        assert_eq!(template.render(&pair).unwrap(), template.render(&turns).unwrap());
    }

    #[test]
    fn templates_that_write_the_last_turn_otherwise() {
        // Reasoning is written for the last turn only, and the generation prompt opens it.
        let source = "{% for m in messages %}<|{{ m.role }}|>\n\
            {% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content | trim }}<|end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|assistant|>\n<think>go{% endif %}";
        let (text, scored) =
            render(source, &[(User, "u"), (Assistant, " a\u{e000} "), (User, "v"), (Assistant, "b")]);
        assert_eq!(
            text,
            "<|user|>\nu<|end|>\n<|assistant|>\na\u{e000}<|end|>\n<|user|>\nv<|end|>\n<|assistant|>\n<think></think>b<|end|>\n"
        );
        assert_eq!(scored, ["a\u{e000}<|end|>\n", "b<|end|>\n"]);
    }

    #[test]
    fn a_turn_that_cannot_be_the_last_one_ends_as_others_do() {
        let refuses = |words: &str| {
            let is_asked = "messages | selectattr('role', 'equalto', 'user') | list";
            format!("{{% if not {is_asked} %}}{{{{ raise_exception('nobody asks') }}}}{{% endif %}}{words}")
        };
        // All turns are written alike, and the whole text has an end of its own.
        let closes = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}";
        let greeted = [(Assistant, "hello"), (User, "u"), (Assistant, "a"), (User, "v"), (Assistant, "b")];
        for (words, scored) in [
            (CHATML, ["hello<|im_end|>\n", "a<|im_end|>\n", "b<|im_end|>\n"]),
            (closes, ["hello<|end|>\n", "a<|end|>\n", "b<|end|>\n</s>"]),
        ] {
            assert_eq!(render(&refuses(words), &greeted), render(words, &greeted));
            assert_eq!(render(&refuses(words), &greeted).1, scored);
        }
        let refused = |turns: &[Message]| {
            let template = ChatTemplate::new(&refuses(CHATML), &[], vec![]).unwrap();
            template.render(turns).map(|rendered| rendered.scored.len()).map_err(|error| error.to_string())
        };
        let mut alone = conversation(&greeted[..2]);
        let says = "refuses the conversation up to turn 0 (from 0), by which the end of that turn is found: \
                    nobody asks\n  a message of weight 0 is not scored";
        assert!(refused(&alone).unwrap_err().ends_with(says));
        alone[0].scored = false;
        assert_eq!(refused(&alone), Ok(0));
    }

    #[test]
    fn a_template_that_ends_the_whole_conversation() {
        let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
            {% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}";
        let (_, scored) = render(source, &[(User, "u"), (Assistant, "a"), (User, "v"), (Assistant, "b")]);
        assert_eq!(scored, ["a<|end|>", "b<|end|></s>"]);
    }

    #[test]
    fn an_assistant_may_speak_first() {
        let source = "{{ messages[0].role }}: {% for m in messages %}{{ m.content }}<|end|>{% endfor %}";
        assert_eq!(render(source, &[(Assistant, "a"), (User, "u")]).1, ["a<|end|>"]);
    }

    #[test]
    fn an_answer_of_nothing_but_white_space_may_be_written_as_nothing() {
        let source = "{% for m in messages %}{{ m.content | trim }}{% endfor %}";
        let turns = [(User, "\x1cu"), (Assistant, "\x1f")];
        assert_eq!(render(source, &turns), ("u".to_owned(), vec![String::new()]));
    }

    #[test]
    fn a_message_lists_its_role_first_and_is_a_map_otherwise() {
        let json = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}";
        assert_eq!(
            render(json, &[(User, "u"), (System, "<s>")]).0,
            "{\"role\": \"user\", \"content\": \"u\"}\n{\"role\": \"system\", \"content\": \"<s>\"}\n"
        );
        let source = "{% set m = messages[0] %}{{ {'z': 1, 'a': {'y': 2, 'b': 3}} | tojson }}{{ messages | tojson }}{{ m.items() | list | tojson }}\
            {% for key in m %} {{ key }}={{ m[key] }}{% endfor %}\
            {% for key, value in m | items %} {{ key }}{% endfor %}\
            {{ ' known' if 'role' in m and m is mapping and m | length == 2 }}\
            {{ ' lacking' if m.tools is not defined and m.get('tools') is none and 'tools' not in m }}\
            {{ ' equal' if m == {'content': 'u', 'role': 'user'} and m == messages[0] and m != messages[1] }}";
        assert_eq!(
            render(source, &[(User, "u"), (User, "v")]).0,
            "{\"z\": 1, \"a\": {\"y\": 2, \"b\": 3}}[{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"user\", \"content\": \"v\"}]\
             [[\"role\", \"user\"], [\"content\", \"u\"]] role=user content=u role content known lacking equal"
        );
    }

    #[test]
    fn what_a_template_leaves_out_is_told() {
        let turns = [(System, "s"), (User, "why?"), (Assistant, "so.")];
        let all = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
        let error = |source: &str, turns: &[(Role, &str)]| {
            let template = ChatTemplate::new(source, &[], vec![]).unwrap();
            template.render(&conversation(turns)).map(drop).map_err(|error| error.to_string())
        };
        let without = |role: &str| {
            all.replace(
                "{{ m.content }}",
                &format!("{{% if m.role != '{role}' %}}{{{{ m.content }}}}{{% endif %}}"),
            )
        };
        for (source, says) in [
            (without("assistant"), "leaves out turn 2 (from 0) of the conversation, the assistant's"),
            (without("user"), "leaves out turn 1 (from 0) of the conversation, the user's"),
            ("{{ (messages | last).content }}".to_owned(), "leaves out turn 1"),
            ("constant".to_owned(), "turn 2"),
            (String::new(), "turn 2"),
        ] {
            let told = error(&source, &turns).unwrap_err();
            assert!(told.contains(says), "{source}: {told}");
        }
        // As some for images and texts are.
        let parts = "{% for part in m.content %}{{ part.text if part.type == 'text' }}{% endfor %}";
        let told = error(&all.replace("{{ m.content }}", parts), &turns).unwrap_err();
        assert!(told.contains("turn 2 (from 0) of the conversation, the assistant's: it takes"), "{told}");
        assert_eq!(error(&without("system"), &turns), Ok(()));
        // Words that are changed are there, and so are none.
        let upper = all.replace("{{ m.content }}", "{{ m.content | upper }}");
        assert_eq!(error(&upper, &[(User, "why?"), (Assistant, "")]), Ok(()));
        let answer = all.replace("{{ m.content }}", "{{ m.content.split('</think>') | last }}");
        assert_eq!(error(&answer, &[(User, "why?"), (Assistant, "<think>hm</think>so.")]), Ok(()));
        let prompt = |source: &str| {
            let user = Message::new(User, "why?");
            ChatTemplate::new(source, &[], vec![]).unwrap().prompt(&[user]).map(|rendered| rendered.text)
        };
        assert!(prompt("constant").unwrap_err().to_string().contains("leaves out turn 0"));
        assert_eq!(prompt(all).unwrap(), "<user>why?</s><assistant>");
    }

    #[test]
    fn errors_of_the_template_come_through() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x";
        let template = ChatTemplate::new(source, &[], vec![]).unwrap();
        let error = template.render(&conversation(&[(System, "s"), (Assistant, "a")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the chat template refuses the conversation: System role not supported"
        );
        let error =
            template.render(&conversation(&[(User, "s"), (Assistant, "a"), (User, "t")])).unwrap_err();
        assert!(error.to_string().contains("turn 1"), "{error}");
        let error = template.render(&conversation(&[(System, "s"), (Role::Tool, "3")])).unwrap_err();
        assert!(error.to_string().ends_with(
            "not supported\n  a template sees roles and contents here, and no tool calls, names or ids"
        ));
        assert!(ChatTemplate::new("{% for %}", &[], vec![]).is_err());
    }
}
