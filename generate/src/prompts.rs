//! Prompts: the samples of a source as tokens, and what the records of their answers begin with.

use std::collections::HashSet;

use gstore_core::Cancel;
use gstore_data::{
    Content, Message, Reading, Role, SampleSource, TextEncoder, TextSample, check_block, check_system,
    encode_each, in_blocks,
};
use gstore_model::architectures::Decoder;
use serde_json::{Map, Value, json};

use crate::error::GenerateError;
use crate::load::{check_length, check_tokens};

/// A prompt as tokens, and what its answer's record begins with.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Row of the dataset, or place among the prompts of the request, from 0.
    pub row: u64,
    /// The sample's id.
    pub id: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    question: PromptContent,
    /// What the sample says in the answer's place.
    expected: Option<String>,
    /// The sample's other keys, with their values in JSON.
    metadata: Vec<(String, String)>,
}

/// What an answer follows.
#[derive(Debug, Clone)]
enum PromptContent {
    Messages(Vec<Message>),
    Text(String),
}

impl Prompt {
    /// The JSON of a record that can be registered: the prompt with the answer in its place, the sample's
    /// other keys, and `more`.
    pub(crate) fn answered(&self, answer: &str, more: &[(&str, Value)]) -> String {
        let mut record: Map<String, Value> = Map::new();
        record.insert("id".into(), json!(self.id));
        match &self.question {
            PromptContent::Text(prompt) => {
                record.insert("prompt".into(), json!(prompt));
                record.insert("completion".into(), json!(answer));
            }
            PromptContent::Messages(messages) => {
                let mut turns: Vec<Value> = messages.iter().map(Message::to_json).collect();
                turns.push(Message::new(Role::Assistant, answer).to_json());
                record.insert("messages".into(), Value::Array(turns));
            }
        }
        if let Some(expected) = &self.expected {
            record.insert("expected".into(), json!(expected));
        }
        let is_taken = |key: &str| record.contains_key(key) || more.iter().any(|(own, _)| *own == key);
        let others = self.metadata.iter().filter(|(key, _)| !is_taken(key) && !is_content(key));
        let others = others.map(|(key, json)| (key.as_str(), json.clone()));
        let own = record.iter().map(|(key, value)| (key.as_str(), value.to_string()));
        let all = own.chain(others).chain(more.iter().map(|(key, value)| (*key, value.to_string())));
        let all: Vec<String> = all.map(|(key, json)| format!("{}:{json}", Value::from(key))).collect();
        format!("{{{}}}", all.join(","))
    }
}

fn is_content(key: &str) -> bool {
    ["id", "prompt", "completion", "messages", "text"].contains(&key)
}

/// What an answer follows, and what the sample has in its place.
fn question(content: Content) -> (PromptContent, Option<String>) {
    match content {
        Content::Text(text) => (PromptContent::Text(text), None),
        Content::PromptCompletion { prompt, completion } => {
            (PromptContent::Text(prompt), Some(completion).filter(|completion| !completion.is_empty()))
        }
        Content::Messages(mut messages) => {
            let answer = messages.pop_if(|message| message.role == Role::Assistant);
            (PromptContent::Messages(messages), answer.map(|message| message.content))
        }
    }
}

/// Reads prompts and encodes them; all of it is checked before any is answered.
pub(crate) fn prompts(
    source: &SampleSource,
    encoder: &TextEncoder,
    max_length: usize,
    decoder: &Decoder,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Prompt>, GenerateError> {
    let samples = read(source, Reading::Prompt, encoder, (threads, cancel))?;
    let mut ids = HashSet::new();
    if let Some(twice) = samples.iter().find(|sample| !ids.insert(sample.id.as_str())) {
        return Err(GenerateError::RepeatedId(twice.id.clone()));
    }
    let encode = |sample: &TextSample| encoder.encode_begun(&sample.content, &sample.begun);
    let tokens = encode_each(&samples, encode, threads, cancel)?;
    let prompts = samples.into_iter().zip(tokens).map(|(sample, ids)| {
        let name = sample.to_string();
        check_tokens(&name, &ids, decoder)?;
        check_length(&name, ids.len(), max_length, decoder)?;
        let TextSample { row, id, content, metadata, .. } = sample;
        let (question, expected) = question(content);
        Ok(Prompt { row, id, ids, question, expected, metadata })
    });
    prompts.collect()
}

/// The samples of a source, long texts in blocks; at least one. Options that change none are refused.
pub(crate) fn read(
    source: &SampleSource,
    reading: Reading,
    encoder: &TextEncoder,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<TextSample>, GenerateError> {
    let (samples, _) = source.read(reading, &|_, _| true, cancel)?;
    if samples.is_empty() {
        return Err(GenerateError::NoSamples);
    }
    check_block(&samples, encoder)?;
    // Tasks of an evaluation share their options, and it has checked them over all of their prompts.
    if !matches!(source, SampleSource::Begun(_)) {
        check_system(&samples, encoder)?;
    }
    Ok(in_blocks(samples, encoder, threads, cancel)?)
}
