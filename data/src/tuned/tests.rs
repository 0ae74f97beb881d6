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
    let lowercase = |tokenizer: &mut Value| tokenizer["normalizer"] = json!({"type": "Lowercase"});
    says(&tuned(lowercase), TemplateKind::Tulu, &["in its normalizer"]);
    let lower = tuned(lowercase);
    let config = "tokenizer_config.json";
    fs_err::copy(base().join(config), lower.path().join(config)).unwrap();
    let word = tuned(|tokenizer| {
        lowercase(tokenizer);
        add(tokenizer, "answer", true);
    });
    let error = plain(&lower).share_with(word.path()).unwrap_err().to_string();
    assert!(error.contains("\"answer\"") && error.contains("normalised"), "{error}");
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
fn templates_get_the_special_tokens_that_they_name() {
    let config = json!({
        "eos_token": "</s>", "image_token": "<i>", "add_bos_token": true,
        "extra_special_tokens": {"begin": {"content": "<b>"}},
    });
    let map = json!({"audio_token": "<a>", "image_token": "<map>"});
    let folder = with_files(&[("tokenizer_config.json", config), ("special_tokens_map.json", map)]);
    let files = TokenizerFiles::read(folder.path()).unwrap();
    let given = |source: &str| files.special_for(source);
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(given("{{ x }}"), pairs(&[("eos_token", "</s>")]));
    assert_eq!(
        given("{{ begin }}{{ audio_token }}{{ image_token }}{{ add_bos_token }}"),
        pairs(&[("eos_token", "</s>"), ("audio_token", "<a>"), ("image_token", "<i>"), ("begin", "<b>")])
    );
    let template = "{% for m in messages %}{{ begin }}{{ m.content }}{{ audio_token }}{% endfor %}";
    fs_err::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let encoder = TextOptions::new(TemplateKind::Chat, 64).encoder(folder.path()).unwrap();
    let content = Content::PromptCompletion { prompt: "a".to_owned(), completion: "b".to_owned() };
    let found = encoder.encode(&content).unwrap();
    assert_eq!(encoder.texts(&found).unwrap().concat(), "<b>a<a><b>b<a>");
}

#[test]
fn a_configuration_may_have_numbers_that_are_none() {
    let folder = TempDir::new().unwrap();
    for file in ["config.json", "tokenizer_config.json"] {
        fs_err::write(folder.path().join(file), r#"{"eos_token": "own", "noise": NaN}"#).unwrap();
    }
    assert_eq!(TokenizerFiles::read(folder.path()).unwrap().eos(), Some("own"));
}

/// The base's tokenizer, with other files next to it.
fn with_files(files: &[(&str, Value)]) -> TempDir {
    let folder = tuned(|_| ());
    for (name, content) in files {
        fs_err::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

fn plain(folder: &TempDir) -> TextEncoder {
    TextOptions::new(TemplateKind::Plain, 64).encoder(folder.path()).unwrap()
}

fn ids(encoder: &TextEncoder, text: &str) -> Vec<u32> {
    encoder.encode(&Content::Text(text.to_owned())).unwrap().ids
}

/// A configuration with an end token and more.
fn config(more: Value) -> (&'static str, Value) {
    let mut config = json!({"eos_token": "</s>"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("tokenizer_config.json", config)
}

#[test]
fn tokens_that_only_other_files_have_are_those_of_transformers() {
    let map = |content: Value| ("special_tokens_map.json", content);
    let added = |content: Value| ("added_tokens.json", content);
    // What `AutoTokenizer` of transformers 5.24 gives for `<Y><X>`.
    let in_pieces = vec![33, 62, 35, 33, 61, 35];
    let cases = [
        (vec![config(json!({}))], in_pieces.clone()),
        (vec![config(json!({"pad_token": ""}))], in_pieces.clone()),
        // The order is that of the ids, which are not kept.
        (
            vec![config(
                json!({"added_tokens_decoder": {"900": {"content": "<X>"}, "3": {"content": "<Y>"}}}),
            )],
            vec![768, 769],
        ),
        (vec![config(json!({"pad_token": "<X>", "image_token": "<Y>"}))], vec![769, 768]),
        (vec![config(json!({"extra_special_tokens": {"image_token": "<Y>"}}))], vec![768, 33, 61, 35]),
        (vec![config(json!({"additional_special_tokens": ["<X>"]}))], vec![33, 62, 35, 768]),
        (
            vec![config(json!({"extra_special_tokens": ["<X>"], "additional_special_tokens": ["<Y>"]}))],
            vec![33, 62, 35, 768],
        ),
        (vec![config(json!({})), map(json!({"additional_special_tokens": ["<X>"]}))], vec![33, 62, 35, 768]),
        (
            vec![config(json!({"pad_token": "<X>"})), map(json!({"pad_token": {"content": "<Y>"}}))],
            vec![768, 33, 61, 35],
        ),
        (vec![config(json!({"pad_token": "<X>"})), map(json!({"pad_token": null}))], in_pieces.clone()),
        (
            vec![
                config(json!({"extra_special_tokens": []})),
                map(json!({"additional_special_tokens": ["<X>"]})),
            ],
            in_pieces.clone(),
        ),
        // Of other names, those of the map go first.
        (vec![config(json!({"a_token": "<X>"})), map(json!({"b_token": "<Y>"}))], vec![768, 769]),
        (vec![config(json!({})), added(json!({"<Y>": 769, "<X>": 768}))], vec![769, 768]),
        // Another token has the id.
        (vec![config(json!({})), added(json!({"<X>": 3, "<Y>": 800}))], vec![768, 33, 61, 35]),
        (
            vec![
                config(json!({"added_tokens_decoder": {}})),
                map(json!({"pad_token": "<Y>"})),
                added(json!({"<X>": 768})),
            ],
            in_pieces,
        ),
    ];
    for (files, wanted) in cases {
        assert_eq!(ids(&plain(&with_files(&files)), "<Y><X>"), wanted, "{files:?}");
    }
    // A text of the vocabulary keeps its id.
    assert_eq!(ids(&plain(&with_files(&[config(json!({}))])), "her"), [458]);
    assert_eq!(ids(&plain(&with_files(&[config(json!({"pad_token": "he"}))])), "her"), [263, 87]);
}

#[test]
fn without_a_configuration_of_its_own_a_tokenizer_has_the_class_of_the_model_next_to_it() {
    let folder = tuned(|tokenizer| {
        tokenizer["pre_tokenizer"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
    });
    let of_model = |model: Value| {
        fs_err::write(folder.path().join("config.json"), model.to_string()).unwrap();
        ids(&plain(&folder), "her")
    };
    // What `AutoTokenizer` of transformers 5.24 gives.
    assert_eq!(of_model(json!({"eos_token_id": 1, "model_type": "llama"})), [226, 458]);
    assert_eq!(of_model(json!({"eos_token_id": 1, "model_type": "gpt2"})), [458]);
    let named = json!({"eos_token_id": 1, "model_type": "llama", "tokenizer_class": "GPT2Tokenizer"});
    assert_eq!(of_model(named), [458]);
}

#[test]
fn only_tokens_that_are_added_change_what_identifies_a_tokenizer() {
    let digest = |more: Value| plain(&with_files(&[config(more)])).spec().tokenizer;
    let own = digest(json!({}));
    let file = fs_err::read(with_files(&[]).path().join("tokenizer.json")).unwrap();
    assert_eq!(own, gstore_store::sha256_hex(&file));
    assert_eq!(
        digest(json!({"pad_token": "<pad>", "added_tokens_decoder": {"3": {"content": "<pad>"}}})),
        own
    );
    let one = digest(json!({"pad_token": "<X>"}));
    assert!(
        one != own
            && one == digest(json!({"mask_token": "<X>"}))
            && one != digest(json!({"pad_token": "<Y>"}))
    );
}

#[test]
fn tokens_that_only_other_files_of_a_fine_tune_or_its_base_have_matter_where_they_stand() {
    let with = with_files(&[config(json!({"pad_token": "<X>"}))]);
    let without = with_files(&[config(json!({}))]);
    let only_files = TempDir::new().unwrap();
    let (name, content) = config(json!({"added_tokens_decoder": {"800": {"content": "<X>"}}}));
    fs_err::write(only_files.path().join(name), content.to_string()).unwrap();
    for (base, own) in [(&with, &without), (&without, &with), (&without, &only_files)] {
        let mut encoder = plain(base);
        encoder.share_with(own.path()).unwrap();
        assert!(encoder.has_foreign_tokens());
        assert_eq!(ids(&encoder, "<Y>"), [33, 62, 35]);
        let error = encoder.encode(&Content::Text("a <X>".to_owned())).unwrap_err().to_string();
        assert!(error.contains("\"<X>\" is not the same in the tokenizer of"), "{error}");
    }
    // Saved by transformers, and without other files.
    let saved = tuned(|tokenizer| {
        let mut token = tokenizer["added_tokens"][3].clone();
        (token["id"], token["content"]) = (json!(768), json!("<X>"));
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    });
    for own in [&saved, &with, &tuned(|_| ()), &TempDir::new().unwrap()] {
        let mut encoder = plain(&with);
        encoder.share_with(own.path()).unwrap();
        assert!(!encoder.has_foreign_tokens());
        assert_eq!(ids(&encoder, "<X>"), [768]);
    }
    let note = plain(&with).check_vocabulary(768).unwrap().join("\n");
    assert!(note.contains("added tokens up to token 768"), "{note}");
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
        encoder.check_vocabulary(rows).map(|notes| notes.join("\n")).map_err(|error| error.to_string())
    };
    // A model may have more rows than its tokenizer has tokens, but hardly a third more.
    for rows in [768, 1024, 1027] {
        assert_eq!(check(&base(), rows).as_deref(), Ok(""));
    }
    let note = check(&base(), 1028).unwrap();
    assert!(
        note.contains("has 768 tokens, and the model's vocabulary 1028: it is probably that of"),
        "{note}"
    );
    let error = check(&base(), 767).unwrap_err();
    assert!(error.contains("has 768 tokens, up to token 767, and the model's vocabulary has 767"), "{error}");
    let note = check(folder.path(), 768).unwrap();
    assert!(note.contains("added tokens up to token 768, and the model's vocabulary has 768"), "{note}");
    assert_eq!(check(folder.path(), 769).as_deref(), Ok(""));
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
    let is_told = |rows| !encoder.check_vocabulary(rows).unwrap().is_empty();
    assert_eq!([262, 320, 384, 385, 2048].map(is_told), [false, false, false, true, true]);
}
