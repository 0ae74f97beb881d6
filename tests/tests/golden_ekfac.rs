//! Promise: the program's factors and scores are Kronfluence's, as far as its own f32 can tell
//! (`golden/ekfac`). Scores use factors that the program fits, or imports from a folder where they depend on
//! more than the rows: on drawn labels or, for EK-FAC, on the eigenvectors of nearly equal eigenvalues. Of
//! the eigenvalues of fitted factors only those that do not depend on these eigenvectors are compared.

#[path = "../../ingest/tests/golden_ekfac/check.rs"]
mod check;
#[path = "../../ingest/tests/golden_ekfac/fit.rs"]
mod fit;
#[allow(dead_code, reason = "what the test of factors uses alone")]
#[path = "../../ingest/tests/golden_ekfac/folder.rs"]
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gstore::factors::{FactorArguments, FactorFolder, Strategy};
use gstore_curvature::{Module, ModuleFactors};
use gstore_ingest::curvature::CurvatureEngine;
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_model::cpu::Cpu;
use gstore_model::{ComputePrecision, SavedActivations};
use gstore_tests::place::Place;
use gstore_tests::shared;
use serde_json::{Map, Value, json};

use check::check_factors;
use folder::{Case, Checks, Row, Tensors, groups, rows};

/// Cost of the decompositions that one command may make, in products: queries beyond are not cut to a rank.
const DECOMPOSED: usize = 2_400_000_000;

/// Writes the contents of a conversation one after the other.
const JOINED: &str = "{% for message in messages %}{{ message.content ~ ' ' }}{% endfor %}";

/// How the numbers of tokens become these tokens.
const TEXT: [&str; 4] = ["--template", "joined.jinja", "--tokenizer", "numbers"];

/// A strategy, the folder of its factors, and the name that they have in the store.
type Given = (Strategy, &'static str, &'static str);

/// Factors that are taken in: those of the diagonal only where labels were drawn.
const GIVEN: [Given; 2] =
    [(Strategy::Ekfac, "factors_ekfac", "given"), (Strategy::Diagonal, "factors_diagonal", "given-diagonal")];

/// The rows of a group in a store, and its factors.
struct Scored {
    place: Place,
    /// Where each training row begins among the tokens of all.
    offsets: Vec<usize>,
    /// Training rows without a scored token, which no table lists: the reference has 0 for them.
    unscored: Vec<usize>,
    queries: usize,
    /// Whether all factors are those of the folder.
    is_given: bool,
    /// Whether EK-FAC was fitted too.
    has_fit: bool,
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_ekfac_scores() {
    let Some(shared) = shared::folder("golden_ekfac_scores", "golden/ekfac") else { return };
    let golden = shared.join("golden/ekfac");
    let manifest = fs_err::read(golden.join("manifest.json")).expect("readable");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut checks = Checks::default();
    let (mut of_fits, mut has_fits) = (0, false);
    for cases in groups(&manifest, &golden) {
        let started = std::time::Instant::now();
        let file = Tensors::open(&golden.join(cases[0].rows()));
        let scored = scored(&file, &cases, &shared.join(cases[0].model()));
        let before = checks.compared;
        if scored.has_fit {
            has_fits |= cases.iter().any(|case| case.factors.is_some());
            scored.check_fit(&cases, &mut checks);
        }
        of_fits += checks.compared - before;
        cases.iter().for_each(|case| scored.check(case, &manifest["damping"], &mut checks));
        println!("{}: {:.1} s", cases[0].rows(), started.elapsed().as_secs_f64());
    }
    assert!(checks.failed.is_empty(), "of {}:\n{}", checks.compared, checks.failed.join("\n"));
    let compared = checks.compared;
    assert!(compared > of_fits && (of_fits > 0) == has_fits, "{of_fits} tensors of factors of {compared}");
}

/// Registers the rows, and fits and takes in the factors.
fn scored(file: &Tensors, cases: &[Case], model: &Path) -> Scored {
    let place = Place::new();
    let ((train, offsets), (queries, _)) =
        (rows(file, "train", "train.labels"), rows(file, "query", "query.labels"));
    write_tokenizer(&place, train.iter().chain(&queries).flat_map(|row| &row.ids).copied().max());
    place.write("joined.jinja", JOINED);
    for (name, rows) in [("pool", &train), ("queries", &queries)] {
        let lines: Vec<String> = rows.iter().enumerate().map(|(at, row)| record(at, row)).collect();
        let data = format!("{name}.jsonl");
        place.write(&data, lines.join("\n"));
        place.ok(&["add", "--dataset", name, "--data", &data]);
    }
    let modules: BTreeSet<&str> = cases.iter().flat_map(|case| &case.modules).map(String::as_str).collect();
    let modules = Vec::from_iter(modules);
    let model_name = model.display().to_string();
    let is_given = cases[0].is_sampled;
    let asked = |strategies: &[&str]| {
        cases.iter().flat_map(|case| case.listed("strategies")).any(|asked| strategies.contains(&asked))
    };
    let given = if is_given && asked(&["diagonal"]) { &GIVEN[..] } else { &GIVEN[..1] };
    write_factors(&place, given, file, cases, (model, &modules));
    for (_, folder, name) in given {
        place.ok(&["factors", "import", folder, name, "--model", &model_name]);
    }
    for (name, wanted) in [("ekfac", asked(&["kfac", "identity"])), ("diagonal", asked(&["diagonal"]))] {
        if is_given || !wanted {
            continue;
        }
        let mut args = vec!["factors", "fit", name, "--strategy", name, "--dataset", "pool"];
        let modules = modules.join(",");
        args.extend(["--fisher", "empirical", "--model", &model_name, "--modules", &modules]);
        place.ok(&[&args[..], &TEXT[..]].concat());
    }
    let has_fit = !is_given && asked(&["kfac", "identity"]);
    let is_unscored = |at: &usize| train[*at].targets.iter().all(Option::is_none);
    let unscored = (0..train.len()).filter(is_unscored).collect();
    Scored { place, offsets, unscored, queries: queries.len(), is_given, has_fit }
}

/// A tokenizer whose words are the numbers of its tokens.
fn write_tokenizer(place: &Place, last: Option<u32>) {
    let vocabulary: Map<String, Value> =
        (0..=last.expect("tokens")).map(|id| (id.to_string(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "0" },
    });
    fs_err::create_dir(place.path("numbers")).expect("made");
    place.write("numbers/tokenizer.json", tokenizer.to_string());
}

/// A conversation whose words are numbers of tokens: the assistant says what is scored.
fn record(at: usize, row: &Row) -> String {
    let tokens: Vec<(u32, bool)> =
        row.ids.iter().copied().zip(row.targets.iter().map(Option::is_some)).collect();
    let turns = tokens.chunk_by(|(_, a), (_, b)| a == b).map(|turn| {
        let words: Vec<String> = turn.iter().map(|(id, _)| id.to_string()).collect();
        json!({ "role": if turn[0].1 { "assistant" } else { "user" }, "content": words.join(" ") })
    });
    json!({ "id": at.to_string(), "messages": turns.collect::<Vec<Value>>() }).to_string()
}

/// Factors of the labels and eigenvectors that the reference has, as folders of Kronfluence's.
fn write_factors(
    place: &Place,
    given: &[Given],
    file: &Tensors,
    cases: &[Case],
    (model, modules): (&Path, &[&str]),
) {
    let source = CheckpointSource { model: model.to_owned(), adapter: None, tracked: Vec::new() };
    let patterns = modules.iter().map(|name| (*name).to_owned()).collect();
    let selection = ModuleSelection { patterns, biases: false };
    let mut engine =
        CurvatureEngine::load(&source, Cpu::new(ComputePrecision::F32), &selection, SavedActivations::All)
            .expect("a model");
    let is_diagonal = |given: &Given| matches!(given.0, Strategy::Diagonal);
    let (factors, _) = fit::fit(&mut engine, file, cases, given.iter().any(is_diagonal));
    let modules: &[Module] = engine.modules();
    let (mut sums, mut bases) = (Vec::new(), Vec::new());
    let (mut squares, mut diagonals) = (Vec::new(), Vec::new());
    for of in factors {
        sums.push((of.activation.expect("inputs"), of.gradient.expect("gradients")));
        bases.push((of.activation_eigen.expect("a basis"), of.gradient_eigen.expect("a basis")));
        squares.push(of.lambda.expect("squares"));
        diagonals.extend(of.diagonal);
    }
    for of in given {
        let (strategy, folder, _) = *of;
        let arguments = FactorArguments::new(strategy).in_f64();
        let folder = FactorFolder::create(&place.path(folder), &arguments).expect("made");
        if is_diagonal(of) {
            folder.write_lambda(None, modules, &diagonals).expect("written");
            continue;
        }
        folder.write_covariances(None, modules, &sums).expect("written");
        folder.write_eigen(modules, &bases).expect("written");
        folder.write_lambda(None, modules, &squares).expect("written");
    }
}

impl Scored {
    /// Compares the factors that the program fitted and published.
    fn check_fit(&self, cases: &[Case], checks: &mut Checks) {
        self.place.ok(&["factors", "export", "ekfac", "fitted"]);
        let folder = FactorFolder::open(&self.place.path("fitted")).expect("a folder");
        let (modules, factors): (Vec<Module>, Vec<ModuleFactors>) =
            folder.factors(None).expect("factors").into_iter().unzip();
        cases.iter().for_each(|case| check_factors(&modules, case, &factors, &[], checks));
    }

    /// Compares the scores that the reference has of a case: all of them with `GSTORE_EXHAUSTIVE`. The names of
    /// `dampings` may stand for numbers.
    fn check(&self, case: &Case, dampings: &Value, checks: &mut Checks) {
        let names = case.scores.names();
        let mut names: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("float64/")).collect();
        names.sort_unstable();
        // Scores of all modules are the sums of those of each, which are compared for the
        // same factors and damping.
        if std::env::var_os("GSTORE_EXHAUSTIVE").is_none() {
            let all = names.clone();
            names.retain(|name| {
                let each = name.strip_prefix("pairwise.").map(|method| format!("per_module.{method}"));
                each.is_none_or(|each| !all.contains(&each.as_str()))
            });
        }
        assert!(!names.is_empty(), "{} has no scores", case.name);
        // Those that differ in their damping alone take one pass. The dampings may have points.
        let mut passes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for name in names {
            let (kind, method) = name.split_once('.').expect("a kind and a method");
            let (strategy, damping) = method.split_once('.').unwrap_or((method, ""));
            passes.entry((kind, strategy)).or_default().push(damping);
        }
        for ((kind, strategy), of) in passes {
            let name = |damping: &str| match damping {
                "" => format!("{kind}.{strategy}"),
                damping => format!("{kind}.{strategy}.{damping}"),
            };
            let shape = case.scores.shape(&format!("float64/{}", name(of[0])));
            let values: Vec<Option<f64>> = of.iter().map(|name| damping_value(name, dampings)).collect();
            for (damping, found) in of.iter().zip(self.scores(case, (kind, strategy), &values, &shape)) {
                let name = name(damping);
                let mut expected = case.scores.get(&format!("float64/{name}")).expect("there");
                if kind.starts_with("lowrank") {
                    expected.truncate(found.len());
                }
                checks.compare(&format!("{}: {name}", case.name), &found, &expected, case.of_scores(&name));
            }
        }
    }

    /// The scores of a kind such as `per_module` by a strategy with each of some dampings, in the order that the
    /// reference has them in; `None` for the default damping.
    fn scores(
        &self,
        case: &Case,
        (kind, strategy): (&str, &str),
        dampings: &[Option<f64>],
        shape: &[usize],
    ) -> Vec<Vec<f64>> {
        let mut queries = self.queries;
        let mut rows = case.count("train_rows");
        let mut parts = 1;
        let mut more: Vec<String> = Vec::new();
        match kind {
            "pairwise" => {}
            "self" => more.push("--self".to_owned()),
            "per_module" => {
                parts = case.modules.len();
                more.push("--per-module".to_owned());
            }
            "per_token" => {
                let tokens = |at: &usize| *at == shape[1];
                (queries, rows) = (shape[0], self.offsets.iter().position(tokens).expect("whole rows"));
                more.push("--per-token".to_owned());
            }
            kind => {
                let rank = kind.strip_prefix("lowrank").expect("a kind that is known");
                queries = affordable(case).min(queries);
                more.extend(["--rank".to_owned(), rank.to_owned()]);
            }
        }
        if kind != "self" {
            more.extend(["--target".to_owned(), "queries".to_owned()]);
            more.extend(["--queries".to_owned(), queries.to_string()]);
        }
        more.extend(["--limit".to_owned(), rows.to_string()]);
        if dampings != [None] {
            let text = |damping: &Option<f64>| damping.map_or("auto".to_owned(), |value| value.to_string());
            more.extend(["--damping".to_owned(), dampings.iter().map(text).collect::<Vec<_>>().join(",")]);
        }
        let (factors, text): (&str, &[&str]) = match strategy {
            "diagonal" if self.is_given => ("given-diagonal", &TEXT[..]),
            _ if self.is_given => ("given", &TEXT[..]),
            "ekfac" => ("given", &TEXT[..]),
            "diagonal" => ("diagonal", &[]),
            _ => ("ekfac", &[]),
        };
        let modules = case.modules.join(",");
        let fixed = ["score", "--factors", factors, "--strategy", strategy, "--pool", "pool"];
        let mut args = [&fixed[..], &["--modules", &modules, "--format", "csv"], text].concat();
        args.extend(more.iter().map(String::as_str));
        let text = self.place.ok(&args);
        let token_count = self.offsets[rows];
        let (queries, len) = match kind {
            "self" => (1, rows),
            "per_token" => (queries, queries * token_count),
            _ => (queries, parts * queries * rows),
        };
        let mut all = vec![vec![f64::NAN; len]; dampings.len()];
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
        for line in lines {
            let values: Vec<&str> = line.split(',').collect();
            let value = |column: &str| names.iter().position(|name| *name == column).map(|at| values[at]);
            let number =
                |column: &str| value(column).map_or(0, |text| text.parse::<usize>().expect("a number"));
            let module = value("module")
                .map_or(0, |name| case.modules.iter().position(|known| known == name).expect("a module"));
            let (query, row) = (number("query"), number("row"));
            let at = match kind {
                "per_token" => query * token_count + self.offsets[row] + number("token"),
                _ => (module * queries + query) * rows + row,
            };
            let damping = value("damping").filter(|text| !text.is_empty());
            let damping = damping.map(|text| text.parse::<f64>().expect("a number"));
            let of =
                if dampings.len() == 1 { Some(0) } else { dampings.iter().position(|of| *of == damping) };
            all[of.expect("a damping")][at] = value("score").expect("a score").parse().expect("a number");
        }
        for row in self.unscored.iter().copied().filter(|row| *row < rows) {
            for part in 0..parts * queries {
                let places = match kind {
                    "per_token" => {
                        let start = part * token_count;
                        start + self.offsets[row]..start + self.offsets[row + 1]
                    }
                    _ => part * rows + row..part * rows + row + 1,
                };
                for scores in &mut all {
                    let scores = &mut scores[places.clone()];
                    assert!(scores.iter().all(|score| score.is_nan()), "{kind} {strategy}: {row} is listed");
                    scores.fill(0.0);
                }
            }
        }
        let is_there = all.iter().flatten().all(|score| score.is_finite());
        assert!(is_there, "{}: {kind} {strategy}: {text}", case.name);
        all
    }
}

/// The number of a damping by its name; `None` for the default damping.
fn damping_value(name: &str, dampings: &Value) -> Option<f64> {
    match name {
        "" | "null" => None,
        name => Some(dampings[name].as_f64().unwrap_or_else(|| name.parse().expect("a damping"))),
    }
}

/// How many queries can be cut to a rank.
fn affordable(case: &Case) -> usize {
    let sizes = case.value["modules"].as_array().expect("modules").iter();
    let cost = sizes.map(|module| {
        let [out, input] = ["out", "in_plus_bias"].map(|key| module[key].as_u64().expect("a size") as usize);
        out * input * out.min(input)
    });
    (DECOMPOSED / cost.sum::<usize>().max(1)).max(1)
}
