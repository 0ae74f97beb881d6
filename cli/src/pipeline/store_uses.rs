//! Parts of a store that a command reads and writes.

use std::collections::BTreeSet;
use std::path::Path;

use gstore_query::influence::TargetRef;
use gstore_store::TagName;

use super::resource::StageUses;
use super::{Resource, StageCall};
use crate::args::without_name;

/// Datasets, runs and views that there are, or that stages make.
#[derive(Debug, Clone, Default)]
pub struct KnownNames {
    pub datasets: BTreeSet<String>,
    pub runs: BTreeSet<String>,
    pub views: BTreeSet<String>,
    /// What stages write.
    pub written: Vec<Resource>,
}

pub(super) struct StageStore<'a> {
    pub store: &'a Path,
    pub known: &'a KnownNames,
}

impl StageStore<'_> {
    /// Adds what a command reads and writes. One whose reads are not known reads the whole store: any change
    /// of it makes that stage run again.
    pub fn add(&self, call: &StageCall, uses: &mut StageUses) {
        let (dataset, run) = (call.value("dataset"), call.value("run"));
        let samples = dataset.map(|dataset| self.samples(dataset));
        let has = |id| !call.values(id).is_empty();
        match call.words[0].as_str() {
            "demo" | "merge" | "token" => {}
            "tag" => {
                let name = call.value("name").filter(|name| !call.has("delete") && !TagName::is_verb(name));
                uses.writes.extend(name.map(|name| self.tag(name)));
            }
            // A list has no name.
            "view" => uses.writes.extend(call.value("name").map(|name| self.view(name))),
            // Without a name its data are datasets of their own.
            "add" | "ingest" if dataset.is_none() => uses.writes.push(self.whole()),
            "add" => uses.writes.extend(samples),
            "delete" => {
                uses.changes.extend(samples.clone());
                uses.writes.extend(samples);
            }
            "ingest" => self.ingest(call, uses),
            "train" => {
                uses.reads.extend(samples);
                uses.reads.extend(call.value("eval_dataset").map(|dataset| self.samples(dataset)));
                let output = call.value("output").and_then(|output| Path::new(output).file_name());
                let folder = output.map(|name| name.to_string_lossy().into_owned());
                uses.writes.extend(run.or(folder.as_deref()).map(|run| self.run(run)));
            }
            "daunce" => self.daunce(call, uses),
            "import" => {
                uses.reads.extend(samples);
                match dataset {
                    Some(dataset) => uses.writes.push(self.features(dataset, None)),
                    None => uses.writes.push(self.whole()),
                }
            }
            "generate" => {
                uses.reads.extend(samples.into_iter().chain(run.map(|run| self.run(run))));
                uses.writes.extend(call.value("as").map(|dataset| self.samples(dataset)));
                let values = dataset.filter(|_| call.has("as_features"));
                uses.writes.extend(values.map(|dataset| self.features(dataset, None)));
            }
            "evaluate" => self.evaluate(call, uses),
            "plot" if call.words.get(1).is_some_and(|word| word == "train") => {}
            "prefilter" => self.prefilter(call, uses),
            "factors" => self.factors(call, uses),
            "score" => {
                let datasets = ["pool", "target", "solver_data"].into_iter().flat_map(|id| call.values(id));
                uses.reads.extend(datasets.map(|dataset| self.samples(dataset)));
                let segments = call.values("segment").iter().filter_map(|segment| segment.split('=').next());
                let factors = call.value("factors").into_iter().chain(segments);
                uses.reads.extend(factors.map(|name| self.artifact(name)));
            }
            "select" if has("cascade") => self.cascade(call, uses),
            "select" | "matrix" | "ask" | "plot" => self.ranking(call, uses),
            "query" => self.query(call, uses),
            "drop" => self.drop(call, uses),
            "index" => {
                let of_features =
                    call.values("features").iter().filter_map(|name| Some(name.split_once('/')?.0));
                let before = uses.reads.len();
                let datasets = of_features.chain(dataset);
                uses.reads.extend(datasets.map(|dataset| self.features(dataset, None)));
                if uses.reads.len() == before {
                    uses.reads.push(self.whole());
                }
            }
            "attach" | "compact" | "restore" | "revert" => uses.writes.push(self.whole()),
            "verify" if call.has("repair") => uses.writes.push(self.whole()),
            _ => uses.reads.push(self.whole()),
        }
        self.conditions(call, uses);
    }

    /// Samples that are read, or added with `--data`, and the features that are computed of them.
    fn ingest(&self, call: &StageCall, uses: &mut StageUses) {
        let (dataset, run) = (call.value("dataset"), call.value("run"));
        let samples = dataset.map(|dataset| self.samples(dataset));
        let has = |id| !call.values(id).is_empty();
        if has("data") {
            uses.writes.extend(samples)
        } else {
            uses.reads.extend(samples)
        }
        if !has("out") {
            uses.writes.extend(dataset.map(|dataset| self.features(dataset, run)));
        }
        uses.reads.extend(call.value("factors").map(|name| self.artifact(name)));
        let run = run.map(|run| self.run(run));
        if has("model") && !has("out") { uses.writes.extend(run) } else { uses.reads.extend(run) }
    }

    /// Samples with answers, references and losses, by name or by a query.
    fn evaluate(&self, call: &StageCall, uses: &mut StageUses) {
        let has = |id| !call.values(id).is_empty();
        let datasets =
            ["dataset", "reference_dataset", "query_dataset"].into_iter().flat_map(|id| call.values(id));
        uses.reads.extend(datasets.map(|dataset| self.samples(without_name(dataset))));
        uses.reads.extend(call.value("run").map(|run| self.run(run)));
        // Losses of an ensemble are of the dataset of its queries, which only its maker names.
        match call.value("query_dataset").filter(|_| has("ensemble")) {
            Some(dataset) => uses.writes.push(self.features(dataset, None)),
            None if has("ensemble") => uses.reads.push(self.whole()),
            None => {}
        }
        if has("sql") {
            self.query(call, uses);
        }
    }

    /// Copies are in folders, their losses are features of a dataset.
    fn daunce(&self, call: &StageCall, uses: &mut StageUses) {
        let dataset = call.value("dataset");
        match call.words.get(1).map(String::as_str) {
            Some("prepare" | "train") => {
                let target = call.value("target");
                uses.reads.extend(dataset.into_iter().chain(target).map(|dataset| self.samples(dataset)));
                let of_until = dataset.into_iter().chain(target).filter(|_| call.value("until").is_some());
                let computed = call.values("losses").iter().map(String::as_str).chain(of_until);
                uses.writes.extend(computed.map(|dataset| self.features(dataset, None)));
            }
            Some("losses") => {
                let datasets = || call.values("dataset").iter();
                uses.reads.extend(datasets().map(|dataset| self.samples(dataset)));
                uses.writes.extend(datasets().map(|dataset| self.features(dataset, None)));
            }
            Some("attach") => uses.writes.push(self.whole()),
            _ if call.has("pool") => self.ranking(call, uses),
            _ => uses.reads.push(self.whole()),
        }
    }

    /// A ranking of pools for targets; a second one may have other targets and options.
    fn ranking(&self, call: &StageCall, uses: &mut StageUses) {
        let run = call.value("run");
        let run_of_all = if call.has("options") { None } else { run };
        let targets = call.values("target").iter().chain(call.values("other"));
        let targets = targets.flat_map(|target| self.targets(target));
        let own = call.values("pool").iter().chain(call.values("dataset")).cloned();
        for dataset in own.chain(targets) {
            uses.reads.extend([self.samples(&dataset), self.features(&dataset, run_of_all)]);
        }
        uses.reads.extend(call.value("of").map(|dataset| self.samples(dataset)));
        uses.reads.extend(run.map(|run| self.run(run)));
    }

    /// A ranking that computes features of its pools first: what they have of them is no input.
    fn cascade(&self, call: &StageCall, uses: &mut StageUses) {
        self.ranking(call, uses);
        let of_pools: Vec<Resource> =
            call.values("pool").iter().map(|pool| self.features(pool, None)).collect();
        let run = call.value("run");
        let before: Vec<Resource> = call.values("pool").iter().map(|pool| self.features(pool, run)).collect();
        uses.reads.retain(|read| !before.contains(read));
        uses.writes.extend(of_pools);
    }

    /// A prefilter is written where it is fitted and read elsewhere; labels may be of a dataset of their own.
    fn prefilter(&self, call: &StageCall, uses: &mut StageUses) {
        let run = call.value("run");
        // What is known of a row may be of any run.
        let pool = call.value("pool").map(|name| [self.samples(name), self.features(name, None)]);
        let targets = call.values("target").iter().flat_map(|target| self.targets(target));
        let scored = targets.chain(call.value("labels_of").map(str::to_owned));
        let scored = scored.flat_map(|name| [self.samples(&name), self.features(&name, run)]);
        uses.reads.extend(pool.into_iter().flatten().chain(scored));
        uses.reads.extend(run.map(|run| self.run(run)));
        let artifact = call.value("name").map(|name| self.artifact(name));
        match call.words.get(1).map(String::as_str) {
            Some("fit") => uses.writes.extend(artifact),
            Some("list") => uses.reads.push(self.whole()),
            _ => uses.reads.extend(artifact),
        }
    }

    /// Factors are artifacts: those of a model are fitted on samples, those of vectors on features.
    fn factors(&self, call: &StageCall, uses: &mut StageUses) {
        let artifact = call.value("name").map(|name| self.artifact(name));
        let datasets = call.values("dataset").iter();
        match call.words.get(1).map(String::as_str) {
            Some("fit" | "import") => {
                uses.reads.extend(datasets.map(|dataset| self.samples(dataset)));
                uses.reads.extend(call.value("extend").map(|name| self.artifact(name)));
                uses.writes.extend(artifact);
            }
            Some("gram") => {
                let run = call.value("run");
                uses.reads.extend(datasets.map(|dataset| self.features(dataset, run)));
                uses.reads.extend(run.map(|run| self.run(run)));
                uses.writes.extend(artifact);
            }
            Some("list") => uses.reads.push(self.whole()),
            _ => {
                uses.reads.extend(artifact);
                uses.reads.extend(datasets.map(|dataset| self.features(dataset, None)));
                uses.reads.extend(call.values("against").iter().map(|name| self.artifact(name)));
            }
        }
    }

    /// Datasets and runs whose names stand in a statement or in its parameters.
    fn query(&self, call: &StageCall, uses: &mut StageUses) {
        let (named, is_open) = self.tables(call.values("sql").iter().chain(call.values("parameters")));
        uses.reads.extend(named);
        uses.may_lack_features = true;
        if is_open {
            uses.reads.push(self.whole());
        }
    }

    /// What the conditions on rows of any command read: without a subselect the columns of their rows alone.
    fn conditions(&self, call: &StageCall, uses: &mut StageUses) {
        let texts = ["where", "filter"].into_iter().flat_map(|id| call.values(id));
        let texts: Vec<&String> = texts.filter(|text| text.to_lowercase().contains("select")).collect();
        if texts.is_empty() {
            return;
        }
        let (mut named, is_open) = self.tables(texts);
        let changes_store = uses.writes.iter().any(|written| written.as_path().is_none());
        if is_open && changes_store {
            // The whole store would have changed by the stage itself, so that it would never be up to date.
            named.extend(self.known.datasets.iter().flat_map(|name| self.dataset(name)));
            named.extend(self.known.runs.iter().map(|run| self.run(run)));
        } else if is_open {
            named.push(self.whole());
        }
        // A table has columns of features, which a condition may not look at.
        let is_feature = |read: &&Resource| matches!(read, Resource::Features { .. });
        let not_read = named.iter().filter(is_feature).filter(|read| !uses.reads.contains(read));
        uses.from_above.extend(not_read.cloned());
        uses.reads.extend(named);
    }

    /// The dataset of a target; of a pattern all that it matches.
    fn targets(&self, target: &str) -> Vec<String> {
        let target = TargetRef::parse(target);
        match glob::Pattern::new(&target.dataset) {
            Ok(pattern) if target.is_pattern() => {
                self.known.datasets.iter().filter(|name| pattern.matches(name)).cloned().collect()
            }
            _ => vec![target.dataset],
        }
    }

    /// Datasets, runs and views whose names stand in texts of SQL, and whether these may look at anything
    /// else.
    fn tables<'t>(&self, texts: impl IntoIterator<Item = &'t String>) -> (Vec<Resource>, bool) {
        let texts: Vec<&String> = texts.into_iter().collect();
        let cut = |also: &'static str| {
            let is_between = move |c: char| !(c.is_ascii_alphanumeric() || also.contains(c));
            texts.iter().flat_map(move |text| text.split(is_between))
        };
        let words = cut("_-.");
        // Targets may be patterns; a star alone is one of columns or of rows that are counted.
        let patterns = cut("_*?").filter(|word| word.len() > 1 && word.contains(['*', '?']));
        let matched = patterns.flat_map(|pattern| self.targets(pattern));
        // SQL takes names without quotes in small letters, and a hyphen for a minus.
        let parts = |word: &str| -> Vec<String> {
            let inner = word.split(['-', '.']).map(str::to_owned);
            inner.chain([word.to_owned()]).flat_map(|word| [word.to_lowercase(), word]).collect()
        };
        let words: BTreeSet<String> = words.flat_map(parts).collect();
        let datasets = words.intersection(&self.known.datasets).cloned().chain(matched);
        let datasets = datasets.flat_map(|name| self.dataset(&name));
        let runs = words.intersection(&self.known.runs).map(|run| self.run(run));
        let views: Vec<Resource> =
            words.intersection(&self.known.views).map(|view| self.view(view)).collect();
        let named: Vec<Resource> = datasets.chain(runs).collect();
        // Tables such as gstore.samples are of the whole store; what artifacts there are and what a view
        // reads stands in the store.
        let open = words.contains("gstore") || words.contains("predicted");
        let is_open = named.is_empty() || !views.is_empty() || open;
        (named.into_iter().chain(views).collect(), is_open)
    }

    fn dataset(&self, name: &str) -> [Resource; 2] {
        [self.samples(name), self.features(name, None)]
    }

    fn drop(&self, call: &StageCall, uses: &mut StageUses) {
        let name = call.value("name").unwrap_or_default();
        match call.words.get(1).map(String::as_str) {
            Some("dataset") => uses.writes.extend([self.samples(name), self.features(name, None)]),
            Some("run") => uses.writes.push(self.run(name)),
            Some("ensemble") => uses.writes.push(self.whole()),
            Some("artifact") => uses.writes.push(self.artifact(name)),
            _ => uses.writes.extend(name.split_once('/').map(|(dataset, _)| self.features(dataset, None))),
        }
    }

    fn whole(&self) -> Resource {
        Resource::Store { store: self.store.to_owned() }
    }

    fn samples(&self, dataset: &str) -> Resource {
        Resource::Samples { store: self.store.to_owned(), dataset: dataset.to_owned() }
    }

    fn features(&self, dataset: &str, run: Option<&str>) -> Resource {
        Resource::Features {
            store: self.store.to_owned(),
            dataset: dataset.to_owned(),
            run: run.map(str::to_owned),
        }
    }

    fn artifact(&self, name: &str) -> Resource {
        Resource::Artifact { store: self.store.to_owned(), name: name.to_owned() }
    }

    fn run(&self, run: &str) -> Resource {
        Resource::Run { store: self.store.to_owned(), run: run.to_owned() }
    }

    fn tag(&self, name: &str) -> Resource {
        Resource::Tag { store: self.store.to_owned(), name: name.to_owned() }
    }

    fn view(&self, name: &str) -> Resource {
        Resource::View { store: self.store.to_owned(), name: name.to_owned() }
    }
}
