//! Content of a record: a conversation, a prompt with its completion, or a text.
//!
//! A record is a JSON object with exactly one of `messages` (a list of `{role, content}`), `prompt` with
//! `completion`, or `text`. Every other key is metadata, one of `prompt` and `completion` without the other
//! too. Of a message `role`, `content` and the calls of tools (`tool_calls`, `function_call`) are used, of
//! the assistant's also `weight`: what has the weight 0 is context that is not scored.
//!
//! Calls of tools and what tools answer are text that is read and not scored: a call is a message of its own,
//! with the role of a tool, after what the assistant says in the same message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::digest::Digest;

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model; its words are what is scored, unless they have the weight 0.
    Assistant,
    /// A call of a tool, or what the tool answers; never scored.
    Tool,
}

// The names in JSON.
crate::named!(Role { System = "system", User = "user", Assistant = "assistant", Tool = "tool" });

impl Role {
    /// The one that a record means, which may have another name for it.
    fn meant(name: &str) -> Option<Self> {
        match name {
            "developer" => Some(Role::System),
            "function" => Some(Role::Tool),
            _ => Role::parse(name),
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, as in the file.
    pub content: String,
    /// Whether it is scored: the assistant's is, unless its weight is 0.
    pub scored: bool,
}

impl Message {
    /// A message of a role; the assistant's is scored.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), scored: role == Role::Assistant }
    }

    /// The JSON that it is read from again.
    pub fn to_json(&self) -> Value {
        let mut message = json!({ "role": self.role.name(), "content": self.content });
        if self.role == Role::Assistant && !self.scored {
            message[WEIGHT] = 0.into();
        }
        message
    }
}

/// The text of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A conversation of at least one message.
    Messages(Vec<Message>),
    /// A prompt and how it should go on.
    PromptCompletion {
        /// Not scored.
        prompt: String,
        /// Scored.
        completion: String,
    },
    /// Text to be scored as a whole.
    Text(String),
}

/// Why a record has no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum ContentError {
    /// Not a JSON object.
    #[error("it is not a JSON object: {0}")]
    Json(String),
    /// None of the three shapes.
    #[error("this record has no text: it needs `messages`, or `prompt` and `completion`, or `text`")]
    Nothing,
    /// A prompt without completion or the other way round.
    #[error("`{present}` without `{missing}`: a record of this shape needs both")]
    HalfPair { present: &'static str, missing: &'static str },
    /// More than one shape.
    #[error(
        "both {first} and {second}: a record has one of `messages`, `prompt` with `completion`, and `text`"
    )]
    Ambiguous { first: &'static str, second: &'static str },
    /// `messages` is no list, a prompt no string, and so on.
    #[error("`{at}` must be {expected}, found {found}")]
    WrongType { at: String, expected: &'static str, found: &'static str },
    /// A part of a content that is no text.
    #[error("`messages[{index}].content[{part}]` is a part of type {found:?}: only parts of text are read")]
    Part { index: usize, part: usize, found: String },
    /// A message without role or content.
    #[error("message {index} has no `{key}`")]
    MissingKey { index: usize, key: &'static str },
    /// A conversation without messages.
    #[error("the conversation is empty: `messages` has no element")]
    EmptyMessages,
    /// A weight between all and nothing.
    #[error("`messages[{index}].weight` must be 0 (not scored) or 1, found {found}")]
    Weight { index: usize, found: String },
    /// A role that has no meaning.
    #[error("message {index} has the role {role:?}; known roles are system, user, assistant and tool")]
    UnknownRole { index: usize, role: String },
}

impl Content {
    /// Reads the content of a record, and nothing else of it.
    ///
    /// # Errors
    /// Text that is no JSON object; those of [`Content::take`].
    pub fn read(record: &[u8]) -> Result<Self, ContentError> {
        let Shapes(mut object) =
            serde_json::from_slice(record).map_err(|error| ContentError::Json(error.to_string()))?;
        Self::take(&mut object)
    }

    /// Digest of what is said: contents of the same text have the same, and those of the same conversation,
    /// role by role and word by word. A prompt with its completion is that of a user and an assistant.
    pub fn digest(&self) -> Digest {
        // Lengths keep the parts apart, whatever is in them.
        let mut all = Vec::new();
        let mut part = |text: &str| {
            all.extend_from_slice(&(text.len() as u64).to_le_bytes());
            all.extend_from_slice(text.as_bytes());
        };
        match self {
            Self::Text(text) => part(text),
            Self::PromptCompletion { prompt, completion } => {
                for (role, text) in [(Role::User, prompt), (Role::Assistant, completion)] {
                    part(role.name());
                    part(text);
                }
            }
            Self::Messages(messages) => messages.iter().for_each(|message| {
                part(message.role.name());
                part(&message.content);
            }),
        }
        Digest::of(&all)
    }

    /// Whether a message of a record has a key for reasoning next to its content.
    pub fn leaves_reasoning(record: &[u8]) -> bool {
        // Most records have none, and are not read again.
        if !std::str::from_utf8(record).is_ok_and(|text| text.contains("\"reasoning")) {
            return false;
        }
        let Ok(Shapes(object)) = serde_json::from_slice(record) else { return false };
        let messages = object.get("messages").and_then(Value::as_array);
        let says = |message: &Value, key: &str| message[key].as_str().is_some_and(|said| !said.is_empty());
        messages.into_iter().flatten().any(|message| REASONING.iter().any(|key| says(message, key)))
    }

    /// Takes the content out of a record and leaves the rest.
    ///
    /// # Errors
    /// A record without content, with more than one, or with values of other types.
    pub fn take(object: &mut Map<String, Value>) -> Result<Self, ContentError> {
        let pair = (object.contains_key("prompt"), object.contains_key("completion"));
        let shapes = [
            (object.contains_key("messages"), "`messages`"),
            (pair == (true, true), "`prompt` with `completion`"),
            (object.contains_key("text"), "`text`"),
        ];
        let mut present = shapes.iter().filter(|(there, _)| *there).map(|(_, shape)| *shape);
        match (present.next(), present.next()) {
            (Some(first), Some(second)) => return Err(ContentError::Ambiguous { first, second }),
            (Some(_), None) => {}
            (None, _) => {
                return Err(match pair {
                    (true, false) => ContentError::HalfPair { present: "prompt", missing: "completion" },
                    (false, true) => ContentError::HalfPair { present: "completion", missing: "prompt" },
                    _ => ContentError::Nothing,
                });
            }
        }
        if let Some(messages) = object.shift_remove("messages") {
            return parse_messages(messages).map(Self::Messages);
        }
        if let Some(value) = object.shift_remove("text") {
            return text("text".to_owned(), value).map(Self::Text);
        }
        let mut part = |key: &'static str| {
            let value = object.shift_remove(key).ok_or(ContentError::Nothing)?;
            text(key.to_owned(), value)
        };
        Ok(Self::PromptCompletion { prompt: part("prompt")?, completion: part("completion")? })
    }
}

/// The keys of an object that its content may be under.
struct Shapes(Map<String, Value>);

impl<'de> Deserialize<'de> for Shapes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Shapes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shapes, A::Error> {
                let mut object = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    match key.as_str() {
                        "messages" | "prompt" | "completion" | "text" => {
                            object.insert(key, entries.next_value()?);
                        }
                        _ => {
                            entries.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Shapes(object))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

fn parse_messages(value: Value) -> Result<Vec<Message>, ContentError> {
    let Value::Array(items) = value else {
        return Err(wrong_type("messages".to_owned(), "a list of messages", &value));
    };
    if items.is_empty() {
        return Err(ContentError::EmptyMessages);
    }
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        parse_message(index, item, &mut messages)?;
    }
    Ok(messages)
}

/// Keys of a message that hold calls of tools: the one of today, and the one before it.
pub const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// Keys of a message that hold what the assistant thought before it spoke.
pub const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Key of a message that says whether it is trained on.
const WEIGHT: &str = "weight";

/// Appends a message, and the calls of tools that it makes as one of their own.
fn parse_message(index: usize, value: Value, messages: &mut Vec<Message>) -> Result<(), ContentError> {
    let Value::Object(mut object) = value else {
        return Err(wrong_type(format!("messages[{index}]"), "an object with `role` and `content`", &value));
    };
    let is_call = |calls: &Value| match calls {
        Value::Null => false,
        Value::Array(calls) => !calls.is_empty(),
        _ => true,
    };
    let calls = CALLS.iter().filter_map(|key| object.shift_remove(*key)).find(is_call);
    let key = "role";
    let name = object.shift_remove(key).ok_or(ContentError::MissingKey { index, key })?;
    let name = text(format!("messages[{index}].role"), name)?;
    let role = Role::meant(&name).ok_or(ContentError::UnknownRole { index, role: name })?;
    let said = match (object.shift_remove("content"), &calls) {
        (None | Some(Value::Null), Some(_)) => None,
        (None, None) => return Err(ContentError::MissingKey { index, key: "content" }),
        (Some(Value::Array(parts)), _) => Some(text_parts(index, parts)?),
        (Some(content), _) => Some(text(format!("messages[{index}].content"), content)?),
    };
    // What is empty next to a call says nothing, and an end token after it would be scored.
    let said = said.filter(|said| calls.is_none() || !said.is_empty());
    let scored = role == Role::Assistant && has_weight(index, object.get(WEIGHT))?;
    messages.extend(said.map(|content| Message { role, content, scored }));
    messages.extend(calls.map(|calls| Message::new(Role::Tool, calls.to_string())));
    Ok(())
}

/// Whether the weight of a message of the assistant lets it be scored.
fn has_weight(index: usize, weight: Option<&Value>) -> Result<bool, ContentError> {
    let Some(weight) = weight.filter(|weight| !weight.is_null()) else { return Ok(true) };
    // Tables with a message without weight write the others as 0.0 and 1.0.
    match weight.as_f64() {
        Some(0.0) => Ok(false),
        Some(1.0) => Ok(true),
        Some(_) => Err(ContentError::Weight { index, found: weight.to_string() }),
        None => Err(ContentError::Weight { index, found: json_type(weight).to_owned() }),
    }
}

/// The text of a content that is a list of parts, as some interfaces write it.
fn text_parts(index: usize, parts: Vec<Value>) -> Result<String, ContentError> {
    let mut all = String::new();
    for (at, part) in parts.into_iter().enumerate() {
        let Value::Object(mut part) = part else {
            return Err(wrong_type(format!("messages[{index}].content[{at}]"), "a part with `text`", &part));
        };
        let found = part.shift_remove("text").unwrap_or(Value::Null);
        if let (Value::Null, Some(Value::String(ty))) = (&found, part.get("type"))
            && ty != "text"
        {
            return Err(ContentError::Part { index, part: at, found: ty.clone() });
        }
        all.push_str(&text(format!("messages[{index}].content[{at}].text"), found)?);
    }
    Ok(all)
}

fn text(at: String, value: Value) -> Result<String, ContentError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(at, "a string", &other)),
    }
}

fn wrong_type(at: String, expected: &'static str, found: &Value) -> ContentError {
    ContentError::WrongType { at, expected, found: json_type(found) }
}

/// What people call the type of a JSON value.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_content_alone_is_taking_it_from_the_object() {
        for (record, shape) in [
            (r#"{"text":"a","id":1,"prompt":["x"]}"#, Ok("text")),
            (r#"{"prompt":[1],"messages":[{"role":"user","content":"q","n":1}]}"#, Ok("messages")),
            (r#"{"prompt":"p","source":{"text":3},"completion":"c"}"#, Ok("pair")),
            (r#"{"prompt":null,"text":"t"}"#, Ok("text")),
            (r#"{"prompt":null,"completion":null,"text":"t"}"#, Err("both")),
            (r#"{"prompt":"p"}"#, Err("`prompt` without `completion`")),
            (r#"{"text":null}"#, Err("must be a string, found null")),
            ("{}", Err("this record has no text")),
        ] {
            let read = Content::read(record.as_bytes());
            assert_eq!(read, Content::take(&mut serde_json::from_str(record).unwrap()), "{record}");
            match (read, shape) {
                (Ok(Content::Text(_)), Ok("text"))
                | (Ok(Content::Messages(_)), Ok("messages"))
                | (Ok(Content::PromptCompletion { .. }), Ok("pair")) => {}
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{record}: {error}"),
                other => panic!("{record}: {other:?}"),
            }
        }
        for bad in ["", "{", "[]", "3", "{\"text\":\"a\"} x"] {
            assert!(matches!(Content::read(bad.as_bytes()), Err(ContentError::Json(_))), "{bad}");
        }
    }

    fn messages(json: &str) -> Result<Vec<(Role, String)>, ContentError> {
        match Content::read(format!("{{\"messages\":[{json}]}}").as_bytes())? {
            Content::Messages(messages) => Ok(messages.into_iter().map(|m| (m.role, m.content)).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reasoning_that_is_left_is_found() {
        let of =
            |message: &str| Content::leaves_reasoning(format!("{{\"messages\":[{message}]}}").as_bytes());
        assert!(of(
            r#"{"role":"user","content":"x"},{"role":"assistant","reasoning_content":"t","content":"y"}"#
        ));
        assert!(of(r#"{"role":"assistant","reasoning":"t","content":"y"}"#));
        for none in [
            r#"{"role":"assistant","reasoning_content":"","content":"y"}"#,
            r#"{"role":"assistant","reasoning_content":null,"content":"y"}"#,
            r#"{"role":"assistant","content":"\"reasoning\""}"#,
        ] {
            assert!(!of(none), "{none}");
        }
        assert!(!Content::leaves_reasoning(br#"{"text":"a","reasoning":"b"}"#));
    }

    #[test]
    fn calls_and_answers_of_tools_are_messages_of_a_tool() {
        let call = r#"[{"id":"1","function":{"name":"add","arguments":"{}"}}]"#;
        let said = |role: Role, text: &str| (role, text.to_owned());
        let json = format!(
            r#"{{"role":"developer","content":"d"}},{{"role":"assistant","content":null,"tool_calls":{call}}},
            {{"role":"tool","content":"3","tool_call_id":"1"}},{{"role":"assistant","content":"a","tool_calls":[]}},
            {{"role":"assistant","content":"b","function_call":{{"name":"f"}}}},{{"role":"function","content":"4"}}"#
        );
        let want = [
            said(Role::System, "d"),
            said(Role::Tool, call),
            said(Role::Tool, "3"),
            said(Role::Assistant, "a"),
            said(Role::Assistant, "b"),
            said(Role::Tool, r#"{"name":"f"}"#),
            said(Role::Tool, "4"),
        ];
        assert_eq!(messages(&json).unwrap(), want);
        let missing = messages(r#"{"role":"assistant","tool_calls":null}"#).unwrap_err();
        assert!(missing.to_string().contains("message 0 has no `content`"), "{missing}");
        let null = messages(r#"{"role":"assistant","content":null}"#).unwrap_err();
        assert!(null.to_string().contains("must be a string, found null"), "{null}");
    }

    #[test]
    fn an_answer_of_weight_zero_is_read_and_not_scored() {
        let scored = |weight: &str| {
            let turns = format!(
                r#"{{"role":"user","content":"q","weight":1}},{{"role":"assistant","content":"a"{weight}}}"#
            );
            let record = format!("{{\"messages\":[{turns}]}}");
            Content::read(record.as_bytes()).map(|content| match content {
                Content::Messages(messages) => {
                    let json =
                        json!({ "messages": messages.iter().map(Message::to_json).collect::<Vec<_>>() });
                    assert_eq!(
                        Content::take(&mut json.as_object().unwrap().clone()),
                        Ok(Content::Messages(messages.clone()))
                    );
                    messages.iter().map(|message| message.scored).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            })
        };
        for (weight, is_scored) in [
            ("", true),
            (",\"weight\":null", true),
            (",\"weight\":1", true),
            (",\"weight\":0", false),
            (",\"weight\":0.0", false),
        ] {
            assert_eq!(scored(weight), Ok(vec![false, is_scored]), "{weight}");
        }
        for (weight, found) in [("0.5", "found 0.5"), ("-1", "found -1"), ("true", "found a boolean")] {
            let error = scored(&format!(",\"weight\":{weight}")).unwrap_err().to_string();
            assert!(
                error.contains("`messages[1].weight` must be 0 (not scored) or 1") && error.contains(found),
                "{error}"
            );
        }
    }

    #[test]
    fn parts_of_text_are_one_text() {
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
        assert_eq!(messages(parts).unwrap(), [(Role::User, "ab".to_owned())]);
        let image = r#"{"role":"user","content":[{"type":"image_url","image_url":{}}]}"#;
        let error = messages(image).unwrap_err().to_string();
        assert!(error.contains("`messages[0].content[0]` is a part of type \"image_url\""), "{error}");
    }
}
