//! Promise: a pipeline runs only what is not up to date, and replaces nothing that others made.

use gstore_store::vfs::{OsVfs, Vfs};
use gstore_tests::place::Place;
use gstore_tests::{binary, made};
use serde_json::Value;

use crate::staged::{FILE, alone, files, go, place, ran, without_store, write, write_target};

#[test]
fn only_what_has_changed_runs_again() {
    let place = place();
    let all = ["add-pool", "add-target", "best", "features-pool", "features-target", "score", "warm"];
    assert_eq!(ran(&go(&place, &[])), all);
    let report = place.read("p.state/report.html");
    assert!(report.contains("total_steps") && !report.contains("<script"), "{report}");
    assert!(place.path("p.state/report.md").exists() && place.path("p.state/logs/warm.log").exists());
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");

    let again = go(&place, &[]);
    assert!(again.values().all(|outcome| outcome == "up to date"), "{again:?}");
    // Files of the store that were merged are no change.
    place.ok(&["compact"]);
    assert!(ran(&go(&place, &[])).is_empty());

    write_target(&place, 6);
    let changed = go(&place, &[]);
    for (stage, runs) in [
        ("add-target", true),
        ("features-target", true),
        ("best", true),
        ("add-pool", false),
        ("warm", false),
    ] {
        assert_eq!(changed[stage] == "done", runs, "{stage}: {changed:?}");
    }
    assert!(ran(&go(&place, &[])).is_empty());

    fs_err::remove_file(place.path("out/scores.csv")).expect("it was there");
    assert_eq!(ran(&go(&place, &[])), ["score"]);
    assert_eq!(ran(&go(&place, &["--force", "score", "--only", "score"])), ["score"]);

    // Another training takes the place of the one before, and all that came of it follows.
    let other = go(&place, &["--set", "steps=3"]);
    assert_eq!(ran(&other), ["best", "features-pool", "features-target", "score", "warm"]);
    assert!(ran(&go(&place, &["--set", "steps=3"])).is_empty());
    assert!(place.path("out/warm/checkpoint-3").exists());
    let log = place.read("p.state/logs/warm.log");
    assert!(log.contains(" still has run warm: `gstore revert"), "{log}");

    // A training goes on from what is in its folder: not from what others left of it.
    fs_err::remove_dir_all(place.path("out/warm/checkpoint-2")).expect("it was there");
    place.run(&["run", "p.toml", "--set", "steps=3"]).says(1, &["--force warm trains it again"]);
    assert_eq!(go(&place, &["--set", "steps=3", "--force", "warm"])["warm"], "done");
    assert!(ran(&go(&place, &["--set", "steps=3"])).is_empty());
    // Nor does one with other options take the place of it.
    let note = place.path("out/warm/checkpoint-3/note.txt");
    fs_err::write(&note, "by hand").expect("written");
    let changed = place.run(&["run", "p.toml", "--set", "steps=4"]);
    let said = "out/warm was changed outside the pipeline; put it back, or --force warm";
    changed.says(1, &[said]).lacks(&["again to continue"]);
    assert!(note.exists());
    assert_eq!(go(&place, &["--set", "steps=4", "--force", "warm"])["warm"], "done");
}

#[test]
fn a_selection_that_names_no_run_follows_a_training_that_goes_back_to_former_options() {
    let place = place();
    write(&place, &FILE.replace("target = \"target\"\nrun = \"warm\"\n", "target = \"target\"\n"));
    let results = || [place.read("out/best.jsonl"), place.read("out/best.jsonl.scores.csv")];
    go(&place, &[]);
    let first = results();
    go(&place, &["--set", "steps=3"]);
    assert_ne!(results(), first);
    // The features of the first training are still in the store.
    assert_eq!(go(&place, &[])["best"], "done");
    assert_eq!(results(), first);
    assert!(ran(&go(&place, &[])).is_empty());
    // Another run with features of another dataset changes nothing.
    place.ok(&["add", "--dataset", "other", "--data", "target.jsonl"]);
    let line =
        "train --data pool.jsonl --lora-rank 2 --max-steps 1 --max-length 64 --output second --run second";
    binary::ok(&mut place.with_model(line));
    place.ok(&["ingest", "--dataset", "other", "--run", "second", "--features", "grad-sgd", "--dim", "256"]);
    assert!(ran(&go(&place, &[])).is_empty());
}

#[test]
fn an_edited_row_of_a_data_file_goes_on_where_the_stage_says_that_it_replaces() {
    let place = place();
    let add = |more: &str| {
        let stage = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'target'\ndata = 'target.jsonl'\n";
        write(&place, &[stage, more].concat());
    };
    let edit = |said: &str| {
        let line = format!("{{\"id\": \"a\", \"prompt\": \"p\", \"completion\": \"{said}\"}}\n");
        place.write("target.jsonl", line);
    };
    edit("one");
    add("");
    go(&place, &[]);
    edit("two");
    place.run(&["run", "p.toml"]).says(1, &["different content", "run the same command again to continue"]);
    add("if-changed = 'replace'\n");
    assert_eq!(ran(&go(&place, &[])), ["add"]);
    assert_eq!(place.value("SELECT count(*) FROM target"), "1");
}

#[test]
fn a_picture_of_a_training_that_others_changed_is_drawn_again() {
    let place = place();
    write(&place, &FILE.replace("output = \"out/warm\"", "output = \"out/warm\"\nplot = \"out/curve.svg\""));
    let only = ["--only", "warm"];
    assert_eq!(ran(&go(&place, &only)), ["warm"]);
    let picture = place.path("out/curve.svg");
    fs_err::write(&picture, "by hand").expect("written");
    // The training is as it was, and nothing of it is done again.
    assert_eq!(ran(&go(&place, &only)), ["warm"]);
    assert!(fs_err::read_to_string(&picture).expect("drawn").contains("<svg"));
    assert!(ran(&go(&place, &only)).is_empty());
}

#[test]
fn what_others_made_is_never_replaced() {
    let place = place();
    let warm = |rank: &str| {
        format!(
            "[[stage]]\nname = 'warm'\ncommand = 'train'\nmodel = 'MODEL'\ndata = 'target.jsonl'\nlora-rank = {rank}\n\
         max-steps = 1\nmax-length = 64\noutput = 'warm'\n"
        )
    };
    let score = "[[stage]]\nname = 'score'\ncommand = 'generate'\nmodel = 'MODEL'\ndata = 'target.jsonl'\n\
        perplexity = true\noutput = 'mine.csv'\n";
    write(&place, &warm("2"));
    go(&place, &[]);
    let weights =
        || fs_err::read(place.path("warm/checkpoint-1/adapter_model.safetensors")).expect("written");
    let mine = || place.read("mine.csv");
    // Another pipeline with the same names, and a file that was there before it.
    fs_err::remove_dir_all(place.path("p.state")).expect("a journal");
    place.write("mine.csv", "by hand");
    write(&place, &[score, &warm("4")].concat());
    let before = weights();
    for _ in 0..2 {
        place.run(&["run", "p.toml", "--keep-going"]).says(1, &["stage score failed", "stage warm failed"]);
        assert_eq!((mine(), weights()), ("by hand".to_owned(), before.clone()));
    }
    let forced = place.run(&["run", "p.toml", "--keep-going", "--force", "score", "--force", "warm"]);
    assert_eq!((forced.code, mine(), weights()), (1, "by hand".to_owned(), before));
    fs_err::remove_file(place.path("mine.csv")).expect("it was there");
    assert_eq!(ran(&go(&place, &["--only", "score"])), ["score"]);
    assert_eq!(ran(&go(&place, &["--only", "score", "--force", "score"])), ["score"]);
}

#[test]
fn what_a_stage_finds_as_it_would_make_it_stays_that_of_others() {
    let place = place();
    let file = |rank: u32, tokens: u32| {
        let answer = format!(
            "[[stage]]\nname = 'answer'\ncommand = 'generate'\nmodel = 'MODEL'\ndata = 'target.jsonl'\n\
             max-new-tokens = {tokens}\noutput = 'mine.jsonl'\n"
        );
        write(&place, &[answer, alone(rank, "")].concat());
    };
    let whole = |said: &[&str]| {
        without_store(&place, &[]).says(0, said);
    };
    file(2, 4);
    whole(&["2 run"]);
    let found = || (place.read("mine.jsonl"), files(&place.path("warm")));
    let before = found();
    // As if they had been made by hand, with the same options.
    fs_err::remove_dir_all(place.path("p.state")).expect("a journal");
    whole(&["2 run", "nothing to do", "already trained"]);
    assert_eq!(found(), before);
    file(4, 5);
    for more in [&["--keep-going"][..], &["--keep-going", "--force", "answer", "--force", "warm"]] {
        let refused = without_store(&place, more);
        let advice = "was there before this stage ran: move it away, or give another output";
        refused.says(1, &["stage answer failed: mine.jsonl exists; mine.jsonl ", "; warm ", advice]);
        refused.says(1, &["stage warm failed"]).lacks(&["again to continue"]);
        assert_eq!(found(), before);
    }
    // What it makes itself after that is its own.
    fs_err::remove_file(place.path("mine.jsonl")).expect("it was there");
    fs_err::remove_dir_all(place.path("warm")).expect("it was there");
    whole(&["2 run"]);
    file(2, 4);
    whole(&["2 run"]);
    assert_eq!(found().0, before.0);
}

#[test]
fn a_training_that_is_refused_leaves_the_one_before_with_its_run() {
    let place = place();
    go(&place, &[]);
    let before = files(&place.path("out/warm"));
    write(&place, &FILE.replace("max-length = 64", "max-length = 64\nlora-targets = [\"v_porj\"]"));
    let failed = place.run(&["run", "p.toml"]);
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    assert!(failed.stderr.contains("ends in v_porj"), "{}", failed.stderr);
    assert_eq!(files(&place.path("out/warm")), before);
    assert!(place.ok(&["ls"]).contains("warm"));
    // With the former options nothing is to be done.
    write(&place, FILE);
    assert!(ran(&go(&place, &[])).is_empty());
}

#[test]
fn a_ground_truth_of_other_options_takes_the_place_of_the_former() {
    let place = place();
    let with = |count: usize| {
        let stage = format!(
            "[[stage]]\nname = 'truth'\ncommand = 'evaluate retrain'\nmodel = 'MODEL'\ndata = 'pool.jsonl'\n\
             query-data = 'target.jsonl'\ntruth = 'truth'\nfraction = 0.5\ncount = {count}\nlora-rank = 2\n\
             max-steps = 1\nmax-length = 64\n"
        );
        write(&place, &stage);
        without_store(&place, &[])
    };
    for count in [2, 3] {
        with(count).says(0, &[]);
        assert_eq!(fs_err::read_dir(place.path("truth/outputs")).expect("listed").count(), count);
    }
    // One that others have put there stays.
    fs_err::remove_dir_all(place.path("p.state")).expect("removed");
    with(2).says(1, &["other subsets"]);
    assert_eq!(fs_err::read_dir(place.path("truth/outputs")).expect("listed").count(), 3);
}

#[test]
fn a_matrix_in_a_folder_is_made_again_when_its_inputs_or_options_change() {
    let place = place();
    let file = |more: &str| {
        let stages = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'target.jsonl'\n\
            [[stage]]\nname = 'features'\ncommand = 'ingest'\ndataset = 'pool'\nmodel = 'MODEL'\n\
            features = 'embed-mean'\n\
            [[stage]]\nname = 'm'\ncommand = 'matrix'\npool = 'pool'\ntarget = 'pool'\nkind = 'embed-mean'\n\
            output = 'scores'\n";
        write(&place, &[stages, more].concat());
    };
    file("");
    let all = ["add", "features", "m"];
    assert_eq!(ran(&go(&place, &[])), all);
    write_target(&place, 6);
    assert_eq!(ran(&go(&place, &[])), all);
    file("sim = 'dot'\n");
    assert_eq!(ran(&go(&place, &[])), ["m"]);
    assert!(place.read("scores/matrix.json").contains("\"dot\""));
    assert!(ran(&go(&place, &[])).is_empty());
    // What others put into it stays.
    place.write("scores/notes.txt", "mine");
    file("");
    place.run(&["run", "p.toml"]).says(1, &["scores was changed outside the pipeline"]);
    assert_eq!(place.read("scores/notes.txt"), "mine");
}

#[test]
fn what_a_query_said_of_rows_that_a_later_stage_deletes_stays() {
    let place = place();
    let stages = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'target.jsonl'\n\
        [[stage]]\nname = 'ids'\ncommand = 'query'\nargs = ['SELECT id FROM pool']\noutput = 'ids.csv'\n\
        [[stage]]\nname = 'less'\ncommand = 'delete'\ndataset = 'pool'\nwhere = 'row = 1'\n\
        [[stage]]\nname = 'losses'\ncommand = 'ingest'\ndataset = 'pool'\nmodel = 'MODEL'\nfeatures = 'loss'\n";
    write(&place, stages);
    assert_eq!(ran(&go(&place, &[])), ["add", "ids", "less", "losses"]);
    let ids = place.read("ids.csv");
    assert!(ran(&go(&place, &[])).is_empty());
    assert_eq!(place.read("ids.csv"), ids);
}

#[test]
fn what_reads_features_follows_the_rows_that_they_gain_and_lose() {
    let place = Place::of(&[("pool", 10)]);
    place.add("pool");
    let publish = |rows: &[u64]| {
        let rows = rows.iter().copied();
        made::publish(&place.store(), "pool", rows, made::feature("pool", 4, "none"), |_| vec![1.0; 4]);
    };
    place.write(
        "p.toml",
        "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'pool.jsonl'\n\
         [[stage]]\nname = 'count'\ncommand = 'query'\noutput = 'n.csv'\n\
         args = \"SELECT count(*) AS n FROM vectors('pool', 'grad-sgd-sample')\"\n\
         [[stage]]\nname = 'cut'\ncommand = 'delete'\ndataset = 'pool'\nwhere = 'row = 9'\n",
    );
    let counted = || place.read("n.csv").lines().nth(1).map(str::to_owned);
    publish(&[0, 9]);
    assert_eq!(ran(&go(&place, &[])), ["add", "count", "cut"]);
    assert_eq!(counted().as_deref(), Some("2"));
    // The row that it counted and that a later stage deletes.
    assert!(ran(&go(&place, &[])).is_empty());
    // Rows between those that there are.
    publish(&[2, 4, 7]);
    assert_eq!(ran(&go(&place, &[])), ["count"]);
    assert_eq!(counted().as_deref(), Some("4"));
    assert!(ran(&go(&place, &[])).is_empty());
    // Two files become one, without the deleted row.
    place.ok(&["compact"]);
    assert_eq!(place.snapshot().features_of("pool")[0].rows(), 4);
    assert!(ran(&go(&place, &[])).is_empty());
    place.ok(&["delete", "--dataset", "pool", "--where", "row = 4"]);
    go(&place, &[]);
    assert_eq!(counted().as_deref(), Some("3"));
}

/// Trains with a rank of 2, then asks for one of 3 while another process has the folder.
fn tried_in_vain(place: &Place) {
    write(place, &alone(2, ""));
    assert_eq!(without_store(place, &[]).code, 0);
    let lock = OsVfs.lock(&place.path("warm/.lock"), false).expect("opened").expect("free");
    write(place, &alone(3, ""));
    without_store(place, &[]).says(1, &["another training"]);
    drop(lock);
}

#[test]
fn a_training_without_a_store_is_kept_where_others_are_refused() {
    let place = place();
    tried_in_vain(&place);
    let weights = || files(&place.path("warm/checkpoint-2"));
    let before = weights();
    write(&place, &alone(2, ""));
    without_store(&place, &[]).says(0, &["already trained, 2 steps"]);
    write(&place, &alone(2, "lora-targets = ['v_porj']\n"));
    without_store(&place, &[]).says(2, &["ends in v_porj"]);
    write(&place, &alone(2, ""));
    without_store(&place, &[]).says(0, &["up to date"]);
    assert_eq!(weights(), before);
    without_store(&place, &["--force", "warm"]).says(0, &[]).lacks(&["already trained"]);
}

#[test]
fn what_a_kill_left_of_a_former_training_is_replaced() {
    let place = place();
    tried_in_vain(&place);
    // As if the kill had come when the first was removed.
    fs_err::remove_dir_all(place.path("warm/checkpoint-1")).expect("removed");
    without_store(&place, &[]).says(0, &[]);
    let config = fs_err::read(place.path("warm/checkpoint-2/adapter_config.json")).expect("trained");
    assert_eq!(serde_json::from_slice::<Value>(&config).expect("JSON")["r"], 3);
    assert!(without_store(&place, &[]).stderr.contains("up to date"));
}

#[test]
fn a_delete_stage_with_other_options_is_refused_before_anything_runs() {
    let place = place();
    let file = "[variables]\nwhere = 'row % 7 = 3'\n\
        [[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'pool.jsonl'\n\
        [[stage]]\nname = 'cut'\ncommand = 'delete'\ndataset = 'pool'\nwhere = '${where}'\n";
    write(&place, file);
    let rows = || place.value("SELECT count(*) FROM pool");
    // A run that failed has deleted nothing.
    place.run(&["run", "p.toml", "--set", "where=rwo % 7 = 3"]).says(1, &["stage cut failed"]);
    assert_eq!((ran(&go(&place, &[])), rows()), (vec!["cut"], "34".to_owned()));
    place.samples("pool", 50);
    let other = ["--set", "where=row % 7 = 2"];
    for more in [&[][..], &["--dry-run"]] {
        let refused = place.run(&[&["run", "p.toml"][..], &other, more].concat());
        refused.says(1, &["stage cut would be refused: its options have changed", "--force cut"]);
        assert_eq!(rows(), "34");
    }
    assert_eq!(ran(&go(&place, &[&other[..], &["--force", "cut"]].concat())), ["add", "cut"]);
    assert_eq!(rows(), "37");
    assert!(ran(&go(&place, &other)).is_empty());
}

#[test]
fn views_that_others_changed_and_names_that_are_gone_are_made_again() {
    let place = place();
    let file = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'pool.jsonl'\n\
        [[stage]]\nname = 'few'\ncommand = 'view create'\nargs = ['few_rows', 'SELECT id FROM pool LIMIT 3']\n\
        [[stage]]\nname = 'count'\ncommand = 'query'\nargs = 'SELECT count(*) AS n FROM few_rows'\noutput = 'n.csv'\n\
        [[stage]]\nname = 'first'\ncommand = 'tag'\nargs = 'first'\n";
    write(&place, file);
    assert_eq!(ran(&go(&place, &[])), ["add", "count", "few", "first"]);
    assert!(ran(&go(&place, &[])).is_empty());
    let counted = || place.read("n.csv").contains('3');
    place.ok(&["view", "drop", "few_rows"]);
    assert_eq!(ran(&go(&place, &[])), ["count", "few"]);
    place.ok(&["view", "create", "few_rows", "SELECT id FROM pool LIMIT 5", "--force"]);
    assert_eq!((ran(&go(&place, &[])), counted()), (vec!["count", "few"], true));
    assert!(ran(&go(&place, &[])).is_empty());
    // A tag stays where others have moved it.
    place.ok(&["tag", "first", "--snapshot", "1", "--force"]);
    assert_eq!(go(&place, &[])["first"], "up to date");
    place.ok(&["tag", "first", "--delete"]);
    let again = go(&place, &[]);
    assert_eq!((again["first"].as_str(), again["few"].as_str()), ("done", "up to date"));
    assert!(ran(&go(&place, &[])).is_empty());
    // A view that others made is not replaced.
    fs_err::remove_dir_all(place.path("p.state")).expect("a journal");
    place.ok(&["view", "create", "few_rows", "SELECT id FROM pool LIMIT 5", "--force"]);
    place.run(&["run", "p.toml", "--only", "few"]).says(1, &["stage few failed"]);
}

#[test]
fn evaluations_are_stages_and_run_once() {
    let place = place();
    let file = r#"
[[stage]]
name = "tasks"
command = "evaluate tasks"
model = "MODEL"
data = "questions.jsonl"
resamples = 200
max-new-tokens = 4
output = "tasks.json"
rows = "tasks.csv"

[[stage]]
name = "text"
command = "evaluate text"
data = ["base=base.jsonl", "tuned=tuned.jsonl"]
resamples = 200
output = "text.json"
rows = "rows.csv"
report = "report"
"#;
    for (name, text) in [
        (
            "questions.jsonl",
            "{\"id\": \"c\", \"task\": \"t\", \"question\": \"Say yes\", \"answers\": [\"yes\"]}\n{\"id\": \"d\", \"task\": \"t\", \"question\": \"Say no\", \"answers\": [\"no\"]}\n",
        ),
        ("base.jsonl", "{\"id\": \"a\", \"completion\": \"a cat\", \"expected\": \"the cat\"}\n"),
        ("tuned.jsonl", "{\"id\": \"a\", \"completion\": \"the cat\"}\n"),
    ] {
        place.write(name, text);
    }
    write(&place, file);
    assert_eq!(ran(&go(&place, &[])), ["tasks", "text"]);
    assert!(ran(&go(&place, &[])).is_empty());
    place.write("tuned.jsonl", "{\"id\": \"a\", \"completion\": \"the dog\"}\n");
    assert_eq!(ran(&go(&place, &[])), ["text"]);
    write(&place, &file.replace("max-new-tokens = 4", "max-new-tokens = 5"));
    assert_eq!(ran(&go(&place, &[])), ["tasks"]);
}

#[test]
fn a_merge_and_a_backup_run_again_when_their_inputs_change() {
    let place = place();
    let end = "\n[[stage]]\nname = \"merged\"\ncommand = \"merge\"\nargs = \"out/warm/checkpoint-2\"\noutput = \"merged\"\n\
        \n[[stage]]\nname = \"copy\"\ncommand = \"backup\"\nto = \"copy\"\n";
    write(&place, &[FILE, end].concat());
    go(&place, &[]);
    assert!(ran(&go(&place, &[])).is_empty());
    place.ok(&["add", "--dataset", "other", "--data", "target.jsonl"]);
    assert!(ran(&go(&place, &["--only", "copy"])).contains(&"copy"));
    let again = go(&place, &["--set", "steps=3"]);
    assert_eq!((again["warm"].as_str(), again["merged"].as_str()), ("done", "done"));
}
