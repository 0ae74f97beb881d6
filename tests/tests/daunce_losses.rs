//! Promise: losses of an ensemble, computed by the real binary or read from files, are stored unchanged,
//! survive a kill, and are refused if they cannot be right.

use std::collections::BTreeMap;
use std::time::Duration;

use gstore_store::{LossBlock, LossWanted};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::json;

const ROWS: usize = 40;

/// A place with forty registered samples; without a token to score are those of `world::write_samples`.
fn place() -> Place {
    let place = Place::of(&[("pool", ROWS)]);
    place.add("pool");
    place
}

/// Losses of a dataset by row: that of theta_0, and those of the members, offset plus what is stored.
pub fn stored(place: &Place, ensemble: &str, dataset: &str) -> BTreeMap<u64, (f32, Vec<f64>)> {
    let snapshot = place.snapshot();
    let part = snapshot.ensemble(ensemble).expect("an ensemble");
    let reader = snapshot.open_losses(part, &LossWanted::of(dataset)).expect("losses");
    let (mut all, mut block) = (BTreeMap::new(), LossBlock::default());
    for cell in reader.cells() {
        reader.read_cell(cell, None, &mut block).expect("reads");
        for (i, row) in block.rows.iter().enumerate() {
            let offset = block.offset[i];
            let losses = block.row(i).iter().map(|delta| f64::from(offset) + f64::from(*delta)).collect();
            all.insert(*row, (offset, losses));
        }
    }
    all
}

/// Those of the members.
fn losses(place: &Place, ensemble: &str) -> BTreeMap<u64, Vec<f64>> {
    stored(place, ensemble, "pool").into_iter().map(|(row, (_, losses))| (row, losses)).collect()
}

/// Bits of those of theta_0: what those of the members are relative to.
fn offsets(place: &Place, ensemble: &str) -> BTreeMap<u64, u32> {
    stored(place, ensemble, "pool").into_iter().map(|(row, (offset, _))| (row, offset.to_bits())).collect()
}

fn compute(place: &Place, more: &[&str]) -> binary::Finished {
    compute_as(place, "e", more)
}

fn compute_as(place: &Place, ensemble: &str, more: &[&str]) -> binary::Finished {
    let line = format!("daunce losses --ensemble {ensemble} --dataset pool --max-length 512");
    binary::run(
        place.with_model(&line).arg("--adapters").arg(world::demo().join("warmup/checkpoint-*")).args(more),
    )
}

#[test]
fn losses_by_forward_passes_are_those_of_the_loss_feature() {
    let place = place();
    let report = compute(&place, &["--json"]).says(0, &[]).json();
    assert_eq!((&report["members"], &report["computed"]), (&json!(4), &json!(4)), "{report}");
    // The same losses the usual way.
    place.ingested("pool", None, "loss");
    let found = losses(&place, "e");
    assert_eq!(found.len(), ROWS);
    let snapshot = place.snapshot();
    let steps = ["checkpoint-26", "checkpoint-52", "checkpoint-78", "checkpoint-104"];
    let part = snapshot.ensemble("e").expect("an ensemble");
    assert_eq!(part.members.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), steps);
    for (member, name) in steps.iter().enumerate() {
        let feature = snapshot.feature(&format!("pool/loss@{name}")).expect("the usual feature");
        let reader = snapshot.open_feature(feature).expect("opens");
        for (row, values) in &found {
            let stored = reader.row(*row).expect("reads").expect("there");
            if stored.flags.contains(gstore_store::RowFlags::NO_SCORED) {
                assert!(values[member].is_nan(), "row {row} has no token to score");
                continue;
            }
            let expected = f64::from(stored.vector[0]);
            assert!((values[member] - expected).abs() < 2e-6, "{row} {name}: {} {expected}", values[member]);
        }
    }
    // Nothing is computed twice, and new samples cost their own passes.
    let report = compute(&place, &["--json"]).json();
    assert_eq!((&report["computed"], &report["present"]), (&json!(0), &json!(4)), "{report}");
    place.samples("pool", ROWS + 5);
    place.add("pool");
    let more = compute(&place, &["--compute", "bf16"]);
    more.says(0, &[]);
    let grown = losses(&place, "e");
    assert_eq!(grown.len(), ROWS + 5);
    let snapshot = place.snapshot();
    let offsets = snapshot.features().iter().filter(|part| part.attrs.label == "loss@e:base");
    assert_eq!(offsets.count(), 1, "offsets go on in one feature, whatever the precision");
    compute_as(&place, "f", &["--members", "0..1"]).says(0, &[]);
    let told = &more.stderr;
    assert_eq!(self::offsets(&place, "e"), self::offsets(&place, "f"), "in the precision of the first");
    assert!(told.contains("theta_0 is computed in f32, as it was for the losses of pool"), "{told}");
    for (row, values) in &found {
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(values), bits(&grown[row]), "row {row}");
    }
    place.ok(&["verify"]);
    let listed = place.ok(&["ls", "--format", "csv"]);
    assert!(listed.lines().any(|line| line.starts_with("e,") && line.contains(",ensemble,")), "{listed}");
    let told = place.json(&["info", "e", "--json"]);
    assert_eq!(told["members"].as_array().map(Vec::len), Some(4));
    place.ok(&["drop", "ensemble", "e"]);
    assert!(place.run(&["info", "e"]).code != 0);
}

#[test]
fn losses_go_on_after_a_kill_with_the_same_bits() {
    let whole = place();
    compute(&whole, &[]).says(0, &[]);
    let expected = losses(&whole, "e");
    let killed = place();
    let mut delay = Duration::from_millis(200);
    for _ in 0..6 {
        let mut command = killed.with_model("daunce losses --ensemble e --dataset pool --max-length 512");
        command.arg("--adapters").arg(world::demo().join("warmup/checkpoint-*"));
        if !binary::killed_after(&mut command, delay) {
            break;
        }
        killed.snapshot();
        delay = delay.mul_f64(1.5);
    }
    compute(&killed, &[]).says(0, &[]);
    let found = losses(&killed, "e");
    assert_eq!(bits(&found), bits(&expected));
}

fn bits(all: &BTreeMap<u64, Vec<f64>>) -> Vec<(u64, Vec<u64>)> {
    all.iter().map(|(row, v)| (*row, v.iter().map(|v| v.to_bits()).collect())).collect()
}

#[test]
fn losses_on_several_devices_are_those_of_one() {
    let (one, several) = (place(), place());
    compute(&one, &[]).says(0, &[]);
    // Batches of a few rows, and other devices go on.
    for (members, devices) in [("0..2", "cpu,cpu"), ("0..4", "cpu,cpu,cpu")] {
        let on = ["--batch-tokens", "128", "--threads", "1", "--members", members, "--devices", devices];
        compute(&several, &on).says(0, &[]);
    }
    let [expected, found] = [&one, &several].map(|place| losses(place, "e"));
    assert_eq!(bits(&found), bits(&expected));
    let refused = compute_as(&one, "other", &["--devices", "cpu,candle"]);
    refused.says(1, &["`cpu` and `candle` do not compute the same bits"]);
}

#[test]
fn members_may_be_computed_in_parts() {
    let place = place();
    compute(&place, &["--members", "0..2", "--json"]).says(0, &[]);
    assert_eq!(losses(&place, "e")[&0].len(), 2);
    compute(&place, &["--members", "2..4"]).says(0, &[]);
    assert_eq!(losses(&place, "e")[&0].len(), 4);
    compute(&place, &["--members", "3..9"]).says(2, &["has 4 members"]);
    compute(&place, &["--block", "64"]).says(2, &["before they are registered"]);
    compute_as(&place, "none", &["--members", "0..5"]).says(2, &["has 4 members"]);
    assert!(place.snapshot().ensemble("none").is_err());

    // Copies that were moved are computed where they are given, by a dry run as by any other. The `=` of a
    // folder that is there gives no name.
    let old = place.path("lr=1e-4");
    fs_err::create_dir(&old).expect("made");
    for name in ["checkpoint-26", "checkpoint-52"] {
        world::copy_files(&world::demo().join("warmup").join(name), &old.join(name));
    }
    let mut first = place.with_model("daunce losses --ensemble m --dataset pool --max-length 512");
    first.args(["--members", "0..1", "--adapters", "lr=1e-4/checkpoint-*"]);
    binary::run(&mut first).says(0, &[]);
    fs_err::remove_dir_all(&old).expect("removed");
    let told = compute_as(&place, "m", &["--members", "0..2", "--dry-run"]);
    told.says(0, &[]);
    assert!(told.stdout.contains("4: 1 to compute, 1 there already"), "{}", told.stdout);

    // A theta_0 that is gone is missed where its losses are missing, by a dry run as by any other.
    let theta = place.path("theta0");
    world::copy_files(&world::demo().join("warmup/checkpoint-26"), &theta);
    compute_as(&place, "t", &["--adapter", "theta0", "--members", "0..1"]).says(0, &[]);
    fs_err::remove_dir_all(&theta).expect("removed");
    let args = ["daunce", "losses", "--ensemble", "t", "--dataset", "pool", "--max-length", "512"];
    let dry = || place.run(&[&args[..], &["--dry-run"]].concat());
    let told = dry();
    told.says(0, &[]);
    assert!(told.stdout.contains("4: 3 to compute, 1 there already"), "{}", told.stdout);
    place.samples("pool", ROWS + 1);
    place.add("pool");
    for refused in [dry(), place.run(&args)] {
        let says =
            ["theta_0 of ensemble \"t\" is the adapter in ", "theta0, which no longer exists", "1 row lacks"];
        refused.says(1, &says);
    }
}

/// The loss of row `i` under model `k` of the files below.
fn given(i: usize, k: usize) -> f64 {
    2.0 + (i as f64) * 0.01 + ((i * 7 + k * 13) % 11) as f64 * 1e-3
}

fn jsonl(models: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> String {
    let mut lines = Vec::new();
    for k in models {
        for i in rows.clone().rev() {
            lines.push(
                json!({"model": format!("ft-{k}"), "id": format!("s{i}"), "loss": given(i, k)}).to_string(),
            );
        }
    }
    lines.join("\n")
}

fn check_given(place: &Place, rows: usize, models: usize) {
    let found = losses(place, "gpt");
    assert_eq!(found.len(), rows);
    for (row, values) in &found {
        assert_eq!(values.len(), models);
        for (k, value) in values.iter().enumerate() {
            let expected = given(*row as usize, k);
            assert!((value - expected).abs() < 1e-7, "row {row}, model {k}: {value} {expected}");
        }
    }
}

const IMPORT: [&str; 6] = ["import", "--from", "daunce", "--ensemble", "gpt", "--json"];

fn import(place: &Place, more: &[&str]) -> binary::Finished {
    place.run(&[&IMPORT[..], more].concat())
}

#[test]
fn black_box_losses_come_from_lines_tables_and_matrices_alike() {
    let table = ["--base", "gpt-4o-mini", "--dataset", "pool", "--losses"];
    let lines = place();
    lines.write("losses.jsonl", jsonl(0..3, 0..ROWS));
    import(&lines, &[&table[..], &["losses.jsonl"][..]].concat()).says(0, &[]);
    check_given(&lines, ROWS, 3);

    let csv = place();
    let mut text = "id,ft-0,ft-1,ft-2\n".to_owned();
    for i in 0..ROWS {
        text.push_str(&format!("s{i},{},{},{}\n", given(i, 0), given(i, 1), given(i, 2)));
    }
    csv.write("losses.csv", text);
    import(&csv, &[&table[..], &["losses.csv"][..]].concat()).says(0, &[]);
    check_given(&csv, ROWS, 3);

    // A matrix of single precision: the losses are rounded before they come here.
    let matrix = place();
    let order: Vec<usize> = (0..ROWS).rev().collect();
    let values = (0..3).flat_map(|k| order.iter().map(move |i| given(*i, k)).collect::<Vec<f64>>());
    matrix.write("losses.npy", npy(&values.collect::<Vec<f64>>(), (3, ROWS)));
    let ids: Vec<String> = order.iter().map(|i| format!("s{i}")).collect();
    matrix.write("ids.txt", ids.join("\n"));
    matrix.write("manifest.json", manifest(3).to_string());
    let wrong = matrix.run(&["import", "losses.npy"]);
    assert!(
        wrong.stderr.contains("this is not a manifest") && wrong.stderr.contains("--losses FILE"),
        "{wrong:?}"
    );
    import(&matrix, &["manifest.json"]).says(0, &[]);
    check_given(&matrix, ROWS, 3);
    let part = matrix.json(&["info", "gpt", "--json"]);
    assert_eq!(
        (&part["members"][1]["seed"], &part["members"][1]["rho"]),
        (&json!(101), &json!(1.0)),
        "{part}"
    );
}

fn manifest(models: usize) -> serde_json::Value {
    let models: Vec<serde_json::Value> = (0..models)
        .map(|k| json!({"id": format!("ft-{k}"), "seed": 100 + k, "variant": "subset", "rho": 1.0, "lr": 3e-4}))
        .collect();
    json!({
        "ensemble": "gpt", "base": "gpt-4o-mini", "signal": "loss", "orientation": "model_major", "models": models,
        "tables": [{"dataset": "pool", "losses": "losses.npy", "rows": "ids.txt"}],
    })
}

/// A matrix of double precision as NumPy writes it.
fn npy(values: &[f64], shape: (usize, usize)) -> Vec<u8> {
    npy_of("<f8", shape, values.iter().flat_map(|v| v.to_le_bytes()))
}

/// A matrix of a type of NumPy.
fn npy_of(descr: &str, (a, b): (usize, usize), values: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({a}, {b}), }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

/// Losses that differ by one number of their type: what a reader rounds is as large as what they say.
#[test]
fn losses_of_narrow_floats_are_those_of_the_same_array() {
    const MODELS: usize = 3;
    for (ty, word, descr, steps) in [("Float16", "f16", "<f2", 1 << 9), ("Float32", "f32", "<f4", 1 << 22)] {
        let place = place();
        let loss = |i: usize, k: usize| 2.0 + (10 * i + (i + k) % 2) as f64 / f64::from(steps);
        let base = |i: usize| 1.5 + (10 * i) as f64 / f64::from(steps);
        let columns: Vec<String> = (0..MODELS)
            .map(|k| {
                let loss = format!("2.0::DOUBLE + (10 * row + (row + {k}) % 2)::DOUBLE / {steps}::DOUBLE");
                format!("arrow_cast({loss}, '{ty}') AS m{k}")
            })
            .collect();
        let losses = format!("SELECT id, {} FROM pool", columns.join(", "));
        let bases =
            format!("SELECT id, arrow_cast(1.5 + (10 * row)::DOUBLE / {steps}, '{ty}') AS b FROM pool");
        let models: Vec<serde_json::Value> = (0..MODELS).map(|k| json!({"id": format!("m{k}")})).collect();
        for ending in ["parquet", "arrow"] {
            let (of, under) = (format!("losses.{ending}"), format!("base.{ending}"));
            place.ok(&["query", &losses, "-o", &of]);
            place.ok(&["query", &bases, "-o", &under]);
            let table = json!({"ensemble": ending, "base": "b", "dataset": "pool", "losses": of, "base_losses": under});
            place.write(&format!("{ending}.json"), table.to_string());
        }
        let bytes = |value: f64| match ty {
            "Float16" => half::f16::from_f64(value).to_le_bytes().to_vec(),
            _ => (value as f32).to_le_bytes().to_vec(),
        };
        let cells = (0..MODELS).flat_map(|k| (0..ROWS).map(move |i| (i, k)));
        let cells = cells.flat_map(|(i, k)| bytes(loss(i, k)));
        place.write("losses.npy", npy_of(descr, (MODELS, ROWS), cells));
        place.write("base.npy", npy_of(descr, (1, ROWS), (0..ROWS).flat_map(|i| bytes(base(i)))));
        let ids: Vec<String> = (0..ROWS).map(|i| format!("s{i}")).collect();
        let array = |ensemble: &str| {
            let array = json!({
                "ensemble": ensemble, "base": "b", "models": models, "orientation": "model_major", "dataset": "pool",
                "losses": "losses.npy", "rows": ids, "base_losses": "base.npy",
            });
            place.write("array.json", array.to_string());
            place.run(&["import", "--from", "daunce", "--json", "array.json"])
        };
        let warning = format!("vary by less than neighbouring numbers of {word} differ");
        array("npy").says(0, &[&warning]);
        let scores = |ensemble: &str| {
            place.csv(&format!(
                "SELECT id, score, se FROM daunce('pool', 'pool', ensemble => '{ensemble}') ORDER BY id"
            ))
        };
        for ending in ["parquet", "arrow"] {
            let manifest = format!("{ending}.json");
            place.run(&["import", "--from", "daunce", &manifest]).says(0, &[&warning]);
            let found = stored(&place, ending, "pool");
            assert_eq!(found, stored(&place, "npy", "pool"), "{word} {ending}");
            for (row, (offset, losses)) in &found {
                let i = *row as usize;
                assert_eq!(f64::from(*offset), base(i), "{word} {ending}: row {row}");
                let given: Vec<f64> = (0..MODELS).map(|k| loss(i, k)).collect();
                assert_eq!(*losses, given, "{word} {ending}: row {row}");
            }
            assert_eq!(scores(ending), scores("npy"), "{word} {ending}");
            let snapshot = place.snapshot();
            let tables = snapshot.loss_tables(snapshot.ensemble(ending).expect("an ensemble"));
            assert_eq!(tables[0].compute, word, "{ending}");
            // The array after the table, and the table after the array.
            let again = array(ending).says(0, &[]).json();
            let table = ["import", "--from", "daunce", "--json", "--ensemble", "npy", &manifest];
            for report in [again, place.json(&table)] {
                assert_eq!(
                    report["tables"][0]["unchanged"],
                    json!(MODELS * ROWS),
                    "{word} {ending}: {report}"
                );
            }
        }
    }
}

#[test]
fn losses_have_the_precision_of_their_widest_column() {
    let place = place();
    let (half, single) = ("arrow_cast(1.5, 'Float16')", "arrow_cast(2.5, 'Float32')");
    for (name, columns, expected) in [
        ("wide", format!("{half} AS m0, {single} AS m1"), "f32"),
        ("whole", format!("{half} AS m0, 2 AS m1"), "f64"),
        // A column that is no loss says nothing.
        ("long", format!("'m0' AS model, {half} AS loss, 2.5::DOUBLE AS seconds"), "f16"),
    ] {
        let file = format!("{name}.parquet");
        place.ok(&["query", &format!("SELECT id, {columns} FROM pool"), "-o", &file]);
        let to = ["--ensemble", name, "--base", "b", "--dataset", "pool", "--losses", &file];
        place.ok(&[&["import", "--from", "daunce"][..], &to].concat());
        let snapshot = place.snapshot();
        let tables = snapshot.loss_tables(snapshot.ensemble(name).expect("an ensemble"));
        assert_eq!(tables[0].compute, expected, "{name}");
    }
}

#[test]
fn losses_that_come_later_are_added_and_never_silently_replaced() {
    let place = place();
    let table = ["--base", "gpt-4o-mini", "--dataset", "pool", "--losses", "losses.jsonl"];
    // Two models of half the rows, then all of three models: new rows, a new model, and what is there.
    place.write("losses.jsonl", jsonl(0..2, 0..20));
    assert_eq!(import(&place, &table).code, 0);
    place.write("losses.jsonl", jsonl(0..3, 0..ROWS));
    let report = import(&place, &table).says(0, &[]).json();
    assert_eq!(report["new_members"], 1);
    assert_eq!((&report["tables"][0]["unchanged"], &report["tables"][0]["added"]), (&json!(40), &json!(80)));
    check_given(&place, ROWS, 3);
    let before = place.value("SELECT max(number) FROM gstore.snapshots");
    assert_eq!(import(&place, &table).code, 0, "the same again changes nothing");
    assert_eq!(place.value("SELECT max(number) FROM gstore.snapshots"), before);

    place.write("losses.jsonl", json!({"model": "ft-1", "id": "s7", "loss": 9.5}).to_string());
    import(&place, &table).says(1, &["s7", "--replace"]);
    assert_eq!(place.value("SELECT max(number) FROM gstore.snapshots"), before);
    import(&place, &[&table[..], &["--replace"][..]].concat()).says(0, &[]);
    let found = losses(&place, "gpt");
    assert!((found[&7][1] - 9.5).abs() < 1e-6);
    assert!((found[&7][0] - given(7, 0)).abs() < 1e-7 && (found[&8][1] - given(8, 1)).abs() < 1e-7);

    // The log of a job that was retried.
    let line = |loss: f64| json!({"model": "ft-2", "id": "s9", "loss": loss}).to_string();
    place.write("losses.jsonl", [line(7.5), line(8.5)].join("\n"));
    import(&place, &table).says(1, &["appears twice, as 7.5 and as 8.5", "--replace takes the later one"]);
    import(&place, &[&table[..], &["--replace"][..]].concat()).says(0, &[]);
    assert!((losses(&place, "gpt")[&9][2] - 8.5).abs() < 1e-6);
}

#[test]
fn what_cannot_be_right_is_refused_and_changes_nothing() {
    let place = place();
    let values: Vec<f64> = (0..3).flat_map(|k| (0..ROWS).map(move |i| given(i, k))).collect();
    let ids: Vec<String> = (0..ROWS).map(|i| format!("s{i}")).collect();
    let refused = |manifest: serde_json::Value, says: &str| {
        place.write("manifest.json", manifest.to_string());
        import(&place, &["manifest.json"]).says(1, &[says]);
        let snapshot = place.snapshot();
        assert!(snapshot.ensembles().is_empty(), "{says}: something was written");
    };
    place.write("ids.txt", ids.join("\n"));
    let mut unknown = place.with_model("daunce losses --ensemble e --dataset nope");
    let unknown = binary::run(unknown.arg("--adapters").arg(world::demo().join("warmup/checkpoint-26")));
    assert!(unknown.stderr.contains("no dataset \"nope\""), "{}", unknown.stderr);
    refused(manifest(3), "manifest.json: the losses of \"pool\" should be in losses.npy");
    place.write("losses.npy", npy(&values[..3 * ROWS - 1], (3, ROWS)));
    refused(manifest(3), "too few");
    place.write("losses.npy", npy(&values[..2 * ROWS], (2, ROWS)));
    refused(manifest(3), "it has 2 models, 3 are expected");
    place.write("losses.npy", npy(&values, (3, ROWS)));
    let mut array = manifest(3);
    array["tables"][0]["rows"] = json!("losses.npy");
    refused(array, "losses.npy: it is not text; `rows` is a file with one id per line, or with a JSON list");
    place.write("ids.txt", ids[1..].join("\n"));
    refused(manifest(3), "losses of 40 examples, and there are 39 ids");
    place.write("ids.txt", [&ids[1..], &["s1".to_owned()][..]].concat().join("\n"));
    refused(manifest(3), "appears twice");
    place.write("ids.txt", [&ids[1..], &["stranger".to_owned()][..]].concat().join("\n"));
    refused(manifest(3), "no sample \"stranger\"");
    place.write("ids.txt", ids.join("\n"));
    let mut nan = values.clone();
    nan[ROWS + 4] = f64::NAN;
    place.write("losses.npy", npy(&nan, (3, ROWS)));
    refused(manifest(3), "the loss of \"s4\" under \"ft-1\" is NaN");
    nan[ROWS + 4] = f64::INFINITY;
    place.write("losses.npy", npy(&nan, (3, ROWS)));
    refused(manifest(3), "diverged");
    let mut twice = manifest(3);
    twice["models"][2]["id"] = json!("ft-0");
    refused(twice, "appears twice");
    let mut pickle = manifest(3);
    pickle["tables"][0]["losses"] = json!("losses.pkl");
    place.write("losses.pkl", b"\x80\x04");
    refused(pickle, "pickle");
    let mut tensor = manifest(3);
    tensor["tables"][0]["losses"] = json!("losses.safetensors");
    tensor["tables"][0]["tensor"] = json!("nope");
    let header = json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).to_string();
    let length = (header.len() as u64).to_le_bytes();
    place.write("losses.safetensors", [&length[..], header.as_bytes(), &[0; 4]].concat());
    refused(tensor, "error: losses.safetensors: tensor nope is missing");
    let mut key = manifest(3);
    key["orientatoin"] = json!("model_major");
    refused(key, "orientatoin");

    nan[ROWS + 4] = 1e200;
    place.write("losses.npy", npy(&nan, (3, ROWS)));
    refused(manifest(3), "the loss of \"s4\" under \"ft-1\" is 1e200: the model diverged");
    place.write("losses.npy", npy(&values, (3, ROWS)));
    let with = |key: &str, file: &str| {
        let mut with = manifest(3);
        with["tables"][0][key] = json!(file);
        with
    };
    for (bad, says) in [
        (f64::NAN, "base.npy: the loss of \"s4\" under \"theta_0\" is missing or not a number, although"),
        (f64::INFINITY, "base.npy: the loss of \"s4\" under \"theta_0\" is inf"),
        (1e200, "base.npy: the loss of \"s4\" under \"theta_0\" is 1e200"),
    ] {
        let mut base = values[..ROWS].to_vec();
        base[4] = bad;
        place.write("base.npy", npy(&base, (1, ROWS)));
        refused(with("base_losses", "base.npy"), says);
    }
    for bad in [2.5, f64::NAN] {
        let mut mask = vec![1.0; 3 * ROWS];
        mask[ROWS + 4] = bad;
        place.write("mask.npy", npy(&mask, (3, ROWS)));
        refused(with("mask", "mask.npy"), &format!("the mask of \"s4\" under \"ft-1\" is {bad:?}"));
    }
    let mut prob = manifest(3);
    prob["signal"] = json!("prob");
    refused(prob, "the probability of \"s0\" under \"ft-0\" is 2.0, which is not between 0 and 1; if");
    nan[ROWS + 4] = f64::NAN;

    // With a mask the cell is missing; a list may have a byte order mark; and one model is a table like any
    // other.
    place.write("ids.txt", format!("\u{feff}{}", ids.join("\r\n")));
    place.write("losses.npy", npy(&nan, (3, ROWS)));
    let mut mask = vec![1.0; 3 * ROWS];
    mask[ROWS + 4] = 0.0;
    place.write("mask.npy", npy(&mask, (3, ROWS)));
    let mut masked = manifest(3);
    masked["tables"][0]["mask"] = json!("mask.npy");
    place.write("manifest.json", masked.to_string());
    import(&place, &["manifest.json"]).says(0, &[]);
    let found = losses(&place, "gpt");
    assert!(found[&4][1].is_nan() && found[&4][0].is_finite());
    // The same mask of integers: whatever is not 0 is there.
    let flags = mask.iter().flat_map(|flag| (7 * *flag as i64).to_le_bytes());
    place.write("mask.npy", npy_of("<i8", (3, ROWS), flags));
    let again = import(&place, &["manifest.json"]).says(0, &[]).json();
    assert_eq!((&again["tables"][0]["missing"], &again["tables"][0]["added"]), (&json!(1), &json!(0)));
    let one = self::place();
    one.write("losses.jsonl", jsonl(0..1, 0..ROWS));
    let said = import(&one, &["--base", "b", "--dataset", "pool", "--losses", "losses.jsonl"]);
    said.says(0, &["note: 1 model: a covariance takes at least 3"]).lacks(&["error: "]);
    check_given(&one, ROWS, 1);
}

#[test]
fn losses_of_theta_0_are_joined_by_id_and_no_sample_lacks_one() {
    let place = place();
    let base = |lines: &[serde_json::Value]| {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        place.write("base.jsonl", lines.join("\n"));
    };
    let line = |i: usize, loss: Option<f64>| json!({"model": "b", "id": format!("s{i}"), "loss": loss});
    place.write("losses.jsonl", jsonl(0..3, 0..20));
    let manifest = json!({
        "ensemble": "gpt", "base": "b", "dataset": "pool", "losses": "losses.jsonl", "base_losses": "base.jsonl",
    });
    place.write("manifest.json", manifest.to_string());
    // The losses come in descending order.
    let mut lines: Vec<serde_json::Value> = (0..20).map(|i| line(i, Some(given(i, 9)))).collect();
    base(&lines[..19]);
    for says in ["s19", "s7"] {
        let done = import(&place, &["manifest.json"]);
        let says = format!(
            "base.jsonl: the loss of \"{says}\" under \"theta_0\" is missing or not a number, although"
        );
        done.says(1, &[&says]);
        lines[7] = line(7, None);
        base(&lines);
    }
    lines[7] = line(7, Some(given(7, 9)));
    base(&lines);
    import(&place, &["manifest.json"]).says(0, &[]);
    check_given(&place, 20, 3);
    let offsets = offsets(&place, "gpt");
    assert!((0..20).all(|i| offsets[&(i as u64)] == (given(i, 9) as f32).to_bits()), "{offsets:?}");
    // Later samples without one have no place in scores that are relative to it.
    place.write("losses.jsonl", jsonl(0..3, 20..ROWS));
    import(&place, &["--dataset", "pool", "--losses", "losses.jsonl"]).says(0, &[]);
    let left_out = |center: &str| {
        let of = format!("excluded('pool', 'pool', method => 'daunce', center => '{center}')");
        place.value(&format!("SELECT count(*) FROM {of} WHERE reason = 'missing'"))
    };
    assert_eq!((left_out("base"), left_out("row")), ((ROWS - 20).to_string(), "0".to_owned()));
    // It cannot be given later.
    lines.extend((20..ROWS).map(|i| line(i, Some(given(i, 9)))));
    base(&lines);
    import(&place, &["manifest.json"])
        .says(1, &["base.jsonl: the loss of \"s20\"", "gstore drop ensemble gpt"]);
}
