//! Promise: rows that are stored in the eigenbasis of factors score as their whole gradients do, through any filter.

use std::collections::BTreeMap;

use crate::factors::{MODULES, assert_near, demo, place, scores, summed, table};

#[test]
fn stored_rows_score_as_whole_gradients() {
    let place = place();
    let model = demo("model");
    let model = model.as_str();
    place.ok(&["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", model]);
    let ingest = |dataset: &str, more: &[&str]| {
        let args = ["ingest", "--dataset", dataset, "--model", model, "--features", "grad-sgd"];
        let basis = ["--projection", "ekfac", "--factors", "f", "--dtype", "f32"];
        let done = place.run(&[&args[..], &basis, more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stderr
    };
    let few = ingest("pool", &["--module-dim", "64", "--dry-run"]);
    assert!(few.contains("the blocks keep ") && few.contains("and of module model.layers."), "{few}");
    for dataset in ["pool", "q"] {
        let whole = ingest(dataset, &["--module-dim", "16384"]);
        assert!(!whole.contains("the blocks keep "), "{whole}");
    }

    let asked = |relation: &str| table(&place.ok(&["query", "--format", "csv", relation]));
    for (options, flags) in [
        ("", &[][..]),
        (", damping => 1", &["--damping", "1"]),
        (", filter => 'identity'", &["--filter", "identity"]),
        (", precondition => 'f', filter => 'source:100*1e-3'", &["--filter", "source:100*1e-3"]),
    ] {
        let whole = scores(&place, &[&["--factors", "f", "--target", "q"][..], flags].concat());
        let mean: BTreeMap<_, _> = summed(&whole, 0).into_iter().map(|(key, sum)| (key, sum / 3.0)).collect();
        let sql = format!("SELECT row, id, score FROM influence('pool', 'q', sim => 'dot'{options})");
        assert_near(&asked(&sql), &mean, 1e-3);
    }
    let own = scores(&place, &["--factors", "f", "--self"]);
    assert_near(&asked("SELECT row, id, score FROM self_influence('pool')"), &own, 1e-3);
    let refused = place.run(&["query", "SELECT id FROM influence('pool', 'q', filter => 'steep')"]);
    let says = "a filter is inverse, identity or source:STEPS*RATE, not `steep`";
    assert!(refused.code != 0 && refused.stderr.contains(says), "{}", refused.stderr);
}
