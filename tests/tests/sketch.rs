//! Promise: `gstore index --sketch` builds what rankings in the mode `sketch` need, their answer is the exact
//! one, and a damaged or missing sketch never changes it.

use gstore_store::Store;
use gstore_tests::made::{Numbers, append, gradients};
use gstore_tests::place::Place;

const SELECT: [&str; 7] = ["select", "--pool", "pool", "--target", "q", "--top", "50"];

const ROWS: u64 = 9_000;
const DIM: u32 = 128;

/// A pool of which some rows stand out for the target.
fn place() -> Place {
    let place = Place::new();
    let store = Store::create(place.path("store")).expect("a store");
    let mut numbers = Numbers(1);
    let direction = numbers.vector(DIM);
    for (dataset, rows) in [("pool", ROWS), ("q", 3)] {
        append(&store, dataset, rows);
        gradients(&store, dataset, rows, DIM, |row| {
            let share = if dataset == "q" || row % 100 == 0 { 0.5 } else { 0.0 };
            direction.iter().zip(numbers.vector(DIM)).map(|(x, noise)| share * x + noise).collect()
        });
    }
    place
}

const EXACT: &str = "SELECT row, score FROM influence('pool', 'q') ORDER BY score DESC LIMIT 50";
const SKETCH: &str =
    "SELECT row, score FROM influence('pool', 'q', mode => 'sketch') ORDER BY score DESC LIMIT 50";
const CERTIFIED: &str = "SELECT row, score FROM influence('pool', 'q', mode => 'sketch', certified => true) ORDER BY score DESC LIMIT 50";

fn answer(place: &Place, sql: &str) -> (String, String) {
    let finished = place.done(&["query", "--format", "csv", sql]);
    (finished.stdout, finished.stderr)
}

#[test]
fn a_sketch_is_made_once_and_its_rankings_are_exact() {
    let place = place();
    let (exact, _) = answer(&place, EXACT);
    // Without a sketch every row is scored, and that is said.
    let (without, notes) = answer(&place, SKETCH);
    assert_eq!(without, exact);
    assert!(notes.contains("gstore index --sketch"), "{notes}");

    let made = place.json(&["index", "--sketch", "--dataset", "pool", "--json"]);
    assert_eq!(made["features"][0]["coded"], ROWS, "{made}");
    assert_eq!(made["features"][0]["sketched"], made["features"][0]["segments"], "{made}");
    assert!(made["features"][0]["refused"].is_null(), "{made}");
    let again = place.json(&["index", "--sketch", "--dataset", "pool", "--json"]);
    assert_eq!(again["features"][0]["coded"], 0, "what is there is kept: {again}");
    let listed = place.ok(&["index"]);
    assert!(
        listed.lines().any(|line| line.contains("pool/") && line.contains(": sketch (sign, nibble, int8), ")),
        "{listed}"
    );
    assert!(listed.lines().any(|line| line.contains("q/") && line.contains(": no sketch")), "{listed}");

    for sql in [SKETCH, CERTIFIED] {
        assert_eq!(answer(&place, sql).0, exact, "{sql}");
    }
    place.ok(&["verify"]);
}

#[test]
fn a_choice_of_planes_changes_no_answer_and_is_evaluated() {
    let place = place();
    let (exact, _) = answer(&place, EXACT);
    for planes in ["sign,nibble", "sign", "int8"] {
        let made = place.json(&["index", "--sketch", "--planes", planes, "--dataset", "pool", "--json"]);
        let feature = &made["features"][0];
        assert_eq!(feature["coded"], ROWS, "{made}");
        assert_eq!(feature["planes"], serde_json::json!(planes.split(',').collect::<Vec<_>>()), "{made}");
        for sql in [SKETCH, CERTIFIED] {
            assert_eq!(answer(&place, sql).0, exact, "{planes}: {sql}");
        }
    }
    let listed = place.ok(&["index", "--dataset", "pool"]);
    assert!(listed.contains(": sketch (int8), "), "{listed}");

    let asked = ["index", "--evaluate", "--dataset", "pool", "--queries", "2"];
    let found = place.json(&[&asked[..], &["--json"]].concat());
    let found = &found["features"][0]["planes_evaluation"];
    assert_eq!((found["queries"].as_u64(), found["record_bytes"].as_u64()), (Some(2), Some(12)), "{found}");
    // A bit, a nibble or a byte for each of 128 coordinates, and factors.
    for (at, plane, bytes) in
        [(0, "sign", 16 + 8), (1, "nibble", 64 + 8), (2, "int8", 128 + 16), (3, "certified", 128 + 16)]
    {
        let of = &found["planes"][at];
        assert_eq!(of["plane"], plane, "{found}");
        assert_eq!((of["vector_bytes"].as_u64(), of["bytes"].as_u64()), (Some(bytes), Some(bytes * ROWS)));
        assert_eq!(of["kept"], bytes == 128 + 16, "{found}");
        let scored = of["scored"].as_f64();
        assert_eq!(scored.is_some_and(|share| share > 0.0 && share <= 1.0), bytes == 128 + 16, "{found}");
    }
    let told = place.ok(&asked);
    assert!(told.contains("not kept") && told.contains("rows scored"), "{told}");
}

#[test]
fn an_evaluation_of_a_dataset_passes_over_single_numbers() {
    let place = Place::of(&[("pool", 120)]);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "embed-mean,loss");
    let made = place.ok(&["index", "--sketch", "--dataset", "pool"]);
    assert!(
        made.contains(
            ": no sketch; a sketch does not pay off for 1 coordinate; name the feature to build one anyway"
        ),
        "{made}"
    );
    // By its kind it is named.
    let made = place.ok(&["index", "--sketch", "--dataset", "pool", "--kind", "loss"]);
    assert!(made.contains(": sketch (") && made.contains("120 vectors coded now"), "{made}");
    let asked = ["index", "--evaluate", "--queries", "2", "--json"];
    let found = place.json(&[&asked[..], &["--dataset", "pool"]].concat());
    // So few rows are scanned, and that is said.
    assert_eq!(found["features"][0]["planes_evaluation"]["scanned"], 2, "{found}");
    let told = place.ok(&["index", "--evaluate", "--queries", "2", "--dataset", "pool"]);
    let why = "as chosen, for 2 of 2 queries: every row was scored: a sketch does not pay off for 119 rows";
    assert!(told.contains(why), "{told}");
    let features: Vec<&str> =
        found["features"].as_array().into_iter().flatten().filter_map(|of| of["feature"].as_str()).collect();
    let is_embedding = |name: &&str| name.starts_with("pool/embed-mean");
    assert!(!features.is_empty() && features.iter().all(is_embedding), "{found}");
    // One that is named is refused with the reason.
    place.run(&[&asked[..], &["--kind", "loss", "--dataset", "pool"]].concat()).fails(&["single number"]);
}

#[test]
fn a_damaged_sketch_is_not_used_and_can_be_made_anew() {
    let place = place();
    let (exact, _) = answer(&place, EXACT);
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    let folder = place.path("store").join("indexes");
    let file = fs_err::read_dir(&folder).expect("indexes").next().expect("one").expect("read").path();
    let whole = fs_err::read(&file).expect("its bytes");
    for at in [100, whole.len() / 2, whole.len() - 40] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs_err::write(&file, &bytes).expect("written");
        let finished = place.run(&["query", "--format", "csv", SKETCH]);
        assert_eq!((finished.code, finished.stdout), (0, exact.clone()), "byte {at}: {}", finished.stderr);
        let command = "`gstore index --sketch pool/grad-sgd-sample --store ";
        let says = ["indexes/", "is damaged", command, "store` rebuilds it"];
        let told = says.iter().all(|part| finished.stderr.contains(part));
        // A plane that was not read was not found to be damaged either.
        assert!(told || finished.stderr.contains("of the sketch excluded"), "byte {at}: {}", finished.stderr);
        assert!(told || ![100, whole.len() - 40].contains(&at), "byte {at}: {}", finished.stderr);
        assert_eq!(place.run(&["verify"]).code, 3, "byte {at}");
        // What the message says to do.
        let made = place.json(&["index", "--sketch", "--dataset", "pool", "--json"]);
        assert_eq!(made["features"][0]["coded"], ROWS, "byte {at}: {made}");
        assert_eq!(answer(&place, SKETCH).0, exact, "byte {at}");
    }
    assert_eq!(place.run(&["verify"]).code, 0);
}

/// The score file of a selection, and what was said.
fn select(place: &Place, more: &[&str]) -> (String, String) {
    let args = [&SELECT[..], &["-o", "out.jsonl", "--scores", "scores.csv", "--force"], more].concat();
    let finished = place.done(&args);
    (place.read("scores.csv"), finished.stderr)
}

#[test]
fn a_selection_by_sketch_is_the_exact_one_and_says_what_it_promises() {
    let place = place();
    let (exact, said) = select(&place, &[]);
    assert!(!said.contains("the result is"), "{said}");
    let (without, said) = select(&place, &["--mode", "sketch"]);
    assert!(without == exact && said.contains("gstore index --sketch"), "{said}");
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    for (flags, promise) in [
        (vec![], "with probability 1 - 1e-6"),
        (vec!["--miss", "1e-3"], "with probability 1 - 1e-3"),
        (vec!["--certified"], "exact, certified by a sketch"),
        (vec!["--tolerance", "1e-9"], "at most 0.000000001 better"),
        (vec!["--worst"], "with probability 1 - 1e-6"),
    ] {
        let (by_sketch, said) = select(&place, &[&["--mode", "sketch"], &flags[..]].concat());
        let want = if flags == ["--worst"] { select(&place, &flags).0 } else { exact.clone() };
        assert_eq!(by_sketch, want, "{flags:?}");
        // The planner may find that it would not pay.
        assert!(said.contains(promise) || said.contains("every row was scored"), "{flags:?}: {said}");
        assert!(!said.contains("0 of 0 rows"), "{flags:?}: {said}");
        if flags.is_empty() {
            assert!(said.contains(promise) && said.contains("of the sketch excluded"), "{said}");
        }
    }
    for (flags, says) in [
        (vec!["--mode", "fast"], "exact, sketch"),
        (vec!["--miss", "0.1"], "`miss` is an option of the mode `sketch`"),
        (vec!["--tolerance", "0.1"], "`tolerance` is an option of the mode `sketch`"),
        (vec!["--certified"], "`certified` is an option of the mode `sketch`"),
        (vec!["--mode", "sketch", "--certified", "--miss", "1e-3"], "leave one of them out"),
        (vec!["--mode", "sketch", "--distinct", "0.9"], "rules of the selection"),
        (vec!["--mode", "sketch", "--round-robin", "target"], "rules of the selection"),
        (vec!["--mode", "sketch", "--scores-of", "all"], "--scores-of all"),
    ] {
        place.run(&[&SELECT[..], &["-o", "out.jsonl", "--force"], &flags[..]].concat()).says(2, &[says]);
    }
    let finished =
        place.run(&[&SELECT[..], &["-o", "other.jsonl", "--mode", "sketch", "--miss", "2"]].concat());
    finished.fails(&["probability of missing rows of 2"]);
}

#[test]
fn a_file_of_the_right_name_is_listed_for_what_it_is() {
    let place = place();
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    let folder = place.path("store").join("indexes");
    let file = fs_err::read_dir(&folder).expect("indexes").next().expect("one").expect("read").path();
    fs_err::remove_file(&file).expect("removed");
    fs_err::write(&file, "not an index").expect("written");
    let report = place.json(&["index", "--dataset", "pool", "--json"]);
    let (sketched, unusable) = (&report["features"][0]["sketched"], &report["features"][0]["unusable"]);
    assert_eq!((sketched.as_u64(), unusable.as_u64()), (Some(0), Some(1)), "{report}");
    let listed = place.ok(&["index", "--dataset", "pool"]);
    assert!(listed.contains("no sketch, 1 that cannot be used"), "{listed}");
    place.ok(&["index", "--sketch", "--dataset", "pool"]);
    assert!(!place.ok(&["index"]).contains("cannot be used"));
}

#[test]
fn a_feature_is_named_within_a_dataset() {
    let place = place();
    let label = "grad-sgd-sample";
    place.run(&["index", "--sketch", label]).fails(&[
        "is ambiguous",
        "pool/grad-sgd-sample",
        "q/grad-sgd-sample",
    ]);
    for name in [label, "q/grad-sgd-sample"] {
        let made = place.json(&["index", "--sketch", "--dataset", "q", name, "--json"]);
        let features = made["features"].as_array().expect("a list");
        assert_eq!(features.len(), 1, "{made}");
        assert_eq!(features[0]["feature"], "q/grad-sgd-sample");
        assert_eq!(features[0]["sketched"], 1);
    }
    let other = place.run(&["index", "--sketch", "--dataset", "pool", "q/grad-sgd-sample"]);
    other.fails(&["dataset \"pool\" has no feature \"q/grad-sgd-sample\"", "pool/grad-sgd-sample"]);
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can() {
    let place = place();
    for (args, code, says) in [
        (vec!["index", "--sketch", "grad-sgd-smple"], 1, "did you mean \"pool/grad-sgd-sample\""),
        (vec!["index", "--sketch"], 2, "sketches of what"),
        (vec!["index", "--sketch", "--planes", "sign,nibbles", "--dataset", "pool"], 2, "sign, nibble, int8"),
        (vec!["index", "--planes", "sign", "--dataset", "pool"], 2, "--sketch"),
        (vec!["index", "--rebuild", "--dataset", "pool"], 2, "--sketch"),
        (vec!["index", "--sketch", "nothing"], 1, "nothing"),
        (vec!["index", "--sketch", "pool"], 2, "--dataset pool means all features of it"),
        (vec!["index", "--sketch", "--dataset", "pol"], 1, "pool"),
        (
            vec!["index", "--sketch", "--dataset", "pool", "--kind", "grad-sgd,loss"],
            2,
            "no feature of pool is of kind loss; the kinds there are grad-sgd",
        ),
        (vec!["query", "SELECT * FROM influence('pool', 'q', mode => 'fast')"], 1, "sketch"),
        (
            vec![
                "query",
                "SELECT * FROM influence('pool', 'q', mode => 'sketch', miss => 2) ORDER BY score DESC LIMIT 5",
            ],
            1,
            "miss",
        ),
    ] {
        place.run(&args).says(code, &[says]);
    }
}
