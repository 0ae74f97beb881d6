//! Promise: a fit does everything that it is asked for, or refuses it; a killed one loses nothing that was
//! finished; it reports what it leaves out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::factors::{
    MODULES, assert_near, demo, fit, fit_args, fit_run, place, scores, with_a_value_for_one_token,
};
use gstore_tests::binary;
use gstore_tests::place::Place;
use gstore_tests::world;

#[test]
fn options_that_a_fit_would_not_use_are_refused() {
    let place = place();
    let partitions = "partitions divide the passes over the data";
    for (more, says) in [
        (&["--fisher", "empirical", "--seed", "7"][..], "--fisher empirical draws none"),
        (&["--strategy", "identity", "--seed", "0"], "--strategy identity draws none"),
        (&["--strategy", "identity", "--fisher", "true"], "--strategy identity, which uses no labels"),
        (&["--strategy", "diagonal", "--max-block", "64"], "--max-block cuts covariances"),
        (&["--strategy", "identity", "--max-block", "64"], "--max-block cuts covariances"),
        (&["--strategy", "identity", "--data-partitions", "2"], partitions),
        (&["--strategy", "identity", "--module-partitions", "2"], partitions),
        (&["--strategy", "identity", "--partition", "1/2", "--folder", "shared"], partitions),
        (&["--strategy", "identity", "--average", &demo("warmup/checkpoint-52")], "--average adds up sums"),
        (&["--strategy", "identity", "--extend", "g"], "--extend adds up sums"),
    ] {
        fit_run(&place, "f", more).says(2, &[says]);
    }
    assert!(!place.path("shared").exists());
}

/// Tensors that a fit has written.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let kept = named.filter(|(name, _)| name.ends_with(".safetensors"));
    kept.map(|(name, path)| (name, fs_err::read(path).expect("read"))).collect()
}

#[test]
fn a_killed_fit_ends_as_one_that_was_not() {
    let place = Place::of(&[("pool", 60)]);
    place.add("pool");
    let parts = ["--data-partitions", "30"];
    fit(&place, "whole", &parts);

    let args = fit_args("killed", &parts);
    let mut command = place.gstore(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let folder = place.path("store.factors/factors_killed");
    // A partition has four files of covariances.
    let written = || {
        let entries = fs_err::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "safetensors")).count()
    };
    binary::killed_once(&mut command, || written() >= 8);
    assert!(folder.exists(), "it had ended");
    let rest = fit(&place, "killed", &parts);
    let [found, computed] = ["found", "computed"].map(|key| rest[key].as_u64().expect("a number"));
    assert!(found > 0 && computed > 0, "{rest}");

    let [whole, killed] = ["whole", "killed"].map(|name| {
        place.ok(&["factors", "export", name, name]);
        tensors(&place.path(name))
    });
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    assert!(whole.len() >= 10, "{:?}", whole.keys());
    for (name, bytes) in &whole {
        assert!(killed[name] == *bytes, "{name} differs");
    }
}

#[test]
fn what_an_unfinished_fit_of_other_rows_left_is_no_hindrance_with_force() {
    let place = place();
    // As a fit that was stopped leaves it next to the store.
    fit_run(&place, "f", &["--partition", "1/2", "--folder", "store.factors"]).says(0, &["not finished"]);
    place.samples("pool", 14);
    place.add("pool");
    let parts = ["--data-partitions", "2"];
    fit_run(&place, "f", &parts).says(1, &["begun with different arguments", "--force begins again"]);
    assert!(place.path("store.factors/factors_f").exists());
    fit_run(&place, "f", &["--data-partitions", "2", "--force"]).says(0, &["fitted on 14 rows"]);
    assert!(!place.path("store.factors").exists());
    // Other partitions of the same rows.
    fit_run(&place, "g", &["--partition", "1/2", "--folder", "store.factors"]).says(0, &["not finished"]);
    fit_run(&place, "g", &["--data-partitions", "3"]).says(1, &["partitions is [2,1] there"]);
    fit_run(&place, "g", &["--data-partitions", "3", "--force"]).says(0, &["fitted on 14 rows"]);
}

#[test]
fn damaged_files_of_an_unfinished_fit_are_no_hindrance_with_force() {
    let place = place();
    let (parts, forced) = (["--data-partitions", "2"], ["--data-partitions", "2", "--force"]);
    let begun = |name: &str, damaged: &str, bytes: &[u8]| {
        let first = ["--partition", "1/2", "--folder", "store.factors"];
        fit_run(&place, name, &first).says(0, &["not finished"]);
        let path = place.path("store.factors").join(format!("factors_{name}")).join(damaged);
        assert!(path.exists(), "{damaged}");
        fs_err::write(path, bytes).expect("damaged");
    };
    for (name, document) in [("f", "gstore.json"), ("g", "factor_arguments.json")] {
        begun(name, document, b"{");
        let cannot = format!("{document} cannot be read");
        fit_run(&place, name, &parts).says(1, &[&cannot, "--force begins again"]);
        fit_run(&place, name, &forced).says(0, &["fitted on 12 rows"]);
        assert!(!place.path("store.factors").exists());
    }
    let sums = "activation_covariance_data_partition0_module_partition0.safetensors";
    for (name, damaged, told) in
        [("h", sums.to_owned(), "it is damaged"), ("i", format!("{sums}.digest"), "has no digest in it")]
    {
        begun(name, &damaged, b"\x1b[31m");
        fit_run(&place, name, &parts).says(1, &[told, "--force does so as it is"]).lacks(&["\x1b"]);
        fit_run(&place, name, &forced).says(0, &["fitted on 12 rows"]);
    }
}

#[test]
fn the_folder_of_a_fit_that_was_killed_after_its_commit_goes_with_the_next_command() {
    let place = place();
    let begin = |part: &str, folder: &str| {
        fit_run(&place, "f", &["--partition", part, "--folder", folder]).says(0, &["not finished"]);
    };
    begin("1/2", "same");
    begin("1/3", "other");
    let parts = ["--data-partitions", "2"];
    fit(&place, "f", &parts);
    let (own, left) = (place.path("store.factors"), place.path("store.factors/factors_f"));
    for (begun, stays) in [("other", true), ("same", false)] {
        fs_err::create_dir_all(&own).expect("made");
        fs_err::rename(place.path(begun).join("factors_f"), &left).expect("left");
        fit_run(&place, "f", &parts).says(2, &["has an artifact \"f\" already"]);
        assert_eq!(left.exists(), stays, "{begun}");
        if stays {
            fs_err::remove_dir_all(&left).expect("removed");
        }
    }
    assert!(!own.exists());
}

#[test]
fn a_fit_that_came_to_nothing_is_in_the_way_of_no_other() {
    let place = place();
    // A row without a second token has no label that could be scored.
    let (cut, whole) = (["--max-length", "1"], ["--max-length", "64"]);
    let nothing = "no token of these rows is scored";
    // The squares of `diagonal` are looked at as the covariances of the others are.
    let diagonal = [&cut[..], &["--strategy", "diagonal"]].concat();
    let in_parts = [&diagonal[..], &["--data-partitions", "2"]].concat();
    for options in [&cut[..], &diagonal, &in_parts] {
        fit_run(&place, "f", options).says(1, &[nothing]);
        assert!(!place.path("store.factors").exists());
    }
    fit_run(&place, "f", &whole).says(0, &["fitted on 12 rows"]);

    let named = ["--folder", "named"];
    fit_run(&place, "g", &[&cut[..], &named].concat()).says(1, &[nothing]);
    fit_run(&place, "g", &[&whole[..], &named].concat()).says(0, &["fitted on 12 rows"]);
    // The last job of an array finds it, in a folder that another one made.
    let job = |more: &[&str], part| {
        fit_run(&place, "h", &[more, &["--folder", "shared", "--partition", part]].concat())
    };
    job(&cut, "1/2").says(0, &["not finished"]);
    job(&cut, "2/2").says(1, &[nothing]);
    job(&whole, "1/2").says(0, &["not finished: covariances of 1 other partition of the data: 2"]);

    // What others have put into a named folder stays, with the stamp, so that the same fit can begin again.
    let job = |part| fit_run(&place, "i", &[&cut[..], &["--folder", "shared", "--partition", part]].concat());
    job("1/2").says(0, &["not finished"]);
    place.write("shared/factors_i/notes/mine", "");
    place.write("shared/factors_i/lambda_matrix_mine.safetensors", "");
    job("2/2").says(1, &[nothing]);
    let entries = fs_err::read_dir(place.path("shared/factors_i")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut left: Vec<String> = names.filter(|name| name != ".lock").collect();
    left.sort();
    assert_eq!(left, ["gstore.json", "lambda_matrix_mine.safetensors", "notes"]);
    assert!(place.path("shared/factors_i/notes/mine").exists());
    job("1/2").says(0, &["not finished"]);
}

#[test]
fn jobs_of_an_array_say_which_partitions_are_missing() {
    let place = place();
    for (part, missing) in [
        ("2/4", "covariances of 3 other partitions of the data: 1, 3-4"),
        ("1/4", "covariances of 2 other partitions of the data: 3-4"),
        ("4/4", "covariances of 1 other partition of the data: 3"),
        ("3/4", "squares of 3 other partitions of the data: 1-2, 4"),
        ("1/4", "squares of 2 other partitions of the data: 2, 4"),
    ] {
        let found = fit_run(&place, "f", &["--partition", part, "--folder", "shared"]);
        found.says(0, &[&format!("not finished: {missing}")]);
    }
}

#[test]
fn a_damaged_file_of_a_fit_is_computed_again_once_it_is_gone() {
    let place = place();
    let job = |part: &str| fit_run(&place, "f", &["--partition", part, "--folder", "shared"]);
    let folder = place.path("shared/factors_f");
    let again = |name: &str| {
        let path = folder.join(name);
        let whole = fs_err::read(&path).expect("written");
        let last = whole.len() - 8;
        let mut changed = whole.clone();
        // The lowest bit of a number.
        changed[last] ^= 1;
        for damaged in [&whole[..last], &changed[..]] {
            fs_err::write(&path, damaged).expect("damaged");
            job("1/2")
                .says(1, &[name, "remove the file and run the same command again"])
                .lacks(&["from a copy"]);
        }
        fs_err::remove_file(&path).expect("removed");
        job("1/2").says(0, &[]);
        assert!(fs_err::read(&path).expect("written") == whole);
    };
    job("1/2").says(0, &[]);
    let sums = "activation_covariance_data_partition0_module_partition0.safetensors";
    again(sums);
    // As an earlier version left it.
    fs_err::remove_file(folder.join(format!("{sums}.digest"))).expect("removed");
    job("2/2").says(0, &[]);
    // What was made of the sums of all partitions.
    again("activation_eigenvectors.safetensors");
}

/// Does something while a fit is at work and stands still, which then ends well.
fn during<T>(place: &Place, args: &[String], folder: &str, act: impl FnOnce() -> T) -> T {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = binary::start(&mut place.gstore(&args));
    let stamp = place.path(folder).join("gstore.json");
    while !stamp.exists() {
        assert!(child.try_wait().expect("a state").is_none(), "it ended before it began");
        std::thread::sleep(Duration::from_millis(1));
    }
    binary::signal(&child, "STOP");
    assert!(child.try_wait().expect("a state").is_none(), "it ended before it was stopped");
    let done = act();
    binary::signal(&child, "CONT");
    assert!(child.wait().expect("ends").success());
    done
}

#[test]
fn a_second_run_of_a_fit_is_refused_and_disturbs_nothing() {
    let place = Place::of(&[("pool", 60)]);
    place.add("pool");
    let parts = ["--data-partitions", "30"];
    let again = || fit_run(&place, "f", &parts);
    let refused = during(&place, &fit_args("f", &parts), "store.factors/factors_f", again);
    refused.says(1, &["factors_f: another gstore process is working there"]);
    assert!(place.ok(&["factors", "list"]).contains("pool") && !place.path("store.factors").exists());

    // Jobs of an array are at work together, each on a partition of its own, and the run that publishes is
    // not among them.
    let [first, second] =
        ["1/2", "2/2"].map(|part| ["--partition", part, "--module-partitions", "2", "--folder", "shared"]);
    let whole = ["--data-partitions", "2", "--module-partitions", "2", "--folder", "shared"];
    let others = || [&second[..], &first, &whole].map(|args| fit_run(&place, "g", args));
    let [job, same, refused] = during(&place, &fit_args("g", &first), "shared/factors_g", others);
    job.says(0, &["not finished: covariances of 1 other partition of the data: 1"]);
    same.says(1, &["factors_g: another gstore process is computing partition 1 there"]);
    refused.says(1, &["factors_g: another gstore process is working there"]);
    assert!(fit(&place, "g", &whole)["snapshot"].is_u64());

    // What is not known to be of a fit is not gone on with.
    place.write("left/factors_h/notes", "");
    let refused = fit_run(&place, "h", &["--folder", "left"]);
    refused.says(1, &["left/factors_h has files but no gstore.json", "remove the folder"]);
}

/// A thread for each device, and a batch for each row, so that there are more units than devices.
fn on(devices: &str) -> [&str; 6] {
    ["--batch-tokens", "1", "--threads", "1", "--devices", devices]
}

#[test]
fn devices_change_no_bit_of_a_fit_and_of_scores() {
    let place = place();
    for strategy in ["ekfac", "diagonal"] {
        let fitted = |devices: &str| {
            let name = format!("{strategy}{}", devices.len());
            fit(&place, &name, &[&on(devices)[..], &["--strategy", strategy]].concat());
            place.ok(&["factors", "export", &name, &name]);
            let copy = format!("{name}-copy");
            let says = format!("factors {copy} ({strategy}): 2 modules imported");
            place.run(&["factors", "import", &name, &copy]).says(0, &[&says]);
            tensors(&place.path(&name))
        };
        let one = fitted("cpu");
        assert!(!one.is_empty() && fitted("cpu,cpu") == one && fitted("cpu,cpu,cpu") == one, "{strategy}");
    }
    for more in [
        &["--target", "q"][..],
        &["--target", "q", "--sum-queries"],
        &["--target", "q", "--solver", "cg", "--iterations", "2"],
        &["--self"],
    ] {
        let scored = |devices: &str| {
            let of = ["score", "--pool", "pool", "--factors", "ekfac3", "--format", "csv"];
            place.ok(&[&of[..], &on(devices), more].concat())
        };
        let one = scored("cpu");
        assert!(one.lines().count() > 12 && scored("cpu,cpu,cpu") == one, "{more:?}");
    }
    let planned = |devices| fit(&place, "g", &[&on(devices)[..], &["--dry-run"]].concat());
    let (one, several) = (planned("cpu"), planned("cpu,cpu,cpu"));
    assert_eq!([&one, &several].map(|planned| planned["threads"].as_u64()), [Some(1), Some(3)]);
    assert!(several["model"].as_u64() > one["model"].as_u64(), "{one} and {several}");

    let refused_score = ["score", "--pool", "pool", "--factors", "ekfac3", "--target", "q"];
    let refused_score = place.run(&[&refused_score[..], &on("cpu,candle")].concat());
    for refused in [fit_run(&place, "f", &on("cpu,candle")), refused_score] {
        refused.says(1, &["`cpu` and `candle` do not compute the same bits"]);
    }
}

#[test]
fn the_head_is_left_out_unless_it_is_named() {
    let place = place();
    let model = demo("model");
    let fit = ["factors", "fit", "f", "--dataset", "pool", "--model", &model, "--dry-run", "--json"];
    let planned = |more: &[&str]| {
        let planned = place.done(&[&fit[..], more].concat());
        let report = planned.json();
        (report["modules"].as_u64().expect("a number"), planned.stderr)
    };
    let says =
        "the head is left out unless --modules names it (the covariance of its 768 outputs takes 4.7 MB)";
    let (blocks, told) = planned(&[]);
    assert!(blocks == 21 && told.contains(says), "{blocks}: {told}");
    // Of a square of 768 rows in blocks of 256.
    let (_, told) = planned(&["--max-block", "256"]);
    assert!(told.contains("its 768 outputs takes 1.6 MB"), "{told}");
    let (all, told) = planned(&["--modules", "*_proj,lm_head"]);
    assert!(all == 22 && !told.contains("the head is left out"), "{all}: {told}");

    // A tied one is no linear layer of its own: it is not offered, and neither is its embedding.
    let tied = place.path("tied");
    fs_err::create_dir(&tied).expect("made");
    for file in fs_err::read_dir(world::demo().join("model")).expect("a folder") {
        let file = file.expect("a file");
        let mut bytes = fs_err::read(file.path()).expect("readable");
        let mut replace = |from: &[u8], to: &[u8]| {
            let at = bytes.windows(from.len()).position(|found| found == from).expect("there");
            drop(bytes.splice(at..at + from.len(), to.iter().copied()));
        };
        match file.file_name().to_str() {
            Some("config.json") => replace(b"embeddings\": false", b"embeddings\": true"),
            // Of the same length, as the header's is written before it.
            Some("model.safetensors") => replace(b"lm_head.weight", b"lm_head.unused"),
            _ => {}
        }
        fs_err::write(tied.join(file.file_name()), bytes).expect("written");
    }
    let fit = ["factors", "fit", "f", "--dataset", "pool", "--model", "tied", "--dry-run"];
    place.run(&fit).told(0, &["of it weights and activations"]).lacks(&["the head"]);
    for (modules, says) in [
        ("*_proj,lm_head", "the head shares the weight of model.embed_tokens in this model"),
        ("*_proj,model.embed_tokens", "--modules model.embed_tokens selects no linear layer"),
    ] {
        place.run(&[&fit[..], &["--modules", modules]].concat()).says(1, &[says, "leave it out"]);
    }
}

#[test]
fn factors_are_extended_as_they_were_fitted() {
    let place = place();
    let as_fitted = ["--template", "plain", "--max-length", "48", "--fisher", "empirical"];
    fit(&place, "half", &[&as_fitted[..], &["--limit", "6"]].concat());
    fit(&place, "whole", &as_fitted);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    let extended = |name: &str, more: &[&str]| {
        let of = ["--dataset", "pool", "--model", &model, "--checkpoint", &checkpoint, "--extend", "half"];
        place.run(&[&["factors", "fit", name, "--json"][..], &of, more].concat())
    };
    let done = extended("more", &[]);
    done.says(0, &[]);
    let report = done.json();
    assert!(report["rows"] == 12 && report["modules"] == 2, "{report}");
    assert!(done.stderr.contains("as with --template plain, --max-length 48\n"), "{}", done.stderr);
    done.lacks(&["the head"]);
    let of = |factors: &str| scores(&place, &["--factors", factors, "--target", "q"]);
    assert_near(&of("more"), &of("whole"), 1e-3);

    for (more, code, says) in [
        (["--fisher", "true"], 1, "fisher is \"empirical\" there, \"true\" here"),
        (["--max-length", "64"], 1, "encoding.max_length is 48 there, 64 here"),
        (["--limit", "5"], 2, "have 6 rows of `pool`, of which --limit leaves out some"),
    ] {
        extended("other", &more).says(code, &[says]).lacks(&["remove it"]);
    }
}

#[test]
fn an_extension_goes_on_with_the_sums_that_it_began_with_or_is_refused() {
    let place = place();
    let half = |rows: &str| fit(&place, "half", &["--limit", rows, "--force"]);
    half("6");
    let parts = ["--extend", "half", "--data-partitions", "2"];
    fit(&place, "once", &parts);
    let in_folder = |more: &[&str]| {
        fit_run(&place, "more", &[&["--extend", "half", "--folder", "shared"][..], more].concat())
    };
    in_folder(&["--partition", "1/2"]).says(0, &["not finished: covariances of 1 other partition"]);
    // Rows of the partition that is there are in the sums of the others now.
    half("8");
    for more in [["--partition", "2/2"], ["--data-partitions", "2"]] {
        let begun = "shared/factors_more holds factors that were begun with different arguments";
        in_folder(&more).says(1, &[begun, "extended.rows is [[0,6]] there, [[0,8]] here"]);
    }
    // Fitted again as they were, they have the same sums.
    half("6");
    let done = in_folder(&["--data-partitions", "2"]);
    done.says(0, &[]);
    assert!(done.json()["found"] == 1, "{}", done.stdout);
    let [more, once] = ["more", "once"].map(|name| {
        place.ok(&["factors", "export", name, name]);
        tensors(&place.path(name))
    });
    assert!(more.len() >= 10 && more == once, "{:?}", more.keys());
}

#[test]
fn fits_of_two_seeds_differ_by_the_labels_that_they_drew() {
    let place = place();
    fit(&place, "zero", &[]);
    fit(&place, "one", &["--seed", "1"]);
    let text = place.ok(&["factors", "inspect", "zero", "--against", "one,zero", "--format", "csv"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let names = &lines[0];
    let at = |name: &str| names.iter().position(|known| *known == name).expect("a column");
    let number = |line: &[&str], name: &str| line[at(name)].parse::<f64>().expect("a number");
    assert_eq!(lines.len(), 1 + 2 * 2, "{text}");
    for line in &lines[1..] {
        let [lambda, gradient] = ["lambda_difference", "gradient_difference"].map(|name| number(line, name));
        match line[at("against")] {
            "one" => assert!(lambda > 0.0 && gradient > 0.0 && lambda.is_finite(), "{text}"),
            _ => assert_eq!((line[at("against")], lambda, gradient), ("zero", 0.0, 0.0), "{text}"),
        }
        // Inputs do not depend on labels.
        assert_eq!(number(line, "activation_difference"), 0.0, "{text}");
    }
}

#[test]
fn factors_of_another_model_are_refused() {
    let place = place();
    with_a_value_for_one_token(&place.path("other"));
    let model = demo("model");
    place.ok(&["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", &model]);
    let score =
        ["score", "--factors", "f", "--pool", "pool", "--target", "q", "--model", "other", "--dry-run"];
    place.run(&score).says(1, &["factors `f` are stale: they were fitted at checkpoint", "--stale"]);
    let stale = place.json(&[&score[..], &["--stale", "--json"]].concat());
    assert!(stale["stale"].as_str().is_some_and(|why| why.contains("fitted at checkpoint")), "{stale}");

    // One with fewer layers: the weights of the last are there under names that nothing reads.
    world::copy_files(&world::demo().join("model"), &place.path("short"));
    let config = place.read("short/config.json");
    place.write("short/config.json", config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2"));
    let weights = place.path("short/model.safetensors");
    let mut bytes = fs_err::read(&weights).expect("read");
    let last = b"model.layers.2.";
    let names: Vec<usize> = bytes
        .windows(last.len())
        .enumerate()
        .filter(|(_, found)| **found == last[..])
        .map(|(at, _)| at)
        .collect();
    names.into_iter().for_each(|at| bytes[at] = b'x');
    fs_err::write(&weights, bytes).expect("written");
    let score = ["score", "--factors", "f", "--pool", "pool", "--target", "q", "--model", "short", "--stale"];
    let refused = place.run(&score);
    let says = "short has no module `model.layers.2.self_attn.v_proj`, which they have";
    refused.says(1, &["factors `f` are of another model: ", says]).lacks(&["--modules"]);
    // Where modules are named, it is they that are not there.
    place.run(&[&score[..], &["--modules", "*.v_prox"]].concat()).says(1, &["*.v_prox matches no module"]);
}
