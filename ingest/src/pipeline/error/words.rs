//! Parts of messages that depend on what an error holds.

use gstore_core::{Remedy, did_you_mean, first_of};

const KEYS_SHOWN: usize = 40;

pub(super) fn skip_bad_hint(possible: bool, count: u64) -> String {
    match possible {
        true => format!("\n  {} leaves them out", Remedy::Option("skip_bad", &count.to_string())),
        false => String::new(),
    }
}

pub(super) fn other_keys(wrong: &str, keys: &[String]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let near = did_you_mean(wrong, keys.iter().map(String::as_str));
    let names = first_of(keys.iter().map(|key| format!("`{key}`")), KEYS_SHOWN);
    format!("; besides their text they have {names}{near}")
}

pub(super) fn or_smaller(options: &[&[&str]]) -> String {
    let together = |names: &&[&str]| {
        let named: Vec<String> = names.iter().map(|name| Remedy::Option(name, "").to_string()).collect();
        named.join(" together with ")
    };
    let named: Vec<String> = options.iter().map(together).collect();
    match named.split_last() {
        None => String::new(),
        Some((only, [])) => format!(", or give a smaller {only}"),
        Some((last, others)) => format!(", or give a smaller {} or {last}", others.join(", ")),
    }
}

pub(super) fn leave_out_hint(registered: Option<&str>) -> String {
    match registered {
        Some(dataset) => format!("leave them out with {}", Remedy::Delete(dataset)),
        None => "nothing was registered; leave them out".to_owned(),
    }
}
