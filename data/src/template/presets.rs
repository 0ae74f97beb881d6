//! Named chat templates: the conversation formats of well-known model families, under the names that LMFlow
//! has for them.
//!
//! They are Jinja as a tokenizer's own template is, for tokenizers that come without one. Only the
//! assistant's words and what closes them are scored; LMFlow scores the assistant's header as well.

/// The turns of ChatML.
macro_rules! chatml {
    () => {
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    };
}

/// ChatML that begins with a system message, this one where the conversation has none.
macro_rules! chatml_with_system {
    ($system:literal) => {
        concat!(
            "{% if messages[0].role != 'system' %}<|im_start|>system\n",
            $system,
            "<|im_end|>\n{% endif %}",
            chatml!()
        )
    };
}

const DEEPSEEK_V2: &str = "{{ bos_token }}{% for m in messages %}\
    {% if m.role == 'user' %}User: {{ m.content }}\n\n\
    {% elif m.role == 'assistant' %}Assistant: {{ m.content }}{{ eos_token }}\
    {% else %}{{ m.content }}\n\n{% endif %}{% endfor %}\
    {% if add_generation_prompt %}Assistant:{% endif %}";

/// The turns of DeepSeek's later models: the expression that the assistant's words are, then the text after
/// the assistant's header of a generation prompt.
macro_rules! deepseek {
    ($content:literal, $think:literal) => {
        concat!(
            "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}",
            "{% if not loop.first %}{{ '\\n\\n' }}{% endif %}{{ m.content }}{% endif %}{% endfor %}",
            "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}",
            "{% elif m.role == 'assistant' %}<｜Assistant｜>{{ ",
            $content,
            " }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}",
            "{% if add_generation_prompt %}<｜Assistant｜>",
            $think,
            "{% endif %}"
        )
    };
}

const EMPTY: &str = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}{% endif %}\
    {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}";

const QWEN2_5: &str =
    chatml_with_system!("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");

/// Names and sources, by name.
pub(super) const PRESETS: &[(&str, &str)] = &[
    (
        "chatglm3",
        "[gMASK]sop{% for m in messages %}<|{{ m.role }}|>\n {{ m.content }}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{{ '\\n ' }}{% endif %}",
    ),
    ("chatml", chatml!()),
    ("deepseek", DEEPSEEK_V2),
    ("deepseek_r1", deepseek!("(m.content.split('</think>') | last)", "")),
    ("deepseek_r1_distill", deepseek!("(m.content.split('</think>') | last)", "<think>{{ '\\n' }}")),
    ("deepseek_v2", DEEPSEEK_V2),
    ("deepseek_v3", deepseek!("m.content", "")),
    ("disable", EMPTY),
    ("empty", EMPTY),
    ("empty_no_special_tokens", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    (
        "gemma",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %}\
         <start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n\
         {% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
    ("internlm2", concat!("{{ bos_token }}", chatml!())),
    (
        "llama2",
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] \
         {% if loop.index0 == 1 and messages[0].role == 'system' %}<<SYS>>\n{{ messages[0].content }}\n\
         <</SYS>>\n\n{% endif %}{{ m.content }} [/INST]\
         {% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
         {{ m.content }}<|eot_id|>{% endfor %}\
         {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    (
        "phi3",
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
    ),
    ("qwen2", chatml!()),
    ("qwen2_5", QWEN2_5),
    ("qwen2_5_1m", QWEN2_5),
    (
        "qwen2_5_math",
        chatml_with_system!("Please reason step by step, and put your final answer within \\boxed{}."),
    ),
    ("yi", chatml!()),
    (
        "yi1_5",
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %}\
         <|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    (
        "zephyr",
        "{% for m in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}<|{{ m.role }}|>\n\
         {{ m.content }}{{ eos_token }}{% endfor %}\
         {% if add_generation_prompt %}{{ '\\n' }}<|assistant|>\n{% endif %}",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::{ChatTemplate, Role};
    use super::*;
    use crate::Message;

    fn turn(role: Role, content: &str) -> Message {
        Message::new(role, content)
    }

    fn template(name: &str) -> ChatTemplate {
        let (_, source) = PRESETS.iter().find(|(known, _)| *known == name).unwrap();
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special = special.map(|(name, text)| (name.to_owned(), text.to_owned()));
        ChatTemplate::new(source, &special, Vec::new()).unwrap()
    }

    /// A conversation with a system message as a template writes it, and what of it is scored.
    fn written(name: &str) -> (String, Vec<String>) {
        let turns = [
            turn(Role::System, "be brief"),
            turn(Role::User, "hi"),
            turn(Role::Assistant, "hello"),
            turn(Role::User, "bye"),
            turn(Role::Assistant, "ciao"),
        ];
        let rendered = template(name).render(&turns).unwrap();
        let scored = rendered.scored.iter().map(|r| rendered.text[r.clone()].to_owned()).collect();
        (rendered.text, scored)
    }

    #[test]
    fn every_template_writes_each_turn_and_scores_the_assistants() {
        for (name, _) in PRESETS {
            let (text, scored) = written(name);
            for word in ["hi", "hello", "bye", "ciao"] {
                assert_eq!(text.matches(word).count(), 1, "{name}: {text}");
            }
            assert_eq!(scored.len(), 2, "{name}");
            assert!(scored[0].contains("hello") && !scored[0].contains("bye"), "{name}: {scored:?}");
            assert!(scored[1].contains("ciao") && !scored[1].contains("bye"), "{name}: {scored:?}");
            assert!(text.contains("be brief"), "{name}: {text}");
        }
        assert!(PRESETS.is_sorted());
    }

    #[test]
    fn layouts() {
        assert_eq!(
            written("llama2").0,
            "<s>[INST] <<SYS>>\nbe brief\n<</SYS>>\n\nhi [/INST]hello</s><s>[INST] bye [/INST]ciao</s>"
        );
        assert_eq!(
            written("zephyr").0,
            "<|system|>\nbe brief</s>\n<|user|>\nhi</s>\n<|assistant|>\nhello</s>\n<|user|>\nbye</s>\n\
             <|assistant|>\nciao</s>"
        );
        assert_eq!(
            written("gemma").0,
            "<s>be brief<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nhello<end_of_turn>\n\
             <start_of_turn>user\nbye<end_of_turn>\n<start_of_turn>model\nciao<end_of_turn>\n"
        );
        assert!(written("phi3").0.ends_with("<|assistant|>\nciao<|end|>\n</s>"));
        assert_eq!(written("llama3").1, ["hello<|eot_id|>", "ciao<|eot_id|>"]);
        assert_eq!(written("qwen2").1, ["hello<|im_end|>\n", "ciao<|im_end|>\n"]);
        let math = template("qwen2_5_math").prompt(&[turn(Role::User, "1+1?")]).unwrap().text;
        let system = "Please reason step by step, and put your final answer within \\boxed{}.";
        assert_eq!(
            math,
            format!(
                "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
            )
        );
    }
}
