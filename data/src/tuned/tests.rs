use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::special::TokenizerFiles;
use super::super::{Content, EncodeError, TemplateKind, TextEncoder, TextOptions};

fn base() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model"))
}

/// A fine-tune's folder: the base's tokenizer, changed.
fn tuned(change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut tokenizer =
        serde_json::from_slice(&fs_err::read(base().join("tokenizer.json")).unwrap()).unwrap();
    change(&mut tokenizer);
    fs_err::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

fn add(tokenizer: &mut Value, text: &str, normalized: bool) {
    let list = tokenizer["added_tokens"].as_array_mut().unwrap();
    list.push(json!({
        "id": 768 + list.len(), "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": normalized, "special": !normalized,
    }));
}

fn share(folder: &TempDir, template: TemplateKind) -> Result<TextEncoder, EncodeError> {
    let mut encoder = TextOptions::new(template, 512).encoder(&base()).unwrap();
    encoder.share_with(folder.path()).map(|()| encoder)
}

fn says(folder: &TempDir, template: TemplateKind, parts: &[&str]) {
    let error = share(folder, template).map(|_| ()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn the_same_tokens_in_another_spelling_are_the_same() {
    let same = tuned(|tokenizer| {
        tokenizer["padding"] = json!({
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 3,
            "pad_type_id": 0, "pad_token": "<pad>",
        });
        tokenizer["truncation"] =
            json!({"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0});
        tokenizer["decoder"] = Value::Null;
        // Older releases of the tokenizer library wrote a merge as one text.
        for merge in tokenizer["model"]["merges"].as_array_mut().unwrap() {
            if let Some([left, right]) = merge.as_array().map(Vec::as_slice) {
                *merge = json!(format!("{} {}", left.as_str().unwrap(), right.as_str().unwrap()));
            }
        }
    });
    for template in [TemplateKind::Tulu, TemplateKind::Chat, TemplateKind::Plain] {
        share(&same, template.clone()).unwrap();
        share(&TempDir::new().unwrap(), template).unwrap();
    }
}

#[test]
fn other_tokens_are_refused() {
    let fewer_merges = tuned(|tokenizer| {
        tokenizer["model"]["merges"].as_array_mut().unwrap().pop();
    });
    says(
        &fewer_merges,
        TemplateKind::Tulu,
        &["tokenizer.json", "differs from the tokenizer.json of the base in its model"],
    );
    let other_spaces = tuned(|tokenizer| tokenizer["pre_tokenizer"] = json!({"type": "WhitespaceSplit"}));
    says(&other_spaces, TemplateKind::Plain, &["in its pre_tokenizer"]);
    let stripped = tuned(|tokenizer| tokenizer["added_tokens"][4]["rstrip"] = json!(true));
    says(&stripped, TemplateKind::Tulu, &["in the token \"<|user|>\""]);
    let word = tuned(|tokenizer| add(tokenizer, "answer", true));
    says(&word, TemplateKind::Tulu, &["\"answer\"", "normalised"]);
}

#[test]
fn tokens_that_were_added_matter_only_where_they_stand() {
    let grown = tuned(|tokenizer| add(tokenizer, "<|think|>", false));
    let encoder = share(&grown, TemplateKind::Plain).unwrap();
    let plain = TextOptions::new(TemplateKind::Plain, 512).encoder(&base()).unwrap();
    let text = |text: &str| Content::Text(text.to_owned());
    assert_eq!(encoder.encode(&text("to think")).unwrap(), plain.encode(&text("to think")).unwrap());
    let error = encoder.encode(&text("to <|think|>")).unwrap_err().to_string();
    assert!(error.contains("\"<|think|>\"") && error.contains("as model"), "{error}");
}

#[test]
fn another_template_is_refused_where_it_is_used() {
    let folder = TempDir::new().unwrap();
    fs_err::write(folder.path().join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    share(&folder, TemplateKind::Tulu).unwrap();
    says(&folder, TemplateKind::Chat, &["chat template that differs"]);

    let folder = TempDir::new().unwrap();
    let config = folder.path().join("tokenizer_config.json");
    fs_err::write(&config, r#"{"eos_token": "<|end|>", "pad_token": "<|end|>"}"#).unwrap();
    says(&folder, TemplateKind::Tulu, &["\"<|end|>\" as eos_token", "\"</s>\""]);
    says(&folder, TemplateKind::Chat, &["\"<|end|>\" as eos_token"]);
    // No template writes the padding.
    fs_err::write(&config, r#"{"eos_token": "</s>", "pad_token": "<|end|>"}"#).unwrap();
    for template in [TemplateKind::Tulu, TemplateKind::Chat, TemplateKind::Plain] {
        share(&folder, template).unwrap();
    }
}

#[test]
fn the_map_of_tokens_goes_before_a_configuration_that_lists_no_added_ones() {
    let folder = TempDir::new().unwrap();
    let eos = |config: &str| {
        fs_err::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        TokenizerFiles::read(folder.path()).unwrap().eos().map(str::to_owned)
    };
    fs_err::write(folder.path().join("special_tokens_map.json"), r#"{"eos_token": "map"}"#).unwrap();
    assert_eq!(eos(r#"{"eos_token": "own"}"#).as_deref(), Some("map"));
    assert_eq!(eos(r#"{"eos_token": "own", "added_tokens_decoder": {}}"#).as_deref(), Some("own"));
    assert_eq!(eos(r#"{"added_tokens_decoder": {}}"#), None);
    fs_err::write(folder.path().join("special_tokens_map.json"), r#"{"eos_token": null}"#).unwrap();
    assert_eq!(eos(r#"{"eos_token": "own"}"#), None);
}

#[test]
fn an_empty_token_is_in_no_text() {
    let folder = tuned(|tokenizer| {
        add(tokenizer, "", false);
        add(tokenizer, "", true);
    });
    let encoder = share(&folder, TemplateKind::Plain).unwrap();
    encoder.encode(&Content::Text("any text".to_owned())).unwrap();
}

#[test]
fn a_tokenizer_is_held_against_the_rows_of_a_model() {
    let folder = tuned(|tokenizer| add(tokenizer, "<beyond>", false));
    let config = "tokenizer_config.json";
    fs_err::copy(base().join(config), folder.path().join(config)).unwrap();
    let check = |folder: &std::path::Path, rows: usize| {
        let encoder = TextOptions::new(TemplateKind::Plain, 64).encoder(folder).unwrap();
        encoder.check_vocabulary(rows).map_err(|error| error.to_string())
    };
    // A model may have more rows than its tokenizer has tokens, but hardly a third more.
    for rows in [768, 1024, 1027] {
        assert_eq!(check(&base(), rows), Ok(None));
    }
    let note = check(&base(), 1028).unwrap().unwrap();
    assert!(
        note.contains("has 768 tokens, and the model's vocabulary 1028: it is probably that of"),
        "{note}"
    );
    let error = check(&base(), 767).unwrap_err();
    assert!(error.contains("has 768 tokens, up to token 767, and the model's vocabulary has 767"), "{error}");
    let note = check(folder.path(), 768).unwrap().unwrap();
    assert!(note.contains("added tokens up to token 768, and the model's vocabulary has 768"), "{note}");
    assert_eq!(check(folder.path(), 769), Ok(None));
}

#[test]
fn a_model_of_few_tokens_may_have_padded_them() {
    let bytes = tuned(|tokenizer| {
        tokenizer["model"]["merges"].as_array_mut().unwrap().clear();
        tokenizer["model"]["vocab"].as_object_mut().unwrap().retain(|_, id| id.as_u64() < Some(262));
    });
    let config = "tokenizer_config.json";
    fs_err::copy(base().join(config), bytes.path().join(config)).unwrap();
    let encoder = TextOptions::new(TemplateKind::Plain, 64).encoder(bytes.path()).unwrap();
    let is_told = |rows| encoder.check_vocabulary(rows).unwrap().is_some();
    assert_eq!([262, 320, 384, 385, 2048].map(is_told), [false, false, false, true, true]);
}
