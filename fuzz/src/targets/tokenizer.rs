//! Tokenizer folders: `tokenizer.json`, `tokenizer_config.json`, chat templates.

use super::MIB;
use crate::{Target, folder};
use gstore_data::{Content, EncodeError, Message, Role, TemplateKind, TextOptions};
use std::path::Path;

/// `tokenizer.json`
pub const TOKENIZER: Target = Target {
    name: "tokenizer",
    run: tokenizer,
    // Vocabularies are kept as maps in both directions, merges as another map; patterns are compiled within
    // their own limits.
    per_byte: 500,
    constant: 16 * MIB,
    words: &[
        b"\"type\":\"BPE\"",
        b"\"type\":\"Unigram\"",
        b"\"type\":\"WordPiece\"",
        b"\"type\":\"WordLevel\"",
        b"\"type\":\"ByteLevel\"",
        b"\"type\":\"Sequence\"",
        b"\"type\":\"Metaspace\"",
        b"\"type\":\"TemplateProcessing\"",
        b"\"type\":\"Precompiled\"",
        b"\"Regex\":\"",
        b"\"merges\":[",
        b"\"vocab\":{",
        b"\"unk_id\":",
        b"\"id\":4294967295",
        b"null",
    ],
};

/// A tokenizer of a few words, for the targets that need one.
const WORDS: &[u8] = br#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,"content":"</s>","single_word":false,
"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},
"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"</s>":0,"<unk>":1,"a":2,"b":3},"unk_token":"<unk>"}}"#;

fn contents() -> [Content; 2] {
    let message = Message::new;
    [
        Content::Text("a b\u{e9} <s> 12  \n".to_owned()),
        Content::Messages(vec![
            message(Role::System, "a"),
            message(Role::User, "b </s>"),
            message(Role::Assistant, " a b\n"),
            message(Role::User, ""),
            message(Role::Assistant, "b"),
        ]),
    ]
}

fn encode(folder: &Path, kind: TemplateKind) {
    const LONGEST: usize = 40;
    let encoder = match TextOptions::new(kind, LONGEST as u32).encoder(folder) {
        Ok(encoder) => encoder,
        Err(error) => return drop(error.to_string()),
    };
    for content in contents() {
        let encoded: Result<_, EncodeError> = encoder.encode(&content);
        if let Ok(encoded) = encoded {
            assert!(encoded.ids.len() <= LONGEST && encoded.scored.len() == encoded.ids.len());
            assert!(encoded.scored.first() != Some(&true), "nothing predicts the first token");
        }
    }
}

fn tokenizer(data: &[u8]) {
    let folder = folder::with(
        "tokenizer",
        &[("tokenizer.json", data), ("tokenizer_config.json", br#"{"eos_token":"</s>"}"#)],
    );
    encode(&folder, TemplateKind::Tulu);
}

/// `tokenizer_config.json`
pub const TOKENIZER_CONFIG: Target = Target {
    name: "tokenizer_config",
    run: tokenizer_config,
    per_byte: 500,
    constant: MIB,
    words: &[
        b"\"chat_template\":",
        b"\"eos_token\":{\"content\":\"",
        b"\"added_tokens_decoder\":{\"9\":{\"content\":\"",
        b"\"extra_special_tokens\":[\"",
        b"\"name\":\"default\"",
        b"{{ messages }}",
        b"null",
    ],
};

fn tokenizer_config(data: &[u8]) {
    let folder =
        folder::with("tokenizer_config", &[("tokenizer.json", WORDS), ("tokenizer_config.json", data)]);
    encode(&folder, TemplateKind::Plain);
    encode(&folder, TemplateKind::Chat);
}

/// A chat template. Memory is bounded only roughly: a template is a program.
pub const CHAT_TEMPLATE: Target = Target {
    name: "chat_template",
    run: chat_template,
    per_byte: 1000,
    constant: 128 * MIB,
    words: &[
        b"{% for m in messages %}",
        b"{% endfor %}",
        b"{% if loop.last %}",
        b"{% else %}",
        b"{% endif %}",
        b"{% generation %}",
        b"{% endgeneration %}",
        b"{% set x = ",
        b"{{ m['content'] | trim }}",
        b"{%- macro f(x) -%}",
        b"{% endmacro %}",
        b"| tojson(indent=4)",
        b"namespace(a=1)",
        b".split('a')[-1]",
        b"raise_exception('no')",
        b"strftime_now('%Y')",
        b"messages[1:]",
        b" is defined",
        b"range(9)",
    ],
};

fn chat_template(data: &[u8]) {
    let folder = folder::with(
        "chat_template",
        &[
            ("tokenizer.json", WORDS),
            ("tokenizer_config.json", br#"{"eos_token":"</s>","bos_token":"a"}"#),
            ("chat_template.jinja", data),
        ],
    );
    encode(&folder, TemplateKind::Chat);
}
