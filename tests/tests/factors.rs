//! Promise: factors have the same bits whether they were fitted in parts, by an array or in one run; scores
//! are the sums over their modules and tokens, whatever else is requested; a row without a scored token is in
//! no ranking; a query that cannot be solved for fails alone.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_tests::binary::Finished;
use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::{Value, json};

/// Two small ones: decompositions are most of the time of a test.
pub const MODULES: &str = "model.layers.1.self_attn.k_proj,model.layers.2.self_attn.v_proj";

/// A pool of 12 samples and 3 queries.
pub fn place() -> Place {
    let place = Place::of(&[("pool", 12), ("q", 3)]);
    place.add("pool");
    place.add("q");
    place
}

/// A fit of the pool with the demo's model at its first checkpoint.
pub fn fit(place: &Place, name: &str, more: &[&str]) -> Value {
    let args = fit_args(name, more);
    place.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same to its end.
pub fn fit_run(place: &Place, name: &str, more: &[&str]) -> Finished {
    place.run(&fit_args(name, more).iter().map(String::as_str).collect::<Vec<_>>())
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

#[test]
fn parts_of_an_array_end_as_one_run_does() {
    let place = place();
    let whole =
        fit(&place, "whole", &["--data-partitions", "2", "--module-partitions", "2", "--threads", "1"]);
    assert_eq!([&whole["computed"], &whole["found"]].map(Value::as_u64), [Some(8), Some(0)], "{whole}");
    assert!(whole["snapshot"].is_u64() && whole["waiting"].is_null(), "{whole}");
    assert!(!place.path("store.factors").exists(), "what is published leaves no folder");
    fit_run(&place, "whole", &[]).says(2, &["has an artifact \"whole\" already; --force replaces it"]);

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
    fit_run(&place, "array", &other).says(1, &["fisher is \"true\" there, \"empirical\" here"]);

    place.ok(&["factors", "export", "whole", "out"]);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    let import = ["factors", "import", "out", "copy", "--model", &model, "--checkpoint", &checkpoint];
    place.run(&import).says(0, &["factors copy (ekfac): 2 modules imported"]);
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
    let [little, much] = ["48", "128"].map(|most| fit(&place, "d", &["--dry-run", "--max-block", most]));
    assert!(little["covariances"].as_u64() < much["covariances"].as_u64(), "{little} {much}");
    // Sums of other blocks do not add up.
    let extended = |more: &[&str]| fit_run(&place, "more", &[&["--extend", "cut"][..], more].concat()).stderr;
    let refused = extended(&["--max-block", "128"]);
    assert!(refused.contains("max_block is 48 there, null here; without --max-block"), "{refused}");
    // Those of the factors, and what cuts alike.
    for more in [&[][..], &["--max-block", "50"]] {
        let refused = extended(more);
        assert!(refused.contains("there is nothing to extend"), "{refused}");
    }
}

#[test]
fn scores_are_the_sums_of_their_parts() {
    let place = place();
    fit(&place, "f", &["--fisher", "empirical"]);
    let asked = ["--factors", "f", "--target", "q"];
    // By default the number of columns decides too, and scores of the other side are the same to rounding.
    let of = |more: &[&str]| scores(&place, &[&asked[..], &["--rotate", "queries"], more].concat());
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
    let identity = scores(&place, &[&asked[..], &["--strategy", "identity"]].concat());
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
    let margin = ["--factors", "f", "--measurement", "margin"];
    let pairs = scores(&place, &[&margin[..], &["--target", "pool"]].concat());
    let measured = scores(&place, &[&margin[..], &["--self"]].concat());
    let diagonal: BTreeMap<Vec<String>, f64> =
        pairs.iter().filter(|(key, _)| key[0] == key[2]).map(|(key, v)| (key[1..].to_vec(), *v)).collect();
    assert_near(&measured, &diagonal, 1e-4);
    assert!(measured.iter().all(|(key, score)| (score - own[key]).abs() > 1e-3 * own[key]));
    assert_near(&of(&["--sum-queries"]), &summed(&whole, 0), 1e-4);

    let best = of(&["--top", "2"]);
    assert_eq!(best.len(), 6);
    assert!(best.iter().all(|(key, score)| whole[key] == *score));
}

/// Scores follow the form of a text.
#[test]
fn queries_of_another_form_than_the_pool_are_told() {
    let place = place();
    place.write("pairs.json", json!([{"prompt": "Is 7 odd?", "completion": "7 is odd"}]).to_string());
    let model = demo("model");
    let score = ["score", "--pool", "pool", "--model", &model, "--modules", MODULES, "--dry-run"];
    let told = place.run(&[&score[..], &["--target-data", "pairs.json"]].concat());
    let pool =
        "of 12 samples of the pool `pool` looked at 12 are conversations and 0 prompts with completions";
    let queries = "of 1 query 0 are conversations and 1 prompts with completions";
    told.says(0, &[pool, queries, "two forms", "--template tulu_chat"]);
    for more in [&["--target", "q"][..], &["--target-data", "pairs.json", "--template", "tulu_chat"]] {
        place.run(&[&score[..], more].concat()).says(0, &[]).lacks(&["two forms"]);
    }
    // Whatever may be replaced, they are not.
    let pairs = place.read("pairs.json");
    let score =
        ["score", "--pool", "pool", "--model", &model, "--target-data", "pairs.json", "--force", "-o"];
    place.run(&[&score[..], &["pairs.json"]].concat()).says(2, &["pairs.json is read by this command"]);
    assert_eq!(place.read("pairs.json"), pairs);
}

/// Their scores of 0 would be above those of opponents.
#[test]
fn rows_without_a_scored_token_are_in_no_ranking() {
    let place = place();
    let long = "word ".repeat(200);
    let turns = [("user", long.as_str()), ("assistant", "y")];
    let messages = turns.map(|(role, content)| json!({"role": role, "content": content}));
    place.write(
        "mixed.jsonl",
        format!("{}\n{}", json!({"id": "cut", "messages": messages}), place.read("pool.jsonl")),
    );
    place.add("mixed");
    let model = demo("model");
    let score = ["score", "--pool", "mixed", "--model", &model, "--modules", MODULES, "--max-length", "64"];
    for (more, lines) in [
        (&["--target", "q"][..], 36),
        (&["--target", "q", "--top", "13"], 36),
        (&["--target", "q", "--per-module"], 72),
        (&["--self"], 12),
        (&["--self", "--top", "13"], 12),
    ] {
        let found = place.run(&[&score[..], &["--format", "csv"], more].concat());
        found.says(0, &["12 rows of mixed scored for ", "; 1 row has no scored token"]);
        let found = table(&found.stdout);
        assert!(found.len() == lines && !found.keys().flatten().any(|value| value == "cut"), "{found:?}");
    }

    let to = ["--target", "q", "--report", "f.md", "--kronfluence", "kept", "--json"];
    let report = place.json(&[&score[..], &to].concat());
    assert_eq!([&report["rows"], &report["no_scored"]].map(Value::as_u64), [Some(13), Some(1)], "{report}");
    let shown = place.read("f.md");
    assert!(shown.contains("Is 11 odd?") && !shown.contains("word word"), "{shown}");
    // Kronfluence's tables have a column for each row of the data.
    assert_eq!(place.read("kept/rows.txt").lines().next(), Some("cut"));
    let bytes = fs_err::read(place.path("kept/pairwise_scores.safetensors")).expect("written");
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).expect("JSON");
    assert_eq!(header["all_modules"]["shape"], json!([3, 13]), "{header}");
    let values: Vec<f32> = bytes[start..]
        .chunks_exact(4)
        .map(|value| f32::from_le_bytes(value.try_into().expect("4")))
        .collect();
    let zeros: Vec<usize> = (0..values.len()).filter(|at| values[*at] == 0.0).collect();
    assert_eq!(zeros, [0, 13, 26]);
}

#[test]
fn rows_without_tokens_count_as_samples_and_have_no_score() {
    let place = place();
    let empty = json!({"id": "none", "text": ""});
    place.write("mixed.jsonl", format!("{empty}\n{}", place.read("pool.jsonl")));
    place.add("mixed");
    let model = demo("model");
    for strategy in ["kfac", "ekfac", "diagonal"] {
        let fit =
            ["factors", "fit", strategy, "--strategy", strategy, "--dataset", "mixed", "--model", &model];
        let fitted = place.json(&[&fit[..], &["--modules", MODULES, "--json"]].concat());
        assert_eq!(
            [&fitted["rows"], &fitted["no_scored"]].map(Value::as_u64),
            [Some(13), Some(1)],
            "{fitted}"
        );
        for more in [&["--target", "q"][..], &["--target", "q", "--per-token"], &["--self"]] {
            let score = ["score", "--pool", "mixed", "--factors", strategy, "--format", "csv"];
            let found = place.run(&[&score[..], more].concat());
            found.says(0, &["12 rows of mixed scored", "; 1 row has no scored token"]);
            assert!(!table(&found.stdout).keys().flatten().any(|value| value == "none"), "{found:?}");
        }
    }
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
    let one = [&["score", "--pool", "pool", "--factors", "f"][..], &solve, &["--iterations", "1"]].concat();
    place.run(&one).says(0, &["; 1 iteration of cg over 12 rows of pool leaves a residual"]);

    for (more, says) in [
        (&["--damping", "auto,1"][..], "one damping"),
        (&["--filter", "identity"], "no other filter"),
        (&["--strategy", "identity"], "needs factors of curvature"),
        (&["--rank", "4"], "--rank"),
        (&["--kronfluence", "k"], "--kronfluence"),
        (&["--tolerance", "1"], "above 0 and below 1"),
    ] {
        let args = [&["score", "--pool", "pool", "--factors", "f"][..], &solve[..], more].concat();
        place.run(&args).says(2, &[says]);
    }
    let alone =
        place.run(&["score", "--pool", "pool", "--factors", "f", "--target", "q", "--iterations", "3"]);
    alone.says(2, &["--solver"]);
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
    let bad = line("bad", "Is ~ odd?");
    for (name, text) in
        [("good", format!("{first}{last}")), ("mixed", format!("{first}{bad}{last}")), ("lone", bad.clone())]
    {
        place.write(&format!("{name}.jsonl"), text);
        place.add(name);
    }
    let module = "model.layers.0.self_attn.v_proj";
    place.typed(&format!(
        "factors fit f --dataset pool --model marked --modules {module} --strategy diagonal"
    ));
    let score = |target: &str, more: &[&str]| {
        let args = ["score", "--pool", "pool", "--factors", "f", "--target", target, "--solver", "cg"];
        let limits = ["--damping", "1e-60", "--iterations", "1", "-o", "scores.csv", "--force", "--json"];
        let found = place.run(&[&args[..], &limits, more].concat());
        (found, place.read("scores.csv"))
    };
    let (good, expected) = score("good", &[]);
    good.says(0, &[]);
    assert_eq!(expected.lines().count(), 1 + 2 * 12, "{expected}");

    let (mixed, found) = score("mixed", &[]);
    mixed.says(
        1,
        &["query `bad`", "rows 0 to ", module, "1 of 3 queries could not be solved for", "--keep-going"],
    );
    // The others have the bits that they have without it.
    assert_eq!(found, expected);
    let report = mixed.json();
    let solved = report["solved"].as_array().expect("queries");
    assert_eq!(solved.iter().map(|query| &query["query"]).collect::<Vec<_>>(), ["first", "bad", "last"]);
    for query in solved {
        let is_bad = query["query"] == "bad";
        assert_eq!(query["failed"].is_string(), is_bad, "{query}");
        assert_eq!((query["iterations"] == 0, query["residual"] == 1.0), (is_bad, is_bad), "{query}");
    }
    let (kept, found) = score("mixed", &["--keep-going"]);
    assert_eq!((kept.code, found), (0, expected), "{}", kept.stderr);
    kept.says(0, &["query `bad`", "12 rows of pool scored for 2 of 3 queries"]);

    // Where there is nothing to score for, no row is scored.
    let (none, found) = score("lone", &[]);
    none.says(1, &["nothing was scored", "none of 1 query could be solved for"]);
    let report = none.json();
    assert_eq!((&report["passes"], &report["no_scored"]), (&json!(0), &json!(null)), "{report}");
    assert_eq!((&report["lines"], found.lines().count()), (&json!(0), 1), "{found}");
    assert_eq!(score("lone", &["--keep-going"]).0.code, 0);
}
