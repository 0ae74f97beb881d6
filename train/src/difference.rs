//! Differences between two requests of a training, by the options that decide them.

use gstore_core::{Remedy, many};
use serde_json::Value;

/// What decides the bits of a training, and the option that says it.
const OPTIONS: [(&str, &str); 24] = [
    ("LoRA rank", "lora_rank"),
    ("LoRA alpha", "lora_alpha"),
    ("LoRA targets", "lora_targets"),
    ("samples of a micro-batch", "per_device_train_batch_size"),
    ("micro-batches of a step", "gradient_accumulation_steps"),
    ("epochs", "num_train_epochs"),
    ("steps", "max_steps"),
    ("seed", "seed"),
    ("optimizer", "optim"),
    ("learning rate", "learning_rate"),
    ("schedule", "lr_scheduler_type"),
    ("cycles of the schedule", "lr_cycles"),
    ("options of the schedule", "lr_scheduler_kwargs"),
    ("warm-up share", "warmup_ratio"),
    ("warm-up steps", "warmup_steps"),
    ("largest norm of gradients", "max_grad_norm"),
    ("mean of losses", "loss_mean"),
    ("precision", "compute"),
    ("tokens of a piece", "batch_tokens"),
    ("backend", "backend"),
    ("system message", "system"),
    ("maximum length", "max_length"),
    ("block", "block"),
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

/// What also changes the number of steps, or that of the rows that they take.
const OF_STEPS: [&str; 4] =
    ["samples", "samples of a micro-batch", "micro-batches of a step", "tokens of a packed sequence"];

/// What a checkpoint held that a training went on from. Another may be in its place, or it may have moved.
pub(crate) const START_DIGESTS: &str = "digests of the checkpoint that it was resumed from";

/// Two requests that are compared, and the caller's own names of options.
struct RequestPair<'a> {
    stored: &'a Value,
    asked: &'a Value,
    own: &'a [(&'a str, &'a str)],
}

/// All that differs between two requests of a training, by the options that say it. What follows from
/// options is said only where none of these differs.
///
/// `own` has what a job calls its options otherwise than a training does: of each the key of a request, and
/// the name of the option. Where a request has `epochs` or `warm-up share`, its numbers of steps are those
/// that were asked for, and follow from nothing.
pub fn difference<'a>(stored: &'a Value, asked: &'a Value, own: &'a [(&str, &str)]) -> Option<String> {
    let pair = RequestPair { stored, asked, own };
    let keys = |request: &'a Value| request.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let gone = keys(stored).filter(|key| asked.get(key).is_none());
    let differ: Vec<&str> = keys(asked).chain(gone).filter(|key| pair.differs(key)).collect();
    let mut all: Vec<String> = Vec::new();
    for what in differ.iter().filter(|key| !pair.follows(key)).flat_map(|key| pair.of_key(key)) {
        if !all.contains(&what) {
            all.push(what);
        }
    }
    match all.is_empty() {
        true => (!differ.is_empty()).then(|| "its options are others".to_owned()),
        false => Some(all.join("; ")),
    }
}

impl RequestPair<'_> {
    fn differs(&self, key: &str) -> bool {
        if value_of(self.stored, key) == value_of(self.asked, key) {
            return false;
        }
        match key {
            // Digests tell these apart, wherever they stand.
            "method" => !self.both(key, is_adapter) || self.differs("model"),
            "resumed from" => !self.both(START_DIGESTS, Value::is_object) || self.differs(START_DIGESTS),
            // Of the devices of one sort any may compute.
            "backend" => sort(value_of(self.stored, key)) != sort(value_of(self.asked, key)),
            // Earlier versions wrote none.
            START_DIGESTS => self.both(key, Value::is_object),
            _ => true,
        }
    }

    fn both(&self, key: &str, is: fn(&Value) -> bool) -> bool {
        is(value_of(self.stored, key)) && is(value_of(self.asked, key))
    }

    /// Whether a number was asked for itself, where the request says what else it could follow from.
    fn is_given(&self, cause: &str) -> bool {
        [self.stored, self.asked].iter().any(|request| request.get(cause).is_some())
    }

    /// Whether a key only follows from others that differ.
    fn follows(&self, key: &str) -> bool {
        let of_steps = || OF_STEPS.iter().any(|cause| self.differs(cause));
        match key {
            "LoRA rank" | "LoRA alpha" | "LoRA targets" => self.differs("method"),
            "steps" => !self.is_given("epochs") && of_steps(),
            "warm-up steps" => !self.is_given("warm-up share") && (self.differs("steps") || of_steps()),
            "rows of a model" => of_steps(),
            "numbers of the rows" => self.differs("samples"),
            START_DIGESTS => self.differs("resumed from"),
            _ => false,
        }
    }

    /// The name of what a request calls `key`.
    fn name(&self, key: &str) -> Option<&str> {
        let mut known = self.own.iter().chain(&OPTIONS);
        known.find(|(known, _)| *known == key).map(|(_, option)| *option)
    }

    fn option(&self, key: &str) -> Remedy<'_> {
        Remedy::Option(self.name(key).unwrap_or_default(), "")
    }

    fn of_key(&self, key: &str) -> Vec<String> {
        let (stored, asked) = (value_of(self.stored, key), value_of(self.asked, key));
        let flag = |name: &str, is_asked: bool| {
            let option = Remedy::Option(name, "");
            vec![if is_asked {
                format!("{option}, was not given")
            } else {
                format!("no {option}, was given")
            }]
        };
        let result = |noun: &str, by: [&str; 2]| {
            let count = many(asked.as_u64().unwrap_or_default(), noun);
            let [one, other] = by.map(|key| self.option(key));
            vec![format!("{count} by {one} or {other}, was {stored}")]
        };
        match (key, asked) {
            ("model", _) => vec!["its model differs from the one given".to_owned()],
            ("samples" | "held-out samples", _) => vec![format!("its {key} differ from those given")],
            ("numbers of the rows", _) => vec!["its rows have other numbers than those given".to_owned()],
            (START_DIGESTS, _) => {
                let from = text(value_of(self.asked, "resumed from")).unwrap_or_default();
                let option = Remedy::Option("resume_from_checkpoint", &from);
                vec![format!("the checkpoint of {option} is another than the one that it continued from")]
            }
            ("method", _) => vec![format!("{}, was {}", method(asked), method(stored))],
            ("template", _) => vec![format!("another {}", Remedy::Option("template", ""))],
            ("shuffle", _) => flag("no_shuffle", asked == &Value::Bool(false)),
            ("rate of the first step", _) => flag("first_rate_zero", asked == "zero"),
            ("tokens of a packed sequence", Value::Number(_)) if stored.is_number() => {
                vec![option_text("max_length", stored, asked)]
            }
            ("tokens of a packed sequence", _) => flag("packing", !asked.is_null()),
            ("steps between two losses of held-out samples", _) => {
                vec![option_text("eval_every", stored, asked)]
            }
            ("steps", _) if !self.is_given("epochs") => result("step", ["epochs", "steps"]),
            ("warm-up steps", _) if !self.is_given("warm-up share") => {
                result("warm-up step", ["warm-up steps", "warm-up share"])
            }
            ("rows of a model", _) => {
                let (rows, steps) = (self.option("rows of a model"), self.option("steps"));
                vec![format!("{asked} rows of a model by {rows} or {steps}, was {stored}")]
            }
            ("rates of the optimizer" | "dropout", _) => rates(stored, asked),
            _ => match self.name(key) {
                Some(option) => vec![option_text(option, stored, asked)],
                None => {
                    let what = key.split(" of ").next().unwrap_or(key);
                    let verb = if what.ends_with('s') { "are" } else { "is" };
                    vec![format!("its {key} {verb} {stored}, not {asked}")]
                }
            },
        }
    }
}

/// What a request has of a key; null where it has nothing.
fn value_of<'a>(request: &'a Value, key: &str) -> &'a Value {
    request.get(key).unwrap_or(&Value::Null)
}

/// The name of a backend without the number of its device.
fn sort(backend: &Value) -> Option<&str> {
    Some(backend.as_str()?.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Whether the factors of an adapter are trained, which are part of the model's digest.
fn is_adapter(method: &Value) -> bool {
    method.as_str().is_some_and(|method| method.starts_with("adapter "))
}

/// Which weights are trained, by the option that asks for it.
fn method(method: &Value) -> String {
    match method.as_str().map(|method| method.split_once(' ').unwrap_or((method, ""))) {
        Some(("lora", _)) => "LoRA".to_owned(),
        Some(("adapter", folder)) => Remedy::Option("adapter", folder).to_string(),
        Some(("full", _)) => Remedy::Option("full", "").to_string(),
        Some(("from", "scratch")) => Remedy::Option("from_scratch", "").to_string(),
        _ => method.to_string(),
    }
}

/// Rates that both have, or one of which is 0 where there is none.
fn rates(stored: &Value, asked: &Value) -> Vec<String> {
    let is_dropout = [stored, asked].iter().any(|rates| rates.get("hidden").is_some());
    let rate = |of: &Value, name: &str| of.get(name).and_then(Value::as_f64).or(is_dropout.then_some(0.0));
    let differ = RATES.iter().filter_map(|&(name, option)| {
        let (stored, asked) = (rate(stored, name)?, rate(asked, name)?);
        (stored != asked).then(|| option_text(option, &stored.into(), &asked.into()))
    });
    differ.collect()
}

fn option_text(option: &str, stored: &Value, asked: &Value) -> String {
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
#[path = "difference_test.rs"]
mod tests;
