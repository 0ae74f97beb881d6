//! Special tokens and chat template of a model folder, from the files next to `tokenizer.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::encode_error::EncodeError;

/// Names under which configurations list single special tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The files of a folder that describe the use of its tokenizer.
#[derive(Debug, Default)]
pub(super) struct TokenizerFiles {
    /// Text of each named special token, in the order of [`NAMES`].
    pub(super) special: Vec<(&'static str, String)>,
    /// Source of the chat template.
    pub(super) chat_template: Option<String>,
}

impl TokenizerFiles {
    /// Reads `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`, as
    /// far as they are there.
    ///
    /// As in transformers, the map of special tokens counts only where the configuration lists no added tokens,
    /// and goes before it then, and a template file goes before the configuration.
    pub(super) fn read(folder: &Path) -> Result<Self, EncodeError> {
        let config = read_object(&folder.join("tokenizer_config.json"))?;
        let map = match config.contains_key("added_tokens_decoder") {
            true => Map::new(),
            false => read_object(&folder.join("special_tokens_map.json"))?,
        };
        let named = |name| Some((name, map.get(name).or_else(|| config.get(name)).and_then(token_text)?));
        let special = NAMES.into_iter().filter_map(named).collect();
        let chat_template = match if_there(fs_err::read_to_string(folder.join("chat_template.jinja")))? {
            Some(source) => Some(source),
            None => template_in(&config, folder)?,
        };
        Ok(Self { special, chat_template })
    }

    /// Text of the end-of-sequence token.
    pub(super) fn eos(&self) -> Option<&str> {
        self.named("eos_token")
    }

    /// Text of a special token.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.special.iter().find(|(own, _)| *own == name).map(|(_, text)| text.as_str())
    }
}

/// The id of the end-of-sequence token in the model's own configuration, for folders that
/// do not name it as text.
pub(super) fn eos_id(folder: &Path) -> Result<Option<u32>, EncodeError> {
    Ok(eos_ids(folder)?.first().copied())
}

/// All tokens that end an answer, by the model's own configuration.
pub(super) fn eos_ids(folder: &Path) -> Result<Vec<u32>, EncodeError> {
    for file in ["generation_config.json", "config.json"] {
        let config = read_object(&folder.join(file))?;
        let ids = match config.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
            None => Vec::new(),
        };
        let ids: Vec<u32> =
            ids.into_iter().filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
        if !ids.is_empty() {
            return Ok(ids);
        }
    }
    Ok(Vec::new())
}

/// A token is written as its text or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// `chat_template` of the configuration: a string, or a list of named ones of which `default` is meant.
fn template_in(config: &Map<String, Value>, folder: &Path) -> Result<Option<String>, EncodeError> {
    let named = match config.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source.clone())),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(bad_file(folder, "chat_template is neither a string nor a list")),
    };
    let field = |item: &Value, key| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let chosen = match named.iter().find(|item| field(item, "name").as_deref() == Some("default")) {
        Some(item) => item,
        None => match &named[..] {
            [only] => only,
            _ => {
                return Err(bad_file(
                    folder,
                    "chat_template lists several templates and none is named default",
                ));
            }
        },
    };
    field(chosen, "template").map(Some).ok_or_else(|| bad_file(folder, "a chat_template has no text"))
}

fn bad_file(folder: &Path, message: &str) -> EncodeError {
    EncodeError::BadFile { path: folder.join("tokenizer_config.json"), message: message.to_owned() }
}

/// The object in a JSON file; empty if there is no such file.
fn read_object(path: &Path) -> Result<Map<String, Value>, EncodeError> {
    let Some(text) = if_there(fs_err::read_to_string(path))? else { return Ok(Map::new()) };
    serde_json::from_str(&text)
        .map_err(|error| EncodeError::BadFile { path: path.to_owned(), message: error.to_string() })
}

/// What was read, if there is such a file.
pub(super) fn if_there<T>(read: std::io::Result<T>) -> Result<Option<T>, EncodeError> {
    gstore_core::if_there(read).map_err(EncodeError::Read)
}
