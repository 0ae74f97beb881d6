//! The features of each checkpoint that fit together: of one space, with comparable attributes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gstore_core::Remedy;
use gstore_store::{
    CheckpointId, DatasetPart, EncodingSpec, FeaturePart, FeatureState, Granularity, Preconditioned,
    Snapshot, Space,
};

use super::checkpoints::PlanCheckpoint;
use super::conversation::{Shapes, form, writes_roles};
use super::projection::projection_options;
use super::resolve::QuestionDataset;
use crate::error::{QueryError, SideOf};
use crate::influence::spec::modules;
use crate::influence::spec::{InfluenceSpec, Sim};

/// For one checkpoint the feature of every side: those of the only space that all sides have, and of several
/// those whose texts were made [`alike`], with what a user should know of that. `all` are the checkpoints of
/// the question.
pub(super) fn fit(
    snapshot: &Snapshot,
    sides: &[QuestionDataset],
    checkpoint: &PlanCheckpoint,
    all: &[PlanCheckpoint],
    spec: &InfluenceSpec,
) -> Result<(Vec<Arc<FeaturePart>>, Option<String>), QueryError> {
    let place = &checkpoint.name;
    let lists = lists(sides, &checkpoint.id);
    if let Some(at) = lists.iter().position(|list| list.is_empty()) {
        return Err(sides[at].lacks_feature(place, "the other side has one"));
    }
    let common = common(&lists);
    if common.is_empty() {
        return Err(different(snapshot, &lists));
    }
    let lists = within(&lists, &common);
    let (chosen, note) = match lists.iter().any(|list| list.len() > 1) {
        false => (lists.concat(), None),
        true => {
            let alike = alike(snapshot, sides, &lists);
            let (chosen, note) = alike.ok_or_else(|| ambiguous(sides, &lists, place, all))?;
            (chosen, Some(note))
        }
    };
    let chosen: Vec<Arc<FeaturePart>> = chosen.into_iter().cloned().collect();
    debug_assert!(chosen.windows(2).all(|pair| pair[0].desc.space.id() == pair[1].desc.space.id()));
    check_attributes(snapshot, &chosen, spec)?;
    Ok((chosen, note))
}

/// Of sides of which some have several features those whose texts were made as the pools' were, and what a
/// user should know of it: where all pools have one form of texts, or all sides together do. Of pools without
/// a common form the first one with roles says what the form is. Without targets it is the one with roles, if
/// a pool has conversations beside prompts with completions. `None` where a choice remains. Records are read
/// only where encodings alone leave one: prompts with completions have one form more, without roles.
fn alike<'a>(
    snapshot: &Snapshot,
    sides: &[QuestionDataset],
    lists: &[Vec<&'a Arc<FeaturePart>>],
) -> Option<(Vec<&'a Arc<FeaturePart>>, String)> {
    let pools = sides.iter().filter(|side| side.of == SideOf::Pool).count();
    let shapes = |side: &QuestionDataset| -> Shapes {
        // Records that cannot be read are the trouble of who reads them: the answer takes vectors.
        side.shapes.of(snapshot, &side.dataset).unwrap_or_default()
    };
    let is_bare = |side: &QuestionDataset, feature: &FeaturePart| {
        spec_of(sides, feature).is_some_and(|spec| !writes_roles(spec) && shapes(side).bare(spec) > 0)
    };
    let has_roles = |at: &usize| {
        let mut specs = lists[*at].iter().filter_map(|feature| spec_of(sides, feature));
        specs.any(|spec| shapes(&sides[*at]).have_roles(spec))
    };
    // With the pool whose form decides, where they have none in common.
    let choose = |by_records: bool| -> Option<(Vec<&'a Arc<FeaturePart>>, Option<usize>)> {
        let texts_of =
            |(side, list): (&QuestionDataset, &Vec<&'a Arc<FeaturePart>>)| -> Vec<(bool, TextForm)> {
                let text = |f: &&'a Arc<FeaturePart>| (by_records && is_bare(side, f), text_of(sides, f));
                list.iter().map(text).collect()
            };
        let texts: Vec<Vec<(bool, TextForm)>> = sides.iter().zip(lists).map(texts_of).collect();
        let common = |texts: &[Vec<(bool, TextForm)>]| -> BTreeSet<(bool, TextForm)> {
            let sets = texts.iter().map(|texts| texts.iter().cloned().collect::<BTreeSet<_>>());
            sets.reduce(|a, b| &a & &b).unwrap_or_default()
        };
        let (of_pools, of_targets) = texts.split_at(pools);
        let (mut forms, mut leading) = (common(of_pools), None);
        if forms.is_empty() && by_records {
            let first = (0..pools).find(has_roles)?;
            (forms, leading) = (common(&of_pools[first..=first]), Some(first));
        }
        let mixed = || (0..pools).find(|at| shapes(&sides[*at]).are_mixed());
        if forms.len() > 1 && !of_targets.is_empty() {
            forms = &forms & &common(of_targets);
        } else if forms.len() > 1 && by_records && mixed().is_some() {
            leading = mixed();
            forms.retain(|(is_bare, _)| !is_bare);
        }
        let wanted = forms.first().filter(|_| forms.len() == 1)?;
        let only = |(list, texts): (&Vec<&'a Arc<FeaturePart>>, &Vec<(bool, TextForm)>)| {
            let mut fitting = list.iter().zip(texts).filter(|(_, text)| list.len() == 1 || *text == wanted);
            let (only, _) = fitting.next()?;
            fitting.next().is_none().then_some(*only)
        };
        let chosen = lists.iter().zip(&texts).map(only).collect::<Option<_>>()?;
        Some((chosen, leading))
    };
    let (chosen, leading) = choose(false).or_else(|| choose(true))?;
    let spaces: BTreeSet<String> = chosen.iter().map(|f| f.desc.space.id()).collect();
    if spaces.len() > 1 {
        return None;
    }
    let several = sides.iter().zip(lists).zip(&chosen).filter(|((_, list), _)| list.len() > 1);
    let used = several.map(|((side, list), feature)| {
        let options = text_options(&side.dataset, feature, list);
        format!("of `{}` the {} features{options}", side.dataset.name, side.kind)
    });
    let used: BTreeSet<String> = used.collect();
    let why = match leading {
        Some(_) if sides.len() == 1 => {
            "write also prompts with completions as conversations, which others of its samples are".to_owned()
        }
        Some(at) => format!("fit those of the pool `{}`, the first of conversations", sides[at].dataset.name),
        None => "fit the texts they are compared with".to_owned(),
    };
    let note = format!(
        "{} are used, which {why}; `features => 'NUMBERS'` names others",
        Vec::from_iter(used).join(" and ")
    );
    Some((chosen, note))
}

fn lists<'a>(sides: &'a [QuestionDataset], checkpoint: &CheckpointId) -> Vec<&'a [Arc<FeaturePart>]> {
    sides.iter().map(|side| side.features.get(checkpoint).map_or(&[][..], Vec::as_slice)).collect()
}

/// The spaces that all sides have.
fn common(lists: &[&[Arc<FeaturePart>]]) -> BTreeSet<String> {
    let spaces = lists.iter().map(|list| list.iter().map(|f| f.desc.space.id()).collect::<BTreeSet<_>>());
    spaces.reduce(|a, b| &a & &b).unwrap_or_default()
}

/// The features of each side that are in these spaces.
fn within<'a>(lists: &[&'a [Arc<FeaturePart>]], spaces: &BTreeSet<String>) -> Vec<Vec<&'a Arc<FeaturePart>>> {
    lists.iter().map(|list| list.iter().filter(|f| spaces.contains(&f.desc.space.id())).collect()).collect()
}

/// The error for sides of which some have several features of a common space, each with the text
/// options that the others were not made with: the hash of an encoding does not tell. The ways out are
/// those for all checkpoints.
fn ambiguous(
    sides: &[QuestionDataset],
    chosen: &[Vec<&Arc<FeaturePart>>],
    place: &str,
    all: &[PlanCheckpoint],
) -> QueryError {
    // A dataset may be on both sides, so features are told apart by their numbers.
    let mut candidates = BTreeMap::new();
    for (side, list) in sides.iter().zip(chosen).filter(|(_, list)| list.len() > 1) {
        for feature in list {
            candidates
                .insert(feature.number, describe(feature) + &text_options(&side.dataset, feature, list));
        }
    }
    let kinds: BTreeSet<&str> = sides.iter().map(|side| side.kind.as_str()).collect();
    let (keep, remove) = ways_out(sides, all);
    QueryError::Ambiguous {
        what: format!("the choice of {} features at {place}", Vec::from_iter(kinds).join(" and ")),
        candidates: candidates.into_values().collect::<Vec<_>>().join("; "),
        keep: keep.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        remove: remove.iter().map(u32::to_string).collect(),
    }
}

/// How the texts of a feature were made where another one of the list has others, behind a `with`.
fn text_options(dataset: &DatasetPart, feature: &FeaturePart, list: &[&Arc<FeaturePart>]) -> String {
    let Some(own) = dataset.encoding(&feature.desc.encoding) else { return String::new() };
    let mut options: Vec<String> = Vec::new();
    for other in list.iter().filter_map(|other| dataset.encoding(&other.desc.encoding)) {
        for option in own.spec.options_unlike(&other.spec) {
            if !options.contains(&option) {
                options.push(option);
            }
        }
    }
    if options.is_empty() { String::new() } else { format!(" with {}", options.join(", ")) }
}

/// The features to name, and those in place of which they would be used. Of a dataset with a choice
/// somewhere, or with named features, they are those of all checkpoints: others are not used once some are
/// named. They are of one family (see [`family`]) wherever it has one: checkpoints in two spaces would be
/// summed as one score. Of spaces, and of each side's families within one, it is that with the most
/// checkpoints and rows; of equal ones the one with which most features of other sides share the form of
/// texts, their length, precision and projection; then the one that writes roles also around pairs, else the
/// first that was made.
fn ways_out(sides: &[QuestionDataset], all: &[PlanCheckpoint]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let places: Vec<_> = all
        .iter()
        .map(|checkpoint| {
            let lists = lists(sides, &checkpoint.id);
            let common = common(&lists);
            (within(&lists, &common), common)
        })
        .collect();
    // A dataset may be on both sides, so features are told apart by their numbers.
    let of_question: BTreeMap<u32, &Arc<FeaturePart>> =
        places.iter().flat_map(|(lists, _)| lists.iter().flatten()).map(|f| (f.number, *f)).collect();
    let mut families: BTreeMap<String, Vec<&Arc<FeaturePart>>> = BTreeMap::new();
    for feature in of_question.values() {
        families.entry(family(feature)).or_default().push(feature);
    }
    let peers = |feature: &FeaturePart| {
        let text = text_of(sides, feature);
        let like = |other: &&&Arc<FeaturePart>| {
            let (a, b) = (&feature.desc, &other.desc);
            let is_other = (&a.dataset, &a.kind.name) != (&b.dataset, &b.kind.name);
            let made =
                (a.dtype, &a.compute, &a.space.projection) == (b.dtype, &b.compute, &b.space.projection);
            is_other && made && text == text_of(sides, other)
        };
        of_question.values().filter(like).count()
    };
    // Somebody asked for it, and a pool has it by default.
    let is_wanted =
        |feature: &FeaturePart| spec_of(sides, feature).is_some_and(|spec| spec.template == "tulu_chat");
    let ranks: BTreeMap<&str, _> = families
        .iter()
        .filter_map(|(family, features)| {
            let (first, rows) = (features.first()?, features.iter().map(|f| f.rows()).sum::<u64>());
            let rank = (features.len(), rows, peers(first), is_wanted(first), Reverse(first.number));
            Some((family.as_str(), rank))
        })
        .collect();
    // Features of one family and checkpoint differ in nothing that is known here.
    let rank = |feature: &FeaturePart| (ranks.get(family(feature).as_str()), Reverse(feature.number));
    let picked: Vec<Vec<_>> = places
        .iter()
        .map(|(lists, common)| {
            let best_of = |space: &String| best(lists, space, &rank);
            common.iter().map(best_of).map(|picks| (space_family(&picks), picks)).collect()
        })
        .collect();
    let rank_of_space = |space: &str| {
        let of_space = || picked.iter().flatten().filter(move |(other, _)| other == space);
        let picks = || of_space().flat_map(|(_, picks)| picks);
        let rows: u64 = picks().map(|f| f.rows()).sum();
        let peers: usize = picks().map(|f| peers(f)).sum();
        (of_space().count(), rows, peers, Reverse(picks().map(|f| f.number).min()))
    };
    let spaces: BTreeSet<&str> = picked.iter().flatten().map(|(space, _)| space.as_str()).collect();
    let of_spaces: BTreeMap<&str, _> =
        spaces.into_iter().map(|space| (space, rank_of_space(space))).collect();
    let has_choice = |at: usize| {
        let mut of_side = places.iter().filter_map(|(lists, _)| lists.get(at));
        sides.get(at).is_some_and(|side| side.named) || of_side.any(|list| list.len() > 1)
    };
    let (mut keep, mut remove) = (BTreeSet::new(), BTreeSet::new());
    for ((lists, _), of_place) in places.iter().zip(&picked) {
        let picks = of_place.iter().max_by_key(|(space, _)| of_spaces.get(space.as_str()));
        let Some((_, picks)) = picks else { continue };
        let picks: BTreeSet<u32> = picks.iter().map(|f| f.number).collect();
        let of_named = lists.iter().enumerate().filter(|(at, _)| has_choice(*at)).flat_map(|(_, list)| list);
        for feature in of_named {
            let into = if picks.contains(&feature.number) { &mut keep } else { &mut remove };
            into.insert(feature.number);
        }
    }
    (keep, remove)
}

/// What a feature shares with those of the other checkpoints that were made as it was: its identity without
/// what belongs to its checkpoint.
fn family(feature: &FeaturePart) -> String {
    let mut desc = feature.desc.clone();
    (desc.checkpoint, desc.space.checkpoint) = (None, None);
    for of_checkpoint in ["moments", "bias_correction"] {
        desc.kind.params.remove(of_checkpoint);
    }
    desc.key()
}

/// The space of features of one space, without its checkpoint.
fn space_family(features: &[&Arc<FeaturePart>]) -> String {
    let space = features.first().map(|feature| Space { checkpoint: None, ..feature.desc.space.clone() });
    space.map_or_else(String::new, |space| space.id())
}

/// The encoding of a feature, if its dataset has it.
fn spec_of<'a>(sides: &'a [QuestionDataset], feature: &FeaturePart) -> Option<&'a EncodingSpec> {
    let side = sides.iter().find(|side| side.dataset.name == feature.desc.dataset)?;
    Some(&side.dataset.encoding(&feature.desc.encoding)?.spec)
}

/// What of its encoding a feature shares with peers: the form of texts, their system message and tokenizer,
/// and their length.
type TextForm = ((String, Option<String>), Option<String>, String, u32);

fn text_of(sides: &[QuestionDataset], feature: &FeaturePart) -> TextForm {
    match spec_of(sides, feature) {
        Some(spec) => (form(spec), spec.system.clone(), spec.tokenizer.clone(), spec.max_length),
        None => ((feature.desc.encoding.clone(), None), None, String::new(), 0),
    }
}

/// Of each side the feature of a space that ranks first.
fn best<'a, K: Ord>(
    lists: &[Vec<&'a Arc<FeaturePart>>],
    space: &str,
    rank: &impl Fn(&FeaturePart) -> K,
) -> Vec<&'a Arc<FeaturePart>> {
    let of_list = |list: &Vec<&'a Arc<FeaturePart>>| {
        let of_space = list.iter().copied().filter(|f| f.desc.space.id() == space);
        of_space.max_by_key(|f| rank(f))
    };
    lists.iter().filter_map(of_list).collect()
}

/// Refuses checkpoints whose features saw different tokens of the same sample: a position would
/// not mean the same token.
pub(super) fn same_tokens(features: &[Arc<FeaturePart>]) -> Result<(), QueryError> {
    let Some(first) = features.first() else { return Ok(()) };
    if features.iter().all(|feature| feature.desc.encoding == first.desc.encoding) {
        return Ok(());
    }
    Err(QueryError::Spec(format!(
        "the features of tokens of dataset `{}` have different encodings, so their tokens cannot be matched: {}; name \
         checkpoints or features of one",
        first.desc.dataset,
        features.iter().map(|feature| describe(feature)).collect::<Vec<_>>().join("; ")
    )))
}

/// The error for sides that share no space: the first pair that differs, and of projections that are known by
/// more than their digests how to compute the one as the other.
fn different(snapshot: &Snapshot, lists: &[&[Arc<FeaturePart>]]) -> QueryError {
    for list in &lists[1..] {
        for (a, b) in lists[0].iter().flat_map(|a| list.iter().map(move |b| (a, b))) {
            if let Some(difference) = a.desc.space.difference(&b.desc.space) {
                let in_words = difference.starts_with("projection: ").then(|| projections(snapshot, a, b));
                let difference = in_words.flatten().unwrap_or(difference);
                return QueryError::Space { pool: describe(a), target: describe(b), difference };
            }
        }
    }
    QueryError::Spec("no space is common to all pools and targets".into())
}

/// How the projections of two features differ, in words, and how to compute the second as the first.
fn projections(snapshot: &Snapshot, a: &FeaturePart, b: &FeaturePart) -> Option<String> {
    let text = |of: &FeaturePart| Some(of.attrs.provenance.get("projection")?.as_str()?.to_owned());
    let (own, other) = (text(a)?, text(b)?);
    if own == other {
        return None;
    }
    let difference = format!("projection: {own} against {other}");
    let Some(options) = projection_options(&own) else { return Some(difference) };
    let of_projection = ["projection", "dim", "module-dim", "seed", "projection-per-checkpoint"];
    let is_own = |word: &str| of_projection.contains(&word.trim_start_matches('-'));
    let has_own = |command: &String| command.split([' ', '=']).any(is_own);
    let command = snapshot.command_of(b).filter(|command| !has_own(command)).unwrap_or_default();
    let run = b.desc.checkpoint.as_ref().and_then(|id| snapshot.run_with(id));
    let remedy = Remedy::IngestAs {
        dataset: &b.desc.dataset,
        kind: &b.desc.kind.name,
        per_token: b.desc.granularity == Granularity::Token,
        run: run.map_or("", |run| &run.name),
        options: &options,
        command: &command,
    };
    let (pool, target) = (&a.desc.dataset, &b.desc.dataset);
    Some(format!("{difference}; {remedy} computes those of `{target}` as `{pool}` has its own"))
}

/// `#7 pool/grad-adam@checkpoint-112 (f16, dim 8192, projection 12ab34cd, encoding 99fe01aa)`; computed in
/// another precision than f32 it says so.
pub(super) fn describe(feature: &FeaturePart) -> String {
    let short = |text: &str| text.chars().take(8).collect::<String>();
    let desc = &feature.desc;
    let computed = match desc.compute.as_str() {
        "f32" => String::new(),
        other => format!(", computed in {other}"),
    };
    let of = match desc.granularity {
        Granularity::Sample => "",
        Granularity::Token => ", of tokens",
    };
    format!(
        "#{} {} ({}, dim {}, projection {}, encoding {}{computed}{of})",
        feature.number,
        feature.display_name(),
        desc.dtype,
        desc.dim(),
        short(&desc.space.projection),
        short(&desc.encoding)
    )
}

fn check_attributes(
    snapshot: &Snapshot,
    features: &[Arc<FeaturePart>],
    spec: &InfluenceSpec,
) -> Result<(), QueryError> {
    for feature in features {
        if feature.state == FeatureState::Building && !spec.partial {
            return Err(QueryError::Building {
                dataset: feature.desc.dataset.clone(),
                kind: feature.desc.kind.name.clone(),
                label: feature.attrs.label.clone(),
                command: snapshot.command_of(feature),
            });
        }
        if let Some(modules) = &spec.modules {
            modules.check(feature, &describe(feature))?;
        }
        if feature.attrs.unit && spec.sim == Sim::Dot {
            return Err(QueryError::Spec(format!(
                "the vectors of {} were scaled to length 1 before they were stored, so a dot product would mean nothing; use \
                 `sim => 'cosine'`",
                describe(feature)
            )));
        }
        if spec.sim == Sim::Dot && feature.attrs.dot_scale != features[0].attrs.dot_scale {
            return Err(QueryError::Spec(format!(
                "dot products of {} and {} are scaled differently ({} and {})",
                describe(&features[0]),
                describe(feature),
                features[0].attrs.dot_scale,
                feature.attrs.dot_scale
            )));
        }
    }
    if let Some((pool, other, difference)) = modules::different(features) {
        return Err(QueryError::Space { pool: describe(pool), target: describe(other), difference });
    }
    let pools = spec.pools.len().min(features.len());
    let touched = |f: &&Arc<FeaturePart>| f.attrs.preconditioned != Preconditioned::None;
    if let (Some(pool), Some(target)) =
        (features[..pools].iter().find(touched), features[pools..].iter().find(touched))
    {
        return Err(QueryError::Spec(format!(
            "{} and {} may both be preconditioned; at most one side of a comparison may be",
            describe(pool),
            describe(target)
        )));
    }
    Ok(())
}
