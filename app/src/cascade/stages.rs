//! Stages of a cascade, as they are written: `loss -> embed -> 1 checkpoint -> all`.

use gstore_core::{Kind, did_you_mean};

use crate::answer::AnswerError;

/// The stage that ends every cascade: gradients at all checkpoints.
pub(super) const LAST: &str = "all";

/// Counts that are known of every row once its tokens are.
const COUNTS: [&str; 3] = ["tokens", "scored_tokens", "prompt_tokens"];

/// A stage before the last: what is computed and looked at of the rows that enter it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stage {
    /// As it was written.
    pub(super) name: String,
    /// What one forward pass of the base model gives.
    pub(super) kinds: Vec<Kind>,
    /// Token counts and metadata columns.
    pub(super) columns: Vec<String>,
    /// The row is scored at so many checkpoints; 0: it is not.
    pub(super) checkpoints: usize,
}

/// Reads the stages before the last, over a pool with these metadata columns.
pub(super) fn parse(text: &str, columns: &[&str]) -> Result<Vec<Stage>, AnswerError> {
    let refuse = |why: String| Err(AnswerError::Usage(format!("cascade `{text}`: {why}")));
    if text.contains("=>") {
        return Err(AnswerError::Usage("write `->` between the stages of a cascade".to_owned()));
    }
    let mut names: Vec<&str> = text.split("->").map(str::trim).collect();
    if names.pop() != Some(LAST) {
        return refuse(format!("its last stage must be `{LAST}`: the gradients at all checkpoints"));
    }
    if names.is_empty() {
        return refuse(format!("it needs a stage before `{LAST}` that chooses rows"));
    }
    let mut stages: Vec<Stage> = Vec::with_capacity(names.len());
    for name in names {
        let mut stage = Stage { name: name.to_owned(), ..Stage::default() };
        // The same stage, in whatever order it is written.
        let mut items: Vec<&str> = name.split(',').map(str::trim).collect();
        items.sort_unstable();
        items.dedup();
        for item in items {
            let kind = if item == "embed" { Some(Kind::EmbedMean) } else { item.parse().ok() };
            match (kind, checkpoints(item)) {
                (Some(kind), _) if kind.takes_gradient() => {
                    return refuse(format!(
                        "a stage of gradients is written by its checkpoints: `1 checkpoint`, not `{item}`"
                    ));
                }
                (Some(kind), _) if stage.kinds.contains(&kind) => {}
                (Some(kind), _) => stage.kinds.push(kind),
                (None, Some(count)) => stage.checkpoints = stage.checkpoints.max(count),
                (None, None) if COUNTS.contains(&item) => stage.columns.push(item.to_owned()),
                (None, None) if columns.contains(&item) => {
                    stage.columns.push(format!("column:{item}"));
                }
                (None, None) => {
                    return refuse(format!("`{item}` is not a stage{}", guess_input(item, columns)));
                }
            }
        }
        let before = |of: &dyn Fn(&Stage) -> bool| stages.iter().any(of);
        let twice = stage.kinds.iter().any(|kind| before(&|other| other.kinds.contains(kind)))
            || stage.columns.iter().any(|name| before(&|other| other.columns.contains(name)))
            || stage.checkpoints > 0 && before(&|other| other.checkpoints >= stage.checkpoints);
        if twice {
            return refuse(format!(
                "`{name}` repeats part of an earlier stage: each stage must add something new"
            ));
        }
        stages.push(stage);
    }
    Ok(stages)
}

/// What a word that is no stage may have been meant for.
fn guess_input(item: &str, columns: &[&str]) -> String {
    let kinds = Kind::ALL.iter().filter(|kind| !kind.takes_gradient()).map(|kind| kind.name());
    let kinds: Vec<&str> = kinds.collect();
    let known = [&kinds[..], &["embed", "1 checkpoint"], &COUNTS, columns].concat();
    match did_you_mean(item, known.iter().copied()) {
        meant if meant.is_empty() => format!("; there are {}", known.join(", ")),
        meant => meant,
    }
}

/// The number of `2 checkpoints`.
fn checkpoints(item: &str) -> Option<usize> {
    let (count, word) = item.split_once(' ')?;
    let count = count.parse::<usize>().ok().filter(|count| *count > 0)?;
    ["checkpoint", "checkpoints"].contains(&word.trim()).then_some(count)
}

impl Stage {
    /// Whether something is computed of the rows that enter it: their tokens are counted then.
    pub(super) fn computes(&self) -> bool {
        !self.kinds.is_empty() || self.checkpoints > 0
    }

    /// Whether it looks at token counts that it names.
    pub(super) fn has_counts(&self) -> bool {
        self.columns.iter().any(|name| COUNTS.contains(&name.as_str()))
    }

    /// The names of its inputs, where its stored features have these labels. Token counts come with the first
    /// forward pass.
    pub(super) fn inputs(&self, labels: &[String], is_first_pass: bool) -> Vec<String> {
        let counts = COUNTS.iter().take(2).filter(|_| is_first_pass).map(|name| (*name).to_owned());
        let mut names: Vec<String> = counts.filter(|name| !self.columns.contains(name)).collect();
        names.extend(self.columns.iter().cloned());
        names.extend(labels.iter().map(|label| format!("feature:{label}")));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_as_they_are_written() {
        let found =
            parse("tokens, source -> loss,embed -> 1 checkpoint -> 2 checkpoints -> all", &["source"])
                .unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].columns, ["column:source", "tokens"]);
        assert_eq!(found[1].kinds, [Kind::EmbedMean, Kind::Loss]);
        assert_eq!((found[2].checkpoints, found[3].checkpoints), (1, 2));
        let names = found[1].inputs(&["loss@base".to_owned()], true);
        assert_eq!(names, ["tokens", "scored_tokens", "feature:loss@base"]);
    }

    #[test]
    fn what_is_no_cascade_is_refused_by_name() {
        for (text, says) in [
            ("loss", "its last stage must be `all`"),
            ("all", "needs a stage before `all`"),
            ("los -> all", "did you mean `loss`"),
            ("all -> all", "`all` is not a stage"),
            ("grad-sgd -> all", "1 checkpoint"),
            ("loss -> embed,loss -> all", "repeats part of an earlier stage"),
            ("2 checkpoints -> 1 checkpoint -> all", "repeats part of an earlier stage"),
        ] {
            let error = parse(text, &["source"]).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
