//! Promise: scores are the same to rounding whether rows or queries are rotated; by default what takes fewer
//! multiplications is, and whichever it is has the same bits on any threads and in any batches.

use serde_json::Value;

use crate::factors::{assert_near, fit, place, scores};

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
    fit(&place, "f", &[]);
    let asked = ["--factors", "f", "--threads", "1"];
    let many = ["--damping", "auto,1e-2,1e-3,1e-4,1e-5,1e-6,1e-7,1e-8,1e-9"];
    let forms: [&[&str]; 8] = [
        &["--target", "q", "--rotate", "rows"],
        &["--target", "q", "--rotate", "queries", "--per-module"],
        &["--target", "q", "--per-token"],
        &["--target", "q", "--sum-pool"],
        &["--target", "q", "--top", "2"],
        &["--target", "q", "--rank", "8"],
        &["--self"],
        &["--self", "--per-module"],
    ];
    for form in forms {
        let form = [&asked[..], &many, form].concat();
        let passes = |limit: &str| {
            let report = place.json(
                &[&["score", "--pool", "pool", "--dry-run", "--json", "--max-memory", limit], &form[..]]
                    .concat(),
            );
            (report["passes"].as_u64().expect("passes"), report["memory"].as_u64().expect("bytes"))
        };
        let (one, whole) = passes("1GB");
        assert_eq!(one, 1);
        // Not the queries, which two passes of all layers would be of.
        let less = (whole - 100_000).to_string();
        assert_eq!(passes(&less).0, 2, "{form:?}");
        let of = |limit: &str| scores(&place, &[&form[..], &["--max-memory", limit]].concat());
        assert_eq!(of(&less), of("1GB"), "{form:?}");
    }
}
