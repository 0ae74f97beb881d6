//! Feature kinds: the one table of features that can be computed of a sample.

use std::fmt;
use std::str::FromStr;

use crate::nearest::did_you_mean;

/// Where the values of a kind come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KindSource {
    /// The gradient of the sample's loss.
    Gradient(GradientForm),
    /// Hidden states of the sample's tokens.
    Embedding(Pooling),
    /// The loss over the scored tokens.
    Loss,
    /// The entropy of the model's predictions of the scored tokens.
    Entropy,
    /// What the projection of the gradient leaves out.
    Residual,
}

/// What a gradient becomes before it is projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GradientForm {
    /// The gradient itself.
    Plain,
    /// The step that Adam would take (LESS).
    Adam,
    /// Its signs.
    Sign,
    /// Divided by the root of Adam's second moment.
    Normalised,
}

/// How hidden states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the last token.
    Last,
    /// Their mean, the n-th weighted by n.
    Weighted,
}

impl Pooling {
    /// The name in a feature's space.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Last => "last",
            Self::Weighted => "weighted_mean",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal from $source:expr;)*) => {
        /// A feature kind that the engine computes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds, in the order of the help.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name on the command line and in the store.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// Where its values come from.
            pub const fn source(self) -> KindSource {
                match self { $(Self::$kind => $source),* }
            }
        }
    };
}

kinds! {
    /// The step that Adam would take (LESS).
    GradAdam = "grad-adam" from KindSource::Gradient(GradientForm::Adam);
    /// The gradient.
    GradSgd = "grad-sgd" from KindSource::Gradient(GradientForm::Plain);
    /// Signs of the gradient.
    GradSign = "grad-sign" from KindSource::Gradient(GradientForm::Sign);
    /// The gradient over the root of Adam's second moment.
    GradNormalised = "grad-normalised" from KindSource::Gradient(GradientForm::Normalised);
    /// Mean over the tokens of the final hidden state.
    EmbedMean = "embed-mean" from KindSource::Embedding(Pooling::Mean);
    /// Final hidden state of the last token.
    EmbedLast = "embed-last" from KindSource::Embedding(Pooling::Last);
    /// Mean of the final hidden states, the n-th weighted by n.
    EmbedWeighted = "embed-weighted" from KindSource::Embedding(Pooling::Weighted);
    /// Loss over the scored tokens.
    Loss = "loss" from KindSource::Loss;
    /// Entropy of the predictions of the scored tokens, in nats.
    Entropy = "entropy" from KindSource::Entropy;
    /// Of each module the length of the gradient outside of its block of an eigenbasis, and of all of it.
    Residual = "residual" from KindSource::Residual;
}

/// Beginnings of the names of gradients and embeddings, also of those that were imported.
const GRADIENT: &str = "grad";
const EMBEDDING: &str = "embed";

impl Kind {
    /// Whether it is made from a gradient, and compared as one.
    pub const fn is_gradient(self) -> bool {
        matches!(self.source(), KindSource::Gradient(_))
    }

    /// Whether a gradient has to be computed for it.
    pub const fn takes_gradient(self) -> bool {
        matches!(self.source(), KindSource::Gradient(_) | KindSource::Residual)
    }

    /// Whether it is made from hidden states.
    pub const fn is_embedding(self) -> bool {
        matches!(self.source(), KindSource::Embedding(_))
    }

    /// Whether it is stored in full, whatever the type of vectors: all but gradients and embeddings are.
    pub const fn is_full(self) -> bool {
        !matches!(self.source(), KindSource::Gradient(_) | KindSource::Embedding(_))
    }

    /// Whether an optimizer's moments enter.
    pub const fn needs_moments(self) -> bool {
        matches!(self.source(), KindSource::Gradient(GradientForm::Adam | GradientForm::Normalised))
    }

    /// The names of all kinds, for help and messages.
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
        names.join(", ")
    }

    /// Whether a name is that of a gradient, computed here or elsewhere.
    pub fn names_gradient(name: &str) -> bool {
        name.starts_with(GRADIENT)
    }

    /// Whether a name is that of a kind that is computed here. Vectors of any other come from elsewhere, as
    /// uploads do.
    pub fn names_computed(name: &str) -> bool {
        name.parse::<Self>().is_ok()
    }

    /// Whether a name is that of an embedding, computed here or elsewhere.
    pub fn names_embedding(name: &str) -> bool {
        name.starts_with(EMBEDDING)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is that of no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no feature kind `{0}`; known are {known}{nearest}", known = Kind::names(), nearest = nearest_kind(.0))]
pub struct UnknownKind(pub String);

fn nearest_kind(name: &str) -> String {
    did_you_mean(name, Kind::ALL.iter().map(|kind| kind.name()))
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let named = Self::ALL.iter().find(|kind| kind.name() == name);
        named.copied().ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_kind_is() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(Kind::names_gradient(kind.name()), kind.is_gradient(), "{kind}");
            assert_eq!(Kind::names_embedding(kind.name()), kind.is_embedding(), "{kind}");
        }
        let unknown = "grad-adm".parse::<Kind>().unwrap_err().to_string();
        assert!(
            unknown.starts_with("there is no feature kind `grad-adm`; known are grad-adam, grad-sgd, "),
            "{unknown}"
        );
        let slip = "grad_sgd".parse::<Kind>().unwrap_err().to_string();
        assert!(slip.ends_with("; did you mean `grad-sgd`?"), "{slip}");
    }
}
