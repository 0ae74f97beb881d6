//! Promise: factors that were fitted in parts, by an array or by one run, are the same bits; scores
//! are the sums of their modules and of their tokens, whatever is asked with them; a query that cannot
//! be solved for ends alone.

use std::collections::BTreeMap;
use std::path::Path;

use gstore::factors::FactorFolder;
use gstore_curvature::{Covariance, Module, ModuleFactors};
use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::{Value, json};

/// Two small ones: decompositions are most of the time of a test.
pub const MODULES: &str = "model.layers.1.self_attn.k_proj,model.layers.2.self_attn.v_proj";

/// A pool of 12 samples and 3 queries.
pub fn place() -> Place {
    let place = Place::new();
    for (name, rows) in [("pool", 12), ("q", 3)] {
        let file = format!("{name}.jsonl");
        world::write_samples(&place.path(&file), rows);
        place.ok(&["add", "--dataset", name, "--data", &file]);
    }
    place
}

/// A fit of the pool with the demo's model at its first checkpoint.
pub fn fit(place: &Place, name: &str, more: &[&str]) -> Value {
    let args = fit_args(name, more);
    place.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

pub fn demo(part: &str) -> String {
    world::demo().join(part).display().to_string()
}

pub fn fit_args(name: &str, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = ["factors", "fit", name, "--dataset", "pool", "--modules", MODULES, "--json"]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    args.extend(["--model".to_owned(), demo("model")]);
    args.extend(["--checkpoint".to_owned(), demo("warmup/checkpoint-26")]);
    args.extend(more.iter().map(|word| (*word).to_owned()));
    args
}

/// A table of scores.
pub fn scores(place: &Place, more: &[&str]) -> BTreeMap<Vec<String>, f64> {
    let args = [&["score", "--pool", "pool", "--format", "csv"][..], more].concat();
    table(&place.ok(&args))
}

/// Of each line of a table the last value, by the others.
pub fn table(text: &str) -> BTreeMap<Vec<String>, f64> {
    let line = |line: &str| {
        let mut values: Vec<String> = line.split(',').map(str::to_owned).collect();
        let score: f64 = values.pop().expect("a score").parse().expect("a number");
        (values, score)
    };
    let found: BTreeMap<Vec<String>, f64> = text.lines().skip(1).map(line).collect();
    assert!(!found.is_empty() && found.values().all(|score| score.is_finite()), "{text}");
    found
}

/// Sums over a column of the table.
pub fn summed(scores: &BTreeMap<Vec<String>, f64>, column: usize) -> BTreeMap<Vec<String>, f64> {
    let mut sums = BTreeMap::new();
    for (key, score) in scores {
        let mut key = key.clone();
        key.remove(column);
        *sums.entry(key).or_insert(0.0) += score;
    }
    sums
}

pub fn assert_near(
    found: &BTreeMap<Vec<String>, f64>,
    expected: &BTreeMap<Vec<String>, f64>,
    tolerance: f64,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let largest = expected.values().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (key, value) in found {
        let off = (value - expected[key]).abs();
        assert!(off <= tolerance * largest, "{key:?}: {value} is not {} ({off})", expected[key]);
    }
}

/// The factors of a name as files have them, by their modules.
fn exported(place: &Place, name: &str) -> Vec<(Module, ModuleFactors)> {
    let folder = format!("exported-{name}");
    place.ok(&["factors", "export", name, &folder]);
    FactorFolder::open(&place.path(&folder)).expect("a folder").factors(None).expect("factors")
}

/// The covariances of a module.
fn covariances(factors: &ModuleFactors) -> [&Covariance; 2] {
    [&factors.activation, &factors.gradient].map(|sums| sums.as_ref().expect("sums"))
}

#[test]
fn parts_of_an_array_end_as_one_run_does() {
    let place = place();
    let whole =
        fit(&place, "whole", &["--data-partitions", "2", "--module-partitions", "2", "--threads", "1"]);
    assert_eq!([&whole["computed"], &whole["found"]].map(Value::as_u64), [Some(8), Some(0)], "{whole}");
    assert!(whole["snapshot"].is_u64() && whole["waiting"].is_null(), "{whole}");
    assert!(!place.path("store.factors").exists(), "what is published leaves no folder");

    let of_array = |part: &str| {
        fit(&place, "array", &["--partition", part, "--module-partitions", "2", "--folder", "shared"])
    };
    let first = of_array("1/2");
    assert_eq!(first["computed"], 2, "{first}");
    assert!(first["waiting"].as_str().is_some_and(|text| text.contains("covariances")), "{first}");
    let second = of_array("2/2");
    assert_eq!(second["computed"], 4, "its covariances and, of all, its squares: {second}");
    let rest = ["--data-partitions", "2", "--module-partitions", "2", "--folder", "shared"];
    let last = fit(&place, "array", &rest);
    assert_eq!([&last["computed"], &last["found"]].map(Value::as_u64), [Some(2), Some(2)], "{last}");
    assert!(last["snapshot"].is_u64(), "{last}");
    // Those that other runs took were counted there.
    let no_scored = [&whole, &first, &second, &last].map(|report| report["no_scored"].as_u64());
    assert_eq!(no_scored, [Some(0), Some(0), Some(0), None]);

    let of = |factors: &str| scores(&place, &["--factors", factors, "--target", "q"]);
    assert_eq!(of("whole"), of("array"));

    let other = [&rest[..], &["--fisher", "empirical", "--force"][..]].concat();
    let args = fit_args("array", &other);
    let refused = place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("fisher is \"true\" there, \"empirical\" here"), "{}", refused.stderr);

    place.ok(&["factors", "export", "whole", "out"]);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    place.ok(&["factors", "import", "out", "copy", "--model", &model, "--checkpoint", &checkpoint]);
    assert_eq!(of("copy"), of("whole"));
    let listed = place.ok(&["factors", "list", "--format", "csv"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let inspect = ["factors", "inspect", "whole", "--layer", "1", "--against", "array", "--plots", "plots"];
    let shown = place.ok(&[&inspect[..], &["--format", "csv"]].concat());
    assert_eq!(shown.lines().count(), 2, "{shown}");
    // The same bits do not differ.
    let differences: Vec<&str> = shown.lines().nth(1).expect("a module").rsplit(',').take(5).collect();
    assert!(differences[..4].iter().all(|value| value.parse::<f64>() == Ok(0.0)), "{shown}");
    assert_eq!(differences[4], "array", "{shown}");
    assert!(place.path("plots/layer_1/cumulative_variance.png").exists());
    assert!(listed.contains("whole,ekfac,2,pool,12,"), "{listed}");
}

#[test]
fn covariances_in_blocks_are_those_with_zeros_outside() {
    let place = place();
    // Sides of 64 and 128 in one block each, and in two and three.
    fit(&place, "whole", &["--max-block", "128"]);
    let parts = ["--max-block", "48", "--data-partitions", "2", "--module-partitions", "2"];
    fit(&place, "cut", &parts);
    let of = |factors: &str, more: &[&str]| {
        scores(&place, &[&["--factors", factors, "--target", "q"][..], more].concat())
    };
    let found = of("cut", &[]);
    assert_eq!(found, of("cut", &["--threads", "1"]));
    let whole = of("whole", &[]);
    assert_ne!(found, whole);

    // What is exported are whole matrices, with which scores are the same.
    place.ok(&["factors", "export", "cut", "out"]);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    place.ok(&["factors", "import", "out", "copy", "--model", &model, "--checkpoint", &checkpoint]);
    let size = |name: &str| fs_err::metadata(place.path(name)).expect("a file").len();
    place.ok(&["factors", "export", "whole", "out-whole"]);
    for file in ["activation_covariance", "gradient_eigenvectors"] {
        let [cut, whole] = ["out", "out-whole"].map(|folder| size(&format!("{folder}/{file}.safetensors")));
        assert!(cut.abs_diff(whole) < 4000, "{file}: {cut} and {whole} bytes");
    }
    let options: [&[&str]; 4] =
        [&[], &["--strategy", "kfac"], &["--damping", "1e-3"], &["--filter", "source:100*1e-4"]];
    for more in options {
        assert_near(&of("copy", more), &of("cut", more), 1e-6);
    }
    let own = |factors: &str| scores(&place, &["--factors", factors, "--self"]);
    assert_near(&own("copy"), &own("cut"), 1e-4);

    let shown = place.ok(&["factors", "inspect", "cut", "--against", "whole", "--format", "csv"]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let [little, much] = ["48", "128"].map(|most| {
        let args = fit_args("d", &["--dry-run", "--max-block", most]);
        place.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    assert!(little["covariances"].as_u64() < much["covariances"].as_u64(), "{little} {much}");
    // Sums of other blocks do not add up.
    let extended = |more: &[&str]| {
        let args = fit_args("more", &[&["--extend", "cut"][..], more].concat());
        place.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).stderr
    };
    let refused = extended(&["--max-block", "128"]);
    assert!(refused.contains("max_block is 48 there, null here; without --max-block"), "{refused}");
    // Those of the factors, and what cuts alike.
    for more in [&[][..], &["--max-block", "50"]] {
        let refused = extended(more);
        assert!(refused.contains("no rows that those factors lack"), "{refused}");
    }
}

#[test]
fn scores_are_the_sums_of_their_parts() {
    let place = place();
    fit(&place, "f", &["--fisher", "empirical"]);
    let of = |more: &[&str]| scores(&place, &[&["--factors", "f", "--target", "q"][..], more].concat());
    let whole = of(&[]);
    assert_eq!(whole.len(), 36);
    assert_near(&summed(&of(&["--per-module"]), 3), &whole, 1e-9);
    assert_near(&summed(&of(&["--per-token"]), 3), &whole, 1e-4);
    assert_near(&summed(&of(&["--per-token", "--rank", "4"]), 3), &of(&["--rank", "4"]), 1e-9);
    assert_eq!(of(&["--threads", "1", "--batch-tokens", "64"]), whole);

    // Sums go on where those of the first half ended.
    fit(&place, "half", &["--fisher", "empirical", "--limit", "6"]);
    let more = fit(&place, "more", &["--fisher", "empirical", "--extend", "half"]);
    assert_eq!(more["rows"], 12, "{more}");
    // Sums of other batches round otherwise, and nearly equal eigenvalues turn their vectors then.
    assert_near(&scores(&place, &["--factors", "more", "--target", "q"]), &whole, 1e-3);

    let sweep = of(&["--damping", "auto,1e-3"]);
    let single = of(&["--damping", "1e-3"]);
    for (key, score) in &sweep {
        let (damping, key) = (&key[3], key[..3].to_vec());
        let expected = if damping.is_empty() { &whole } else { &single };
        assert_eq!(expected[&key], *score, "{key:?} {damping}");
    }

    // A segment of training that has hardly begun is its time of the identity.
    let filtered = of(&["--filter", "inverse,identity,source:10*1e-12"]);
    let through = |name: &str| -> BTreeMap<Vec<String>, f64> {
        let lines = filtered.iter().filter(|(key, _)| key[3] == name);
        lines.map(|(key, score)| (key[..3].to_vec(), *score)).collect()
    };
    let identity = of(&["--strategy", "identity"]);
    assert_eq!((through("inverse"), through("identity")), (whole.clone(), identity.clone()));
    let begun = through("source:10*0.000000000001").into_iter().map(|(key, score)| (key, score * 1e11));
    assert_near(&begun.collect(), &identity, 1e-4);

    // A query and a row are the same sample, and the sum over queries is one score.
    let pairs = scores(&place, &["--factors", "f", "--target", "pool"]);
    let own = scores(&place, &["--factors", "f", "--self"]);
    let diagonal: BTreeMap<Vec<String>, f64> =
        pairs.iter().filter(|(key, _)| key[0] == key[2]).map(|(key, v)| (key[1..].to_vec(), *v)).collect();
    assert!(own.values().all(|score| *score >= 0.0));
    assert_near(&own, &diagonal, 1e-4);
    assert_near(&of(&["--sum-queries"]), &summed(&whole, 0), 1e-4);

    let best = of(&["--top", "2"]);
    assert_eq!(best.len(), 6);
    assert!(best.iter().all(|(key, score)| whole[key] == *score));
}

#[test]
fn an_iterative_solve_goes_on_where_factors_end() {
    let place = place();
    fit(&place, "f", &[]);
    fit(&place, "d", &["--strategy", "diagonal"]);
    fit(&place, "cut", &["--max-block", "48"]);
    let solve = ["--target", "q", "--solver", "cg"];
    let report = |more: &[&str]| {
        let to = ["score", "--pool", "pool", "-o", "solved.csv", "--force", "--json"];
        place.json(&[&to[..], &solve[..], more].concat())
    };
    let found = report(&["--factors", "f", "--damping", "1", "--iterations", "100"]);
    assert_eq!(found["solver_rows"], 12, "{found}");
    let solved = found["solved"].as_array().expect("queries");
    assert_eq!(solved.len(), 3, "{found}");
    for query in solved {
        let [residual, start] = ["residual", "start"].map(|key| query[key].as_f64().expect("a number"));
        assert!(residual <= 1e-3 && residual < start && query["iterations"].as_u64() > Some(1), "{query}");
    }
    // One iteration is along the factors' answer: each query's scores are those of the factors times a
    // number.
    let of = |more: &[&str]| scores(&place, &[&["--factors", "f"][..], &solve[..], more].concat());
    let (one, factors) = (of(&["--iterations", "1"]), scores(&place, &["--factors", "f", "--target", "q"]));
    for query in ["s0", "s1", "s2"] {
        let of_query = |(key, _): &(&Vec<String>, &f64)| key[0] == query;
        let [a, b] = [&one, &factors]
            .map(|scores| scores.iter().filter(of_query).map(|(_, v)| *v).collect::<Vec<f64>>());
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(a.len() == 12 && cosine > 1.0 - 1e-8, "{query}: {cosine}");
    }

    // What is solved does not depend on what preconditions, on threads, and on the parts of a score.
    let close = ["--tolerance", "1e-4", "--iterations", "200", "--damping", "3"];
    let whole = of(&close);
    for other in ["d", "cut"] {
        let other = scores(&place, &[&["--factors", other][..], &solve[..], &close[..]].concat());
        assert_near(&other, &whole, 1e-2);
    }
    assert_eq!(of(&[&close[..], &["--threads", "1", "--solver-rows", "12"]].concat()), whole);
    assert_near(&summed(&of(&[&close[..], &["--per-module"]].concat()), 3), &whole, 1e-9);
    assert_near(&of(&[&close[..], &["--sum-queries"]].concat()), &summed(&whole, 0), 1e-2);
    let few = report(&["--factors", "f", "--solver-rows", "5", "--iterations", "1"]);
    assert!(few["solver_rows"] == 5 && few["solved"][0]["iterations"] == 1, "{few}");

    for (more, says) in [
        (&["--damping", "auto,1"][..], "one damping"),
        (&["--filter", "identity"], "no other filter"),
        (&["--strategy", "identity"], "needs factors of curvature"),
        (&["--rank", "4"], "--rank"),
        (&["--kronfluence", "k"], "--kronfluence"),
        (&["--tolerance", "1"], "between 0 and 1"),
    ] {
        let args = [&["score", "--pool", "pool", "--factors", "f"][..], &solve[..], more].concat();
        let refused = place.run(&args);
        assert!(refused.code == 2 && refused.stderr.contains(says), "{more:?}: {}", refused.stderr);
    }
    let alone =
        place.run(&["score", "--pool", "pool", "--factors", "f", "--target", "q", "--iterations", "3"]);
    assert!(alone.code == 2 && alone.stderr.contains("--solver"), "{}", alone.stderr);
}

/// A copy of the demo's model in which the first value of an embedding is 0, but for the one token `~`.
pub fn with_a_value_for_one_token(to: &Path) {
    world::copy_files(&world::demo().join("model"), to);
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
    let tokenizer = json(&fs_err::read(to.join("tokenizer.json")).expect("readable"));
    let token = tokenizer["model"]["vocab"]["~"].as_u64().expect("a token") as usize;
    let mut bytes = fs_err::read(to.join("model.safetensors")).expect("readable");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let embedding = &json(&bytes[8..8 + header])["model.embed_tokens.weight"];
    assert_eq!(embedding["dtype"], "F16");
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let [rows, width] = [0, 1].map(|at| number(&embedding["shape"][at]));
    let start = 8 + header + number(&embedding["data_offsets"][0]);
    for row in 0..rows {
        let one: u16 = if row == token { 0x3c00 } else { 0 };
        let at = start + 2 * row * width;
        bytes[at..at + 2].copy_from_slice(&one.to_le_bytes());
    }
    fs_err::write(to.join("model.safetensors"), bytes).expect("written");
}

/// Rows have no gradient at the weights of an input that is 0 for all of their tokens, so that the curvature
/// there is the damping. Of a query that has one the first direction is then 1 / damping of it, beyond single
/// precision.
#[test]
fn a_query_that_cannot_be_solved_for_ends_alone() {
    let place = place();
    with_a_value_for_one_token(&place.path("marked"));
    let line = |id: &str, asked: &str| {
        let turns = [("user", asked), ("assistant", "2 is even")];
        let messages = turns.map(|(role, content)| json!({"role": role, "content": content}));
        format!("{}\n", json!({"id": id, "messages": messages}))
    };
    let (first, last) = (line("first", "Is 2 odd?"), line("last", "Is 7 odd?"));
    for (name, text) in
        [("good", format!("{first}{last}")), ("mixed", format!("{first}{}{last}", line("bad", "Is ~ odd?")))]
    {
        let file = format!("{name}.jsonl");
        fs_err::write(place.path(&file), text).expect("written");
        place.ok(&["add", "--dataset", name, "--data", &file]);
    }
    let module = "model.layers.0.self_attn.v_proj";
    place.ok(&[
        "factors",
        "fit",
        "f",
        "--dataset",
        "pool",
        "--model",
        "marked",
        "--modules",
        module,
        "--strategy",
        "diagonal",
    ]);
    let score = |target: &str, more: &[&str]| {
        let args = ["score", "--pool", "pool", "--factors", "f", "--target", target, "--solver", "cg"];
        let limits = ["--damping", "1e-60", "--iterations", "1", "-o", "scores.csv", "--force", "--json"];
        let found = place.run(&[&args[..], &limits, more].concat());
        (found, fs_err::read_to_string(place.path("scores.csv")).expect("written"))
    };
    let (good, expected) = score("good", &[]);
    assert_eq!(good.code, 0, "{}", good.stderr);
    assert_eq!(expected.lines().count(), 1 + 2 * 12, "{expected}");

    let (mixed, found) = score("mixed", &[]);
    assert_eq!(mixed.code, 1, "{}", mixed.stderr);
    for says in
        ["query `bad`", "rows 0 to ", module, "1 of 3 queries could not be solved for", "--keep-going"]
    {
        assert!(mixed.stderr.contains(says), "{says}: {}", mixed.stderr);
    }
    // The others have the bits that they have without it.
    assert_eq!(found, expected);
    let report: Value = serde_json::from_str(&mixed.stdout).expect("JSON");
    let solved = report["solved"].as_array().expect("queries");
    assert_eq!(solved.iter().map(|query| &query["query"]).collect::<Vec<_>>(), ["first", "bad", "last"]);
    for query in solved {
        let is_bad = query["query"] == "bad";
        assert_eq!(query["failed"].is_string(), is_bad, "{query}");
        assert_eq!((query["iterations"] == 0, query["residual"] == 1.0), (is_bad, is_bad), "{query}");
    }
    let (kept, found) = score("mixed", &["--keep-going"]);
    assert_eq!((kept.code, found), (0, expected), "{}", kept.stderr);
    assert!(kept.stderr.contains("query `bad`"), "{}", kept.stderr);
}

#[test]
fn segments_of_training_add_up() {
    let place = place();
    let at = |step: u32| demo(&format!("warmup/checkpoint-{step}"));
    let (early, late) = (at(26), at(52));
    fit(&place, "early", &["--fisher", "empirical"]);
    // The same fit with another word in place of one.
    let fit_other = |name: &str, word: &str, other: &str| {
        let mut args = fit_args(name, &["--fisher", "empirical"]);
        args.iter_mut().filter(|arg| **arg == word).for_each(|arg| *arg = other.to_owned());
        place.json(&args.iter().map(String::as_str).collect::<Vec<_>>());
    };
    fit_other("late", &early, &late);
    let of = |segments: &[&str], more: &[&str]| {
        let mut args = vec!["--target", "q"];
        segments.iter().for_each(|segment| args.extend(["--segment", *segment]));
        scores(&place, &[&args[..], more].concat())
    };
    let plus = |a: &BTreeMap<Vec<String>, f64>, factor: f64, b: &BTreeMap<Vec<String>, f64>| {
        a.iter().map(|(key, value)| (key.clone(), value + factor * b[key])).collect::<BTreeMap<_, _>>()
    };

    // One segment is the filter, and equal ones are one.
    let one = scores(&place, &["--factors", "early", "--target", "q", "--filter", "source:500*1e-3"]);
    assert_eq!(of(&["early=500*1e-3"], &[]), one);
    assert_eq!(of(&[&format!("early=500*1e-3@{early}")], &[]), one);
    assert_near(&of(&["early=300*1e-3", "early=200*1e-3"], &[]), &one, 1e-4);
    assert_near(&of(&[&format!("early=500*1e-3@{early},{early}")], &[]), &one, 1e-9);

    // Rows are averaged: with x of both checkpoints and y of the last, 2 x - y is of the first alone.
    let both = of(&[&format!("early=500*1e-3@{early},{late}")], &[]);
    let last = of(&[&format!("early=500*1e-3@{late}")], &["--stale"]);
    let three = of(&[&format!("early=500*1e-3@{early},{early},{late}")], &[]);
    let expected = plus(&plus(&both, 1.0 / 3.0, &both), -1.0 / 3.0, &last);
    assert_near(&three, &expected, 1e-5);

    // An early segment that has hardly begun adds nothing to the late one.
    let pair = |steps: &str| [format!("early={steps}"), "late=10*1e-3".to_owned()];
    let of_pair = |steps: &str, more: &[&str]| {
        let pair = pair(steps);
        of(&[&pair[0], &pair[1]], more)
    };
    let sum = of_pair("10*1e-12", &[]);
    assert_near(
        &sum,
        &scores(&place, &["--factors", "late", "--target", "q", "--filter", "source:10*1e-3"]),
        1e-6,
    );
    let whole = of_pair("500*1e-3", &[]);
    assert_near(&summed(&of_pair("500*1e-3", &["--per-module"]), 3), &whole, 1e-9);
    assert_near(&summed(&of_pair("500*1e-3", &["--per-token"]), 3), &whole, 1e-4);
    assert_eq!(of_pair("500*1e-3", &["--threads", "1"]), whole);
    // Segments have an order.
    assert_ne!(of(&["late=10*1e-3", "early=500*1e-3"], &[]), whole);
    assert_near(&of_pair("500*1e-3", &["--sum-queries"]), &summed(&whole, 0), 1e-4);
    let best = of_pair("500*1e-3", &["--top", "2"]);
    assert!(best.len() == 6 && best.iter().all(|(key, score)| whole[key] == *score));
    let dry = ["score", "--pool", "pool", "--target", "q", "--segment", "early=1*1", "--segment", "late=1*1"];
    let report = place.json(&[&dry[..], &["--dry-run", "--json"]].concat());
    assert_eq!(
        (report["passes"].as_u64(), report["filters"].as_array().map(Vec::len)),
        (Some(2), Some(2)),
        "{report}"
    );
    // Sums of 12 rows and 3 queries wait between two passes; of both modules, of all tokens, and of no row.
    let disk = |more: &[&str]| -> u64 {
        let report = place.json(&[&dry[..], &["--dry-run", "--json"], more].concat());
        report["disk"].as_u64().expect("bytes")
    };
    assert_eq!((disk(&[]), disk(&["--per-module"]), disk(&["--sum-pool"])), (8 * 36, 8 * 72, 0));
    let tokens = of_pair("500*1e-3", &["--per-token"]).len() as u64;
    assert_eq!((disk(&["--per-token"]), disk(&["--segment", "late=1*1"])), (8 * tokens, 2 * 8 * 36));
    assert_near(&of_pair("500*1e-3", &["--sum-pool"]), &summed(&summed(&whole, 2), 1), 1e-4);
    // A query has columns of each segment, and the weights of both checkpoints are there.
    let single = place.json(&[&dry[..5], &["--segment", "late=1*1", "--dry-run", "--json"]].concat());
    assert!(report["memory"].as_u64() > single["memory"].as_u64(), "{report} {single}");
    // A row that two passes see is one.
    let report = place.json(&[&dry[..], &["-o", "pair.csv", "--json"]].concat());
    assert_eq!([&report["rows"], &report["no_scored"]].map(Value::as_u64), [Some(12), Some(0)], "{report}");

    let refused = |segments: &[&str], more: &[&str], says: &str| {
        let mut args = vec!["score", "--pool", "pool"];
        segments.iter().for_each(|segment| args.extend(["--segment", *segment]));
        let found = place.run(&[&args[..], more].concat());
        assert!(found.code != 0 && found.stderr.contains(says), "{says}: {}", found.stderr);
    };
    fit_other("other", MODULES, "model.layers.1.self_attn.k_proj");
    refused(&["early=1*1", "other=1*1"], &["--target", "q"], "of other modules, and segments have the same");
    refused(&[&format!("early=1*1@{late}")], &["--target", "q"], "they were fitted at checkpoint");
    refused(&["early=1*1"], &["--target", "q", "--strategy", "kfac"], "are fitted as ekfac, and not as kfac");
    // Factors that do not say where their model is are of the model that is named.
    place.ok(&["factors", "export", "early", "out"]);
    place.ok(&["factors", "import", "out", "moved"]);
    refused(&["moved=1*1"], &["--target", "q"], "do not say where their model is");
    let named = ["--target", "q", "--model", &demo("model")];
    refused(&["moved=1*1"], &named, "they were fitted at checkpoint");
    refused(&["early=1*1"], &["--self"], "--self");
    refused(&["early=1*1"], &["--target", "q", "--solver", "cg"], "--solver");
    refused(&["early=1*1"], &["--target", "q", "--filter", "identity"], "--filter");
    refused(&["early=1"], &["--target", "q"], "NAME=STEPS*RATE");
}

#[test]
fn curvature_is_averaged_over_the_checkpoints_of_a_segment() {
    let place = place();
    let at = |step: u32| demo(&format!("warmup/checkpoint-{step}"));
    let (early, late) = (at(26), at(52));
    let fit_at = |name: &str, checkpoint: &str, more: &[&str]| {
        let mut args = fit_args(name, &[&["--fisher", "empirical"][..], more].concat());
        args.iter_mut().filter(|arg| **arg == early).for_each(|arg| *arg = checkpoint.to_owned());
        place.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Of each module the mean eigenvalue.
    let means = |name: &str| -> Vec<f64> {
        let text = place.ok(&["factors", "inspect", name, "--format", "csv"]);
        let mut lines = text.lines();
        let at = lines.next().and_then(|names| names.split(',').position(|name| name == "mean"));
        let value = |line: &str| line.split(',').nth(at.expect("a column")).expect("a value").parse::<f64>();
        lines.map(value).collect::<Result<_, _>>().expect("numbers")
    };
    // Whatever the basis, eigenvalues sum up to the mean of the squared lengths of gradients.
    for strategy in ["ekfac", "diagonal"] {
        let name = |part: &str| format!("{strategy}-{part}");
        fit_at(&name("early"), &early, &["--strategy", strategy]);
        fit_at(&name("late"), &late, &["--strategy", strategy]);
        let both = fit_at(&name("both"), &early, &["--strategy", strategy, "--average", &late]);
        assert!(both["rows"] == 12 && both["no_scored"] == 0, "{both}");
        let [early, late, both] = ["early", "late", "both"].map(|part| means(&name(part)));
        assert!(both.len() == 2 && early != late, "{both:?}");
        for ((both, early), late) in both.iter().zip(&early).zip(&late) {
            let expected = (early + late) / 2.0;
            assert!((both - expected).abs() < 1e-4 * expected, "{both} is not {expected}");
        }
    }
    fit_at("parts", &early, &["--strategy", "diagonal", "--average", &late, "--data-partitions", "3"]);
    for (parts, whole) in means("parts").iter().zip(means("diagonal-both")) {
        assert!((parts - whole).abs() < 1e-5 * whole, "{parts} is not {whole}");
    }

    // Sums are those of both fits added, on both sides of the diagonal, and eigenvectors are theirs.
    fit_at("kfac-early", &early, &["--strategy", "kfac"]);
    fit_at("kfac-late", &late, &["--strategy", "kfac"]);
    let both = ["--strategy", "kfac", "--average", &late];
    fit_at("kfac-both", &early, &both);
    fit_at("kfac-parts", &early, &[&both[..], &["--data-partitions", "3"]].concat());
    fit_at("kfac-half", &early, &[&both[..], &["--limit", "6"]].concat());
    fit_at("kfac-more", &early, &[&both[..], &["--extend", "kfac-half"]].concat());
    for (singles, means) in
        [("kfac", &["kfac-both", "kfac-parts", "kfac-more"][..]), ("ekfac", &["ekfac-both"])]
    {
        let [early, late] = ["early", "late"].map(|part| exported(&place, &format!("{singles}-{part}")));
        for name in means {
            for (((module, both), (_, early)), (_, late)) in
                exported(&place, name).iter().zip(&early).zip(&late)
            {
                let singles = covariances(early).into_iter().zip(covariances(late));
                for (found, (early, late)) in covariances(both).into_iter().zip(singles) {
                    assert_eq!((found.count, found.asymmetry()), (early.count + late.count, 0.0), "{name}");
                    let largest = found.sums.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
                    for (found, (early, late)) in found.sums.iter().zip(early.sums.iter().zip(&late.sums)) {
                        let off = (found - early - late).abs();
                        assert!(off <= 1e-5 * largest, "{name} {}: {off} of {largest}", module.name);
                    }
                }
                let mut again = both.clone();
                again.decompose(module).expect("eigenbases");
                let values = |factors: &ModuleFactors| -> Vec<f64> {
                    let bases = [&factors.activation_eigen, &factors.gradient_eigen].into_iter().flatten();
                    bases.flat_map(|eigen| eigen.values.clone()).collect()
                };
                for (found, expected) in values(both).iter().zip(values(&again)) {
                    let off = (found - expected).abs();
                    assert!(off <= 1e-9 * (1.0 + expected), "{name} {}: {found} {expected}", module.name);
                }
            }
        }
    }

    // Rows are at both checkpoints, and queries at the one that the factors are of; alone it is that of the
    // rows.
    let of = |segment: &str| scores(&place, &["--target", "q", "--segment", segment]);
    assert_eq!(of("ekfac-both=500*1e-3"), of(&format!("ekfac-both=500*1e-3@{late},{early}")));
    let alone = scores(&place, &["--factors", "ekfac-both", "--target", "q", "--filter", "source:500*1e-3"]);
    assert_eq!(of(&format!("ekfac-both=500*1e-3@{early}")), alone);
    // Without segments they are of one checkpoint alone.
    let at_late = ["--target", "q", "--model", &demo("model"), "--checkpoint", &late];
    let refused =
        place.run(&[&["score", "--pool", "pool", "--factors", "ekfac-both"][..], &at_late].concat());
    let says = "they were fitted at checkpoint";
    assert!(refused.code == 1 && refused.stderr.contains(says), "{}", refused.stderr);
    let args = fit_args("twice", &["--average", &early]);
    let refused = place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused.code == 2 && refused.stderr.contains("is there twice"), "{}", refused.stderr);
}
