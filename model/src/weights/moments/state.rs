//! Lookup of each tensor's entry in an optimizer state, in any of the keyings.

use std::collections::BTreeMap;

use super::error::MomentsError;
use super::trained::{TrainedTensor, group_order};
use crate::files::TorchArchive;
use crate::files::names;
use crate::files::pickle::PickleValue;

/// For each tensor, where it stands among the entries of `state`, if it does.
pub(super) fn find(
    archive: &TorchArchive,
    trained: &[TrainedTensor],
) -> Result<Vec<Option<usize>>, MomentsError> {
    let entries = entries(archive)?;
    match entries.first() {
        None => Err(not_a_state(
            archive,
            "\"state\" is empty: the optimizer took no step, or keeps nothing, as SGD without momentum",
        )),
        Some((PickleValue::Str(_), _)) => {
            let named = entries.iter().enumerate();
            by_name(archive, named.map(|(at, (key, _))| (key.as_str().unwrap_or_default(), at)), trained)
        }
        Some((PickleValue::Int(_), _)) => by_index(archive, entries, trained),
        Some(_) => Err(not_a_state(archive, "the keys of \"state\" are neither numbers nor names")),
    }
}

/// Keys and values of `state`.
pub(super) fn entries(archive: &TorchArchive) -> Result<&[(PickleValue, PickleValue)], MomentsError> {
    let state = archive.root().get("state").ok_or_else(|| not_a_state(archive, "it has no key \"state\""))?;
    state.entries().ok_or_else(|| not_a_state(archive, "\"state\" is not a dict"))
}

/// The settings of the parameter groups.
pub(super) fn settings(archive: &TorchArchive) -> &[PickleValue] {
    archive.root().get("param_groups").and_then(PickleValue::items).unwrap_or_default()
}

/// The number of each parameter group that has one under this key.
pub(super) fn group_values(archive: &TorchArchive, key: &str) -> Vec<f64> {
    settings(archive).iter().filter_map(|group| group.get(key)?.as_f64()).collect()
}

/// Whether a parameter group has `True` under this key.
pub(super) fn is_set(archive: &TorchArchive, key: &str) -> bool {
    settings(archive).iter().any(|group| group.get(key) == Some(&PickleValue::Bool(true)))
}

fn not_a_state(archive: &TorchArchive, message: &str) -> MomentsError {
    MomentsError::NotAState { path: archive.path().to_owned(), message: message.to_owned() }
}

fn mismatch(archive: &TorchArchive, message: String) -> MomentsError {
    MomentsError::Mismatch { path: archive.path().to_owned(), message }
}

/// `named`: the parameters that have a state, each with the place of that.
fn by_name<'a>(
    archive: &TorchArchive,
    named: impl Iterator<Item = (&'a str, usize)>,
    trained: &[TrainedTensor],
) -> Result<Vec<Option<usize>>, MomentsError> {
    let mut places = BTreeMap::new();
    for (name, at) in named {
        let name = names::canonical(name);
        if places.contains_key(&name) {
            return Err(mismatch(archive, format!("it names {name} twice")));
        }
        places.insert(name, at);
    }
    let mut found = Vec::with_capacity(trained.len());
    for tensor in trained {
        let mut names = std::iter::once(&tensor.spec.name).chain(&tensor.aliases);
        found.push(names.find_map(|name| places.remove(name)));
    }
    let Some(extra) = places.keys().next() else { return Ok(found) };
    let missing = trained.iter().zip(&found).find(|(_, place)| place.is_none());
    let missing = missing.map_or(String::new(), |(t, _)| format!("it has none for {}; ", t.spec.name));
    Err(mismatch(archive, format!("{missing}it has some for {extra}, which the checkpoint lacks")))
}

fn by_index(
    archive: &TorchArchive,
    entries: &[(PickleValue, PickleValue)],
    trained: &[TrainedTensor],
) -> Result<Vec<Option<usize>>, MomentsError> {
    let groups = groups(archive.root())
        .ok_or_else(|| not_a_state(archive, "it has no param_groups that list the parameters"))?;
    let places: BTreeMap<i64, usize> =
        entries.iter().enumerate().filter_map(|(at, (key, _))| Some((key.as_int()?, at))).collect();
    // Names are what was numbered; the order of the tensors and their shapes only suggest it.
    if groups.iter().any(|group| group.names.is_some()) {
        let mut named = Vec::new();
        for Group { numbers, names } in &groups {
            let names = names.unwrap_or_default();
            if names.len() != numbers.len() {
                return Err(not_a_state(archive, "its param_names do not name each of its params"));
            }
            named.extend(names.iter().zip(numbers).filter_map(|(name, number)| {
                Some((name.as_str().unwrap_or_default(), *places.get(number)?))
            }));
        }
        return by_name(archive, named.into_iter(), trained);
    }
    let sizes: Vec<usize> = groups.iter().map(|group| group.numbers.len()).collect();
    let order = group_order(trained, &sizes).map_err(|message| mismatch(archive, message))?;
    let mut found = vec![None; trained.len()];
    for (tensor, number) in order.into_iter().zip(groups.iter().flat_map(|group| &group.numbers)) {
        found[tensor] = places.get(number).copied();
    }
    Ok(found)
}

struct Group<'a> {
    /// The numbers of its parameters.
    numbers: Vec<i64>,
    /// Their names, which torch 2.6 and newer save where the optimizer was given them.
    names: Option<&'a [PickleValue]>,
}

fn groups(root: &PickleValue) -> Option<Vec<Group<'_>>> {
    let groups = root.get("param_groups")?.items()?.iter().map(|group| {
        let numbers = group.get("params")?.items()?.iter().map(PickleValue::as_int).collect::<Option<_>>()?;
        Some(Group { numbers, names: group.get("param_names").and_then(PickleValue::items) })
    });
    groups.collect()
}
