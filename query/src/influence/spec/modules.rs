//! Module selection and module weights.
//!
//! Vectors that keep their module groups are compared in the inner product
//! `<t, q>_w = sum over modules m of w_m <t_m, q_m>`; its cosine uses the lengths of the same product.
//! Without a selection every weight is one.

use std::str::FromStr;
use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use gstore_store::{FeaturePart, ModuleGroup};

use crate::error::QueryError;

/// A selection of modules: globs over their names with weights; of several that match a module the last
/// counts, and a module that none matches counts nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleWeights {
    text: String,
    globs: Vec<(Pattern, f64)>,
}

impl FromStr for ModuleWeights {
    type Err = QueryError;

    /// `*.mlp.*`, or several with weights: `*.mlp.*=1, *.self_attn.*=0.5`.
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let refuse = |part: &str, why: &str| QueryError::Spec(format!("modules => '{part}': {why}"));
        let mut globs = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (glob, weight) = match part.rsplit_once('=') {
                Some((glob, weight)) => {
                    let weight: f64 =
                        weight.trim().parse().map_err(|_| refuse(part, "the weight is not a number"))?;
                    (glob.trim(), weight)
                }
                None => (part, 1.0),
            };
            if glob.is_empty() {
                return Err(refuse(part, "write a glob over module names, such as *.mlp.*"));
            }
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(refuse(part, "weights are finite and not negative"));
            }
            let pattern = Pattern::new(glob).map_err(|error| refuse(part, &error.to_string()))?;
            globs.push((pattern, weight));
        }
        Ok(Self { text: text.to_owned(), globs })
    }
}

fn matches(glob: &Pattern, group: &ModuleGroup) -> bool {
    glob.matches_with(&group.name, MatchOptions::new())
}

impl ModuleWeights {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn weight(&self, group: &ModuleGroup) -> f64 {
        let matching = self.globs.iter().rfind(|(glob, _)| matches(glob, group));
        matching.map_or(0.0, |(_, weight)| *weight)
    }

    /// An error where a feature cannot be asked by module, has none of them, or none that a glob with a weight
    /// is meant for.
    pub(crate) fn check(&self, feature: &FeaturePart, name: &str) -> Result<(), QueryError> {
        let groups = &feature.attrs.groups;
        if let [only] = &groups[..]
            && only.name == "all"
        {
            return Err(QueryError::Spec(format!(
                "{name} was projected as one vector, so its modules cannot be told apart; ingest a projection that keeps them \
                 (fact_sjlt, two_sided, fact_mask, mask, ekfac, none)"
            )));
        }
        let unmatched = |(glob, weight): &&(Pattern, f64)| {
            *weight > 0.0 && !groups.iter().any(|group| matches(glob, group))
        };
        let wrong = match self.globs.iter().find(unmatched) {
            Some((glob, _)) => format!("modules => '{glob}' matches no module of {name}"),
            None if groups.iter().all(|group| self.weight(group) == 0.0) => {
                format!("modules => '{}' leaves nothing of {name}", self.text)
            }
            None => return Ok(()),
        };
        let some: Vec<&str> = groups.iter().take(4).map(|group| group.name.as_str()).collect();
        let count = groups.len();
        Err(QueryError::Spec(format!("{wrong}; it has {count} modules, for example {}", some.join(", "))))
    }
}

/// The weight of each module group of a feature.
pub(crate) fn weights(modules: Option<&ModuleWeights>, feature: &FeaturePart) -> Vec<f64> {
    let weight = |group| modules.map_or(1.0, |modules| modules.weight(group));
    feature.attrs.groups.iter().map(weight).collect()
}

pub(crate) fn counts(modules: Option<&ModuleWeights>, group: &ModuleGroup) -> bool {
    modules.is_none_or(|modules| modules.weight(group) != 0.0)
}

/// The module groups that count.
pub(crate) fn used_groups(modules: &[f64], used: &mut Vec<usize>) {
    used.clear();
    used.extend((0..modules.len()).filter(|group| modules[*group] != 0.0));
}

/// The first two features whose coordinates belong to other modules, and how. Those of one space agree, so
/// one of them is not what it says it is, and what a module contributes could not be told.
pub(crate) fn different(features: &[Arc<FeaturePart>]) -> Option<(&FeaturePart, &FeaturePart, String)> {
    let (first, others) = features.split_first()?;
    let own = &first.attrs.groups;
    let other = others.iter().find(|other| other.attrs.groups != *own)?;
    let at = own.iter().zip(&other.attrs.groups).take_while(|(a, b)| a == b).count();
    let show = |groups: &[ModuleGroup]| match groups.get(at) {
        Some(g) => format!("`{}` with {} coordinates from {}", g.name, g.len, g.start),
        None => "none".to_owned(),
    };
    let difference = format!("module group {}: {} against {}", at + 1, show(own), show(&other.attrs.groups));
    Some((first, other, difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> ModuleGroup {
        ModuleGroup { name: name.to_owned(), start: 0, len: 1 }
    }

    #[test]
    fn the_last_glob_that_matches_counts() {
        let modules: ModuleWeights = "*.mlp.*, *.down_proj = 0.5,lm_head=2".parse().unwrap();
        assert_eq!(modules.weight(&group("model.layers.0.mlp.up_proj")), 1.0);
        assert_eq!(modules.weight(&group("model.layers.0.mlp.down_proj")), 0.5);
        assert_eq!(modules.weight(&group("lm_head")), 2.0);
        assert_eq!(modules.weight(&group("model.layers.0.self_attn.q_proj")), 0.0);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a,,b", "x=-1", "x=nan", "x=heavy", "[", "=2"] {
            assert!(text.parse::<ModuleWeights>().is_err(), "{text}");
        }
    }
}
