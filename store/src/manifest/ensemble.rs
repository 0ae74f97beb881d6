//! An ensemble part: models of one origin, in order, whose losses belong together.

use super::Extra;
use super::part::{Part, mismatch};
use gstore_core::CheckpointId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashSet;
use uuid::Uuid;

/// The model that the members of an ensemble started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsembleBase {
    /// The checkpoint's id where its weights are at hand, else any text, such as the name that a provider
    /// gave it.
    pub id: String,
    /// Name or folder of the base model, for people and for finding it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Folder of the adapter on it, if theta_0 has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// How far and how fast a member was moved away from theta_0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MemberSettings {
    /// Scale of the noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// Weight of the term that holds it near theta_0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Steps of the optimizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// The samples that a member was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsetNote {
    /// How many.
    pub size: u64,
    /// Digest of their ids in the order in which they were used.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// The weights of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberWeights {
    /// Their hash.
    pub checkpoint: CheckpointId,
    /// Where they are, unless they were not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// A model of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id, which no other member has.
    pub id: String,
    /// Id of its theta_0. Members of one group may be compared as they are.
    pub group: String,
    /// What its randomness was derived from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `if`, `efim`, `trak`, `subset` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Its hyperparameters.
    #[serde(flatten)]
    pub settings: MemberSettings,
    /// The samples that it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<SubsetNote>,
    /// Its weights, unless it is only known by its losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<MemberWeights>,
    /// Anything more, for people.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub provenance: Map<String, Value>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Member {
    /// A member of which nothing is known but its id and its theta_0.
    pub fn new(id: impl Into<String>, group: impl Into<String>) -> Self {
        Member {
            id: id.into(),
            group: group.into(),
            seed: None,
            variant: None,
            settings: MemberSettings::default(),
            subset: None,
            weights: None,
            provenance: Map::new(),
            extra: Extra::new(),
        }
    }

    /// Whether another description is of the same member: nothing of it contradicts.
    pub(crate) fn is_same(&self, other: &Member) -> bool {
        self.id == other.id && self.clone().merge(other).is_none()
    }

    /// Takes over what another description of the same member has more. Gives the name of what
    /// contradicts, if anything does; nothing is changed then.
    pub(crate) fn merge(&mut self, other: &Member) -> Option<&'static str> {
        let mut all = self.clone();
        let (own, new) = (&mut all.settings, &other.settings);
        let contradicts = match () {
            () if all.group != other.group => Some("theta_0"),
            () if !take(&mut all.seed, &other.seed) => Some("seed"),
            () if !take(&mut all.variant, &other.variant) => Some("variant"),
            () if !take(&mut own.rho, &new.rho) => Some("rho"),
            () if !take(&mut own.gamma, &new.gamma) => Some("gamma"),
            () if !take(&mut own.lr, &new.lr) => Some("learning rate"),
            () if !take(&mut own.steps, &new.steps) => Some("number of steps"),
            () if !take(&mut all.subset, &other.subset) => Some("subset"),
            () => None,
        };
        if contradicts.is_some() {
            return contradicts;
        }
        match (&mut all.weights, &other.weights) {
            (Some(own), Some(new)) if own.checkpoint != new.checkpoint => return Some("weights"),
            (Some(own), Some(new)) => own.folder = new.folder.clone().or_else(|| own.folder.take()),
            (own, new) => *own = own.take().or_else(|| new.clone()),
        }
        all.provenance.extend(other.provenance.clone());
        *self = all;
        None
    }
}

/// Fills in what is not known yet. False if the two contradict each other.
fn take<T: Clone + PartialEq>(own: &mut Option<T>, new: &Option<T>) -> bool {
    if own.is_none() {
        own.clone_from(new);
    }
    new.is_none() || own == new
}

/// An ensemble in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnsemblePart {
    pub(crate) version: u32,
    pub(crate) requires: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// What its features know it by.
    pub uuid: Uuid,
    /// Where its members come from.
    pub base: EnsembleBase,
    /// Its members. They are only ever appended: a member's place is what its losses are stored under.
    pub members: Vec<Member>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl EnsemblePart {
    pub(crate) fn new(name: &str, number: u32, base: EnsembleBase) -> Self {
        EnsemblePart {
            version: super::VERSION,
            requires: Vec::new(),
            name: name.to_owned(),
            number,
            uuid: Uuid::new_v4(),
            base,
            members: Vec::new(),
            extra: Extra::new(),
        }
    }

    /// The member of an id, and its place.
    pub fn member(&self, id: &str) -> Option<(usize, &Member)> {
        self.members.iter().enumerate().find(|(_, member)| member.id == id)
    }

    /// The group of each member as a number: those of one theta_0 have the same, from 0 in the order of their
    /// first members.
    pub fn groups(&self) -> Vec<usize> {
        let mut seen: Vec<&str> = Vec::new();
        let mut number = |group| match seen.iter().position(|known| *known == group) {
            Some(at) => at,
            None => {
                seen.push(group);
                seen.len() - 1
            }
        };
        self.members.iter().map(|member| number(member.group.as_str())).collect()
    }
}

impl Part for EnsemblePart {
    fn stem(&self) -> String {
        format!("ensemble-{}", self.number)
    }

    fn problem(&self) -> Option<(String, String, String)> {
        let mut seen = HashSet::new();
        let twice = self.members.iter().find(|member| !seen.insert(member.id.as_str()))?;
        mismatch(format!("member {:?} of ensemble {}", twice.id, self.name), "each id once", "one twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { seed: Some(7), ..Member::new(id, "base") }
    }

    #[test]
    fn a_member_takes_weights_and_notes_but_no_contradiction() {
        let weights = |byte: u8, folder: Option<&str>| MemberWeights {
            checkpoint: CheckpointId::of_hash(&[byte; 32]),
            folder: folder.map(str::to_owned),
        };
        let mut known = member("a");
        let trained = Member { weights: Some(weights(1, None)), ..member("a") };
        assert_eq!(known.merge(&trained), None);
        assert_eq!(known, trained);
        let mut kept = Member { weights: Some(weights(1, Some("out/a"))), ..member("a") };
        kept.provenance.insert("host".into(), "b".into());
        assert_eq!(known.merge(&kept), None);
        assert_eq!(known.merge(&trained), None);
        assert_eq!(known, kept, "an older description takes nothing away");
        let other = Member { weights: Some(weights(2, None)), ..member("a") };
        assert_eq!(known.merge(&other), Some("weights"));
        let other = Member { seed: Some(8), ..kept.clone() };
        assert_eq!(known.merge(&other), Some("seed"));
        assert_eq!(known, kept);
    }

    #[test]
    fn groups_are_numbered_and_ids_are_unique() {
        let mut part = EnsemblePart::new("e", 1, EnsembleBase { id: "x".into(), name: None, adapter: None });
        for (id, group) in [("a", "x"), ("b", "y"), ("c", "x")] {
            part.members.push(Member::new(id, group));
        }
        assert_eq!(part.groups(), [0, 1, 0]);
        assert_eq!(part.member("b").map(|(at, _)| at), Some(1));
        assert!(part.problem().is_none());
        part.members.push(Member::new("a", "x"));
        assert!(part.problem().is_some_and(|p| p.0.contains("\"a\"")));
        part.members[1].settings.lr = Some(3e-4);
        part.members[2].extra.insert("later".into(), 7.into());
        let text = serde_json::to_string(&part).unwrap();
        assert_eq!(serde_json::from_str::<EnsemblePart>(&text).unwrap(), part, "{text}");
    }
}
