//! Settings of `tokenizer_config.json` and `config.json` that change the tokens of a text.
//!
//! Some classes of transformers take no more than the vocabulary and what stands around a text from
//! `tokenizer.json`, one of them the vocabulary alone; their own code says how a text is split. Here the file
//! says it, with the space at the start of a text as those classes have it.

use serde_json::{Map, Value};
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{PostProcessor, PostProcessorWrapper, Tokenizer};

/// What a folder's files say beyond `tokenizer.json`.
#[derive(Debug)]
pub(super) struct Settings {
    /// The class of transformers that is used, without `Fast`.
    class: String,
    space: Option<Space>,
    /// The mark of a gap, at which the class cuts a text and puts the tokens of infilling around its parts.
    fill: Option<String>,
    /// Special tokens in a text are read as ordinary text.
    split_special: bool,
}

/// Where a class of transformers puts a space before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    /// Of a tokenizer of bytes: before the whole text.
    Whole(bool),
    /// Of one that splits the text before: before each part.
    Parts(bool),
    /// Of one of SentencePiece.
    Words(PrependScheme),
}

impl Settings {
    /// By the configurations of the tokenizer and of a model next to it; either may be empty.
    pub(super) fn new(config: &Map<String, Value>, model: &Map<String, Value>) -> Self {
        let flag = |name: &str| config.get(name).and_then(Value::as_bool);
        let named = [config, model].into_iter().find_map(|keys| keys.get("tokenizer_class")?.as_str());
        let class = match (model.get("model_type").and_then(Value::as_str), named) {
            // The class that these name is not used.
            (Some("mistral" | "olmo2" | "phi3"), _) => "",
            (Some("qwen2"), _) | (Some("qwen3"), None) => "Qwen2Tokenizer",
            (Some("gpt2"), None) => "GPT2Tokenizer",
            (Some("gpt_neox"), None) => "GPTNeoXTokenizer",
            (_, named) => named.map_or("", |name| name.strip_suffix("Fast").unwrap_or(name)),
        };
        let space = flag("add_prefix_space");
        let space = match class {
            "CodeGenTokenizer" | "GPT2Tokenizer" | "GPTNeoXTokenizer" => {
                Some(Space::Whole(space.unwrap_or(false)))
            }
            "CohereTokenizer" | "Qwen2Tokenizer" | "Qwen3_5Tokenizer" => {
                Some(Space::Parts(space.unwrap_or(false)))
            }
            "CodeLlamaTokenizer" | "LlamaTokenizer" => Some(Space::Words(match space {
                Some(false) => PrependScheme::Never,
                _ if class == "LlamaTokenizer" && flag("legacy") == Some(true) => PrependScheme::Always,
                _ => PrependScheme::First,
            })),
            _ => None,
        };
        let fill = match config.get("fill_token") {
            _ if class != "CodeLlamaTokenizer" => None,
            Some(token) => token_text(token),
            None => Some("<FILL_ME>".to_owned()),
        };
        let split_special = flag("split_special_tokens").unwrap_or(false);
        Self { class: class.to_owned(), space, fill, split_special }
    }

    /// Follows them. Returns those that change something, with their names.
    pub(super) fn apply(&self, tokenizer: &mut Tokenizer) -> Map<String, Value> {
        let mut changed = Map::new();
        // A share of the merges is left out by chance in training; here a text has the same tokens each time.
        if let ModelWrapper::BPE(own) = tokenizer.get_model()
            && own.dropout.is_some_and(|share| share > 0.0)
        {
            let mut model = own.clone();
            model.dropout = None;
            tokenizer.with_model(ModelWrapper::BPE(model));
            changed.insert("dropout".to_owned(), Value::Null);
        }
        if self.split_special {
            tokenizer.set_encode_special_tokens(true);
            changed.insert("split_special_tokens".to_owned(), true.into());
        }
        // This class replaces what stands around a text by what `add_bos_token` and `add_eos_token` say, which
        // do not count next to a `tokenizer.json`.
        let around = tokenizer.get_post_processor().map_or(0, |own| own.added_tokens(false));
        if self.class == "GPTNeoXTokenizer" && around > 0 {
            tokenizer.with_post_processor(None::<PostProcessorWrapper>);
            changed.insert("post_processor".to_owned(), Value::Null);
        }
        let own = tokenizer.get_pre_tokenizer().cloned();
        let (Some(space), Some(own)) = (self.space, own) else { return changed };
        let mut with_space = own.clone();
        match (&mut with_space, space) {
            (PreTokenizerWrapper::Sequence(steps), Space::Parts(_)) => {
                let steps: &mut [PreTokenizerWrapper] = steps.as_mut();
                steps.iter_mut().for_each(|step| space.put(step));
            }
            (step, _) => space.put(step),
        }
        if with_space != own {
            tokenizer.with_pre_tokenizer(Some(with_space));
            let (name, value) = match space {
                Space::Whole(space) | Space::Parts(space) => ("add_prefix_space", space.into()),
                Space::Words(scheme) => ("prepend_scheme", scheme.to_string().into()),
            };
            changed.insert(name.to_owned(), value);
        }
        changed
    }

    /// What is to be said of texts that transformers splits otherwise, or in which it has a space elsewhere.
    pub(super) fn note(&self, tokenizer: &Tokenizer) -> Option<String> {
        let of_space = match (self.space?, tokenizer.get_pre_tokenizer()) {
            (Space::Whole(_), Some(PreTokenizerWrapper::Sequence(_))) => {
                Some("with several spaces before a digit".to_owned())
            }
            (Space::Words(scheme), _)
                if scheme != PrependScheme::Always && tokenizer.get_normalizer().is_some_and(prepends) =>
            {
                Some("after a special token".to_owned())
            }
            _ => None,
        };
        let of_fill = self.fill.as_ref().map(|mark| format!("with {mark}"));
        let examples: Vec<String> = of_space.into_iter().chain(of_fill).collect();
        (!examples.is_empty()).then(|| {
            format!(
                "{} of transformers 5 cuts texts and puts spaces at their start by rules of its own, and here \
                 tokenizer.json says how: some texts may have other tokens, such as those {}",
                self.class,
                examples.join(" or ")
            )
        })
    }
}

impl Space {
    fn put(self, step: &mut PreTokenizerWrapper) {
        match (step, self) {
            (PreTokenizerWrapper::ByteLevel(bytes), Self::Whole(space) | Self::Parts(space)) => {
                bytes.add_prefix_space = space;
            }
            (PreTokenizerWrapper::Metaspace(words), Self::Words(scheme)) => words.set_prepend_scheme(scheme),
            _ => {}
        }
    }
}

/// Whether a space is put before each text between special tokens.
fn prepends(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Prepend(_) => true,
        NormalizerWrapper::Sequence(steps) => {
            let steps: &[NormalizerWrapper] = steps.as_ref();
            steps.iter().any(prepends)
        }
        _ => false,
    }
}

/// A token is written as its text or as an object with `content`.
pub(super) fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokenizer::{parse_tokenizer, tokenize};

    fn tokenizer(normalizer: &Value, pre_tokenizer: &Value) -> Tokenizer {
        let file = json!({
            "version": "1.0", "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "added_tokens": [{
                "id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }],
            "model": {
                "type": "BPE", "unk_token": "<unk>", "fuse_unk": false, "byte_fallback": false, "merges": [],
                "vocab": {
                    "<unk>": 0, "<s>": 1, "</s>": 2, "\u{120}": 3, "\u{2581}": 4, "a": 5, "1": 6, "<": 7,
                    "/": 8, "s": 9, ">": 10, "b": 11,
                },
            },
        });
        parse_tokenizer(file.to_string().as_bytes()).unwrap()
    }

    fn settings(config: &Value, model: &Value) -> Settings {
        Settings::new(config.as_object().unwrap(), model.as_object().unwrap())
    }

    #[test]
    fn a_text_begins_with_the_space_that_transformers_puts_there() {
        let bytes =
            |space: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let steps = json!({"type": "Sequence", "pretokenizers": [digits, bytes(false)]});
        let words =
            |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme});
        let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
        let none = Value::Null;
        // What `AutoTokenizer` of transformers 5.24 gives for `a1</s>b`, except where there is a note.
        let (plain, whole, parts) = (vec![5, 6, 2, 11], vec![3, 5, 6, 2, 3, 11], vec![3, 5, 3, 6, 2, 3, 11]);
        let (first, always) = (vec![4, 5, 6, 2, 11], vec![4, 5, 6, 2, 4, 11]);
        let cases = [
            (&none, bytes(false), "GPT2TokenizerFast", json!({}), &plain, false),
            (&none, bytes(false), "GPT2TokenizerFast", json!({"add_prefix_space": true}), &whole, false),
            (&none, bytes(true), "GPTNeoXTokenizer", json!({}), &plain, false),
            (&none, steps.clone(), "CohereTokenizer", json!({"add_prefix_space": true}), &parts, false),
            (&none, steps.clone(), "Qwen2Tokenizer", json!({"add_prefix_space": null}), &plain, false),
            (&none, steps.clone(), "GPT2Tokenizer", json!({"add_prefix_space": true}), &plain, true),
            (&none, steps, "GPT2Tokenizer", json!({"add_prefix_space": false}), &plain, true),
            (
                &none,
                bytes(false),
                "PreTrainedTokenizerFast",
                json!({"add_prefix_space": true}),
                &plain,
                false,
            ),
            (&none, bytes(true), "LlamaTokenizerFast", json!({"add_prefix_space": false}), &whole, false),
            (&none, words("always"), "LlamaTokenizerFast", json!({}), &first, false),
            (&none, words("first"), "LlamaTokenizer", json!({"legacy": true}), &always, false),
            (&none, words("first"), "LlamaTokenizer", json!({"add_prefix_space": false}), &plain, false),
            (&none, words("never"), "CodeLlamaTokenizer", json!({"legacy": true}), &first, true),
            (&prepend, none.clone(), "LlamaTokenizer", json!({"legacy": false}), &always, true),
            (&prepend, none.clone(), "LlamaTokenizer", json!({"legacy": true}), &always, false),
            (&prepend, none.clone(), "TokenizersBackend", json!({}), &always, false),
        ];
        for (normalizer, pre_tokenizer, class, mut config, wanted, has_note) in cases {
            config["tokenizer_class"] = class.into();
            let config = &config;
            let of = |model_type: &str| {
                let mut tokenizer = tokenizer(normalizer, &pre_tokenizer);
                let own = tokenize(&tokenizer, "a1</s>b", false).unwrap();
                let settings = settings(config, &json!({"model_type": model_type}));
                let changed = settings.apply(&mut tokenizer);
                let ids = tokenize(&tokenizer, "a1</s>b", false).unwrap();
                assert_eq!(changed.is_empty(), ids == own, "{class} {config:?}");
                (ids == own, ids, settings.note(&tokenizer).is_some())
            };
            let (_, ids, note) = of("llama");
            assert_eq!((&ids, note), (wanted, has_note), "{class} {config:?}");
            // A model that has its tokenizer read from the file alone.
            let (is_own, _, note) = of("mistral");
            assert!(is_own && !note, "{class} {config:?}");
        }
    }

    /// Two spaces before a digit: one piece if digits are split off first, else a piece each.
    #[test]
    fn a_class_that_splits_otherwise_has_a_note() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let steps = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
        let ids = |pre_tokenizer: &Value| {
            let mut file = serde_json::to_value(tokenizer(&Value::Null, pre_tokenizer)).unwrap();
            file["model"]["vocab"]["\u{120}\u{120}"] = 12.into();
            file["model"]["merges"] = json!([["\u{120}", "\u{120}"]]);
            let mut tokenizer = parse_tokenizer(file.to_string().as_bytes()).unwrap();
            let settings = settings(&json!({"tokenizer_class": "GPT2Tokenizer"}), &json!({}));
            assert!(settings.apply(&mut tokenizer).is_empty());
            (tokenize(&tokenizer, "a  1", false).unwrap(), settings.note(&tokenizer).is_some())
        };
        // For both `AutoTokenizer` of transformers 5.24 gives the first.
        assert_eq!(ids(&bytes), (vec![5, 3, 3, 6], false));
        assert_eq!(ids(&steps), (vec![5, 12, 6], true));
    }

    #[test]
    fn a_class_that_cuts_a_text_at_a_mark_has_a_note() {
        let words = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"});
        let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
        for (normalizer, mut config, ends) in [
            (&Value::Null, json!({}), Some("such as those with <FILL_ME>")),
            (&Value::Null, json!({"fill_token": {"content": "<GAP>"}}), Some("such as those with <GAP>")),
            (&Value::Null, json!({"fill_token": null}), None),
            (&prepend, json!({}), Some("such as those after a special token or with <FILL_ME>")),
        ] {
            config["tokenizer_class"] = "CodeLlamaTokenizer".into();
            let note = settings(&config, &json!({})).note(&tokenizer(normalizer, &words));
            assert_eq!(note.is_some(), ends.is_some(), "{config}");
            assert!(note.unwrap_or_default().ends_with(ends.unwrap_or_default()), "{config}");
        }
    }

    #[test]
    fn the_class_is_that_of_the_model_where_the_tokenizer_names_none() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        let words = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always"});
        let (plain, whole) = (vec![5, 6, 2, 11], vec![3, 5, 6, 2, 3, 11]);
        let (first, always) = (vec![4, 5, 6, 2, 11], vec![4, 5, 6, 2, 4, 11]);
        let gpt2 = "GPT2TokenizerFast";
        // What `AutoTokenizer` of transformers 5.24 gives for `a1</s>b`.
        let cases = [
            (&bytes, json!({"model_type": "gpt2"}), json!({}), &plain),
            (&bytes, json!({"model_type": "llama"}), json!({}), &whole),
            (&bytes, json!({"model_type": "llama", "tokenizer_class": gpt2}), json!({}), &plain),
            (&bytes, json!({"tokenizer_class": gpt2}), json!({"tokenizer_class": null}), &plain),
            (&bytes, json!({"tokenizer_class": gpt2}), json!({"add_prefix_space": true}), &whole),
            (
                &bytes,
                json!({"tokenizer_class": gpt2}),
                json!({"tokenizer_class": "TokenizersBackend"}),
                &whole,
            ),
            (&bytes, json!({"model_type": "mistral", "tokenizer_class": gpt2}), json!({}), &whole),
            (&words, json!({"tokenizer_class": "LlamaTokenizer"}), json!({}), &first),
            (&words, json!({"model_type": "olmo2", "tokenizer_class": "LlamaTokenizer"}), json!({}), &always),
        ];
        for (pre_tokenizer, model, config, wanted) in cases {
            let mut tokenizer = tokenizer(&Value::Null, pre_tokenizer);
            settings(&config, &model).apply(&mut tokenizer);
            assert_eq!(&tokenize(&tokenizer, "a1</s>b", false).unwrap(), wanted, "{model} {config}");
        }
    }

    #[test]
    fn one_class_puts_no_tokens_around_a_text() {
        let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let template = json!({
            "type": "TemplateProcessing", "single": [text("A"), end], "pair": [text("A"), text("B")],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
        });
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let both = json!({"type": "Sequence", "processors": [bytes, template]});
        let (with_end, plain) = (vec![5, 6, 2], vec![5, 6]);
        // What `AutoTokenizer` of transformers 5.24 gives for `a1`.
        for (class, processor, wanted, changes) in [
            ("GPT2Tokenizer", &template, &with_end, false),
            ("GPTNeoXTokenizerFast", &template, &plain, true),
            ("GPTNeoXTokenizer", &both, &plain, true),
            ("GPTNeoXTokenizer", &bytes, &plain, false),
        ] {
            let mut file = serde_json::to_value(tokenizer(&Value::Null, &bytes)).unwrap();
            file["post_processor"] = processor.clone();
            let mut tokenizer = parse_tokenizer(file.to_string().as_bytes()).unwrap();
            let config = json!({"tokenizer_class": class, "add_eos_token": true});
            let changed = settings(&config, &json!({})).apply(&mut tokenizer);
            assert_eq!(&tokenize(&tokenizer, "a1", true).unwrap(), wanted, "{class} {processor}");
            assert_eq!(!changed.is_empty(), changes, "{class} {processor}");
        }
    }

    #[test]
    fn no_merge_is_left_out_by_chance() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let mut file = serde_json::to_value(tokenizer(&Value::Null, &bytes)).unwrap();
        file["model"]["vocab"]["ab"] = 12.into();
        file["model"]["merges"] = json!([["a", "b"]]);
        for (dropout, changes) in [(Value::Null, json!({})), (json!(1.0), json!({"dropout": null}))] {
            file["model"]["dropout"] = dropout;
            let mut tokenizer = parse_tokenizer(file.to_string().as_bytes()).unwrap();
            let changed = settings(&json!({}), &json!({})).apply(&mut tokenizer);
            assert_eq!(Value::from(changed), changes);
            assert_eq!(tokenize(&tokenizer, "ab", false).unwrap(), [12]);
        }
    }

    #[test]
    fn special_tokens_may_be_read_as_text() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let mut tokenizer = tokenizer(&Value::Null, &bytes);
        let config = json!({"split_special_tokens": true});
        let changed = settings(&config, &json!({})).apply(&mut tokenizer);
        assert_eq!(Value::from(changed), config);
        assert_eq!(tokenize(&tokenizer, "a1</s>b", false).unwrap(), [5, 6, 7, 8, 9, 10, 11]);
    }
}
