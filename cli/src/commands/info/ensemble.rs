//! The members of an ensemble as a table: a line each, and what they have in common once.

use anyhow::Result;
use gstore_store::{EnsemblePart, Snapshot};
use serde_json::{Value, json};

use super::{aligned, text};
use crate::streams::out;

/// Members that are shown to people; JSON has all.
const SHOWN: usize = 20;

pub(super) fn describe(snapshot: &Snapshot, part: &EnsemblePart) -> Value {
    let tables = snapshot.loss_tables(part);
    json!({
        "ensemble": part.name,
        "theta_0": part.base.id,
        "model": part.base.name,
        "adapter": part.base.adapter,
        "losses": tables.iter().map(|table| json!({
            "dataset": table.dataset, "signal": table.signal, "members": table.members.len(),
            "relative to theta_0": table.base, "precision": table.compute,
        })).collect::<Vec<_>>(),
        "members": part.members.iter().map(|member| json!({
            "id": member.id, "seed": member.seed, "variant": member.variant, "rho": member.settings.rho,
            "gamma": member.settings.gamma, "learning rate": member.settings.lr, "steps": member.settings.steps,
            "samples": member.subset.as_ref().map(|subset| subset.size),
            "folder": member.weights.as_ref().and_then(|weights| weights.folder.clone()),
        })).collect::<Vec<_>>(),
    })
}

/// Prints an ensemble: its own facts, then its members.
pub(super) fn print(mut ensemble: Value) -> Result<()> {
    let members = ensemble.as_object_mut().and_then(|fields| fields.remove("members"));
    super::print(&ensemble, 0)?;
    for line in lines(members.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice)) {
        out!("{line}");
    }
    Ok(())
}

/// A table of the members. Columns that are known of none are left out.
fn lines(members: &[Value]) -> Vec<String> {
    let count = members.len();
    let mut lines = vec![format!("members  {count}")];
    let keys = members.first().and_then(Value::as_object).into_iter().flat_map(|first| first.keys());
    let mut columns: Vec<Vec<String>> = Vec::new();
    for key in keys {
        let values: Vec<&Value> = members.iter().filter_map(|member| member.get(key)).collect();
        if values.iter().all(|value| value.is_null()) {
            continue;
        }
        if count > 1 && values.windows(2).all(|two| two[0] == two[1]) {
            let value = values.first().map_or_else(String::new, |value| text(value));
            lines.push(format!("  all have {key} {value}"));
            continue;
        }
        let cells = values.into_iter().take(SHOWN).map(text);
        columns.push(std::iter::once(key.clone()).chain(cells).collect());
    }
    lines.extend(aligned(&columns));
    if count > SHOWN {
        lines.push(format!("  ... and {} more (--json lists all)", count - SHOWN));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_a_line_each_and_a_hundred_do_not_fill_the_screen() {
        let member = |k: u64| json!({ "id": format!("copy-{k}"), "seed": k, "rho": 1.0, "folder": null });
        let few: Vec<Value> = (0..2).map(member).collect();
        assert_eq!(
            lines(&few),
            ["members  2", "  all have rho 1.0", "  id      seed", "  copy-0  0", "  copy-1  1"]
        );
        let many: Vec<Value> = (0..100).map(member).collect();
        let told = lines(&many);
        assert_eq!(told.len(), SHOWN + 4);
        assert_eq!(told.last().map(String::as_str), Some("  ... and 80 more (--json lists all)"));
        assert_eq!(lines(&[]), ["members  0"]);
    }
}
