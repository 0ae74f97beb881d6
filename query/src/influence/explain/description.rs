//! Description of a resolved question: both sides of the comparison.

use std::fmt;

use serde::Serialize;

use crate::influence::prepare::{Prepared, PreparedSide};
use crate::influence::rank::summary::EXACT;
use crate::influence::spec::Fold;
use crate::influence::spec::mode::Mode;

/// How a question was resolved; displays as indented text, serializes for machines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explain {
    /// The scoring form with its terms filled in.
    pub form: String,
    /// What the answer guarantees.
    pub guarantee: String,
    /// The run of the checkpoints, if they belong to one.
    pub run: Option<String>,
    /// The checkpoints and what is compared there.
    pub checkpoints: Vec<ExplainCheckpoint>,
    /// Live rows of the pools.
    pub live: u64,
    /// Bytes of the pools' features: the most that a scan reads.
    pub bytes: u64,
    /// Whether the samples of a subtask are scanned as one vector.
    pub collapsed: bool,
    /// What a user should know about the choices.
    pub notes: Vec<String>,
}

/// One checkpoint of an [`Explain`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainCheckpoint {
    /// Its name.
    pub name: String,
    /// Its share of the score.
    pub weight: f64,
    /// `dataset/label (dtype, dim)` of each pool's feature.
    pub pools: Vec<String>,
    /// The same of the targets.
    pub targets: Vec<String>,
}

impl Prepared {
    /// How the question was resolved. Reads nothing.
    pub fn explain(&self) -> Explain {
        let spec = self.spec();
        let features = |sides: &[PreparedSide], c: usize| -> Vec<String> {
            let describe = |side: &PreparedSide| {
                let feature = &side.features[c];
                format!("{} ({}, dim {})", feature.display_name(), feature.desc.dtype, feature.desc.dim())
            };
            sides.iter().map(describe).collect()
        };
        let checkpoints = self
            .checkpoints()
            .iter()
            .enumerate()
            .map(|(c, checkpoint)| ExplainCheckpoint {
                name: checkpoint.name.clone(),
                weight: checkpoint.weight,
                pools: features(self.pools(), c),
                targets: match self.spec().given.len() {
                    0 => features(self.targets(), c),
                    1 => vec![format!("{} of the given sample", self.target_kind())],
                    n => vec![format!("{} of {n} given samples", self.target_kind())],
                },
            })
            .collect();
        let folded =
            if spec.fold == Fold::None { String::new() } else { format!(" of the {} vector", spec.fold) };
        let modules = match &spec.modules {
            Some(modules) => format!(" of modules {}", modules.text()),
            None => String::new(),
        };
        let under = match (spec.filter, &spec.precondition, spec.damping) {
            (Some(filter), ..) => format!(" with the filter {filter}"),
            (None, Some(name), _) => format!(" under the {} inverse of `{name}`", spec.inversion.name()),
            (None, None, Some(damping)) => format!(" with a damping of {damping}"),
            (None, None, None) => String::new(),
        };
        Explain {
            form: format!(
                "{}{} over subtasks of {} over target rows{folded} of the weighted {}{modules}{under} at each checkpoint",
                if spec.per_token { "for each token: " } else { "" },
                spec.across,
                spec.within,
                spec.sim
            ),
            guarantee: match &spec.mode {
                Mode::Exact => EXACT.to_owned(),
                Mode::Sketch(mode) => mode.guarantee(!mode.certified),
            },
            run: self.run().map(str::to_owned),
            checkpoints,
            live: self.live(),
            bytes: self.pools().iter().flat_map(|side| &side.features).map(|feature| feature.bytes()).sum(),
            collapsed: spec.collapses(),
            notes: self.notes().to_vec(),
        }
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.form, self.guarantee)?;
        let queries = if self.collapsed { "one vector per subtask" } else { "one vector per target row" };
        writeln!(
            f,
            "scan of {} rows, at most {} bytes, against {queries} and checkpoint",
            self.live, self.bytes
        )?;
        if let Some(run) = &self.run {
            writeln!(f, "run {run}")?;
        }
        for c in &self.checkpoints {
            writeln!(
                f,
                "  {} x {:.6}: {} against {}",
                c.name,
                c.weight,
                c.pools.join(", "),
                c.targets.join(", ")
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
