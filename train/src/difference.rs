//! Differences between two requests of a training, by the options that decide them.

use gstore_core::Remedy;
use serde_json::Value;

/// What decides the bits of a training, and the option that says it.
const OPTIONS: [(&str, &str); 17] = [
    ("LoRA rank", "lora_rank"),
    ("LoRA alpha", "lora_alpha"),
    ("LoRA targets", "lora_targets"),
    ("samples of a micro-batch", "per_device_train_batch_size"),
    ("micro-batches of a step", "gradient_accumulation_steps"),
    ("seed", "seed"),
    ("optimizer", "optim"),
    ("learning rate", "learning_rate"),
    ("schedule", "lr_scheduler_type"),
    ("cycles of the schedule", "lr_cycles"),
    ("warm-up steps", "warmup_steps"),
    ("largest norm of gradients", "max_grad_norm"),
    ("mean of losses", "loss_mean"),
    ("precision", "compute"),
    ("tokens of a piece", "batch_tokens"),
    ("backend", "backend"),
    ("resumed from", "resume_from_checkpoint"),
];

/// The same within the rates of the optimizer and those of dropout.
const RATES: [(&str, &str); 8] = [
    ("beta1", "adam_beta1"),
    ("beta2", "adam_beta2"),
    ("eps", "adam_epsilon"),
    ("weight_decay", "weight_decay"),
    ("momentum", "momentum"),
    ("lora", "lora_dropout"),
    ("hidden", "dropout"),
    ("attention", "attention_dropout"),
];

/// All that differs between two requests.
pub(crate) fn difference(stored: &Value, asked: &Value) -> Option<String> {
    let asked = asked.as_object().into_iter().flatten();
    let differ = asked.map(|(key, asked)| (key.as_str(), stored.get(key).unwrap_or(&Value::Null), asked));
    let differ: Vec<_> = differ.filter(|(_, stored, asked)| stored != asked).collect();
    let all: Vec<String> =
        differ.iter().flat_map(|(key, stored, asked)| of_key(key, stored, asked)).collect();
    match all.is_empty() {
        true => (!differ.is_empty()).then(|| "its options are others".to_owned()),
        false => Some(all.join("; ")),
    }
}

fn of_key(key: &str, stored: &Value, asked: &Value) -> Vec<String> {
    let flag = |name: &str, is_asked: bool| {
        let option = Remedy::Option(name, "");
        vec![if is_asked { format!("{option}, was not given") } else { format!("no {option}, was given") }]
    };
    match (key, asked) {
        ("model", _) => vec!["its model differs from the one given".to_owned()],
        ("samples" | "held-out samples", _) => vec![format!("its {key} differ from those given")],
        ("shuffle", _) => flag("no_shuffle", asked == &Value::Bool(false)),
        ("tokens of a packed sequence", Value::Number(_)) if stored.is_number() => {
            vec![said("max_length", stored, asked)]
        }
        ("tokens of a packed sequence", _) => flag("packing", !asked.is_null()),
        ("steps between two losses of held-out samples", _) => vec![said("eval_every", stored, asked)],
        ("steps", _) => {
            let (epochs, steps) = (Remedy::Option("num_train_epochs", ""), Remedy::Option("max_steps", ""));
            vec![format!("{asked} steps by {epochs} or {steps}, was {stored}")]
        }
        ("rates of the optimizer" | "dropout", _) => rates(stored, asked),
        _ => match OPTIONS.iter().find(|(known, _)| *known == key) {
            Some((_, option)) => vec![said(option, stored, asked)],
            None => {
                let what = key.split(" of ").next().unwrap_or(key);
                let verb = if what.ends_with('s') { "are" } else { "is" };
                vec![format!("its {key} {verb} {stored}, not {asked}")]
            }
        },
    }
}

/// Rates that both have, or one of which is 0 where there is none.
fn rates(stored: &Value, asked: &Value) -> Vec<String> {
    let is_dropout = [stored, asked].iter().any(|rates| rates.get("hidden").is_some());
    let rate = |of: &Value, name: &str| of.get(name).and_then(Value::as_f64).or(is_dropout.then_some(0.0));
    let differ = RATES.iter().filter_map(|&(name, option)| {
        let (stored, asked) = (rate(stored, name)?, rate(asked, name)?);
        (stored != asked).then(|| said(option, &stored.into(), &asked.into()))
    });
    differ.collect()
}

/// An option with what is asked and what was.
fn said(option: &str, stored: &Value, asked: &Value) -> String {
    let was = text(stored).map_or("was not given".to_owned(), |stored| format!("was {stored}"));
    match text(asked) {
        Some(asked) => format!("{}, {was}", Remedy::Option(option, &asked)),
        None => format!("no {}, {was}", Remedy::Option(option, "")),
    }
}

/// A value as an option has it; none where it is not given.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(all.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_options() {
        for (stored, asked, says) in [
            (
                json!({"learning rate": 0.002, "seed": 1}),
                json!({"learning rate": 0.001, "seed": 1}),
                "learning_rate=0.001, was 0.002",
            ),
            (
                json!({"LoRA targets": ["a", "b"], "LoRA rank": 8}),
                json!({"LoRA targets": ["a"], "LoRA rank": null}),
                "lora_targets=a, was a,b; no lora_rank, was 8",
            ),
            (json!({"shuffle": true}), json!({"shuffle": false}), "no_shuffle, was not given"),
            (
                json!({"tokens of a packed sequence": 32}),
                json!({"tokens of a packed sequence": null}),
                "no packing, was given",
            ),
            (
                json!({"rates of the optimizer": {"beta1": 0.9, "weight_decay": 0.0}, "optimizer": "adamw"}),
                json!({"rates of the optimizer": {"momentum": 0.5, "weight_decay": 0.1}, "optimizer": "sgd"}),
                "weight_decay=0.1, was 0.0; optim=sgd, was adamw",
            ),
            (
                json!({"dropout": null}),
                json!({"dropout": {"lora": 0.1, "hidden": 0.0}}),
                "lora_dropout=0.1, was 0.0",
            ),
            (json!({"rho": 0.5}), json!({"rho": 0.25}), "its rho is 0.5, not 0.25"),
            (json!({"steps": 4}), json!({"steps": 6}), "6 steps by num_train_epochs or max_steps, was 4"),
        ] {
            assert_eq!(difference(&stored, &asked).as_deref(), Some(says));
            assert_eq!(difference(&asked, &asked), None);
        }
    }
}
