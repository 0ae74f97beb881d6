//! Prompts with completions in a question about conversations.
//!
//! A pool of conversations was encoded with roles around each message, a prompt with its completion is text
//! without any: its gradient points elsewhere, and the ranking is one of other rows. So where the pool's
//! records are conversations, a pair that is given with the question is asked as one: what the user says, and
//! what the assistant answers. Of a stored one a note says so.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use gstore_core::content::{Content, Role};
use gstore_core::{EncodingSpec, FeatureDesc, Remedy, many, many_of};
use gstore_store::{DatasetPart, FeaturePart, Granularity, RowSet, Snapshot};
use serde_json::{Map, Value, json};

use crate::error::{QueryError, SideOf};
use crate::influence::spec::InfluenceSpec;

/// Records of a dataset that are looked at: neighbours at some places, as a page holds neighbours, and forms come
/// file by file.
const PLACES: u64 = 8;
const AT_A_PLACE: u64 = 8;
const LOOKED_AT: u64 = PLACES * AT_A_PLACE;

/// The given samples of a question about these pools; their pairs are conversations where the pools are,
/// unless the question says `raw`. With what a user should know of it.
pub(super) fn resolve(
    snapshot: &Snapshot,
    pools: &[SideTexts<'_>],
    spec: &InfluenceSpec,
) -> Result<(Vec<String>, Vec<String>), QueryError> {
    let contents = || spec.given.iter().filter_map(|record| Content::read(record.as_bytes()).ok());
    let mut notes = Vec::new();
    if contents().any(|content| ends_empty(&content)) {
        notes.push("the completion is empty: nothing but the end of the answer is asked about".to_owned());
    }
    let talks: Vec<Option<String>> = spec.given.iter().map(|record| conversation(record)).collect();
    let has_text = contents().any(|content| matches!(content, Content::Text(_)));
    if (talks.iter().all(Option::is_none) && !has_text) || !are_conversations(snapshot, pools)? {
        return Ok((spec.given.clone(), notes));
    }
    if has_text {
        notes.push(
            "the pool's samples are conversations, and the text is asked as it is, without roles; `prompt => '..'` with \
             `completion => '..'` is asked as a conversation"
                .to_owned(),
        );
    }
    if talks.iter().all(Option::is_none) {
        return Ok((spec.given.clone(), notes));
    }
    if spec.raw {
        let mut encodings = pools.iter().filter_map(SideTexts::encoding);
        let note = match encodings.any(writes_roles) {
            true => {
                "the pool's template writes a prompt with its completion as a conversation, also with `raw => true`; give `text => '..'` for text without roles"
            }
            false => {
                "the pool's samples are conversations, and the prompt with its completion is asked as text without roles"
            }
        };
        notes.push(note.to_owned());
        return Ok((spec.given.clone(), notes));
    }
    let given = spec.given.iter().zip(talks).map(|(record, talk)| talk.unwrap_or_else(|| record.clone()));
    let note = "the pool's samples are conversations, so the prompt with its completion is asked as one; `raw => true` asks it as text without roles";
    notes.push(note.to_owned());
    Ok((given.collect(), notes))
}

/// Whether nothing is said where the answer is.
fn ends_empty(content: &Content) -> bool {
    match content {
        Content::Messages(messages) => {
            messages.last().is_some_and(|last| last.role == Role::Assistant && last.content.trim().is_empty())
        }
        Content::PromptCompletion { completion, .. } => completion.trim().is_empty(),
        Content::Text(_) => false,
    }
}

/// The record with its prompt as the user's message and its completion as the assistant's; `None`
/// for one of another shape.
fn conversation(record: &str) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_str(record).ok()?;
    let Ok(Content::PromptCompletion { prompt, completion }) = Content::take(&mut object) else {
        return None;
    };
    let messages =
        json!([{ "role": "user", "content": prompt }, { "role": "assistant", "content": completion }]);
    object.insert("messages".to_owned(), messages);
    Some(Value::Object(object).to_string())
}

/// Whether a template gives roles to a prompt with its completion, as all that know conversations do but for
/// LESS's.
pub(super) fn writes_roles(spec: &EncodingSpec) -> bool {
    !matches!(spec.template.as_str(), "tulu" | "plain")
}

/// The template that writes conversations like this one, and prompts with their completions as conversations.
fn with_pairs(spec: &EncodingSpec) -> EncodingSpec {
    match spec.template.as_str() {
        "tulu" => EncodingSpec { template: "tulu_chat".to_owned(), ..spec.clone() },
        _ => spec.clone(),
    }
}

/// How conversations become text: what two encodings that write them alike share.
pub(super) fn form(spec: &EncodingSpec) -> (String, Option<String>) {
    let EncodingSpec { template, template_source, .. } = with_pairs(spec);
    (template, template_source)
}

/// A dataset of the question, its features by checkpoint, and what its samples are.
#[derive(Clone, Copy)]
pub(super) struct SideTexts<'a> {
    pub(super) of: SideOf,
    pub(super) dataset: &'a DatasetPart,
    pub(super) features: &'a [Arc<FeaturePart>],
    pub(super) shapes: &'a LazyShapes,
}

impl<'a> SideTexts<'a> {
    /// The encoding of its features at the first checkpoint.
    fn encoding(&self) -> Option<&'a EncodingSpec> {
        let encoding = self.dataset.encoding(&self.features.first()?.desc.encoding)?;
        Some(&encoding.spec)
    }

    fn shapes(&self, snapshot: &Snapshot) -> Result<Shapes, QueryError> {
        self.shapes.of(snapshot, self.dataset)
    }
}

/// A dataset of the question, with how its samples became text at the first checkpoint.
struct EncodedDataset<'a> {
    side: SideTexts<'a>,
    spec: &'a EncodingSpec,
    shapes: Shapes,
}

impl<'a> EncodedDataset<'a> {
    /// `None` for texts alone, which every template leaves as they are.
    fn new(snapshot: &Snapshot, side: &SideTexts<'a>) -> Option<Self> {
        let spec = side.encoding()?;
        let shapes = side.shapes(snapshot).unwrap_or_default();
        (shapes.talks + shapes.pairs > 0).then_some(Self { side: *side, spec, shapes })
    }

    fn has_roles(&self) -> bool {
        self.shapes.have_roles(self.spec)
    }

    fn name(&self) -> String {
        format!("the {} `{}`", self.side.of.name(), self.side.dataset.name)
    }

    /// How its samples are text in the form of others.
    fn spec_like(&self, like: &Self) -> EncodingSpec {
        match self.shapes.pairs > 0 && like.has_roles() {
            true => with_pairs(like.spec),
            false => like.spec.clone(),
        }
    }

    /// The features that differ from these in how samples are text alone, by number; none where one lacks.
    fn stored(&self, snapshot: &Snapshot, spec: &EncodingSpec) -> Option<Vec<u32>> {
        let of_dataset = snapshot.features_of(&self.side.dataset.name);
        let number = |own: &Arc<FeaturePart>| {
            let is_like = |other: &&&Arc<FeaturePart>| {
                let desc = FeatureDesc { encoding: other.desc.encoding.clone(), ..own.desc.clone() };
                let encoding = self.side.dataset.encoding(&desc.encoding);
                other.desc == desc && encoding.is_some_and(|encoding| encoding.spec == *spec)
            };
            of_dataset.iter().find(is_like).map(|found| found.number)
        };
        self.side.features.iter().map(number).collect()
    }

    /// The command that computes its features as text like this.
    fn command(&self, snapshot: &Snapshot, spec: &EncodingSpec, run: &str) -> Option<String> {
        let feature = self.side.features.first()?;
        let command = Remedy::IngestAs {
            dataset: &self.side.dataset.name,
            kind: &feature.desc.kind.name,
            per_token: feature.desc.granularity == Granularity::Token,
            run,
            options: &spec.options(),
            command: &snapshot.command_of(feature).unwrap_or_default(),
        }
        .to_string();
        Some(command)
    }
}

/// What a user should know of pools and stored targets whose texts are of two forms: prompts with completions
/// without roles beside texts with roles, in one dataset or in two, or two templates. The form is that of the
/// first pool with roles, else that of the first target with them. Their vectors are what they are: nothing is
/// asked otherwise.
pub(super) fn note_of_forms(
    snapshot: &Snapshot,
    sides: &[SideTexts<'_>],
    run: Option<&str>,
) -> Option<String> {
    let specs: Vec<&EncodingSpec> = sides.iter().filter_map(SideTexts::encoding).collect();
    let forms: BTreeSet<_> = specs.iter().map(|spec| form(spec)).collect();
    // Records are read only where something may differ.
    if forms.len() < 2 && specs.iter().all(|spec| writes_roles(spec)) {
        return None;
    }
    let is_only = sides.iter().filter(|side| side.of == SideOf::Pool).count() == 1;
    let encoded = sides.iter().filter_map(|side| EncodedDataset::new(snapshot, side));
    let (pools, targets): (Vec<_>, Vec<_>) = encoded.partition(|text| text.side.of == SideOf::Pool);
    let first = pools
        .iter()
        .find(|pool| pool.has_roles())
        .or_else(|| pools.iter().find(|pool| pool.shapes.talks > 0))
        .or_else(|| targets.iter().find(|target| target.has_roles() && !pools.is_empty()))?;
    let (mut pairs, mut others) = (Vec::new(), Vec::new());
    let mut unlike = Vec::new();
    for other in targets.iter().chain(&pools) {
        let (bare, looked_at) = (other.shapes.bare(other.spec), many(other.shapes.looked_at, "sample"));
        if bare > 0 && first.has_roles() {
            pairs.push(format!("{} ({bare} of {looked_at} looked at)", other.name()));
        } else if form(other.spec) != form(first.spec) && (first.has_roles() || other.has_roles()) {
            others.push(format!("{} with the template {}", other.name(), other.spec.template));
        } else {
            continue;
        }
        unlike.push(other);
    }
    let (forms, ways) =
        ("scores compare texts of two forms and follow the form", ways(snapshot, first, &unlike, run));
    let is_one = unlike.iter().all(|other| other.side.dataset.name == first.side.dataset.name);
    if is_one && others.is_empty() && !pairs.is_empty() && first.shapes.are_mixed() {
        let Shapes { looked_at, talks, pairs } = first.shapes;
        return Some(format!(
            "{talks} of {} of `{}` looked at are conversations, and {pairs} prompts with completions that were encoded as text \
             without roles: {forms}; {ways}",
            many(looked_at, "sample"),
            first.side.dataset.name
        ));
    }
    let mut found = Vec::new();
    if !pairs.is_empty() {
        let of = pairs.join(" and ");
        found.push(format!("those of {of} are prompts with completions, encoded as text without roles"));
    }
    if !others.is_empty() {
        let (own, others) = (&first.spec.template, others.join(" and "));
        found.push(format!("they were encoded with the template {own}, and {others}"));
    }
    if found.is_empty() {
        return None;
    }
    let whose = match is_only && first.side.of == SideOf::Pool {
        true => "the pool's samples".to_owned(),
        false => format!("the samples of {}", first.name()),
    };
    let are = match first.shapes {
        Shapes { pairs: 0, .. } => "conversations".to_owned(),
        Shapes { talks: 0, .. } => "prompts with completions, encoded as conversations".to_owned(),
        Shapes { talks, looked_at, .. } => {
            format!("in part conversations ({talks} of {looked_at} looked at)")
        }
    };
    Some(format!("{whose} are {are}, and {}: {forms}; {ways}", found.join("; ")))
}

/// How the texts of some datasets are had in the form of `first`: by the features that are stored in it, else
/// by the commands that compute them.
fn ways(
    snapshot: &Snapshot,
    first: &EncodedDataset<'_>,
    unlike: &[&EncodedDataset<'_>],
    run: Option<&str>,
) -> String {
    let (mut stored, mut commands) = (BTreeSet::new(), BTreeSet::new());
    for other in unlike {
        let spec = other.spec_like(first);
        match other.stored(snapshot, &spec) {
            Some(numbers) => stored.extend(numbers),
            None => commands.extend(other.command(snapshot, &spec, run.unwrap_or_default())),
        }
    }
    let mut ways = Vec::new();
    if !stored.is_empty() {
        let numbers: Vec<String> = stored.iter().map(u32::to_string).collect();
        ways.push(format!("`features => '{}'` names features of one form", numbers.join(",")));
    }
    if !commands.is_empty() {
        let computes = if commands.len() == 1 { "computes" } else { "compute" };
        ways.push(format!("{} {computes} features of one form", Vec::from_iter(commands).join(" and ")));
    }
    ways.join(", and ")
}

/// What a user should know of a dataset that has a new feature: the note that a question has about it and the
/// largest other dataset with features in the same space, the larger of both as the pool; without another one,
/// that of a question about its own samples. None where features of both fit each other.
pub fn note_of_target(snapshot: &Snapshot, new: &FeatureDesc) -> Option<String> {
    let fits = |other: &&Arc<FeaturePart>| {
        other.desc.checkpoint == new.checkpoint && other.desc.space.id() == new.space.id()
    };
    let own = snapshot.dataset(&new.dataset).ok()?;
    let others = snapshot.features().iter().filter(fits).map(|feature| &feature.desc.dataset);
    let others = others.filter(|name| **name != new.dataset);
    let other = others.filter_map(|name| snapshot.dataset(name).ok()).max_by_key(|part| part.rows);
    // One value, such as a loss, is no vector that is compared.
    if new.dim() < 2 {
        return None;
    }
    let (pool, target) = match other {
        Some(other) if other.rows > own.rows => (other, Some(own)),
        other => (own, other),
    };
    let run = new.checkpoint.as_ref().and_then(|id| snapshot.run_with(id)).map(|run| run.name.as_str());
    let (of_pools, of_targets) = (LazyShapes::default(), LazyShapes::default());
    let mut notes = Vec::new();
    for of_pool in snapshot.features_of(&pool.name).into_iter().filter(fits) {
        let features = from_ref(of_pool);
        let pool = SideTexts { of: SideOf::Pool, dataset: pool, features, shapes: &of_pools };
        let Some(target) = target else {
            notes.push(note_of_forms(snapshot, &[pool], run)?);
            continue;
        };
        for of_target in snapshot.features_of(&target.name).into_iter().filter(fits) {
            let features = from_ref(of_target);
            let target = SideTexts { of: SideOf::Target, dataset: target, features, shapes: &of_targets };
            notes.push(note_of_forms(snapshot, &[pool, target], run)?);
        }
    }
    notes.pop()
}

/// What a user should know of a dataset of conversations and of prompts with completions before its features
/// are computed; none where it has some of a template that writes both with roles.
pub fn note_of_shapes(snapshot: &Snapshot, dataset: &str) -> Option<String> {
    let part = snapshot.dataset(dataset).ok()?;
    if part.encodings.iter().any(|encoding| writes_roles(&encoding.spec)) {
        return None;
    }
    let shapes @ Shapes { looked_at, talks, pairs } = Shapes::of(snapshot, part).ok()?;
    shapes.are_mixed().then(|| {
        format!(
            "of {} of `{dataset}` looked at {talks} are conversations and {pairs} prompts with completions, which the usual \
             template encodes as text without roles: scores follow the form; {} with {} makes conversations of all",
            many(looked_at, "sample"),
            Remedy::Ingest,
            Remedy::Option("template", "tulu_chat")
        )
    })
}

/// What a user should know of queries whose gradients are computed together with those of a pool, where their
/// template writes some of both with roles and others without.
pub fn note_of_queries<'a>(
    snapshot: &Snapshot,
    pool: &DatasetPart,
    queries: impl IntoIterator<Item = &'a Content>,
    spec: &EncodingSpec,
) -> Option<String> {
    // Records are read only where something may differ.
    if writes_roles(spec) {
        return None;
    }
    let of_pool = Shapes::of(snapshot, pool).ok()?;
    let mut of_queries = Shapes::default();
    queries.into_iter().for_each(|content| of_queries.add(Some(content)));
    let have_roles = of_pool.have_roles(spec) || of_queries.have_roles(spec);
    if !have_roles || of_pool.bare(spec) + of_queries.bare(spec) == 0 {
        return None;
    }
    let kinds = |Shapes { talks, pairs, .. }: Shapes| {
        format!("{talks} are conversations and {pairs} prompts with completions")
    };
    Some(format!(
        "of {} of the pool `{}` looked at {}, of {} {}: the template {} writes roles around conversations alone, so scores \
         compare texts of two forms and follow the form; {}, in the fit of factors too, writes them around all",
        many(of_pool.looked_at, "sample"),
        pool.name,
        kinds(of_pool),
        many_of(of_queries.looked_at, "query", "queries"),
        kinds(of_queries),
        spec.template,
        Remedy::Option("template", "tulu_chat")
    ))
}

/// Whether the pools' records are conversations, as far as it shows in some of each. The store does not keep
/// the shape of records.
fn are_conversations(snapshot: &Snapshot, pools: &[SideTexts<'_>]) -> Result<bool, QueryError> {
    let mut all = 0;
    for pool in pools {
        let SideTexts { dataset, features, .. } = pool;
        let encodings = features.iter().filter_map(|feature| dataset.encoding(&feature.desc.encoding));
        if encodings.into_iter().any(|encoding| encoding.spec.template == "plain") {
            return Ok(false);
        }
        let Shapes { looked_at, talks, .. } = pool.shapes(snapshot)?;
        if talks < looked_at {
            return Ok(false);
        }
        all += talks;
    }
    Ok(all > 0)
}

/// How many records of a dataset were looked at, spread over the whole, and what they are: conversations,
/// prompts with completions, or else texts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shapes {
    looked_at: u64,
    talks: u64,
    pairs: u64,
}

impl Shapes {
    fn of(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<Self, QueryError> {
        let samples = snapshot.samples(dataset)?;
        let batch = samples.get(&spread(samples.rows()), &["record"])?;
        let records = batch.column(0).as_binary_opt::<i32>();
        let mut found = Self::default();
        for record in records.into_iter().flat_map(|records| records.iter().flatten()) {
            found.add(Content::read(record).ok().as_ref());
        }
        Ok(found)
    }

    /// Looks at one more record.
    fn add(&mut self, content: Option<&Content>) {
        self.looked_at += 1;
        match content {
            Some(Content::Messages(_)) => self.talks += 1,
            Some(Content::PromptCompletion { .. }) => self.pairs += 1,
            Some(Content::Text(_)) | None => {}
        }
    }

    /// Whether some are conversations, and some prompts with completions.
    pub(super) fn are_mixed(self) -> bool {
        self.talks > 0 && self.pairs > 0
    }

    /// Prompts with completions that are written without roles, as conversations are not.
    pub(super) fn bare(self, spec: &EncodingSpec) -> u64 {
        if writes_roles(spec) { 0 } else { self.pairs }
    }

    /// Whether some are written with roles.
    pub(super) fn have_roles(self, spec: &EncodingSpec) -> bool {
        (self.talks > 0 && spec.template != "plain") || (self.pairs > 0 && writes_roles(spec))
    }
}

/// What the samples of a dataset are. Its records are read for it once, where that decides.
#[derive(Default)]
pub(super) struct LazyShapes(OnceCell<Shapes>);

impl LazyShapes {
    pub(super) fn of(&self, snapshot: &Snapshot, dataset: &DatasetPart) -> Result<Shapes, QueryError> {
        if let Some(known) = self.0.get() {
            return Ok(*known);
        }
        let found = Shapes::of(snapshot, dataset)?;
        Ok(*self.0.get_or_init(|| found))
    }
}

/// The rows of a set that are looked at, the first and the last among them.
fn spread(rows: &RowSet) -> Vec<u64> {
    let all = rows.len();
    let place = |i| match all > LOOKED_AT {
        true => i / AT_A_PLACE * (all - AT_A_PLACE) / (PLACES - 1) + i % AT_A_PLACE,
        false => i,
    };
    let mut places = (0..all.min(LOOKED_AT)).map(place).peekable();
    let mut found = Vec::new();
    let mut before = 0;
    for range in rows.ranges() {
        let len = range.end - range.start;
        while let Some(place) = places.next_if(|place| *place < before + len) {
            found.push(range.start + place - before);
        }
        before += len;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_over_the_whole() {
        let rows = RowSet::from_ranges([0..3, 10..11, 100..200]);
        let found = spread(&rows);
        assert_eq!(found.len() as u64, LOOKED_AT);
        assert_eq!(found[..9], [0, 1, 2, 10, 100, 101, 102, 103, 109]);
        assert_eq!(found[56..], [192, 193, 194, 195, 196, 197, 198, 199]);
        assert!(found.is_sorted_by(|a, b| a < b));
        let few = RowSet::from_ranges([0..3, 10..11, 100..160]);
        assert_eq!(spread(&few), few.iter().collect::<Vec<_>>());
        assert_eq!(spread(&RowSet::new()), [0; 0]);
    }

    #[test]
    fn only_pairs_become_conversations() {
        let talk = conversation(r#"{"prompt":"q","completion":"a","n":1}"#).unwrap();
        assert_eq!(
            talk,
            r#"{"n":1,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#
        );
        for other in [r#"{"text":"t"}"#, r#"{"messages":[{"role":"user","content":"q"}]}"#, "{}", "["] {
            assert_eq!(conversation(other), None);
        }
    }
}
