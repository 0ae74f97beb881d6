//! Metrics of texts, of answers, and of scores against retraining.
//!
//! Where there are several references, BLEU clips by all of them, the others take the nearest one.

mod answer;
mod bleu;
mod rouge;
mod stem;

pub use answer::Normal;
pub(crate) use answer::f1;
pub use bleu::BleuCounts;
pub use rouge::{Overlap, RougeWords};
pub use stem::stem;

/// What a model is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// BLEU of words.
    Bleu1,
    /// BLEU of words and pairs of words.
    Bleu2,
    /// F1 of ROUGE-1.
    Rouge1,
    /// F1 of ROUGE-2.
    Rouge2,
    /// F1 of ROUGE-L.
    RougeL,
    /// Exact match of answers.
    ExactMatch,
    /// F1 of the words of answers.
    F1,
    /// Share of questions whose likeliest choice is the right one.
    Acc,
    /// The same by log-likelihood for each character of a choice.
    AccNorm,
    /// Of scores of rows: the linear datamodeling score of a query.
    Lds,
    /// Rank correlation of scores with what is lost without a row or a group.
    LeaveOutSpearman,
    /// The same by Pearson's correlation.
    LeaveOutPearson,
    /// What a query's output loses without the rows that are ranked highest.
    Removal,
    /// Whether a right answer becomes wrong without them.
    Flipped,
    /// Area under the ROC curve of wrong labels.
    FlipAuc,
}

impl Metric {
    /// Those of texts, in the order of [`TextScores`].
    pub const OF_TEXTS: [Metric; 7] = [
        Metric::Bleu1,
        Metric::Bleu2,
        Metric::Rouge1,
        Metric::Rouge2,
        Metric::RougeL,
        Metric::ExactMatch,
        Metric::F1,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// Its name in tables.
    pub fn label(self) -> &'static str {
        self.names().1
    }

    /// Its names in files and in tables.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Metric::Bleu1 => ("bleu1", "BLEU1"),
            Metric::Bleu2 => ("bleu2", "BLEU2"),
            Metric::Rouge1 => ("rouge1", "ROUGE1"),
            Metric::Rouge2 => ("rouge2", "ROUGE2"),
            Metric::RougeL => ("rougeL", "ROUGEL"),
            Metric::ExactMatch => ("exact_match", "Exact match"),
            Metric::F1 => ("f1", "F1"),
            Metric::Acc => ("acc", "Accuracy"),
            Metric::AccNorm => ("acc_norm", "Accuracy (normalised)"),
            Metric::Lds => ("lds", "LDS"),
            Metric::LeaveOutSpearman => ("leave_out_spearman", "Leave-out (Spearman)"),
            Metric::LeaveOutPearson => ("leave_out_pearson", "Leave-out (Pearson)"),
            Metric::Removal => ("removal", "Lost by removal"),
            Metric::Flipped => ("flipped", "Wrong after removal"),
            Metric::FlipAuc => ("flip_auc", "AUC of flipped labels"),
        }
    }

    /// Whether a value says right or wrong: 0 or 1, or of several answers a share of them.
    pub(crate) fn is_share(self) -> bool {
        matches!(self, Metric::ExactMatch | Metric::Acc | Metric::AccNorm | Metric::Flipped)
    }
}

impl serde::Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextScores {
    /// In the order of [`Metric::OF_TEXTS`], each in [0, 1].
    pub values: [f64; 7],
    /// What BLEU of a corpus is computed from.
    pub bleu: BleuCounts,
}

/// Compares a text with its references.
pub fn text_scores(text: &str, references: &[&str]) -> TextScores {
    let bleu = BleuCounts::of(text, references);
    let words = RougeWords::of(text);
    let references_words: Vec<RougeWords> = references.iter().map(|text| RougeWords::of(text)).collect();
    let nearest = |of: &dyn Fn(&RougeWords) -> Overlap| {
        references_words.iter().map(|reference| of(reference).f1).fold(0.0, f64::max)
    };
    let values = [
        bleu.score(1),
        bleu.score(2),
        nearest(&|reference| words.rouge_n(reference, 1)),
        nearest(&|reference| words.rouge_n(reference, 2)),
        nearest(&|reference| words.rouge_l(reference)),
        Normal::Squad.exact_match(text, references),
        f1(Normal::Squad, text, references),
    ];
    TextScores { values, bleu }
}
