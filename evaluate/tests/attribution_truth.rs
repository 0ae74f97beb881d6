//! Promise: a truth that was made once, in a folder or as tables, is what every later comparison reads.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use gstore_core::Cancel;
use gstore_data::{Content, TextSample};
use gstore_evaluate::attribution::{
    MissingScores, PendingRun, QueryLoss, Scores, ScoresBuilder, Subset, SubsetKind, Truth, TruthFolder,
    TruthPlan, lds, leave_one_out, random_subsets, read_tables,
};

use crate::attribution::comparison;
use crate::common::folder;
use parquet::arrow::ArrowWriter;

fn sample(id: usize, text: &str) -> TextSample {
    TextSample {
        row: id as u64,
        id: format!("r{id}"),
        content: Content::PromptCompletion { prompt: "p".to_owned(), completion: text.to_owned() },
        begun: String::new(),
        metadata: Vec::new(),
    }
}

fn losses(losses: &[f64]) -> Vec<QueryLoss> {
    let of = |(id, loss): (usize, &f64)| QueryLoss { id: format!("r{id}"), loss: *loss, tokens: 3 };
    losses.iter().enumerate().map(of).collect()
}

#[test]
fn a_truth_is_filled_run_by_run_and_read_again() {
    let around = tempfile::tempdir().expect("a folder");
    let place = around.path().join("truth");
    let pool: Vec<TextSample> = (0..6).map(|row| sample(row, "é \"x\"")).collect();
    let queries: Vec<TextSample> = (0..2).map(|row| sample(row, "y")).collect();
    let subsets = random_subsets(6, 3, 0.5, 1, &Cancel::new()).expect("subsets");
    let plan = TruthPlan {
        pool: &pool,
        queries: &queries,
        subsets: &subsets,
        repeats: 2,
        design: serde_json::json!({ "seed": 1 }),
    };
    let stopped = TruthFolder::create(&place, &plan, &Cancel::raised());
    assert!(matches!(stopped, Err(gstore_evaluate::EvaluateError::Stopped(_))) && !place.exists());
    let made = TruthFolder::create(&place, &plan, &Cancel::new()).expect("made");
    for stopped in
        [TruthFolder::open(&place, &Cancel::raised()), TruthFolder::create(&place, &plan, &Cancel::raised())]
    {
        assert!(matches!(stopped, Err(gstore_evaluate::EvaluateError::Stopped(_))));
    }
    assert_eq!((made.runs(), made.remaining(0..99)), (6, (0..6).collect()));
    let (repeat, rows) = made.run(3).expect("a run");
    let expected: Vec<String> = subsets[1].rows.iter().map(|row| format!("r{row}")).collect();
    assert_eq!((repeat, rows), (1, expected));
    let recipe = made.agree_on_recipe(&serde_json::json!({ "learning rate": 1e-3 })).expect("the first");
    // Of a subset with a run that is not done nothing is read.
    for run in [5, 0, 1, 2, 4] {
        made.record(run, &losses(&[run as f64, 0.25]), &recipe).expect("kept");
    }
    assert_eq!(made.remaining(0..6), [3]);
    let again = TruthFolder::create(&place, &plan, &Cancel::new()).expect("the same");
    let cancel = Cancel::new();
    let truth = again.read(&cancel).expect("read");
    assert_eq!(truth.subsets, subsets);
    assert_eq!((truth.output(0, 0), truth.output(1, 0), truth.output(2, 1)), (Some(-0.5), None, Some(-0.25)));
    assert_eq!(truth.done(|_| true), [0, 2]);

    // A file that was damaged is named with its run, which is done again.
    let damaged = place.join("outputs/00004.parquet");
    let whole = fs_err::read(&damaged).expect("its bytes");
    fs_err::write(&damaged, &whole[..whole.len() / 2]).expect("cut off");
    let undone = made.undone(0..9, &cancel).expect("read");
    assert_eq!(
        (made.remaining(0..6), undone.iter().map(|of| of.run).collect::<Vec<_>>()),
        (vec![3], vec![3, 4])
    );
    assert!(undone[0].damage.is_none());
    assert!(undone[1].damage.as_ref().is_some_and(|damage| damage.contains("00004.parquet")), "{undone:?}");
    let error = made.read(&cancel).unwrap_err().to_string();
    assert!(
        error.contains("00004.parquet: what run 4 said") && error.contains("retrain it again"),
        "{error}"
    );
    made.record(4, &losses(&[4.0, 0.25]), &recipe).expect("again");
    assert_eq!(made.undone(0..6, &cancel).expect("read"), [PendingRun { run: 3, damage: None }]);
    assert_eq!(made.read(&cancel).expect("read"), truth);
    // What is not damage is not mended by doing the run again.
    fs_err::remove_file(&damaged).expect("removed");
    fs_err::create_dir(&damaged).expect("in its place");
    assert!(matches!(made.undone(0..6, &cancel), Err(gstore_evaluate::EvaluateError::Io(_))));

    let twice = [losses(&[1.0]), losses(&[1.0])].concat();
    for (wrong, words) in [
        (losses(&[1.0]), "every query"),
        (twice, "every query"),
        (losses(&[1.0, f64::NAN]), "no finite loss"),
    ] {
        let error = made.record(3, &wrong, &recipe).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    made.agree_on_recipe(&serde_json::json!({ "learning rate": 1e-3 })).expect("the same");
    let error = made.agree_on_recipe(&serde_json::json!({ "learning rate": 2e-3 })).unwrap_err().to_string();
    assert!(error.contains("learning_rate=0.002, was 0.001"), "{error}");
    // A key that only the first run had.
    let error = made.agree_on_recipe(&serde_json::json!({})).unwrap_err().to_string();
    assert!(error.contains("no learning_rate, was 0.001"), "{error}");
    assert!(error.contains("another folder with truth, or replace"), "{error}");
    let other = random_subsets(6, 3, 0.5, 2, &Cancel::new()).expect("subsets");
    let error = TruthFolder::create(&place, &TruthPlan { subsets: &other, ..plan }, &Cancel::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("other subsets") && error.contains("another folder with truth"), "{error}");
    assert!(error.contains("rows: its subsets differ from those given\n"), "{error}");
    let text = fs_err::read_to_string(place.join("pool.jsonl")).expect("the pool");
    fs_err::write(place.join("pool.jsonl"), text.replace("r5", "r6")).expect("changed");
    let error = TruthFolder::open(&place, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("has changed"), "{error}");
}

#[test]
fn a_folder_with_files_of_its_user_is_no_place_for_a_truth() {
    let around = tempfile::tempdir().expect("a folder");
    let samples: Vec<TextSample> = (0..4).map(|row| sample(row, "x")).collect();
    let subsets = random_subsets(4, 2, 0.5, 1, &Cancel::new()).expect("subsets");
    let design = serde_json::Value::Null;
    let plan = TruthPlan { pool: &samples, queries: &samples, subsets: &subsets, repeats: 1, design };
    for name in
        ["pool.jsonl", "queries.jsonl", "subsets.jsonl", "recipe.json", "notes.txt", "outputs/mine.txt"]
    {
        let place = around.path().join(name.replace(['.', '/'], "-"));
        fs_err::create_dir_all(place.join("outputs")).expect("made");
        fs_err::write(place.join(name), "precious").expect("written");
        let error = TruthFolder::create(&place, &plan, &Cancel::new()).unwrap_err();
        let (words, first) = (error.to_string(), name.split('/').next().expect("a name"));
        assert!(words.contains(&format!("holds {first}, which no ground truth put there")), "{words}");
        assert!(error.is_usage(), "{words}");
        assert_eq!(fs_err::read_to_string(place.join(name)).expect("there"), "precious");
        assert!(!TruthFolder::exists(&place), "{name}");
    }
    // Files that an interrupted creation left are not the user's.
    let place = around.path().join("truth");
    let made = TruthFolder::create(&place, &plan, &Cancel::new()).expect("made");
    fs_err::remove_file(place.join("manifest.json")).expect("removed");
    fs_err::remove_file(place.join("subsets.jsonl")).expect("removed");
    for unfinished in [".truth.a1b2c3", "subsets.unfinished-7"] {
        fs_err::write(place.join(unfinished), "{").expect("written");
    }
    assert_eq!(TruthFolder::create(&place, &plan, &Cancel::new()).expect("made").runs(), made.runs());
}

/// A file of outputs as older versions wrote it.
fn older(path: &std::path::Path, outputs: [f64; 2]) {
    table(path, &[("output", outputs)]);
}

/// A file of numbers of both queries.
fn table(path: &std::path::Path, numbers: &[(&str, [f64; 2])]) {
    let queries: ArrayRef = Arc::new(StringArray::from_iter_values(["r0", "r1"]));
    let mut columns = vec![("query", queries)];
    for (name, values) in numbers {
        columns.push((*name, Arc::new(Float64Array::from_iter_values(*values))));
    }
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let file = fs_err::File::create(path).expect("made").into_parts().0;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("begun");
    writer.write(&batch).expect("written");
    writer.close().expect("ended");
}

#[test]
fn outputs_of_something_else_are_not_taken_for_those_of_a_run() {
    let around = tempfile::tempdir().expect("a folder");
    let place = around.path().join("truth");
    let pool: Vec<TextSample> = (0..6).map(|row| sample(row, "x")).collect();
    let queries: Vec<TextSample> = (0..2).map(|row| sample(row, "y")).collect();
    let recipe = serde_json::json!({ "seed": 1, "learning rate": 1e-3 });
    let folder = |name: &str, rows: [[u32; 3]; 3]| {
        let subsets = rows.map(|rows| Subset { kind: SubsetKind::Random, rows: rows.to_vec() });
        let design = serde_json::Value::Null;
        let plan = TruthPlan { pool: &pool, queries: &queries, subsets: &subsets, repeats: 1, design };
        let made = TruthFolder::create(&around.path().join(name), &plan, &Cancel::new()).expect("made");
        let agreed = made.agree_on_recipe(&recipe).expect("the first");
        (0..3).for_each(|run| made.record(run, &losses(&[run as f64, 1.0]), &agreed).expect("kept"));
        made
    };
    let (made, cancel) = (folder("truth", [[0, 1, 2], [1, 2, 3], [2, 3, 4]]), Cancel::new());
    let output = |run: usize| place.join(format!("outputs/0000{run}.parquet"));
    let agreed = made.agree_on_recipe(&recipe).expect("the same");
    let truth = made.read(&cancel).expect("read");
    let refused = |words: &[&str]| {
        let error = made.read(&cancel).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    let again = |run: usize| {
        let undone = made.undone(0..3, &cancel).expect("read");
        assert_eq!(undone.iter().map(|of| of.run).collect::<Vec<_>>(), [run]);
        made.record(run, &losses(&[run as f64, 1.0]), &agreed).expect("kept");
        assert_eq!(made.read(&cancel).expect("read"), truth);
    };
    // The file of another run.
    fs_err::copy(output(1), output(2)).expect("copied");
    refused(&[
        "00002.parquet",
        "outputs of run 1, but is in the place of those of run 2",
        "retrain it again",
    ]);
    again(2);
    // That of the same run of other subsets.
    folder("other", [[3, 4, 5], [0, 4, 5], [0, 1, 5]]);
    fs_err::copy(around.path().join("other/outputs/00001.parquet"), output(1)).expect("copied");
    refused(&["00001.parquet", "trained on another subset"]);
    again(1);
    // An output that is not its loss with the other sign.
    table(&output(1), &[("loss", [1.0, 1.0]), ("output", [-1.0, -0.75])]);
    refused(&["00001.parquet", "its `output` is -0.75, and its `loss` 1: an output is the loss"]);
    again(1);
    // A recipe that is not that of the models any more.
    let noted = fs_err::read_to_string(place.join("recipe.json")).expect("the recipe");
    fs_err::write(place.join("recipe.json"), noted.replace("0.001", "0.002")).expect("changed");
    refused(&["00000.parquet", "trained otherwise than `recipe.json` says"]);
    // Outputs are not recorded under another recipe than that of their model.
    let before = fs_err::read(output(1)).expect("its bytes");
    let error = made.record(1, &losses(&[1.0, 1.0]), &agreed).unwrap_err().to_string();
    assert!(error.contains("recipe.json: it was changed while run 1 was trained"), "{error}");
    assert_eq!(fs_err::read(output(1)).expect("its bytes"), before);
    fs_err::remove_file(place.join("recipe.json")).expect("removed");
    refused(&["recipe.json", "it is not there"]);
    fs_err::write(place.join("recipe.json"), noted).expect("put back");
    assert_eq!(made.read(&cancel).expect("read"), truth);
    // Older files say nothing of it, but copies of others are known.
    older(&output(2), [-2.0, -1.0]);
    assert_eq!(made.read(&cancel).expect("read"), truth);
    older(&output(2), [-1.0, -1.0]);
    refused(&["00002.parquet", "outputs of run 1 to the last bit"]);
}

#[test]
fn runs_of_the_same_rows_and_seed_are_no_copies() {
    let around = tempfile::tempdir().expect("a folder");
    let samples: Vec<TextSample> = (0..4).map(|row| sample(row, "x")).collect();
    // Two methods that rank the same row highest, and one that ranks another one so.
    let kind =
        |method: &str| SubsetKind::Removed { method: method.to_owned(), query: "r0".into(), share: 0.25 };
    let subsets = [("a", [1, 2, 3]), ("b", [1, 2, 3]), ("c", [0, 2, 3])];
    let subsets = subsets.map(|(method, rows)| Subset { kind: kind(method), rows: rows.to_vec() });
    let (queries, design) = (&samples[..2], serde_json::Value::Null);
    let plan = TruthPlan { pool: &samples, queries, subsets: &subsets, repeats: 2, design };
    let made = TruthFolder::create(&around.path().join("truth"), &plan, &Cancel::new()).expect("made");
    made.agree_on_recipe(&serde_json::json!({ "seed": 1 })).expect("the first");
    let output = |run: usize| around.path().join(format!("truth/outputs/0000{run}.parquet"));
    let (cancel, first) = (Cancel::new(), [[-1.0, -2.0], [-1.5, -2.5]]);
    for (run, outputs) in
        [first[0], first[1], first[0], first[1], [-3.0, -4.0], [-3.5, -4.5]].iter().enumerate()
    {
        older(&output(run), *outputs);
    }
    let truth = made.read(&cancel).expect("read");
    assert_eq!((truth.output(0, 0), truth.output(1, 0)), (Some(-1.25), Some(-1.25)));
    for (run, of, outputs) in [(4, 0, first[0]), (3, 0, first[0])] {
        let before = fs_err::read(output(run)).expect("its bytes");
        older(&output(run), outputs);
        let error = made.read(&cancel).unwrap_err().to_string();
        let says = format!("0000{run}.parquet: it has the outputs of run {of} to the last bit");
        assert!(error.contains(&says), "{says}: {error}");
        fs_err::write(output(run), before).expect("put back");
    }
}

#[test]
fn a_recipe_knows_its_tokenizer() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let subsets = random_subsets(4, 2, 0.5, 1, &Cancel::new()).expect("subsets");
    let (pool, queries) = ((0..4).map(|id| sample(id, "row")).collect::<Vec<_>>(), [sample(0, "query")]);
    let plan = || TruthPlan {
        pool: &pool,
        queries: &queries,
        subsets: &subsets,
        repeats: 1,
        design: serde_json::Value::Null,
    };
    let recipe = |tokenizer: &str, template: &str| serde_json::json!({ "seed": 1, "tokenizer": tokenizer, "template digest": template });
    let made = TruthFolder::create(&place("known"), &plan(), &Cancel::new()).expect("made");
    made.agree_on_recipe(&recipe("a", "t")).expect("the first");
    made.agree_on_recipe(&recipe("a", "t")).expect("the same");
    for (other, words) in [
        (recipe("b", "t"), "its tokenizer is \"a\", not \"b\""),
        (recipe("a", "u"), "its template digest is \"t\", not \"u\""),
    ] {
        let error = made.agree_on_recipe(&other).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    // Of two jobs that begin at once the later one compares with what the first one noted.
    let jobs = TruthFolder::create(&place("jobs"), &plan(), &Cancel::new()).expect("made");
    let agree = |seed: u32| jobs.agree_on_recipe(&serde_json::json!({ "seed": seed })).is_ok();
    let agreed: Vec<bool> = std::thread::scope(|scope| {
        let begun: Vec<_> = (1..9).map(|seed| scope.spawn(move || agree(seed))).collect();
        begun.into_iter().map(|job| job.join().expect("no panic")).collect()
    });
    assert_eq!(agreed.iter().filter(|is_agreed| **is_agreed).count(), 1, "{agreed:?}");
    // Noted before recipes knew of it.
    let old = TruthFolder::create(&place("unknown"), &plan(), &Cancel::new()).expect("made");
    old.agree_on_recipe(&serde_json::json!({ "seed": 1 })).expect("the first");
    old.agree_on_recipe(&recipe("a", "t")).expect("not known to be another");
    let error = old.agree_on_recipe(&serde_json::json!({ "seed": 2, "tokenizer": "a" })).unwrap_err();
    assert!(error.to_string().contains("seed=2, was 1"), "{error}");
    // Where no other precision is noted, losses have that of their models.
    let recipe = |precision: &str| serde_json::json!({ "precision": precision });
    let asked = serde_json::json!({ "precision": "bf16", "precision of losses": "f32" });
    for (name, noted, agrees) in
        [("single", recipe("f32"), recipe("f32")), ("both", asked.clone(), asked.clone())]
    {
        let folder = TruthFolder::create(&place(name), &plan(), &Cancel::new()).expect("made");
        folder.agree_on_recipe(&noted).expect("the first");
        folder.agree_on_recipe(&agrees).expect("the same");
    }
    let half = TruthFolder::create(&place("half"), &plan(), &Cancel::new()).expect("made");
    half.agree_on_recipe(&recipe("bf16")).expect("the first");
    let error = half.agree_on_recipe(&asked).unwrap_err().to_string();
    assert!(error.contains("its precision of losses is \"bf16\", not \"f32\""), "{error}");
}

fn tables(subsets: &str, outputs: &str) -> Result<Truth, gstore_evaluate::EvaluateError> {
    let around = folder(&[("subsets.jsonl", subsets), ("outputs.csv", outputs)]);
    let path = |name: &str| around.path().join(name);
    read_tables(&path("subsets.jsonl"), &path("outputs.csv"), &Cancel::new())
}

const TABLE: &str = r#"{"subset": "a", "rows": ["x", "y"]}
{"subset": "b", "rows": ["y", "z"]}
{"subset": "c", "without": ["y"], "group": "y"}
{"subset": "d", "kind": "removed", "method": "m", "query": "q", "share": 0.5, "rows": ["x"]}
"#;

#[test]
fn results_of_retraining_are_read_as_tables() {
    let outputs = "subset,query,loss\na,q,1.5\na,r,2\na,q,2.5\na,r,3\nb,q,1\nb,r,1\nc,q,1\nc,r,1\n";
    let truth = tables(TABLE, outputs).expect("read");
    assert_eq!((truth.pool.len(), truth.queries.len()), (3, 2));
    // Two runs of a, and losses become outputs.
    assert_eq!((truth.output(0, 0), truth.output(0, 1), truth.output(3, 0)), (Some(-2.0), Some(-2.5), None));
    assert_eq!((&truth.subsets[1].rows, &truth.subsets[2].rows), (&vec![1, 2], &vec![0, 2]));
    assert!(matches!(&truth.subsets[2].kind, SubsetKind::Without { group } if group == "y"));
    assert!(matches!(&truth.subsets[3].kind, SubsetKind::Removed { share, .. } if *share == 0.5));
    let refused = |subsets: &str, outputs: &str, words: &str| {
        let error = tables(subsets, outputs).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    for (outputs, words) in [
        ("subset,query,loss\nz,q,1\n", "not one of the subsets"),
        ("subset,query,loss\na,q,nan\n", "not a finite number"),
        (
            "subset,query,loss,output\na,q,1.5,-1.5\na,r,2.5,-2.25\n",
            "line 3: its `output` is -2.25, and its `loss` 2.5",
        ),
        ("subset,query,accuracy\na,q,1\n", "a `loss`, a `margin` or an `output`"),
        (
            "subset,query,loss,margin\na,q,1.5,0.25\n",
            "line 2: it has both `margin` and `loss`, and models are compared by one of them: leave the other column out",
        ),
        ("subset,query,margin,output\na,q,0.25,0.25\n", "it has both `margin` and `output`"),
        (
            "subset,query,loss\na,q,1\na,r,1\nb,q,1\n",
            "subset \"b\" has 0 outputs for query \"r\" and 1 for another",
        ),
        (
            "subset,query,loss\na,q,1\na,r,1\nb,r,1\nb,r,2\nb,q,1\n",
            "subset \"b\" has 1 output for query \"q\" and 2 for another",
        ),
    ] {
        refused(TABLE, outputs, words);
    }
    for (subsets, words) in [
        ("{\"subset\": \"a\"}\n", "needs one of `rows`"),
        (
            "{\"subset\": \"a\", \"kind\": \"without\", \"rows\": [\"x\"]}\n",
            "a subset of the kind \"without\" needs the column `group`: the id of the row that it leaves out",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"removed\", \"method\": \"m\", \"query\": \"q\", \"rows\": [\"x\"]}\n",
            "a subset of the kind \"removed\" needs the column `share`: which part of the pool",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"removed_at_random\", \"share\": 10, \"without\": [\"x\"]}\n",
            "line 1: its share is 10: a share is between 0 and 1, such as 0.1",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"removed_at_random\", \"share\": 0, \"without\": [\"x\"]}\n",
            "its share is 0: a share",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"removed_at_random\", \"share\": 1, \"without\": [\"x\"]}\n",
            "its share is 1: a share",
        ),
        (
            "{\"subset\": \"f\", \"kind\": \"full\", \"rows\": [\"x\", \"y\", \"z\", \"w\"]}\n\
             {\"subset\": \"a\", \"kind\": \"removed_at_random\", \"share\": 0.5, \"without\": [\"x\"]}\n",
            "subsets.jsonl: subset \"a\" leaves out 1 of 4 rows, and its share is 0.5",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"half\", \"rows\": [\"x\"]}\n",
            "there is no kind \"half\": a subset is random, full, without, removed or removed_at_random",
        ),
        ("{\"subset\": \"a\", \"rows\": []}\n", "nothing to evaluate"),
        (
            "{\"subset\": \"a\", \"rows\": [\"x\", \"y\", \"x\"]}\n",
            "subsets.jsonl: subset \"a\" lists row \"x\" twice",
        ),
        (
            "{\"subset\": \"a\", \"id\": \"x\"}\n{\"subset\": \"a\", \"id\": \"x\"}\n",
            "subset \"a\" lists row \"x\" twice",
        ),
        ("{\"subset\": \"a\", \"without\": [\"x\", \"x\"]}\n", "subset \"a\" lists row \"x\" twice"),
        (
            "{\"subset\": \"a\", \"without\": [\"x\"]}\n{\"subset\": \"a\", \"id\": \"y\"}\n",
            "line 2: subset \"a\" has `without` before, but `id` here",
        ),
        (
            "{\"subset\": \"a\", \"id\": \"x\"}\n{\"subset\": \"a\", \"rows\": [\"y\"]}\n",
            "subset \"a\" has `id` before, but `rows` here",
        ),
        (
            "{\"subset\": \"a\", \"rows\": [\"x\"]}\n{\"subset\": \"a\", \"rows\": [\"y\"]}\n",
            "subset \"a\" comes twice",
        ),
        (
            "{\"subset\": \"a\", \"id\": \"x\"}\n{\"subset\": \"a\", \"kind\": \"full\", \"id\": \"y\"}\n",
            "line 2: subset \"a\" is {\"kind\":\"random\"} before, but {\"kind\":\"full\"} here",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"without\", \"group\": \"g\", \"id\": \"x\"}\n\
             {\"subset\": \"a\", \"kind\": \"\", \"id\": \"y\"}\n\
             {\"subset\": \"a\", \"kind\": \"without\", \"group\": \"h\", \"id\": \"z\"}\n",
            "line 3: subset \"a\" is {\"kind\":\"without\",\"group\":\"g\"} before",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"full\", \"rows\": [\"x\"]}\n{\"subset\": \"b\", \"rows\": [\"y\"]}\n",
            "subsets.jsonl: subset \"a\" is of kind \"full\", which is the whole pool, and lacks row \"y\"",
        ),
    ] {
        refused(subsets, "subset,query,loss\na,q,1\n", words);
    }
    // Scores that share no row with the pool, and rows that no score is known of.
    let mut scores = ScoresBuilder::new("m", &truth.pool, &truth.queries);
    scores.add("w", Some("q"), 1.0).expect("left out");
    let error = scores.finish(MissingScores::Refuse).unwrap_err().to_string();
    assert!(error.contains("none of their rows is in the pool"), "{error}");
}

#[test]
fn what_leaves_rows_out_is_random_or_full_where_it_says_so() {
    let halves = "{\"subset\": \"a\", \"without\": [\"x\"]}\n{\"subset\": \"b\", \"without\": [\"y\"]}\n";
    let outputs = "subset,query,loss\na,q,1\nb,q,2\n";
    let scores = || [Scores::new("m", 2, vec![0.5, 0.25]).expect("a matrix")];
    let left_out = tables(halves, outputs).expect("read");
    let error = lds(&left_out, &scores(), &comparison()).unwrap_err().to_string();
    assert!(error.contains("0 random subsets") && error.contains("\"kind\": \"random\""), "{error}");
    let halves = halves.replace("\"without\"", "\"kind\": \"random\", \"without\"");
    let random = tables(&halves, outputs).expect("read");
    lds(&random, &scores(), &comparison()).expect("compared");
    // A whole pool that leaves out nothing.
    let full = "{\"subset\": \"f\", \"kind\": \"full\", \"without\": []}\n";
    let whole = tables(&format!("{TABLE}{full}"), "subset,query,loss\nf,q,1\n").expect("read");
    assert_eq!((whole.full().expect("it"), &whole.subsets[4].rows), (4, &vec![0, 1, 2]));
}

#[test]
fn a_folder_without_the_whole_pool_says_which_runs_are_missing() {
    let around = tempfile::tempdir().expect("a folder");
    let place = around.path().join("truth");
    let pool: Vec<TextSample> = (0..3).map(|row| sample(row, "x")).collect();
    let queries: Vec<TextSample> = (0..2).map(|row| sample(row, "y")).collect();
    let subsets = leave_one_out(3, None, 0, |_| "r", &Cancel::new()).expect("subsets");
    let design = serde_json::json!({});
    let plan = TruthPlan { pool: &pool, queries: &queries, subsets: &subsets, repeats: 2, design };
    let made = TruthFolder::create(&place, &plan, &Cancel::new()).expect("made");
    let recipe = made.agree_on_recipe(&serde_json::json!({})).expect("the first");
    // All but run 1, which is of the whole pool, and run 7.
    for run in [0, 2, 3, 4, 5, 6] {
        made.record(run, &losses(&[run as f64, 0.25]), &recipe).expect("kept");
    }
    let cancel = Cancel::new();
    let error = made.check_full(&made.read(&cancel).expect("read")).unwrap_err().to_string();
    for part in [
        "2 of 4 subsets have outputs, and subset 0, counted from 0, is the whole pool and has none",
        "; 1 run of it is missing in ",
        "truth (1): retraining with that folder and ",
        "0..2 does what is missing",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    made.record(1, &losses(&[1.0, 0.25]), &recipe).expect("kept");
    made.check_full(&made.read(&cancel).expect("read")).expect("it is there");
    // A folder of another design has none to train.
    let read = made.read(&cancel).expect("read");
    let none = Truth { subsets: read.subsets[1..].to_vec(), outputs: read.outputs[1..].to_vec(), ..read };
    let error = none.full().unwrap_err().to_string();
    assert!(error.contains("2 of 3 subsets have outputs, and none is the whole pool (of tables"), "{error}");
}
