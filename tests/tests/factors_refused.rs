//! Promise: factors of something else, values that are not finite and modified files are refused; clients of
//! a server do not learn where a model is.

use crate::factors::{MODULES, assert_near, demo, fit, fit_run, place, scores};
use crate::served::{Served, token};
use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::Value;

#[test]
fn factors_of_something_else_are_refused() {
    let place = place();
    fit(&place, "f", &["--strategy", "diagonal", "--limit", "6"]);
    let refused = place.run(&["score", "--factors", "f", "--pool", "q", "--target", "pool"]);
    refused.says(1, &["fitted on dataset `pool`, and `q` is scored; --stale"]);
    let report =
        ["score", "--factors", "f", "--pool", "q", "--target", "pool", "--stale", "--dry-run", "--json"];
    let report = place.json(&report);
    assert!(report["stale"].is_string() && report["passes"] == 1, "{report}");

    place.typed("score --factors f --pool pool --target q --kronfluence scores_f --report f.md");
    assert!(place.path("scores_f/pairwise_scores.safetensors").exists());
    let report = place.read("f.md");
    assert!(report.contains("## Prompt 3: Is 2 odd?") && report.contains("Is 11 odd?"), "{report}");
    // The files say how the curvature was taken, not how it was fitted.
    let score = ["score", "--factors", "f", "--pool", "pool", "--target", "q", "--strategy", "identity"];
    place.ok(&[&score[..], &["--kronfluence", "scores_i"]].concat());
    for (folder, strategy) in [("scores_f", "diagonal"), ("scores_i", "identity")] {
        let arguments = fs_err::read(place.path(folder).join("factor_arguments.json")).expect("written");
        let arguments: Value = serde_json::from_slice(&arguments).expect("JSON");
        assert_eq!(arguments["strategy"], strategy);
    }
    // The inputs of one sample's tokens do not span those of a module.
    fit(&place, "thin", &["--strategy", "kfac", "--limit", "1"]);
    let thin = ["score", "--factors", "thin", "--pool", "pool", "--target", "q", "--damping", "0"];
    let refused = place.run(&[&thin[..], &["--format", "csv"]].concat());
    refused.says(1, &["with a damping of 0, "]);
    assert_eq!(refused.stdout, "", "no header of a table that has no rows");
    for (factors, asked, says) in [
        (
            "thin",
            "diagonal",
            "as kfac, and diagonal needs others: ask for kfac or identity, or fit factors as diag",
        ),
        (
            "f",
            "ekfac",
            "as diagonal, and ekfac needs others: ask for diagonal or identity, or fit factors as ekfac",
        ),
    ] {
        let scored = ["score", "--factors", factors, "--pool", "pool", "--target", "q", "--strategy", asked];
        place.run(&scored).says(1, &[says]);
    }
    // The identity has no spectrum.
    let inspected = ["factors", "inspect", "thin", "--strategy", "diagonal"];
    place.run(&inspected).says(1, &["diagonal needs others: ask for kfac, or fit factors as diagonal"]);
    let compared = ["factors", "inspect", "f", "--against", "f,thin"];
    place.run(&compared).says(1, &["factors `thin`: the factors were fitted as kfac, and diagonal needs"]);
    let twice = place.path("twice.jsonl");
    fs_err::write(&twice, "{\"id\":\"a\",\"text\":\"Is 1 odd?\"}\n{\"id\":\"a\",\"text\":\"Is 2 odd?\"}\n")
        .expect("written");
    let of_twice = ["score", "--factors", "thin", "--pool", "pool", "--target-data", "twice.jsonl"];
    let refused = place.run(&of_twice);
    let says = "sample \"a\" (row 1) of the target has the id of an earlier one";
    refused.says(1, &[says]);
    place.ok(&[&of_twice[..], &["--sum-queries"]].concat());
    place.write("asked.jsonl", "{\"qid\":\"a\",\"question\":\"Is 1 odd?\",\"answer\":\"Yes.\"}\n");
    let asked = ["score", "--factors", "thin", "--pool", "pool", "--target-data", "asked.jsonl"];
    let refused = place.run(&asked);
    let fields = ["--field", "prompt=question", "--field", "completion=answer"];
    refused.fails(&[&fields.join(" ")]);
    place.ok(&[&asked[..], &fields, &["-o", "asked.csv"]].concat());
    place.run(&[&of_twice[..5], &["--target", "q"], &fields[..2]].concat()).says(2, &["--field"]);
    let damped =
        ["score", "--factors", "thin", "--pool", "pool", "--target", "q", "-o", "damped.csv", "--damping"];
    for (damping, way) in [("1e-300", "a larger damping"), ("1e300", "a smaller damping")] {
        place.run(&[&damped[..], &[damping]].concat()).says(1, &["module `model.layers.", way]);
        assert!(!place.path("damped.csv").exists());
    }

    let bad = place.path("bad");
    fs_err::create_dir(&bad).expect("made");
    for file in fs_err::read_dir(world::demo().join("model")).expect("a folder") {
        let file = file.expect("a file");
        let mut bytes = fs_err::read(file.path()).expect("readable");
        if file.file_name() == "model.safetensors" {
            // The last weight of the last normalisation, in f16.
            let end = bytes.len();
            bytes[end - 2..].copy_from_slice(&[0, 0x7e]);
        }
        fs_err::write(bad.join(file.file_name()), bytes).expect("written");
    }
    let fit_of_nan = ["factors", "fit", "bad", "--dataset", "pool", "--modules", MODULES, "--model", "bad"];
    let refused = place.run(&fit_of_nan);
    refused.says(
        1,
        &["row 0 (id \"s0\") of dataset `pool`: module `model.layers.2.self_attn.v_proj`: ", " is NaN"],
    );
    assert_eq!(refused.stderr.matches("is NaN").count(), 1, "{}", refused.stderr);
    // One of a query is told apart from one of the pool.
    let score = ["score", "--model", "bad", "--modules", MODULES, "--pool", "pool", "--target", "q"];
    place.run(&score).says(1, &["row 0 (id \"s0\") of the queries: "]);

    fit_run(&place, "g", &["--max-memory", "1MB"])
        .says(1, &["--max-memory", "the weights of the model alone take"]);
    // What says nothing of the curvature, and a damping that nothing uses.
    fit(&place, "flat", &["--strategy", "identity"]);
    let of_q = ["score", "--pool", "pool", "--target", "q"];
    for (more, says) in [
        (&[][..], "gstore factors fit"),
        (&["--factors", "f", "--filter", "identity", "--damping", "1e-3"], "no --filter inverts them"),
        (
            &["--factors", "f", "--strategy", "identity", "--damping", "auto"],
            "the identity has no eigenvalues",
        ),
        (&["--factors", "flat", "--damping", "1e-3"], "the identity has none"),
        (
            &["--factors", "f", "--damping", "1e-3,auto,0.001"],
            "inverse with a damping of 0.001 is named twice",
        ),
        (&["--factors", "f", "--damping", "auto,auto"], "inverse with the damping auto is named twice"),
        (&["--factors", "f", "--filter", "identity,identity"], "the filter identity is named twice"),
        (&["--model", &demo("model"), "--stale"], "--stale has no effect without --factors or --segment"),
        (
            &["--factors", "f", "--report", "top.html"],
            "top.html: this report is Markdown; name it .md or .txt",
        ),
        (
            &["--factors", "f", "--top", "2", "--per-token"],
            "--top is for scores of whole rows, and --per-token gives others",
        ),
        (&["--factors", "f", "--top", "2", "--per-module"], "and --per-module gives others"),
        (&["--factors", "f", "--top", "2", "--sum-pool"], "and --sum-pool gives others"),
        (
            &["--factors", "f", "--sum-pool", "--per-module"],
            "--sum-pool is for scores of whole rows, and --per-module gives others",
        ),
        (&["--factors", "f", "--sum-pool", "--per-token"], "and --per-token gives others"),
        (&["--factors", "f", "--top", "2", "--report", "top.md"], "--top limits the table"),
        (&["--factors", "f", "--top", "2", "--kronfluence", "top"], "--top limits the table"),
    ] {
        place.run(&[&of_q[..], more].concat()).says(2, &[says]);
    }
    // Known before weights are read, so that a forecast refuses it too.
    let score = ["score", "--factors", "f", "--pool", "pool", "--dry-run"];
    for (more, says) in [
        (&["--self", "--report", "f.md"][..], "whole rows for each query"),
        (&["--target", "q", "--report", "f.md", "--per-module"], "whole rows for each query"),
        (&["--target", "q", "--report", "f.md", "--per-token"], "whole rows for each query"),
        (&["--target", "q", "--report", "f.md", "--sum-queries"], "whole rows for each query"),
        (&["--target", "q", "--report", "f.md", "--sum-pool"], "whole rows for each query"),
        (&["--target", "q", "--report", "f.md", "--damping", "auto,1e-3"], "one filter and one damping"),
        (
            &["--target", "q", "--kronfluence", "k", "--per-token"],
            "are not written with --per-token: --output FILE.parquet has such scores of any rows",
        ),
    ] {
        place.run(&[&score[..], more].concat()).says(2, &[says]);
    }
    let refused = place.run(&["score", "--factors", "f", "--pool", "pool"]);
    refused.says(2, &["--target NAME", "--target-data FILES", "--self"]);
    let unsolved =
        ["score", "--factors", "f", "--pool", "pool", "--target", "q", "--rank", "4", "--iterations", "3"];
    place.run(&unsolved).says(2, &["--rank", "--iterations"]);
    let mixed = ["factors", "gram", "m", "--mix", "a,b", "--share", "0.5", "--components", "300"];
    place.run(&mixed).says(2, &["--components is used only by --share auto"]);
    for (flag, value) in [("--share", "0.3"), ("--components", "3")] {
        let unmixed = ["factors", "gram", "m", "--dataset", "pool", flag, value];
        place.run(&unmixed).says(2, &[&format!("{flag} requires --mix")]);
    }
    let refused = fit_run(&place, "../g", &[]);
    assert!(refused.stderr.contains("\"../g\" is not a name of an artifact"), "{}", refused.stderr);
}

#[test]
fn files_that_were_changed_since_they_were_exported_are_refused() {
    let place = place();
    fit(&place, "f", &["--strategy", "diagonal", "--folder", "fitted"]);
    place.ok(&["factors", "export", "f", "out"]);
    // A store takes them that has not the dataset.
    let other = Place::new();
    other.ok(&["add", "--dataset", "q", "--data", &place.path("q.jsonl").display().to_string()]);
    other.ok(&["factors", "import", &place.path("out").display().to_string(), "f"]);
    let listed = other.ok(&["factors", "list", "--format", "csv"]);
    assert!(listed.contains("f,diagonal,2,pool,12,"), "{listed}");
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    for (folder, name) in [("out", "a"), ("fitted/factors_f", "b")] {
        place.ok(&["factors", "import", folder, name, "--model", &model, "--checkpoint", &checkpoint]);
        let of = |factors: &str| scores(&place, &["--factors", factors, "--target", "q"]);
        assert_eq!(of(name), of("f"));
        // The model itself is not the checkpoint that they are of.
        let refused = place.run(&["factors", "import", folder, "c", "--model", &model]);
        refused.says(1, &["its factors are of checkpoint"]);

        let path = place.path(folder).join("lambda_matrix.safetensors");
        world::flip(&path, 4);
        place.run(&["factors", "import", folder, "c"]).says(1, &["or removed: lambda_matrix.safetensors"]);
    }
}

#[test]
fn factors_that_do_not_say_how_texts_became_tokens_take_the_flags() {
    let place = place();
    fit(&place, "f", &["--strategy", "diagonal", "--template", "plain"]);
    let of = |more: &[&str]| scores(&place, &[&["--target", "q"][..], more].concat());
    let (own, plain) = (of(&["--factors", "f"]), ["--template", "plain"]);
    // One that is what it would be without the flag is a flag, too.
    for more in [plain, ["--template", "tulu"], ["--max-length", "2048"]] {
        let args = ["score", "--pool", "pool", "--factors", "f", "--target", "q"];
        place.run(&[&args[..], &more[..]].concat()).says(2, &["factors f say how texts become tokens"]);
    }
    // As Kronfluence leaves them.
    place.ok(&["factors", "export", "f", "out"]);
    fs_err::remove_file(place.path("out/gstore.json")).expect("removed");
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    place.ok(&["factors", "import", "out", "g", "--model", &model, "--checkpoint", &checkpoint]);
    assert_eq!(of(&["--factors", "g", "--template", "plain"]), own);
    let tulu = of(&["--factors", "g"]);
    assert!(tulu != own && tulu == of(&["--factors", "g", "--template", "tulu"]));
    let said = place.run(&["score", "--pool", "pool", "--factors", "g", "--target", "q", "-o", "s.csv"]);
    assert!(said.stderr.contains("the template tulu and at most "), "{}", said.stderr);
    // Nor of which rows their sums are, which more rows could be added to.
    let refused =
        fit_run(&place, "more", &["--strategy", "diagonal", "--template", "plain", "--extend", "g"]);
    refused.says(1, &["`g` were fitted by another program and do not say on which rows", "without --extend"]);

    // Nor do they say over which rows a product with the curvature is a mean.
    let solve = ["score", "--pool", "q", "--factors", "g", "--target", "q", "--solver", "cg"];
    place.run(&solve).says(2, &["--solver-data"]);
    let named = ["--solver-data", "pool", "--dry-run", "--json"];
    let report = place.json(&[&solve[..], &named].concat());
    assert!(report["solver_data"] == "pool" && report["solver_rows"] == 12, "{report}");
    let in_sql = place.run(&["query", "SELECT * FROM influence('pool', 'q', solver => 'cg')"]);
    in_sql.fails(&["`gstore score --solver cg --store "]);
    let other = ["score", "--pool", "pool", "--factors", "f", "--target", "q", "--solver", "cg"];
    place.run(&[&other[..], &["--solver-data", "q"]].concat()).says(2, &["not of `q`"]);

    // Rows are texts as they were registered.
    let blocks = ["score", "--pool", "pool", "--factors", "g", "--target", "q", "--block", "16"];
    for refused in [place.run(&blocks), fit_run(&place, "blocks", &["--block", "16"])] {
        refused.says(2, &["before they are registered: give it to `gstore ingest --data`"]);
    }
}

#[test]
fn what_factors_of_another_program_lack_is_named() {
    let place = place();
    fit(&place, "f", &["--strategy", "diagonal"]);
    place.ok(&["factors", "export", "f", "out"]);
    // As Kronfluence leaves them.
    fs_err::remove_file(place.path("out/gstore.json")).expect("removed");
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    let refused = || {
        let import = ["factors", "import", "out", "g", "--model", &model, "--checkpoint", &checkpoint];
        let refused = place.run(&import);
        refused.says(1, &[]);
        refused.stderr
    };
    let [sums, counts] =
        ["lambda_matrix", "num_lambda_processed"].map(|name| place.path(&format!("out/{name}.safetensors")));
    let [of_sums, of_counts] = [&sums, &counts].map(|path| fs_err::read(path).expect("readable"));
    let mut zero = of_counts.clone();
    zero.iter_mut().rev().take(8).for_each(|byte| *byte = 0);
    fs_err::write(&counts, zero).expect("written");
    let said = refused();
    assert!(said.contains("safetensors: module `model.layers.2.self_attn.v_proj`: its count is 0"), "{said}");

    fs_err::write(&counts, &of_counts).expect("written");

    // Sums that there cannot be, of the module that stands last in the file.
    let header = u64::from_le_bytes(of_sums[..8].try_into().expect("8 bytes")) as usize;
    let header: Value = serde_json::from_slice(&of_sums[8..8 + header]).expect("JSON");
    let ends = &header["model.layers.2.self_attn.v_proj"]["data_offsets"];
    let [begin, end] = [0, 1].map(|at| ends[at].as_u64().expect("a number") as usize);
    let with = |value: f64| {
        let mut bytes = of_sums.clone();
        let at = bytes.len() - (end - begin);
        bytes[at..].chunks_exact_mut(8).for_each(|to| to.copy_from_slice(&value.to_le_bytes()));
        fs_err::write(&sums, bytes).expect("written");
    };
    with(-1.0);
    let says = "lambda_matrix.safetensors: module `model.layers.2.self_attn.v_proj`: value 1 of ";
    let said = refused();
    assert!(said.contains(says) && said.contains(" is -1, "), "{said}");
    // A module without curvature is taken in, and the damping that inverts it is up to who scores.
    with(0.0);
    place.ok(&["factors", "import", "out", "flat", "--model", &model, "--checkpoint", &checkpoint]);
    let score = ["score", "--factors", "flat", "--pool", "pool", "--target", "q"];
    let singular = place.run(&score);
    singular.says(1, &["module `model.layers.2.self_attn.v_proj`: ", "a --damping above 0 is needed (auto"]);
    place.ok(&[&score[..], &["--damping", "1e-3", "-o", "flat.csv"]].concat());

    // A module that the model has not.
    for (path, bytes) in [(&sums, &of_sums), (&counts, &of_counts)] {
        let mut bytes = bytes.clone();
        let at = bytes.windows(6).position(|name| name == b"v_proj").expect("a module");
        bytes[at] = b'x';
        fs_err::write(path, bytes).expect("written");
    }
    let said = refused();
    let says = said.contains("the model has no module `model.layers.2.self_attn.x_proj` with ")
        && said.contains(" inputs: the factors are of another model");
    assert!(says && !said.contains("--modules"), "{said}");

    fs_err::remove_file(&counts).expect("removed");
    let said = refused();
    assert!(said.contains("out has no num_lambda_processed.safetensors, which factors"), "{said}");
}

#[test]
fn factors_of_another_program_are_extended_where_their_rows_and_tokens_are_named() {
    let place = place();
    let plain = ["--template", "plain"];
    fit(&place, "half", &[&plain[..], &["--limit", "6"]].concat());
    fit(&place, "whole", &plain);
    place.ok(&["factors", "export", "half", "out"]);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    let import = ["factors", "import", "out", "given", "--model", &model, "--checkpoint", &checkpoint];
    let half = ["--dataset", "pool", "--limit", "6"];
    let own = place.run(&[&import[..], &half, &plain].concat());
    let says = "says itself which rows its factors are of: leave --dataset out";
    own.says(2, &[says]);
    // As Kronfluence leaves them.
    fs_err::remove_file(place.path("out/gstore.json")).expect("removed");
    for (more, code, says) in [
        (
            &["--dataset", "pool", "--template", "plain"][..],
            1,
            "are of 6 samples, and the rows that are named",
        ),
        (&half, 1, " tokens, and the rows that are named have "),
        (&plain, 2, "give --dataset, or leave them out"),
        (&["--limit", "6"], 2, "--dataset"),
        (&["--dataset", "nowhere"], 1, "nowhere"),
    ] {
        place.run(&[&import[..], more].concat()).says(code, &[says]);
    }
    place.ok(&[&import[..], &half, &plain].concat());
    place.ok(&[&["factors", "import", "out", "other"], &import[4..]].concat());
    let listed = place.ok(&["factors", "list", "--format", "csv"]);
    assert!(listed.contains("given,ekfac,2,pool,6,") && listed.contains("other,ekfac,2,,,"), "{listed}");
    let of = |factors: &str| scores(&place, &["--factors", factors, "--target", "q"]);
    assert_eq!(of("given"), of("half"));
    let more = fit(&place, "more", &[&plain[..], &["--extend", "given"]].concat());
    assert_eq!(more["rows"], 12, "{more}");
    assert_near(&of("more"), &of("whole"), 1e-3);
    // Without the sums that rows would be added to: some of them, then all.
    let covariances = ["activation_covariance", "gradient_covariance"];
    let counts = ["num_activation_covariance_processed", "num_gradient_covariance_processed"];
    let remove = |names: &[&str]| {
        for name in names {
            fs_err::remove_file(place.path(&format!("out/{name}.safetensors"))).expect("removed");
        }
    };
    let import = [&import[..3], &["bare"], &import[4..], &half[..], &plain[..]].concat();
    remove(&counts[1..]);
    place.run(&import).says(1, &["num_gradient_covariance_processed.safetensors", "other covariances"]);
    remove(&[&covariances[..], &counts[..1]].concat());
    place.run(&import).says(0, &["no covariances", "no fit can extend"]);
    let refused = fit_run(&place, "much", &[&plain[..], &["--extend", "bare"]].concat());
    refused.says(1, &["`bare` have no sums that rows can be added to", "without --extend"]);
}

#[test]
fn clients_are_not_told_where_a_model_is() {
    let place = place();
    fit(&place, "f", &[]);
    place.ok(&["factors", "export", "f", "out"]);
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    let folder = place.path("out").display().to_string();
    place.ok(&["factors", "import", &folder, "copy", "--model", &model, "--checkpoint", &checkpoint]);
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let sql = "SELECT name, provenance FROM gstore.artifacts ORDER BY name";
    let listed = |more: &[&str]| -> Vec<(Value, Value)> {
        let text = place.ok(&[&["query", "--format", "json", sql][..], more].concat());
        let line = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("a row");
            let provenance = row["provenance"].as_str().expect("a text");
            (row["name"].clone(), serde_json::from_str(provenance).expect("provenance"))
        };
        text.lines().map(line).collect()
    };
    let (here, there) = (listed(&[]), listed(&["--remote", &server.address, "--token", &token]));
    assert_eq!((here.len(), there.len()), (2, 2));
    for ((name, whole), (_, shown)) in here.iter().zip(&there) {
        for (key, last) in [("model", "model"), ("weights", "checkpoint-26")] {
            assert!(whole[key].as_str().is_some_and(|path| path.starts_with('/')), "{name}: {whole}");
            assert_eq!(shown[key].as_str(), Some(last), "{name}");
        }
        let is_path = |(key, value): &(&String, &Value)| {
            *key != "command" && value.as_str().is_some_and(|text| text.contains('/'))
        };
        let paths: Vec<_> = shown.as_object().expect("an object").iter().filter(is_path).collect();
        assert!(paths.is_empty() && shown.get("folder").is_none(), "{name}: {paths:?}");
    }
}
