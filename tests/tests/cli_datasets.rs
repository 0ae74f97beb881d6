//! Promise: a file goes into the dataset that its user means, and into no other.

use gstore_tests::binary;
use gstore_tests::place::Place;

const COUNT: &str = "SELECT count(*) FROM pool";

fn write(place: &Place, name: &str, ids: &[&str]) {
    let path = place.path(name);
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("created");
    let line = |id: &&str| format!("{{\"id\": \"{id}\", \"text\": \"about {id}\"}}\n");
    let lines: Vec<String> = ids.iter().map(line).collect();
    fs_err::write(path, lines.concat()).expect("written");
}

/// Adds files under their own names; says how it ended and what was said.
fn add(place: &Place, more: &[&str]) -> (i32, String) {
    let finished = place.run(&[&["add"], more].concat());
    (finished.code, finished.stderr)
}

#[test]
fn another_file_of_the_same_name_is_not_appended_unasked() {
    let place = Place::new();
    write(&place, "a/pool.jsonl", &["a1", "a2"]);
    write(&place, "b/pool.jsonl", &["b1"]);
    assert_eq!(add(&place, &["--data", "a/pool.jsonl"]).0, 0);
    let (code, said) = add(&place, &["--data", "b/pool.jsonl"]);
    let words =
        ["b/pool.jsonl: ", "dataset `pool`, which has 2 samples and none of those here", "--dataset pool"];
    assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(place.value(COUNT), "2");
    // Said by name it is meant so.
    assert_eq!(add(&place, &["--dataset", "pool", "--data", "b/pool.jsonl"]).0, 0);
    assert_eq!(place.value(COUNT), "3");
}

#[test]
fn samples_of_another_file_of_the_same_name_say_whose_name_it_is() {
    let place = Place::new();
    write(&place, "a/pool.jsonl", &["a1"]);
    fs_err::create_dir_all(place.path("b")).expect("made");
    place.write("b/pool.jsonl", "{\"id\": \"a1\", \"text\": \"other\"}\n");
    assert_eq!(add(&place, &["--data", "a/pool.jsonl"]).0, 0);
    let hint = "the file's name makes this dataset pool; --dataset with another name makes a separate one";
    for dry in [&[] as &[&str], &["--dry-run"]] {
        let (code, said) = add(&place, &[&["--data", "b/pool.jsonl"], dry].concat());
        let words =
            [hint, "b/pool.jsonl, line 1: id \"a1\" is in dataset \"pool\" already", "--if-changed keep"];
        assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{said}");
    }
    let (code, said) = add(&place, &["--dataset", "pool", "--data", "b/pool.jsonl"]);
    assert!(code == 1 && !said.contains(hint), "{said}");
}

#[test]
fn the_same_file_again_adds_nothing_and_a_grown_one_its_new_samples() {
    let place = Place::new();
    write(&place, "pool.jsonl", &["a1", "a2"]);
    for says in ["pool: 2 samples added", "nothing to add; all 2 samples are there already"] {
        let (code, said) = add(&place, &["--data", "pool.jsonl"]);
        assert!(code == 0 && said.contains(says), "{said}");
    }
    // From another folder too, and after a deletion.
    write(&place, "later/pool.jsonl", &["a1", "a2", "a3"]);
    place.ok(&["delete", "--dataset", "pool", "--id", "a1"]);
    let (code, said) = add(&place, &["--data", "later/pool.jsonl"]);
    assert!(code == 0 && said.contains("1 sample added, 1 was there already"), "{said}");
    // All that it has was deleted: it is still of this dataset.
    write(&place, "deleted/pool.jsonl", &["a1", "a4"]);
    assert_eq!(add(&place, &["--data", "deleted/pool.jsonl"]).0, 0);
    // A command that restores samples says what they belong to.
    write(&place, "back/pool.jsonl", &["a1"]);
    assert_eq!(add(&place, &["--data", "back/pool.jsonl", "--restore-deleted"]).0, 0);
    assert_eq!(place.value(COUNT), "4");
    // Nothing is left that it could be taken for.
    place.ok(&["delete", "--dataset", "pool", "--where", "row >= 0"]);
    write(&place, "new/pool.jsonl", &["z1"]);
    assert_eq!(add(&place, &["--data", "new/pool.jsonl"]).0, 0);
}

#[test]
fn an_ingest_and_its_dry_run_refuse_it_as_well() {
    let place = Place::new();
    write(&place, "a/pool.jsonl", &["a1"]);
    write(&place, "b/pool.jsonl", &["b1"]);
    assert_eq!(add(&place, &["--data", "a/pool.jsonl"]).0, 0);
    for more in [&[] as &[&str], &["--dry-run"]] {
        let line = "ingest --data b/pool.jsonl --features loss --max-length 64";
        binary::run(place.with_model(line).args(more)).says(1, &["its name makes this dataset `pool`"]);
    }
    assert_eq!(place.value(COUNT), "1");
}

#[test]
fn a_dataset_is_named_where_it_was_not_meant_to_be_guessed() {
    let place = Place::new();
    write(&place, "2024 news.jsonl", &["a"]);
    let (code, said) = add(&place, &["--data", "2024 news.jsonl"]);
    assert!(code == 0 && said.contains("in double quotes: \"2024_news\""), "{said}");
    assert_eq!(place.value("SELECT count(*) FROM \"2024_news\""), "1");
    for (args, says) in [
        (&["delete", "2024_news", "--id", "a"][..], "name a dataset with --dataset 2024_news"),
        (&["ls", "2024_news"], "`gstore info 2024_news`"),
        (&["drop", "dataset", "2024_news", "--dry-run"], "`gstore revert` undoes a drop"),
        (&["add", "--data", "-"], "standard input has no part that can name a dataset"),
    ] {
        place.run(args).says(2, &[says]);
    }
    assert_eq!(place.value("SELECT count(*) FROM \"2024_news\""), "1");
}

#[test]
fn a_store_that_is_not_named_is_pointed_at() {
    let place = Place::new();
    write(&place, "pool.jsonl", &["a"]);
    let mut command = place.bare(&["ls"]);
    let finished = binary::run(&mut command);
    let says = "which store? give --store DIR or set GSTORE_STORE";
    assert!(finished.code == 2 && finished.stderr.trim_end().ends_with(says), "{}", finished.stderr);
    assert_eq!(add(&place, &["--data", "pool.jsonl"]).0, 0);
    binary::run(&mut command).says(2, &["; there is store here"]);
}
