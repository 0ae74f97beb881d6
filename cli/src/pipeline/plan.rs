//! The stages of a pipeline in an order in which each comes after those that it needs.
//!
//! A stage needs those above it in the file that write what it reads; where none does, those below it. Two
//! stages that write the same, and one that reads what a later one changes, keep the order of the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Command;
use gstore_core::{did_you_mean, first_of};
use gstore_model::weights::{checkpoints_in, has_config};
use gstore_sql::MAX_SQL_BYTES;
use gstore_store::Store;

use super::resource::{is_pattern, relative_to};
use super::roles::{is_model, path_of};
use super::{
    KnownNames, PipelineError, PipelineFile, PipelineStage, Resource, StageCall, StageUses, Variables,
    Versions, expand,
};
use crate::args::without_name;
use crate::shell::dot::is_dot;
use crate::statements::statement_text;

/// Stages that a message lists.
const STAGES_SHOWN: usize = 20;

type Result<T> = std::result::Result<T, PipelineError>;

#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// What the file says.
    pub stage: PipelineStage,
    pub call: StageCall,
    pub reads: Vec<Resource>,
    pub writes: Vec<Resource>,
    /// Places of the stages that must be done before.
    pub needs: Vec<usize>,
    /// Those of them that its `after` names.
    pub after: Vec<usize>,
}

impl PlannedStage {
    pub fn name(&self) -> &str {
        &self.stage.name
    }
}

/// The stages in their order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder that they run in.
    pub base: PathBuf,
    pub stages: Vec<PlannedStage>,
}

impl Plan {
    /// Plans a file's stages, which run in the folder `base`. `set` goes before the file's variables and
    /// `store` before its store.
    ///
    /// # Errors
    /// Everything that can be known to be wrong before a stage runs.
    pub fn new(
        root: &Command,
        file: &PipelineFile,
        base: &Path,
        set: &Variables,
        store: Option<&str>,
    ) -> Result<Self> {
        let stages = expand(file, set)?;
        let store = store.or(file.store.as_deref());
        let calls =
            stages.iter().map(|stage| StageCall::new(root, stage, store)).collect::<Result<Vec<_>>>()?;
        let uses = uses(&stages, &calls, base, store)?;
        check_there(&stages, &uses, base)?;
        check_models(&stages, &calls, &uses, base)?;
        let after = (0..stages.len()).map(|i| stages_after(&stages, i)).collect::<Result<Vec<_>>>()?;
        let needs: Vec<BTreeSet<usize>> = (0..stages.len()).map(|i| &needs(&uses, i) | &after[i]).collect();
        let order = order(&stages, &uses, &needs)?;
        check_views(&stages, &calls, &uses, (&order, base))?;
        let place = |i: &usize| order.iter().position(|at| at == i).unwrap_or_default();
        let planned = order.iter().map(|&i| PlannedStage {
            stage: stages[i].clone(),
            call: calls[i].clone(),
            reads: uses[i].reads.clone(),
            writes: uses[i].writes.clone(),
            needs: needs[i].iter().map(place).collect(),
            after: after[i].iter().map(place).collect(),
        });
        Ok(Self { base: base.to_owned(), stages: planned.collect() })
    }

    /// Places of the stages that a name means; none is an error in words.
    pub fn named(&self, name: &str) -> std::result::Result<Vec<usize>, String> {
        let places = (0..self.stages.len()).filter(|i| self.stages[*i].stage.is(name));
        let places: Vec<usize> = places.collect();
        if places.is_empty() {
            let mut names: Vec<&str> = self.stages.iter().map(PlannedStage::name).collect();
            let hint = did_you_mean(name, names.iter().copied());
            names.dedup();
            let all = first_of(names, STAGES_SHOWN);
            return Err(format!("there is no stage `{name}`{hint}\n  the stages are {all}"));
        }
        Ok(places)
    }

    /// The store that the stage at a place uses, below the pipeline's folder where it can be; empty: none.
    pub fn store_of(&self, place: usize) -> String {
        let PlannedStage { call, reads, writes, .. } = &self.stages[place];
        let is_used = reads.iter().chain(writes).any(|used| used.as_path().is_none())
            // Names in the store, also where they are only listed.
            || matches!(call.words[0].as_str(), "tag" | "view");
        let store = call.store().filter(|_| is_used);
        store.map_or_else(String::new, |store| relative_to(&self.base, store).display().to_string())
    }

    /// Places of stages, and of all that need one of them.
    pub fn with_dependents(&self, places: &[usize]) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = places.iter().copied().collect();
        for (i, stage) in self.stages.iter().enumerate() {
            if stage.needs.iter().any(|need| found.contains(need)) {
                found.insert(i);
            }
        }
        found
    }

    /// Everything that a stage reads or writes.
    pub fn resources(&self) -> BTreeSet<&Resource> {
        self.stages.iter().flat_map(|stage| stage.reads.iter().chain(&stage.writes)).collect()
    }
}

fn uses(
    stages: &[PipelineStage],
    calls: &[StageCall],
    base: &Path,
    store: Option<&str>,
) -> Result<Vec<StageUses>> {
    let all = |known: &KnownNames| -> Result<Vec<StageUses>> {
        stages.iter().zip(calls).map(|(stage, call)| StageUses::of(stage, call, base, known)).collect()
    };
    let mut known = KnownNames::default();
    known.written = all(&known)?.into_iter().flat_map(|uses| uses.writes).collect();
    for resource in &known.written {
        match resource {
            Resource::Samples { dataset, .. } => known.datasets.insert(dataset.clone()),
            Resource::Run { run, .. } => known.runs.insert(run.clone()),
            Resource::View { name, .. } => known.views.insert(name.clone()),
            _ => false,
        };
    }
    let snapshot = store.and_then(|store| Store::open(base.join(store)).ok()?.snapshot().ok());
    known.datasets.extend(snapshot.iter().flat_map(|s| s.datasets()).map(|part| part.name.clone()));
    known.views.extend(snapshot.iter().flat_map(|s| s.views()).map(|view| view.name.clone()));
    known.runs.extend(snapshot.iter().flat_map(|s| s.runs()).map(|part| part.name.clone()));
    let mut uses = all(&known)?;
    let written: Vec<Vec<Resource>> = uses.iter().map(|uses| uses.writes.clone()).collect();
    for (i, uses) in uses.iter_mut().enumerate() {
        let is_made = |path: &Resource| {
            written.iter().enumerate().any(|(j, w)| j != i && w.iter().any(|w| w.overlaps(path)))
        };
        let may_read = std::mem::take(&mut uses.may_read);
        let is_read = |path: &Resource| is_made(path) || is_there(path, base);
        let reads: Vec<Resource> = may_read.into_iter().filter(is_read).collect();
        uses.reads.extend(reads.into_iter().filter(|read| !written[i].contains(read)));
        uses.reads.sort();
        uses.reads.dedup();
    }
    Ok(uses)
}

fn is_there(resource: &Resource, base: &Path) -> bool {
    resource.as_path().is_none_or(|path| !Versions::found(base, path).is_empty())
}

/// Refuses what is read or changed and neither there nor made, and what two stages write.
fn check_there(stages: &[PipelineStage], uses: &[StageUses], base: &Path) -> Result<()> {
    let mut versions = Versions::new(base.to_owned());
    for (i, (stage, used)) in stages.iter().zip(uses).enumerate() {
        let error = |resource: &Resource, says: String| {
            let named = stage.says.settings.iter().find(|setting| match &setting.given {
                super::OptionSetting::Values(values) => {
                    values.iter().any(|value| names(resource, value, base))
                }
                super::OptionSetting::Flag(_) => false,
            });
            let line = named.map_or(stage.says.line, |setting| setting.line);
            Err(PipelineError::new(line, format!("stage {}: {says}", stage.name)))
        };
        for named in used.reads.iter().chain(&used.changes) {
            // Features need not be there, but what they are of.
            let samples = named.samples();
            let read = samples.as_ref().unwrap_or(named);
            // A stage that adds samples may read features of all datasets.
            let makes = |(j, uses): (usize, &StageUses)| {
                (j != i || samples.is_some())
                    && !uses.changes.contains(read)
                    && uses.writes.iter().any(|written| written.overlaps(read))
            };
            let made = uses.iter().enumerate().any(makes);
            let there = match read {
                Resource::Path(_) => is_there(read, base),
                Resource::Samples { .. } | Resource::Run { .. } | Resource::Artifact { .. } => {
                    made || !matches!(versions.of(read), Ok(None))
                }
                Resource::Features { .. }
                | Resource::Runs { .. }
                | Resource::Store { .. }
                | Resource::Tag { .. }
                | Resource::View { .. } => true,
            };
            if !made && !there {
                let (are, them) = match read {
                    Resource::Samples { .. } => ("are", "them"),
                    _ => ("is", "it"),
                };
                return error(read, format!("{read} {are} missing, and no stage makes {them}"));
            }
        }
        if let Some((pattern, written)) = own_pattern(used) {
            let says = format!(
                "its pattern {pattern} matches {written}, which it writes: a second run would read it"
            );
            return error(pattern, says);
        }
        let trains = |at: usize| stages[at].says.command == "train";
        for written in &used.writes {
            // One training after another cannot have one run; features are added to one by many stages.
            let is_whole = |j: &usize| match written {
                Resource::Path(_) => true,
                Resource::Run { .. } => trains(i) && trains(*j),
                _ => false,
            };
            let same = (0..i).filter(is_whole).find(|j| uses[*j].writes.contains(written));
            if let Some(j) = same {
                return error(written, format!("{written} is also written by stage {}", stages[j].name));
            }
        }
    }
    Ok(())
}

/// Options that name a model, and what each is; others of the name, such as that of a checkpoint in a store,
/// have no role.
const MODELS: [(&str, &str); 5] = [
    ("model", "model"),
    ("adapter", "adapter"),
    ("checkpoints", "checkpoint"),
    ("checkpoint", "checkpoint"),
    ("average", "checkpoint"),
];

/// Refuses the output folder of a training as a model, an adapter or a checkpoint, which are the folders in
/// it.
fn check_models(
    stages: &[PipelineStage],
    calls: &[StageCall],
    uses: &[StageUses],
    base: &Path,
) -> Result<()> {
    let written: Vec<Resource> = uses.iter().flat_map(|uses| uses.writes.iter().cloned()).collect();
    let is_trained = |folder: &Resource| {
        let output = |call: &StageCall| call.value("output").map(|output| Resource::path(base, output));
        calls.iter().any(|call| call.words[0] == "train" && output(call).as_ref() == Some(folder))
    };
    for (stage, call) in stages.iter().zip(calls) {
        let models = MODELS.iter().filter(|(key, _)| is_model(call, key));
        for (key, what, value) in
            models.flat_map(|(key, what)| call.values(key).iter().map(move |value| (key, what, value)))
        {
            let value = if *what == "checkpoint" { path_of(value, base, &written) } else { value.as_str() };
            let folder = base.join(value);
            let last = match checkpoints_in(&folder).pop() {
                Some(last) => last.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                None if !has_config(&folder) && is_trained(&Resource::path(base, value)) => {
                    "checkpoint-N".to_owned()
                }
                None => continue,
            };
            let setting = stage.says.settings.iter().find(|setting| setting.key == *key);
            let message = format!(
                "stage {}: {value} is not itself a {what}; it holds the checkpoints of a training: name one, such as {}/{last}",
                stage.name,
                value.trim_end_matches('/')
            );
            return Err(PipelineError::new(setting.map_or(stage.says.line, |setting| setting.line), message));
        }
    }
    Ok(())
}

/// Refuses a statement that names a view which the store does not have and a later stage saves.
fn check_views(
    stages: &[PipelineStage],
    calls: &[StageCall],
    uses: &[StageUses],
    (order, base): (&[usize], &Path),
) -> Result<()> {
    let makes_view = |j: &usize| calls[*j].words == ["view", "create"];
    let Some(last) = order.iter().rposition(makes_view) else { return Ok(()) };
    let mut versions = Versions::new(base.to_owned());
    for (at, &i) in order.iter().enumerate().take(last) {
        let Some(store) = calls[i].store().map(|store| relative_to(base, store)) else { continue };
        let file = calls[i].value("file").and_then(|file| statements_in(file, uses, base));
        for name in calls[i].tables(file.as_deref()) {
            let view = Resource::View { store: store.clone(), name };
            let saves = |j: &usize| makes_view(j) && uses[*j].writes.contains(&view);
            let Some(later) = order[at + 1..].iter().find(|j| saves(j)) else { continue };
            if order[..at].iter().any(saves) {
                continue;
            }
            if let Ok(None) = versions.of(&view) {
                let message = format!(
                    "stage {}: {view} is not there, and stage {} makes it only later: put that stage above this one",
                    stages[i].name, stages[*later].name
                );
                return Err(PipelineError::new(stages[i].says.line, message));
            }
        }
    }
    Ok(())
}

/// The text of a file of statements, as far as it is known before a stage runs: none of one that is not there,
/// that a stage makes, or that has more bytes than a statement may have.
fn statements_in(file: &str, uses: &[StageUses], base: &Path) -> Option<String> {
    let (read, file) = (Resource::path(base, file), base.join(file));
    let found = fs_err::metadata(&file).ok()?;
    let fits = usize::try_from(found.len()).is_ok_and(|bytes| bytes <= MAX_SQL_BYTES);
    let is_made = uses.iter().any(|uses| uses.writes.iter().any(|written| written.overlaps(&read)));
    // A pipe is empty until somebody writes into it.
    if !found.is_file() || !fits || is_made {
        return None;
    }
    let text = statement_text(fs_err::read(&file).ok()?, &file).ok()?;
    // Commands of the shell are no SQL.
    Some(text.lines().filter(|line| !is_dot(line)).collect::<Vec<_>>().join("\n"))
}

/// A pattern that finds what its own stage writes, and that.
fn own_pattern(used: &StageUses) -> Option<(&Resource, &Resource)> {
    let patterns = used.reads.iter().filter(|read| read.as_path().is_some_and(is_pattern));
    let own = |read| used.writes.iter().find(|written| Resource::overlaps(written, read));
    patterns.filter_map(|read| Some((read, own(read)?))).next()
}

fn names(resource: &Resource, value: &str, base: &Path) -> bool {
    match resource {
        Resource::Path(_) => {
            [value, without_name(value)].iter().any(|v| Resource::path(base, v) == *resource)
        }
        Resource::Store { .. } => false,
        Resource::Samples { dataset, .. }
        | Resource::Features { dataset, .. }
        | Resource::Runs { dataset, .. } => {
            without_name(value).split(',').any(|part| part.split(':').next() == Some(dataset.as_str()))
        }
        Resource::Run { run: name, .. }
        | Resource::Artifact { name, .. }
        | Resource::Tag { name, .. }
        | Resource::View { name, .. } => value == name,
    }
}

fn stages_after(stages: &[PipelineStage], i: usize) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let says = &stages[i].says;
    for name in &says.after {
        let named = (0..stages.len()).filter(|j| stages[*j].is(name));
        let before = found.len();
        found.extend(named);
        if found.len() == before {
            let hint = did_you_mean(name, stages.iter().map(|stage| stage.name.as_str()));
            let message =
                format!("stage {}: `after` names `{name}`, which is not a stage{hint}", stages[i].name);
            return Err(PipelineError::new(says.line, message));
        }
    }
    Ok(found)
}

/// The stages that one needs by what they read and write.
fn needs(uses: &[StageUses], i: usize) -> BTreeSet<usize> {
    let writers = |read: &Resource, among: std::ops::Range<usize>| -> Vec<usize> {
        among.filter(|j| uses[*j].writes.iter().any(|written| written.overlaps(read))).collect()
    };
    let mut found = BTreeSet::new();
    for read in &uses[i].reads {
        let above = writers(read, 0..i);
        // What reads a whole store, as the readers of a view do, stays where it stands in the file.
        let stays = matches!(read, Resource::Store { .. } | Resource::View { .. })
            || uses[i].from_above.contains(read);
        if !above.is_empty() || stays {
            found.extend(above);
            continue;
        }
        // Features are of other rows than those that a query reads where a stage between changes these.
        let is_of_others = |j: &usize, samples: &Resource| {
            !writers(samples, 0..i).is_empty() && !writers(samples, i + 1..*j).is_empty()
        };
        let lacks = |j: &usize| {
            uses[i].may_lack_features && read.samples().is_some_and(|samples| is_of_others(j, &samples))
        };
        found.extend(writers(read, i + 1..uses.len()).into_iter().filter(|j| !lacks(j)));
    }
    for written in &uses[i].writes {
        found.extend(writers(written, 0..i));
        let reads_before = |j: &usize| {
            uses[*j].reads.iter().any(|read| read.overlaps(written) && !writers(read, 0..*j).is_empty())
        };
        found.extend((0..i).filter(reads_before));
    }
    found
}

/// An order that keeps that of the file where it can.
fn order(stages: &[PipelineStage], uses: &[StageUses], needs: &[BTreeSet<usize>]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = Vec::new();
    let mut waiting: BTreeSet<usize> = (0..stages.len()).collect();
    while let Some(&first) = waiting.first() {
        let ready = waiting.iter().copied().find(|i| needs[*i].iter().all(|need| !waiting.contains(need)));
        let Some(ready) = ready else {
            let waits = |i: &usize| needs[*i].iter().copied().find(|need| waiting.contains(need));
            let circle = circle(first, waits);
            let others = circle.iter().skip(1).chain(&circle);
            let why: Vec<String> =
                circle.iter().zip(others).map(|(i, other)| reason(stages, uses, (*i, *other))).collect();
            let message = format!("these stages depend on each other in a circle: {}", why.join("; "));
            return Err(PipelineError::new(stages[circle[0]].says.line, message));
        };
        waiting.remove(&ready);
        order.push(ready);
    }
    Ok(order)
}

/// The stages of a circle that one leads to, where each waits for another; each needs the next.
fn circle(first: usize, waits: impl Fn(&usize) -> Option<usize>) -> Vec<usize> {
    let mut path = vec![first];
    while let Some(next) = path.last().and_then(&waits) {
        if let Some(start) = path.iter().position(|at| *at == next) {
            return path.split_off(start);
        }
        path.push(next);
    }
    path
}

/// Why a stage needs another.
fn reason(stages: &[PipelineStage], uses: &[StageUses], (i, j): (usize, usize)) -> String {
    let (name, other) = (&stages[i].name, &stages[j].name);
    let (mine, theirs) = (&uses[i], &uses[j]);
    let meet = |all: &[Resource], others: &[Resource]| {
        all.iter().find(|one| others.iter().any(|other| other.overlaps(one))).cloned()
    };
    if stages[i].says.after.iter().any(|after| stages[j].is(after)) {
        format!("{name} has {other} in its `after`")
    } else if let Some(read) = meet(&mine.reads, &theirs.writes) {
        format!("{name} reads {read}, which {other} writes")
    } else if let Some(written) = meet(&mine.writes, &theirs.reads) {
        format!("{name} writes {written}, which {other} reads before")
    } else if let Some(written) = meet(&mine.writes, &theirs.writes) {
        format!("{name} writes {written}, which {other} writes before")
    } else {
        format!("{name} comes after {other}")
    }
}
