//! Promise: segments of a training add up, each over the checkpoints named for it, and factors are averaged
//! over checkpoints.

use std::collections::BTreeMap;

use gstore::factors::FactorFolder;
use gstore_curvature::{Covariance, Module, ModuleFactors};
use gstore_tests::place::Place;
use serde_json::Value;

use crate::factors::{MODULES, assert_near, demo, fit, fit_args, fit_run, place, scores, summed};

/// The factors of a name as files have them, by their modules.
fn exported(place: &Place, name: &str) -> Vec<(Module, ModuleFactors)> {
    let folder = format!("exported-{name}");
    place.ok(&["factors", "export", name, &folder]);
    FactorFolder::open(&place.path(&folder)).expect("a folder").factors(None).expect("factors")
}

/// The covariances of a module.
fn covariances(factors: &ModuleFactors) -> [&Covariance; 2] {
    [&factors.activation, &factors.gradient].map(|sums| sums.as_ref().expect("sums"))
}

#[test]
fn segments_of_training_add_up() {
    let place = place();
    let at = |step: u32| demo(&format!("warmup/checkpoint-{step}"));
    let (early, late) = (at(26), at(52));
    fit(&place, "early", &["--fisher", "empirical"]);
    // The same fit with another word in place of one.
    let fit_other = |name: &str, word: &str, other: &str| {
        let mut args = fit_args(name, &["--fisher", "empirical"]);
        args.iter_mut().filter(|arg| **arg == word).for_each(|arg| *arg = other.to_owned());
        place.json(&args.iter().map(String::as_str).collect::<Vec<_>>());
    };
    fit_other("late", &early, &late);
    let of = |segments: &[&str], more: &[&str]| {
        let mut args = vec!["--target", "q"];
        segments.iter().for_each(|segment| args.extend(["--segment", *segment]));
        scores(&place, &[&args[..], more].concat())
    };
    let plus = |a: &BTreeMap<Vec<String>, f64>, factor: f64, b: &BTreeMap<Vec<String>, f64>| {
        a.iter().map(|(key, value)| (key.clone(), value + factor * b[key])).collect::<BTreeMap<_, _>>()
    };

    // One segment is the filter, and equal ones are one.
    let one = scores(&place, &["--factors", "early", "--target", "q", "--filter", "source:500*1e-3"]);
    assert_eq!(of(&["early=500*1e-3"], &[]), one);
    assert_eq!(of(&[&format!("early=500*1e-3@{early}")], &[]), one);
    assert_near(&of(&["early=300*1e-3", "early=200*1e-3"], &[]), &one, 1e-4);
    assert_near(&of(&[&format!("early=500*1e-3@{early},{early}")], &[]), &one, 1e-9);

    // Rows are averaged: with x of both checkpoints and y of the last, 2 x - y is of the first alone.
    let both = of(&[&format!("early=500*1e-3@{early},{late}")], &[]);
    let last = of(&[&format!("early=500*1e-3@{late}")], &["--stale"]);
    let three = of(&[&format!("early=500*1e-3@{early},{early},{late}")], &[]);
    let expected = plus(&plus(&both, 1.0 / 3.0, &both), -1.0 / 3.0, &last);
    assert_near(&three, &expected, 1e-5);

    // An early segment that has hardly begun adds nothing to the late one.
    let pair = |steps: &str| [format!("early={steps}"), "late=10*1e-3".to_owned()];
    let of_pair = |steps: &str, more: &[&str]| {
        let pair = pair(steps);
        of(&[&pair[0], &pair[1]], more)
    };
    let sum = of_pair("10*1e-12", &[]);
    assert_near(
        &sum,
        &scores(&place, &["--factors", "late", "--target", "q", "--filter", "source:10*1e-3"]),
        1e-6,
    );
    let whole = of_pair("500*1e-3", &[]);
    assert_near(&summed(&of_pair("500*1e-3", &["--per-module"]), 3), &whole, 1e-9);
    assert_near(&summed(&of_pair("500*1e-3", &["--per-token"]), 3), &whole, 1e-4);
    assert_eq!(of_pair("500*1e-3", &["--threads", "1"]), whole);
    // Segments have an order.
    assert_ne!(of(&["late=10*1e-3", "early=500*1e-3"], &[]), whole);
    assert_near(&of_pair("500*1e-3", &["--sum-queries"]), &summed(&whole, 0), 1e-4);
    let best = of_pair("500*1e-3", &["--top", "2"]);
    assert!(best.len() == 6 && best.iter().all(|(key, score)| whole[key] == *score));
    let dry = ["score", "--pool", "pool", "--target", "q", "--segment", "early=1*1", "--segment", "late=1*1"];
    let report = place.json(&[&dry[..], &["--dry-run", "--json"]].concat());
    assert_eq!(
        (report["passes"].as_u64(), report["filters"].as_array().map(Vec::len)),
        (Some(2), Some(2)),
        "{report}"
    );
    // Sums of 12 rows and 3 queries wait between two passes; of both modules, of all tokens, and of no row.
    let disk = |more: &[&str]| -> u64 {
        let report = place.json(&[&dry[..], &["--dry-run", "--json"], more].concat());
        report["disk"].as_u64().expect("bytes")
    };
    assert_eq!((disk(&[]), disk(&["--per-module"]), disk(&["--sum-pool"])), (8 * 36, 8 * 72, 0));
    let tokens = of_pair("500*1e-3", &["--per-token"]).len() as u64;
    assert_eq!((disk(&["--per-token"]), disk(&["--segment", "late=1*1"])), (8 * tokens, 2 * 8 * 36));
    assert_near(&of_pair("500*1e-3", &["--sum-pool"]), &summed(&summed(&whole, 2), 1), 1e-4);
    // A query has columns of each segment, and the weights of both checkpoints are there.
    let single = place.json(&[&dry[..5], &["--segment", "late=1*1", "--dry-run", "--json"]].concat());
    assert!(report["memory"].as_u64() > single["memory"].as_u64(), "{report} {single}");
    // A row that two passes see is one.
    let report = place.json(&[&dry[..], &["-o", "pair.csv", "--json"]].concat());
    assert_eq!([&report["rows"], &report["no_scored"]].map(Value::as_u64), [Some(12), Some(0)], "{report}");

    let refused = |segments: &[&str], more: &[&str], says: &str| {
        let mut args = vec!["score", "--pool", "pool"];
        segments.iter().for_each(|segment| args.extend(["--segment", *segment]));
        place.run(&[&args[..], more].concat()).fails(&[says]);
    };
    fit_other("other", MODULES, "model.layers.1.self_attn.k_proj");
    refused(
        &["early=1*1", "other=1*1"],
        &["--target", "q"],
        "have different modules, and segments need the same ones",
    );
    refused(&[&format!("early=1*1@{late}")], &["--target", "q"], "they were fitted at checkpoint");
    refused(&["early=1*1"], &["--target", "q", "--strategy", "kfac"], "are fitted as ekfac, and not as kfac");
    // Factors that do not say where their model is are of the model that is named.
    place.ok(&["factors", "export", "early", "out"]);
    place.ok(&["factors", "import", "out", "moved"]);
    refused(&["moved=1*1"], &["--target", "q"], "do not say where their model is: name it with --model");
    let named = ["--target", "q", "--model", &demo("model")];
    refused(&["moved=1*1"], &named, "they were fitted at checkpoint");
    refused(&["early=1*1"], &["--self"], "--self");
    refused(&["early=1*1"], &["--target", "q", "--solver", "cg"], "--solver");
    refused(&["early=1*1"], &["--target", "q", "--filter", "identity"], "--filter");
    refused(&["early=1"], &["--target", "q"], "NAME=STEPS*RATE");
}

#[test]
fn curvature_is_averaged_over_the_checkpoints_of_a_segment() {
    let place = place();
    let at = |step: u32| demo(&format!("warmup/checkpoint-{step}"));
    let (early, late) = (at(26), at(52));
    let fit_at = |name: &str, checkpoint: &str, more: &[&str]| {
        let mut args = fit_args(name, &[&["--fisher", "empirical"][..], more].concat());
        args.iter_mut().filter(|arg| **arg == early).for_each(|arg| *arg = checkpoint.to_owned());
        place.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Of each module the mean eigenvalue.
    let means = |name: &str| -> Vec<f64> {
        let text = place.ok(&["factors", "inspect", name, "--format", "csv"]);
        let mut lines = text.lines();
        let at = lines.next().and_then(|names| names.split(',').position(|name| name == "mean"));
        let value = |line: &str| line.split(',').nth(at.expect("a column")).expect("a value").parse::<f64>();
        lines.map(value).collect::<Result<_, _>>().expect("numbers")
    };
    // Whatever the basis, eigenvalues sum up to the mean of the squared lengths of gradients.
    for strategy in ["ekfac", "diagonal"] {
        let name = |part: &str| format!("{strategy}-{part}");
        fit_at(&name("early"), &early, &["--strategy", strategy]);
        fit_at(&name("late"), &late, &["--strategy", strategy]);
        let both = fit_at(&name("both"), &early, &["--strategy", strategy, "--average", &late]);
        assert!(both["rows"] == 12 && both["no_scored"] == 0, "{both}");
        let [early, late, both] = ["early", "late", "both"].map(|part| means(&name(part)));
        assert!(both.len() == 2 && early != late, "{both:?}");
        for ((both, early), late) in both.iter().zip(&early).zip(&late) {
            let expected = (early + late) / 2.0;
            assert!((both - expected).abs() < 1e-4 * expected, "{both} is not {expected}");
        }
    }
    fit_at("parts", &early, &["--strategy", "diagonal", "--average", &late, "--data-partitions", "3"]);
    for (parts, whole) in means("parts").iter().zip(means("diagonal-both")) {
        assert!((parts - whole).abs() < 1e-5 * whole, "{parts} is not {whole}");
    }

    // Sums are those of both fits added, on both sides of the diagonal, and eigenvectors are theirs.
    fit_at("kfac-early", &early, &["--strategy", "kfac"]);
    fit_at("kfac-late", &late, &["--strategy", "kfac"]);
    let both = ["--strategy", "kfac", "--average", &late];
    fit_at("kfac-both", &early, &both);
    fit_at("kfac-parts", &early, &[&both[..], &["--data-partitions", "3"]].concat());
    fit_at("kfac-half", &early, &[&both[..], &["--limit", "6"]].concat());
    fit_at("kfac-more", &early, &[&both[..], &["--extend", "kfac-half"]].concat());
    for (singles, means) in
        [("kfac", &["kfac-both", "kfac-parts", "kfac-more"][..]), ("ekfac", &["ekfac-both"])]
    {
        let [early, late] = ["early", "late"].map(|part| exported(&place, &format!("{singles}-{part}")));
        for name in means {
            for (((module, both), (_, early)), (_, late)) in
                exported(&place, name).iter().zip(&early).zip(&late)
            {
                let singles = covariances(early).into_iter().zip(covariances(late));
                for (found, (early, late)) in covariances(both).into_iter().zip(singles) {
                    assert_eq!((found.count, found.asymmetry()), (early.count + late.count, 0.0), "{name}");
                    let largest = found.sums.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
                    for (found, (early, late)) in found.sums.iter().zip(early.sums.iter().zip(&late.sums)) {
                        let off = (found - early - late).abs();
                        assert!(off <= 1e-5 * largest, "{name} {}: {off} of {largest}", module.name);
                    }
                }
                let mut again = both.clone();
                again.decompose(module).expect("eigenbases");
                let values = |factors: &ModuleFactors| -> Vec<f64> {
                    let bases = [&factors.activation_eigen, &factors.gradient_eigen].into_iter().flatten();
                    bases.flat_map(|eigen| eigen.values.clone()).collect()
                };
                for (found, expected) in values(both).iter().zip(values(&again)) {
                    let off = (found - expected).abs();
                    assert!(off <= 1e-9 * (1.0 + expected), "{name} {}: {found} {expected}", module.name);
                }
            }
        }
    }

    // Rows are at both checkpoints, and queries at the one that the factors are of; alone it is that of the
    // rows.
    let of = |segment: &str| scores(&place, &["--target", "q", "--segment", segment]);
    assert_eq!(of("ekfac-both=500*1e-3"), of(&format!("ekfac-both=500*1e-3@{late},{early}")));
    let alone = scores(&place, &["--factors", "ekfac-both", "--target", "q", "--filter", "source:500*1e-3"]);
    assert_eq!(of(&format!("ekfac-both=500*1e-3@{early}")), alone);
    // Without segments they are of one checkpoint alone.
    let at_late = ["--target", "q", "--model", &demo("model"), "--checkpoint", &late];
    let refused =
        place.run(&[&["score", "--pool", "pool", "--factors", "ekfac-both"][..], &at_late].concat());
    refused.says(1, &["they were fitted at checkpoint"]);
    fit_run(&place, "twice", &["--average", &early]).says(2, &["is named twice"]);
}
