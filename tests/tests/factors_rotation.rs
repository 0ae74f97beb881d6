//! Promise: scores are the same to rounding whether rows or queries are rotated; by default what takes fewer
//! multiplications is, and whichever it is has the same bits on any threads and in any batches.

use serde_json::Value;

use crate::factors::{assert_near, demo, fit, place, scores};

#[test]
fn scores_are_the_same_to_rounding_whichever_side_is_rotated() {
    let place = place();
    let forms: [&[&str]; 4] = [
        &["--filter", "inverse,identity,source:50*1e-3", "--damping", "auto,1e-4"],
        &["--per-module"],
        &["--sum-queries"],
        &["--strategy", "kfac", "--sum-pool"],
    ];
    let blocks: [(&str, &[&str]); 2] = [("whole", &[]), ("cut", &["--max-block", "50"])];
    for (name, more) in blocks {
        fit(&place, name, more);
        for form in forms {
            let of = |side: &str, more: &[&str]| {
                let asked = ["--factors", name, "--target", "q", "--rotate", side];
                scores(&place, &[&asked[..], form, more].concat())
            };
            let rows = of("rows", &[]);
            assert_near(&rows, &of("queries", &[]), 1e-5);
            assert_eq!(rows, of("rows", &["--threads", "1", "--batch-tokens", "100"]));
        }
    }
}

#[test]
fn factors_and_scores_in_bf16x3_are_near_those_in_f32() {
    let place = place();
    fit(&place, "single", &[]);
    fit(&place, "split", &["--compute", "bf16x3"]);
    for form in
        [&["--target", "q", "--rotate", "rows"][..], &["--target", "q", "--rotate", "queries"], &["--self"]]
    {
        let of = |factors: &str, compute: &str, more: &[&str]| {
            let asked = ["--factors", factors, "--compute", compute];
            scores(&place, &[&asked[..], form, more].concat())
        };
        let split = of("split", "bf16x3", &[]);
        assert_near(&split, &of("single", "f32", &[]), 1e-3);
        assert_eq!(split, of("split", "bf16x3", &["--threads", "1", "--batch-tokens", "100"]), "{form:?}");
    }
}

#[test]
fn what_takes_fewer_multiplications_is_rotated() {
    let place = place();
    fit(&place, "f", &[]);
    let asked = ["--factors", "f", "--target", "q"];
    let rotated = |more: &[&str]| -> Value {
        let dry = ["score", "--pool", "pool", "--dry-run", "--json"];
        place.json(&[&dry[..], &asked, more].concat())["rotated"].clone()
    };
    // A query takes as many as some 80 tokens in these modules.
    assert_eq!([rotated(&[]), rotated(&["--limit", "1"])], ["queries", "rows"]);
    assert_eq!(rotated(&["--damping", "auto,1e-2,1e-3,1e-4,1e-5,1e-6,1e-7,1e-8,1e-9"]), "rows");
    // What cannot be in the eigenbasis, or would be less exact there.
    let [limited, bf16] = [["--limit", "1"], ["--compute", "bf16"]];
    for more in [&["--per-token"][..], &["--rank", "4"], &["--solver", "cg"], &bf16] {
        assert_eq!(rotated(&[&limited[..], more].concat()), "queries", "{more:?}");
    }
    for more in [["--strategy", "identity"], ["--filter", "identity"]] {
        assert_eq!(rotated(&[&limited[..], &more].concat()), Value::Null);
    }
    let of = |more: &[&str]| scores(&place, &[&asked[..], &limited, more].concat());
    let rows = of(&["--rotate", "rows"]);
    assert_eq!(of(&[]), rows);
    assert_ne!(of(&["--rotate", "queries"]), rows, "roundings differ");
}

#[test]
fn sides_that_cannot_be_rotated_are_refused() {
    let place = place();
    fit(&place, "f", &[]);
    let refused = |side: &str, more: &[&str], says: &str| {
        let asked = ["score", "--pool", "pool", "--factors", "f", "--target", "q", "--rotate", side];
        place.run(&[&asked[..], more].concat()).says(2, &[says]);
    };
    for more in [&["--per-token"][..], &["--rank", "4"], &["--solver", "cg"], &["--filter", "identity"]] {
        refused("rows", more, "rows are rotated for scores of whole rows or modules");
    }
    refused("queries", &["--strategy", "identity"], "only kfac and ekfac have eigenvectors");
    refused("neither", &[], "possible values: queries, rows");
}

/// A pass for some layers continues the sums of the one before.
#[test]
fn queries_that_do_not_fit_at_once_have_passes_for_some_layers_each() {
    let place = place();
    let (model, checkpoint) = (demo("model"), demo("warmup/checkpoint-26"));
    // Two modules of each of three layers.
    let modules = "model.layers.*.self_attn.k_proj,model.layers.*.self_attn.v_proj";
    let fitted = ["factors", "fit", "f", "--dataset", "pool", "--modules", modules];
    place.ok(&[&fitted[..], &["--model", &model, "--checkpoint", &checkpoint]].concat());
    let many = ["--damping", "auto,1e-2,1e-3,1e-4,1e-5,1e-6,1e-7,1e-8,1e-9"];
    let forms: [(&[&str], u64); 9] = [
        (&["--target", "q", "--rotate", "rows"], 3),
        (&["--target", "q", "--rotate", "queries", "--per-module"], 3),
        (&["--target", "q", "--per-token"], 3),
        (&["--target", "q", "--rotate", "rows", "--sum-pool"], 3),
        (&["--target", "q", "--rotate", "rows", "--top", "2"], 3),
        (&["--target", "q", "--rank", "8"], 3),
        (&["--target", "q", "--sum-queries", "--rotate", "rows"], 2),
        (&["--self"], 3),
        (&["--self", "--per-module"], 3),
    ];
    for (form, passes) in forms {
        let form = [&["--factors", "f", "--threads", "1"], &many[..], form].concat();
        let planned = |limit: u64| -> Option<[u64; 3]> {
            let dry = ["score", "--pool", "pool", "--dry-run", "--json", "--max-memory", &limit.to_string()];
            let told = place.run(&[&dry[..], &form].concat());
            let report: Value = serde_json::from_str(&told.stdout).ok()?;
            Some(["passes", "memory", "disk"].map(|key| report[key].as_u64().expect("a number")))
        };
        let [one, whole, disk] = planned(1 << 30).expect("enough");
        assert_eq!((one, disk), (1, 0), "{form:?}");
        // Each time less, until so many passes need no more.
        let mut limits = (1..200).map(|step| whole - step * 100_000);
        let limit = limits.find(|limit| planned(*limit).is_some_and(|[found, ..]| found == passes));
        let limit = limit.unwrap_or_else(|| panic!("{form:?}: {passes} passes"));
        let [_, memory, disk] = planned(limit).expect("enough");
        assert!(memory <= limit && disk > 0, "{form:?}: {memory} {disk}");
        // The least that is not refused.
        let least = limits.take_while(|limit| planned(*limit).is_some()).last().unwrap_or(limit);
        let of = |limit: u64| scores(&place, &[&form[..], &["--max-memory", &limit.to_string()]].concat());
        let expected = of(1 << 30);
        assert_eq!(of(limit), expected, "{form:?}");
        assert_eq!(of(least), expected, "{form:?}");
    }
}
