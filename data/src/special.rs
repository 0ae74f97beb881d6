//! Special tokens and chat template of a model folder, from the files next to `tokenizer.json`.

use std::path::Path;

use gstore_core::python_json;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::encode_error::EncodeError;
use super::settings::{Settings, token_text};
use super::tokenizer::OtherToken;

/// Names under which configurations list single special tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Under this name they have further special tokens: a list, or an object that names them.
const EXTRA: &str = "extra_special_tokens";

/// The name of that list in older releases.
const OLDER: &str = "additional_special_tokens";

/// The files of a folder that describe the use of its tokenizer.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    /// Text of each special token with a name: first the usual ones, in the order of [`NAMES`].
    pub(super) special: Vec<(String, String)>,
    /// Source of the chat template.
    pub(super) chat_template: Option<String>,
    /// Tokens that the files have, in the order in which transformers adds those that `tokenizer.json` lacks.
    pub(super) added: Vec<OtherToken>,
    pub(super) settings: Settings,
    /// Whether a configuration of the tokenizer is there.
    pub(super) has_config: bool,
}

impl TokenizerFiles {
    /// Reads `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and
    /// `chat_template.jinja`, as far as they are there, and what `config.json` says of the tokenizer's class.
    ///
    /// As in transformers, the map of special tokens and the list of added ones count only where the
    /// configuration lists no added tokens, and the map goes before it then. A template file goes before the
    /// configuration.
    pub(super) fn read(folder: &Path) -> Result<Self, EncodeError> {
        let config = read_object(&folder.join("tokenizer_config.json"))?;
        let (map, ids) = match config.contains_key("added_tokens_decoder") {
            true => (Map::new(), Map::new()),
            false => {
                let read = |name| read_object(&folder.join(name));
                (read("special_tokens_map.json")?, read("added_tokens.json")?)
            }
        };
        let named = usual_tokens(&config, &map).chain(other_tokens(&config, &map));
        let special = named.filter_map(|(name, value)| Some((name.to_owned(), token_text(value)?))).collect();
        let chat_template = match if_there(fs_err::read_to_string(folder.join("chat_template.jinja")))? {
            Some(source) => Some(source),
            None => template_in(&config, folder)?,
        };
        let settings = Settings::new(&config, &read_object(&folder.join("config.json"))?);
        let added = added_tokens(&config, &map, &ids);
        Ok(Self { special, chat_template, added, settings, has_config: !config.is_empty() })
    }

    /// Text of the end-of-sequence token.
    pub(super) fn eos(&self) -> Option<&str> {
        self.named("eos_token")
    }

    /// Text of a special token.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.special.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// Those that a chat template may write: the usual ones, and others that its source names.
    pub(super) fn special_for(&self, source: &str) -> Vec<(String, String)> {
        let is_for = |(name, _): &&(String, String)| NAMES.contains(&name.as_str()) || source.contains(name);
        self.special.iter().filter(is_for).cloned().collect()
    }
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

/// The tokens of `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`: those that are
/// listed, by their ids; those that have a name; and the other special ones.
fn added_tokens(
    config: &Map<String, Value>,
    map: &Map<String, Value>,
    ids: &Map<String, Value>,
) -> Vec<OtherToken> {
    let named = named_tokens(config, map);
    let unnamed: Vec<AddedToken> =
        unnamed_tokens(config, map).filter_map(|value| added_token(value, true)).collect();
    let has = |tokens: &[AddedToken], text: &str| tokens.iter().any(|token| token.content == text);
    let is_usual = |text: &str| {
        let usual = usual_tokens(config, map).map(|(_, value)| value);
        let lists = [config.get(EXTRA), config.get(OLDER), map.get(EXTRA)];
        let listed = lists.into_iter().filter_map(|list| list?.as_array()).flatten();
        usual.chain(listed).any(|value| token_text(value).as_deref() == Some(text))
    };
    let listed = config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    let listed = listed.filter_map(|(id, value)| {
        let is_special = has(&named, &token_text(value)?);
        let token = added_token(value, is_special)?;
        Some((id.parse::<u32>().ok()?, OtherToken { token, taken_by: None }))
    });
    let legacy = ids.iter().filter_map(|(text, id)| {
        let id = u32::try_from(id.as_u64()?).ok()?;
        let is_special = has(&named, text) || has(&unnamed, text);
        let token = AddedToken::from(text.as_str(), is_special).normalized(!is_usual(text));
        Some((id, OtherToken { token, taken_by: Some(id) }))
    });
    let mut by_id: Vec<(u32, OtherToken)> = listed.chain(legacy).collect();
    by_id.sort_by_key(|(id, _)| *id);
    let special = named.into_iter().chain(unnamed).map(|token| OtherToken { token, taken_by: None });
    by_id.into_iter().map(|(_, token)| token).chain(special).collect()
}

/// The special tokens with one of [`NAMES`]; the map goes before the configuration.
fn usual_tokens<'a>(
    config: &'a Map<String, Value>,
    map: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    NAMES.into_iter().filter_map(|name| Some((name, map.get(name).or_else(|| config.get(name))?)))
}

/// Special tokens with another name: any other `*_token`, and those of an object of [`EXTRA`].
fn other_tokens<'a>(
    config: &'a Map<String, Value>,
    map: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    // Names of the map go first, and values of the configuration go before its own.
    let names = map.keys().chain(config.keys().filter(|name| !map.contains_key(*name)));
    let names = names.filter(|name| name.ends_with("_token") && !NAMES.contains(&name.as_str()));
    let tokens = names.filter_map(|name| Some((name, config.get(name).or_else(|| map.get(name))?)));
    let of_models = [config, map].into_iter().filter_map(|keys| keys.get(EXTRA)?.as_object());
    tokens.chain(of_models.flatten()).map(|(name, value)| (name.as_str(), value))
}

fn named_tokens(config: &Map<String, Value>, map: &Map<String, Value>) -> Vec<AddedToken> {
    let named = usual_tokens(config, map).chain(other_tokens(config, map));
    named.filter_map(|(_, value)| added_token(value, true)).collect()
}

/// Special tokens without a name, of which older releases wrote `additional_special_tokens`.
fn unnamed_tokens<'a>(
    config: &'a Map<String, Value>,
    map: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a Value> {
    let list = |keys: &'a Map<String, Value>, name: &str| -> &'a [Value] {
        keys.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    };
    let mut first = list(config, EXTRA);
    if first.is_empty() {
        first = list(config, OLDER);
    }
    // The older list of the map counts only where no other list is there, be it an empty one.
    let is_there = config.get(EXTRA).is_some_and(|value| !value.is_object())
        || config.contains_key(OLDER)
        || map.contains_key(EXTRA);
    first.iter().chain(list(map, if is_there { EXTRA } else { OLDER }))
}

fn added_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let is_special = is_special || flag("special").unwrap_or(false);
    let token = AddedToken::from(token_text(value)?, is_special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(token.normalized(flag("normalized").unwrap_or(!is_special)))
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
    python_json(text.as_bytes())
        .and_then(serde_json::from_value)
        .map_err(|error| EncodeError::BadFile { path: path.to_owned(), message: error.to_string() })
}

/// What was read, if there is such a file.
pub(super) fn if_there<T>(read: std::io::Result<T>) -> Result<Option<T>, EncodeError> {
    gstore_core::if_there(read).map_err(EncodeError::Read)
}
