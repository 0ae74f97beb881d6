//! Promise: token ids and labels are those of LESS and of transformers.

use std::path::{Path, PathBuf};

use gstore_data::{Content, Encoded, Message, Role, TemplateKind, TextEncoder, TextOptions, parse_record};
use serde_json::{Value, json};

/// The model of the reference results of LESS: that with a tokenizer and their checkpoints.
fn tokenizer_folder(shared: &Path) -> PathBuf {
    let manifest = fs_err::read(shared.join("golden/less/manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let steps: Vec<i64> = list(&manifest["checkpoints"]);
    let models = shared.join("models");
    let is_of_less = |entry: &fs_err::DirEntry| {
        let name = entry.file_name().into_string().expect("a name");
        let runs = models.join(format!("{name}-warmup"));
        let has_all = steps.iter().all(|step| runs.join(format!("checkpoint-{step}")).is_dir());
        entry.path().join("tokenizer.json").is_file() && has_all
    };
    let mut entries = fs_err::read_dir(&models).expect("models").map(|entry| entry.expect("an entry"));
    entries.find(is_of_less).expect("the model of the reference results").path()
}

/// At most how many tokens the reference has of a text: those of LESS, or those that the model has positions
/// for. Of the models that are known, GPT-2 alone has a table of them.
fn most_tokens(model: &Path) -> u32 {
    let config = crate::support::json(&model.join("config.json"));
    let size = |key: &str| config[key].as_u64().map(|size| size as u32);
    let own = size("n_positions").or(size("max_position_embeddings")).unwrap_or(1024);
    if config["model_type"] == "gpt2" { own.min(TextOptions::MAX_LENGTH) } else { TextOptions::MAX_LENGTH }
}

fn contents(path: &Path, skip: usize, count: usize) -> Vec<Content> {
    let mut reader = crate::reading::open(path);
    let mut contents = Vec::new();
    while let Some(line) = reader.next_record() {
        contents.push(parse_record(line.expect("a line").json).expect("a record").content);
        if contents.len() == skip.saturating_add(count) {
            break;
        }
    }
    contents.split_off(skip)
}

fn list<T: TryFrom<i64>>(value: &Value) -> Vec<T> {
    let number = |v: &Value| v.as_i64().and_then(|n| T::try_from(n).ok()).expect("a number in range");
    value.as_array().expect("a list").iter().map(number).collect()
}

fn load(folder: &Path, template: TemplateKind, max_length: u32) -> TextEncoder {
    TextOptions::new(template, max_length).encoder(folder).expect("an encoder")
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn tokens_of_the_less_reference() {
    let shared = crate::support::shared();
    let manifest = crate::support::json(&shared.join("golden/less/manifest.json"));
    let number = |key: &str| manifest[key].as_u64().expect("a number") as usize;
    let file = manifest["train"].as_str().expect("the training file");
    let rows = contents(&shared.join("data").join(file), number("train_offset"), number("train_rows"));
    let template = manifest["template"].as_str().unwrap_or("tulu").parse().expect("a template");
    let folder = tokenizer_folder(&shared);
    let encoder = load(&folder, template, most_tokens(&folder));
    let golden = manifest["tokens"].as_array().expect("tokens");
    assert!(!golden.is_empty());
    for case in golden {
        let row = case["row"].as_u64().expect("a row") as usize;
        let got = encoder.encode(&rows[row]).expect("tokens");
        assert_eq!(got.ids, list::<u32>(&case["input_ids"]), "row {row}");
        assert_eq!(got.labels(), list::<i64>(&case["labels"]), "row {row}");
    }
}

fn message(value: &Value) -> Message {
    let role = match value["role"].as_str() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        _ => Role::Assistant,
    };
    Message::new(role, value["content"].as_str().expect("content"))
}

fn case_content(case: &Value) -> Content {
    let parts = case["content"].as_array().expect("content");
    match case["shape"].as_str() {
        Some("pair") => {
            let text = |i: usize| parts[i].as_str().expect("text").to_owned();
            Content::PromptCompletion { prompt: text(0), completion: text(1) }
        }
        _ => Content::Messages(parts.iter().map(message).collect()),
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn tokens_of_transformers() {
    let shared = crate::support::shared();
    let fixture =
        crate::support::json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hf_tokens.json"));
    let folder = tokenizer_folder(&shared);
    if load(&folder, TemplateKind::Tulu, 1).spec().tokenizer != fixture["tokenizer"] {
        println!("skipped: the fixture was made with another tokenizer");
        return;
    }
    for case in fixture["cases"].as_array().expect("cases") {
        let max_length = case["max_length"].as_u64().expect("a length") as u32;
        for template in [TemplateKind::Tulu, TemplateKind::Chat] {
            let got =
                load(&folder, template.clone(), max_length).encode(&case_content(case)).expect("tokens");
            let want = &case[template.name()];
            assert_eq!(got.ids, list::<u32>(&want["ids"]), "{template} {}", case["content"]);
            let mut labels = list::<i64>(&want["labels"]);
            if let Some(first) = labels.first_mut() {
                *first = -100;
            }
            assert_eq!(got.labels(), labels, "{template} {}", case["content"]);
            assert_eq!(got.scored_tokens(), labels.iter().filter(|l| **l != -100).count());
        }
    }
}

/// The texts that are scored: of tokens that follow each other, one.
fn scored(encoder: &TextEncoder, messages: &[Message]) -> Vec<String> {
    let encoded = encoder.encode(&Content::Messages(messages.to_vec())).expect("tokens");
    let texts = encoder.texts(&encoded).expect("texts of tokens");
    let tokens: Vec<(String, bool)> = texts.into_iter().zip(encoded.scored).collect();
    let runs = tokens.chunk_by(|one, next| one.1 == next.1).filter(|run| run[0].1);
    runs.map(|run| run.iter().map(|(text, _)| text.as_str()).collect()).collect()
}

/// The demo's model: other tokenizers may have no token of a space and the letter behind it.
fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

fn turns(contents: &[&str]) -> Vec<Message> {
    let role = |at: usize| if at.is_multiple_of(2) { Role::User } else { Role::Assistant };
    contents.iter().enumerate().map(|(at, content)| Message::new(role(at), *content)).collect()
}

/// What is expected is the mask of transformers where the template marks what it writes from the end of the
/// generation prompt to the end of the turn.
#[test]
fn the_first_word_after_a_space_of_the_template_is_scored() {
    let colon = "{% for m in messages %}{% if m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}\n\
        {% else %}USER: {{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}";
    let named = |name: &str| name.parse::<TemplateKind>().expect("a template");
    let conversation = turns(&["Why?", "All there.", "And", " spaced", "x", "", "y", "naïve 🙂 ok "]);
    for (template, expected) in [
        (named("chatglm3"), &[" All there.", " spaced", " naïve 🙂 ok "][..]),
        (
            TemplateKind::Jinja(colon.to_owned()),
            &[" All there.</s>\n", " spaced</s>\n", "</s>\n", " naïve 🙂 ok </s>\n"][..],
        ),
    ] {
        assert_eq!(scored(&load(&demo(), template, 512), &conversation), expected);
    }
}

/// What is expected is the mask of transformers.
#[test]
fn what_a_template_marks_is_scored() {
    let conversation = turns(&["Why?", "All there.", "And", " spaced ", "x", "", "y", "naïve 🙂 ok"]);
    let cases: [(&str, &[&str]); 5] = [
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}\
             {% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}[end]\n{% endfor %}",
            &["All there.", " spaced ", "naïve 🙂 ok"],
        ),
        (
            "{%- for m in messages %}\n    {{- '<|im_start|>' + m.role + '\\n' }}\n    {%- if m.role == 'assistant' %}\n\
             {%- generation %}\n        {{- m.content | trim + eos_token }}\n        {%- endgeneration %}\n    {%- else %}\n\
             {{- m.content | trim }}\n    {%- endif %}\n    {{- '\\n' }}\n{%- endfor %}",
            &["All there.</s>", "spaced</s>", "</s>", "naïve 🙂 ok</s>"],
        ),
        (
            "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}\
             {% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}",
            &[" All there.</s>", "  spaced </s>", " </s>", " naïve 🙂 ok</s>"],
        ),
        (
            "{% for m in messages %}{{ m.role }}> {% if m.role == 'assistant' %}{% generation %}{{ m.content }}\
             {% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
            // The last space is of one token with what follows.
            &[" All there.", " spaced u", " naïve 🙂 ok"],
        ),
        (
            "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}<|assistant|>\n{% generation %}\
             {{ m.content }}\n{% endgeneration %}{% else %}<|user|>{{ m.content }}{% endif %}\n{% endfor %}",
            &["naïve 🙂 ok\n"],
        ),
    ];
    for (source, expected) in cases {
        let encoder = load(&demo(), TemplateKind::Jinja(source.to_owned()), 512);
        assert_eq!(scored(&encoder, &conversation), expected, "{source}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn truncation_is_flagged() {
    let shared = crate::support::shared();
    let folder = tokenizer_folder(&shared);
    let content = Content::PromptCompletion { prompt: "a long prompt ".repeat(30), completion: "x".into() };
    let whole = load(&folder, TemplateKind::Tulu, 4096).encode(&content).expect("tokens");
    assert!(!whole.truncated && whole.scored_tokens() > 0);
    let cut = load(&folder, TemplateKind::Tulu, 20).encode(&content).expect("tokens");
    assert_eq!((cut.ids.len(), cut.scored_tokens(), cut.truncated), (20, 0, true));
    assert_eq!(cut.ids, whole.ids[..20]);
    let exact = load(&folder, TemplateKind::Tulu, whole.ids.len() as u32).encode(&content).expect("tokens");
    assert_eq!(exact, whole);
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn text_is_scored_as_a_whole() {
    let shared = crate::support::shared();
    let folder = tokenizer_folder(&shared);
    for template in [TemplateKind::Tulu, TemplateKind::Chat, TemplateKind::Plain] {
        let encoder = load(&folder, template, 64);
        let got = encoder.encode(&Content::Text("one two three".into())).expect("tokens");
        assert_eq!(got.scored_tokens(), got.ids.len() - 1);
        assert!(!got.scored[0]);
        assert_eq!(encoder.encode(&Content::Text(String::new())).expect("tokens"), Encoded::default());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn encodings_of_different_templates_and_lengths_differ() {
    let shared = crate::support::shared();
    let folder = tokenizer_folder(&shared);
    let spec = |template, length| load(&folder, template, length).spec();
    let tulu = spec(TemplateKind::Tulu, 8);
    assert_eq!(tulu, spec(TemplateKind::Tulu, 8));
    assert_ne!(tulu, spec(TemplateKind::Tulu, 9));
    assert_ne!(tulu.template, spec(TemplateKind::Plain, 8).template);
    assert_ne!(tulu.template_digest, spec(TemplateKind::Chat, 8).template_digest);
    assert_eq!(tulu.tokenizer.len(), 64);
}

/// Writes the tokens of pool rows to the file that `GSTORE_DUMP` names, for `fixtures/hf_tokens.py --pool`.
#[test]
#[ignore = "writes a file for the comparison with transformers"]
fn dump() {
    let shared = crate::support::shared();
    let folder = tokenizer_folder(&shared);
    let encoders = [TemplateKind::Tulu, TemplateKind::Chat].map(|t| (t.clone(), load(&folder, t, 2048)));
    let mut out = String::new();
    for content in contents(&shared.join("data/pool.jsonl"), 0, usize::MAX) {
        let mut row = json!({});
        for (template, encoder) in &encoders {
            let got = encoder.encode(&content).expect("tokens");
            row[template.name()] = json!({ "ids": got.ids, "labels": got.labels() });
        }
        out.push_str(&format!("{row}\n"));
    }
    fs_err::write(std::env::var_os("GSTORE_DUMP").expect("GSTORE_DUMP"), out).expect("written");
}
