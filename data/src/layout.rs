//! Layouts: the shapes in which well-known instruction data comes, read as gstore's own.
//!
//! | layout | keys | becomes |
//! |---|---|---|
//! | `openai` | `messages`, with calls of tools | the list |
//! | `sharegpt` | `conversations`, of `from` and `value` or of `role` and `content`, `system` | `messages` |
//! | `alpaca` | `instruction`, `input`, `output` (or `chosen`), `system`, `history` | `messages` |
//! | `preference` | `chosen`, `rejected`, `prompt` | what was chosen; `rejected` stays a column |
//! | `flan` | `inputs`, `targets` | `prompt` and `completion` |
//! | `trl` | `prompt` and `completion`, each a list of messages | `messages` |
//!
//! `sharegpt` has its list also under `conversation`, and that of `from` and `value` under `messages`;
//! `alpaca` has `context` for `input` and `response` for `output`. A list of `openai` or `sharegpt`, and a
//! `history`, may be its text in JSON, as tables have it that hold no lists; the former two may also be an
//! object with a list for each key, which `datasets` makes of a `Sequence` of objects. Where a list under
//! `prompt` becomes `messages`, answers in it get the weight 0: only those after it are trained on. Without
//! such a list, the prompt of two lists is what both begin with; a `chosen` that is a text is scored as a
//! whole. A record that has one of gstore's own shapes is never taken for another, so a layout is found only
//! where there would be an error. Other keys stay as they are, and every number keeps its digits.

use std::borrow::Cow;
use std::str::FromStr;

use gstore_core::Remedy;
use gstore_core::json::parts;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::json::{Unique, every_number, write_compact};

/// Names that prompts have elsewhere, in the order of their likelihood.
pub(super) const PROMPTS: [&str; 9] =
    ["question", "query", "instruction", "problem", "prompt", "input", "user", "request", "q"];

/// A shape of records that is not gstore's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Conversations under `messages`, whatever other shape the record has too.
    OpenAi,
    /// Conversations of `from` and `value`, or under another key than `messages`.
    ShareGpt,
    /// An instruction with its input and the answer.
    Alpaca,
    /// An answer that was preferred to another.
    Preference,
    /// The inputs and targets of a collection of tasks.
    Flan,
    /// A prompt and a completion that are messages.
    Trl,
}

// Names on the command line, in the order in which layouts are tried.
gstore_core::named!(Layout {
    OpenAi = "openai",
    ShareGpt = "sharegpt",
    Alpaca = "alpaca",
    Preference = "preference",
    Flan = "flan",
    Trl = "trl",
});

/// Why a record is not of the layout that was named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum LayoutError {
    #[error("there is no layout {0:?}; layouts are {names}", names = Layout::ALL.map(Layout::name).join(", "))]
    Unknown(String),
    /// A key that is missing, or holds something else.
    #[error("{layout} records have {expected}")]
    Keys { layout: Layout, expected: &'static str },
    /// A conversation that is none. Python writes its own form into CSV.
    #[error(
        "{layout} records have `{key}`, a list, the JSON text of one, or an object with a list for each key; \
         files of `to_json` and `to_parquet` have it, those of `to_csv` do not"
    )]
    List { layout: Layout, key: &'static str },
    #[error(
        "{layout} records have `{key}`, a list of objects with the texts `from` and `value`, or `role` and \
         `content`; turn {turn} is not one; if the texts have other names, give them with {}",
        Remedy::Option("field", &format!("messages={key},role=KEY,content=KEY"))
    )]
    Turn {
        layout: Layout,
        key: &'static str,
        /// Its number, from 0.
        turn: usize,
    },
    #[error(
        "turn {turn} is by {from:?}; known speakers are system, human, gpt, tool, function_call and observation"
    )]
    Speaker {
        /// The turn, from 0.
        turn: usize,
        from: String,
    },
    #[error(
        "alpaca records have `history`, if any, as a list of pairs of texts; if it is something else, give the \
         key another name, or read the record without it, `input` and `system`: {}",
        Remedy::Option("field", &format!("prompt=instruction,completion={answer}"))
    )]
    History {
        /// The key of the answer.
        answer: &'static str,
    },
    /// A preference without a prompt, where another key may be it.
    #[error("{}", no_prompt(key, *has_system))]
    NoPrompt { key: String, has_system: bool },
    /// The same where what was chosen is a list.
    #[error(
        "`chosen` begins with an answer, and there is no `prompt`; if `{key}` is it, give the key this name"
    )]
    NoPromptOfList { key: String },
}

/// What is said of a preference without a prompt, of which a key may be it.
fn no_prompt(key: &str, has_system: bool) -> String {
    let pair = format!("prompt={key},completion=chosen");
    format!(
        "`chosen` without `prompt`; if `{key}` is it{}, say so: {}; if `chosen` is the whole text: {}",
        if has_system { ", without `system`" } else { "" },
        Remedy::Option("field", &pair),
        Remedy::Option("field", "text=chosen")
    )
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        Self::parse(text).ok_or_else(|| LayoutError::Unknown(text.to_owned()))
    }
}

/// The keys of a record that its text is composed of, and the content that they give.
struct TextKeys {
    from: Vec<&'static str>,
    keys: Vec<(&'static str, Value)>,
}

impl Layout {
    /// What its records are in the store.
    pub fn stored_as(self) -> &'static str {
        match self {
            Self::OpenAi | Self::ShareGpt | Self::Alpaca | Self::Trl => "`messages`",
            Self::Preference => "the chosen side",
            Self::Flan => "`prompt` and `completion`",
        }
    }

    /// The layout of records with some keys, where that is none of gstore's own shapes.
    pub(crate) fn of<'v>(get: impl Fn(&str) -> Option<&'v Value>) -> Option<Self> {
        let has = |key: &str| get(key).is_some();
        let is_list = |key: &str| get(key).is_some_and(Value::is_array);
        let is_packed = |value: &Value| value.as_str().is_some_and(|text| text.trim_start().starts_with('['));
        if has("messages") || has("text") {
            let only = !(has("text") || has("prompt") && has("completion"));
            return match get("messages").filter(|_| only)? {
                value if begins_with(value, SHARED) => Some(Self::ShareGpt),
                value if is_packed(value) || value.is_object() && begins_with(value, OWN) => {
                    Some(Self::OpenAi)
                }
                _ => None,
            };
        }
        if has("prompt") && has("completion") {
            return (is_list("prompt") && is_list("completion")).then_some(Self::Trl);
        }
        let is_talk = |list: &Value| begins_with(list, SHARED) || begins_with(list, OWN);
        let found = Self::ALL.into_iter().find(|layout| match layout {
            Self::OpenAi | Self::Trl => false,
            Self::ShareGpt => get("conversations")
                .is_some_and(|list| list.is_array() || is_packed(list) || list.is_object() && is_talk(list)),
            Self::Alpaca => {
                let is_compared = has("chosen") && has("rejected") && !has("prompt") && !is_list("chosen");
                has("instruction") && (has("output") || has("response") || is_compared)
            }
            Self::Preference => has("chosen") && has("rejected"),
            Self::Flan => has("inputs") && has("targets"),
        });
        found.or_else(|| {
            let talk = get("conversation").filter(|list| is_talk(list) && !has("prompt"));
            talk.map(|_| Self::ShareGpt)
        })
    }

    /// A record's compact JSON text under gstore's own names, and the same as an object. `text` is the JSON
    /// that `object` was read from.
    pub(crate) fn convert(
        self,
        object: &Map<String, Value>,
        text: &str,
    ) -> Result<(String, Map<String, Value>), LayoutError> {
        let texts = self.texts(object, text);
        let texts = texts.as_ref().unwrap_or(object);
        let TextKeys { from, mut keys } = match self {
            Self::OpenAi => messages(texts),
            Self::ShareGpt => conversation(texts),
            Self::Alpaca => instruction(texts),
            Self::Preference => preference(texts),
            Self::Flan => task(texts),
            Self::Trl => halves(texts),
        }?;
        let mut renamed = Map::new();
        let mut line = String::with_capacity(text.len());
        let mut write = |key: String, value: Value, text: &str| {
            line.push(if line.is_empty() { '{' } else { ',' });
            line.push_str(&Value::from(key.as_str()).to_string());
            line.push(':');
            write_compact(&value, text, every_number, &mut line);
            renamed.insert(key, value);
        };
        for ((key, value), (_, text)) in object.iter().zip(parts(text)) {
            if from.contains(&key.as_str()) {
                // The text stands where the first of its keys stood.
                for (key, made) in keys.drain(..) {
                    write(key.to_owned(), made.clone(), &made.to_string());
                }
                continue;
            }
            let mut name = key.clone();
            while is_content(&name) || (name != *key && object.contains_key(&name)) {
                name.push('_');
            }
            write(name, value.clone(), text);
        }
        line.push('}');
        Ok((line, renamed))
    }

    /// Keys whose texts are trained on as they stand; a number there is what its digits say.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi | Self::ShareGpt | Self::Trl => &[],
            Self::Alpaca => &["instruction", "input", "context", "output", "response"],
            Self::Preference => &["prompt", "chosen"],
            Self::Flan => &["inputs", "targets"],
        }
    }

    /// Whether a key may be text of records in this layout, and so no metadata.
    pub fn may_read(self, key: &str) -> bool {
        self.keys().contains(&key)
            || matches!(key, "conversations" | "conversation" | "system")
            || self == Self::Alpaca && matches!(key, "chosen" | "history")
    }

    /// A record with the digits of numbers to train on as text; none where there are no such numbers.
    fn texts(self, object: &Map<String, Value>, text: &str) -> Option<Map<String, Value>> {
        let is_number = |key: &&str| object.get(*key).is_some_and(Value::is_number);
        if !self.keys().iter().any(is_number) {
            return None;
        }
        let of = |((key, value), (_, text)): ((&String, &Value), (Option<&str>, &str))| {
            let is_text = value.is_number() && self.keys().contains(&key.as_str());
            (key.clone(), if is_text { text.trim().into() } else { value.clone() })
        };
        Some(object.iter().zip(parts(text)).map(of).collect())
    }
}

/// The keys of a turn, who speaks and what is said: gstore's own, and those of `sharegpt`.
const OWN: [&str; 2] = ["role", "content"];
const SHARED: [&str; 2] = ["from", "value"];

/// Whether a value is a conversation whose first turn has these keys, and not the other ones.
fn begins_with(list: &Value, keys: [&str; 2]) -> bool {
    let list = turns(list).unwrap_or_default();
    let is_other = |key: &str| OWN.contains(&key) && !keys.contains(&key);
    let is_turn = |turn: &Map<String, Value>| {
        keys.iter().all(|key| turn.contains_key(*key)) && !turn.keys().any(|key| is_other(key))
    };
    list.first().and_then(Value::as_object).is_some_and(is_turn)
}

/// A list as it stands, or as its text in JSON says.
fn unpacked(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::Array(list) => Some(Cow::Borrowed(list)),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Unique(Value::Array(list))) => Some(Cow::Owned(list)),
            _ => None,
        },
        _ => None,
    }
}

/// The turns of a conversation: a list, its text, or an object with a list of their values for each key.
fn turns(value: &Value) -> Option<Cow<'_, [Value]>> {
    let Value::Object(columns) = value else { return unpacked(value) };
    let columns = columns.iter().map(|(key, values)| Some((key, values.as_array()?)));
    let columns: Vec<(&String, &Vec<Value>)> = columns.collect::<Option<_>>()?;
    let count = columns.first()?.1.len();
    if columns.iter().any(|(_, values)| values.len() != count) {
        return None;
    }
    let turn = |at: usize| {
        let of = |(key, values): &(&String, &Vec<Value>)| Some(((*key).clone(), values.get(at)?.clone()));
        // What a turn lacks is null where another has it.
        let parts = columns.iter().filter_map(of).filter(|(_, value)| !value.is_null());
        Value::Object(parts.collect())
    };
    Some(Cow::Owned((0..count).map(turn).collect()))
}

/// Whether a key could be read as text to train on.
fn is_content(key: &str) -> bool {
    matches!(key, "messages" | "text" | "prompt" | "completion")
}

fn wrong(layout: Layout, expected: &'static str) -> LayoutError {
    LayoutError::Keys { layout, expected }
}

fn turn(role: &str, text: &str) -> Value {
    json!({ "role": role, "content": text })
}

/// A conversation as it stands; only what else could be taken for text gets another name.
fn messages(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let list = object.get("messages").and_then(turns);
    let list = list.ok_or(LayoutError::List { layout: Layout::OpenAi, key: "messages" })?;
    Ok(TextKeys { from: vec!["messages"], keys: vec![("messages", Value::Array(list.into_owned()))] })
}

/// The messages of the completion after those of the prompt.
fn halves(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let list = |key: &str| object.get(key).and_then(Value::as_array);
    let (Some(prompt), Some(completion)) = (list("prompt"), list("completion")) else {
        return Err(wrong(Layout::Trl, "`prompt` and `completion`, each a list of messages"));
    };
    let mut all = context(prompt);
    all.extend(completion.iter().cloned());
    Ok(TextKeys { from: vec!["prompt", "completion"], keys: vec![("messages", Value::Array(all))] })
}

/// The messages of a prompt. Those of the assistant get the weight 0 unless they have one.
fn context(prompt: &[Value]) -> Vec<Value> {
    let mut all = prompt.to_vec();
    for message in all.iter_mut().filter(|message| message["role"] == "assistant") {
        if message["weight"].is_null() {
            message["weight"] = json!(0);
        }
    }
    all
}

fn conversation(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let layout = Layout::ShareGpt;
    let list = |key: &'static str| Some((key, turns(object.get(key)?)?));
    let found = ["conversations", "conversation", "messages"].into_iter().find_map(list);
    let (key, list) = found.ok_or(LayoutError::List { layout, key: "conversations" })?;
    let mut all = Vec::with_capacity(list.len() + 1);
    for (at, value) in list.iter().enumerate() {
        // A message with all that it may hold, such as calls of tools.
        if value.get("role").is_some() {
            all.push(value.clone());
            continue;
        }
        let part = |key: &str| value.get(key).and_then(Value::as_str);
        let (Some(from), Some(said)) = (part("from"), part("value")) else {
            return Err(LayoutError::Turn { layout, key, turn: at });
        };
        let role = match from {
            "system" => "system",
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" => "assistant",
            "tool" | "function" | "function_call" | "function_response" | "observation" => "tool",
            _ => return Err(LayoutError::Speaker { turn: at, from: from.to_owned() }),
        };
        let mut message = turn(role, said);
        if let Some(weight) = value.get("weight") {
            message["weight"] = weight.clone();
        }
        all.push(message);
    }
    let mut from = vec![key];
    let begins = all.first().is_some_and(|first| first["role"] == "system");
    if let Some(system) = system(object).filter(|_| !begins) {
        all.insert(0, turn("system", system));
        from.push("system");
    }
    Ok(TextKeys { from, keys: vec![("messages", Value::Array(all))] })
}

fn instruction(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let layout = Layout::Alpaca;
    let text = |key: &'static str| object.get(key).and_then(Value::as_str).map(|text| (key, text));
    let asked = text("instruction").ok_or_else(|| wrong(layout, "a text `instruction`"))?;
    let answer = text("output").or_else(|| text("response")).or_else(|| text("chosen"));
    let answer = answer.ok_or_else(|| wrong(layout, "a text `output` or `response`, or `chosen`"))?;
    let mut from = vec![asked.0, answer.0];
    let mut question = asked.1.to_owned();
    let more = || ["input", "context"].into_iter().filter_map(|key| Some((key, object.get(key)?)));
    let is_empty =
        |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    from.extend(more().filter(|(_, value)| is_empty(value)).map(|(key, _)| key));
    if let Some((key, value)) = more().find(|(_, value)| !is_empty(value)) {
        let value = value.as_str().ok_or_else(|| wrong(layout, "a text `input` or `context`"))?;
        from.push(key);
        question.push_str("\n\n");
        question.push_str(value);
    }
    let mut all = earlier(object, answer.0)?;
    if !all.is_empty() {
        from.push("history");
    }
    // What was said before is part of the prompt that two answers are compared for.
    if answer.0 == "chosen" {
        all = context(&all);
    }
    all.extend([turn("user", &question), turn("assistant", answer.1)]);
    if let Some(system) = system(object) {
        all.insert(0, turn("system", system));
        from.push("system");
    }
    Ok(TextKeys { from, keys: vec![("messages", Value::Array(all))] })
}

/// The turns before an instruction. As LLaMA-Factory trains on them, their answers are scored like the last.
fn earlier(object: &Map<String, Value>, answer: &'static str) -> Result<Vec<Value>, LayoutError> {
    let mut all = Vec::new();
    for pair in object.get("history").and_then(unpacked).unwrap_or_default().iter() {
        let Some([Value::String(asked), Value::String(said)]) = pair.as_array().map(Vec::as_slice) else {
            return Err(LayoutError::History { answer });
        };
        all.extend([turn("user", asked), turn("assistant", said)]);
    }
    Ok(all)
}

/// What was chosen, after the prompt where it does not begin with it.
fn preference(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let layout = Layout::Preference;
    let (chosen, prompt) = (object.get("chosen"), object.get("prompt"));
    match (chosen, prompt) {
        (Some(Value::Array(chosen)), prompt) => {
            let answers = chosen.first().is_some_and(|first| first["role"] == "assistant");
            let (before, answer) = match prompt {
                Some(Value::Array(prompt)) if !prompt.is_empty() => {
                    (prompt.as_slice(), chosen.strip_prefix(prompt.as_slice()).unwrap_or(chosen))
                }
                _ => chosen.split_at(shared(chosen, object.get("rejected"))),
            };
            if answers
                && !prompt.is_some_and(is_said)
                && let Some(key) = question(object)
            {
                return Err(LayoutError::NoPromptOfList { key });
            }
            let mut all = context(before);
            if let Some(Value::String(prompt)) = prompt.filter(|_| answers) {
                all.insert(0, turn("user", prompt));
            }
            all.extend_from_slice(answer);
            Ok(TextKeys { from: vec!["prompt", "chosen"], keys: vec![("messages", Value::Array(all))] })
        }
        (Some(Value::String(chosen)), Some(Value::String(prompt))) => Ok(TextKeys {
            from: vec!["prompt", "chosen"],
            keys: vec![("prompt", json!(prompt)), ("completion", json!(chosen))],
        }),
        (Some(Value::String(chosen)), None | Some(Value::Null)) => match question(object) {
            Some(key) => Err(LayoutError::NoPrompt { key, has_system: system(object).is_some() }),
            None => Ok(TextKeys { from: vec!["prompt", "chosen"], keys: vec![("text", json!(chosen))] }),
        },
        _ => Err(wrong(
            layout,
            "`chosen`, a text or a list of messages, with `prompt` of the same kind or none",
        )),
    }
}

/// Whether a value is a text or a list that is not empty.
fn is_said(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// The key of a text or a list that may be the prompt of a record without one.
fn question(object: &Map<String, Value>) -> Option<String> {
    let named = |name: &str| {
        let is_it = |(key, value): &(&String, &Value)| key.eq_ignore_ascii_case(name) && is_said(value);
        object.iter().find(is_it).map(|(key, _)| key.clone())
    };
    PROMPTS.iter().find_map(|name| named(name))
}

/// How many messages both sides of a preference begin with. Each side keeps one of its own, as in TRL.
fn shared(chosen: &[Value], rejected: Option<&Value>) -> usize {
    let Some(Value::Array(rejected)) = rejected else { return 0 };
    let most = chosen.len().min(rejected.len()).saturating_sub(1);
    chosen.iter().zip(rejected).take(most).take_while(|(one, other)| one == other).count()
}

fn task(object: &Map<String, Value>) -> Result<TextKeys, LayoutError> {
    let text = |key: &str| object.get(key).filter(|value| value.is_string()).cloned();
    let (Some(inputs), Some(targets)) = (text("inputs"), text("targets")) else {
        return Err(wrong(Layout::Flan, "the texts `inputs` and `targets`"));
    };
    Ok(TextKeys { from: vec!["inputs", "targets"], keys: vec![("prompt", inputs), ("completion", targets)] })
}

/// The instructions for the whole conversation, if there are any.
fn system(object: &Map<String, Value>) -> Option<&str> {
    object.get("system").and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests;
