//! Refused shards: what does not fit is named, and the store stays as it was.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use serde_json::json;
use std::path::PathBuf;

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let (dir, _, store) = placed(empty_store);
    let at = |name: &str| dir.path().join(name);
    shard(&store, "1/2", &at("a"));
    shard(&store, "2/2", &at("b"));
    shard(&store, "2/3", &at("c"));
    let before = bytes(store.path());
    copy(store.path(), &at("origin"));
    let origin = Store::open(at("origin")).unwrap();
    let refused = |folders: &[&str], says: &[&str]| {
        let folders: Vec<PathBuf> = folders.iter().map(|f| at(f)).collect();
        let error = attach(&store, &folders).unwrap_err().to_string();
        for part in says {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert_eq!(bytes(store.path()), before);
        error
    };
    refused(&["c", "b"], &["shard 2/2 in", "shard 2/3 in", "both have rows 5794..7726"]);
    refused(&["nowhere"], &["nothing of that name"]);
    fs_err::create_dir(at("empty")).unwrap();
    refused(&["a", "empty"], &["no receipt.json"]);
    assert!(matches!(attach(&store, &[]), Err(AttachError::Nothing)));

    // Another store.
    let other = empty_store(&at("other"));
    assert!(matches!(attach(&other, &[at("a")]), Err(AttachError::OtherStore { .. })));

    // The same features of shorter texts: their labels are the same.
    let mut short = features();
    short.iter_mut().for_each(|f| f.desc.encoding = "0".repeat(64));
    let started = store.start_shard(plan(short), shard_plan(&store, "2/2", &at("short"))).unwrap();
    let ShardStart::Job(mut job) = started else { panic!() };
    let rows = job.plan().rows().clone();
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    let key = encoding_spec().key();
    let said =
        refused(&["a", "short"], &["shard 1/2 in", "shard 2/2 in", "are of different jobs", &key, "000\""]);
    assert!(said.contains("feature pool/grad-sgd@checkpoint-7, encoding \""), "{said}");
    // Other features.
    let Ok(ShardStart::Job(mut job)) =
        store.start_shard(plan(vec![features().remove(1)]), shard_plan(&store, "2/2", &at("one")))
    else {
        panic!()
    };
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    let all = "pool/grad-sgd@checkpoint-7, pool/grad-adam@checkpoint-7";
    refused(&["a", "one"], &["are of different jobs", all, " against "]);

    // Another way to compute the same feature.
    let different = JobPlan { identity: json!("different"), ..plan(features()) };
    let Ok(ShardStart::Job(mut job)) = store.start_shard(different, shard_plan(&store, "2/2", &at("d")))
    else {
        panic!()
    };
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    refused(&["a", "d"], &["are of different jobs: identity ", "\"different\""]);

    // Another opinion about a checkpoint's weight.
    let Ok(ShardStart::Job(mut job)) =
        store.start_shard(plan(features()), shard_plan(&store, "2/2", &at("e")))
    else {
        panic!()
    };
    compute(&mut job, &rows, usize::MAX);
    let mut update = run_update();
    update.checkpoints[0].weight = Some(1.0);
    job.finish(Some(update)).unwrap();
    refused(&["a", "e"], &["do not agree about checkpoint \"checkpoint-7\" of run \"warmup\""]);

    // One damaged bit in each file, and each file missing.
    for name in files(&at("b")) {
        let path = at("b").join(&name);
        let name = name.display().to_string();
        if ["job.json", "lock"].contains(&&*name) || name.ends_with("encoding.json") {
            continue;
        }
        let good = fs_err::read(&path).unwrap();
        for place in [good.len() / 2, good.len() - 1, 3] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs_err::write(&path, bad).unwrap();
            refused(
                &["a", "b"],
                &[if name == "receipt.json" { "receipt.json cannot be used" } else { "is damaged" }, &name],
            );
        }
        fs_err::write(&path, &good[..good.len() - 1]).unwrap();
        refused(&["a", "b"], &[&name]);
        fs_err::remove_file(&path).unwrap();
        refused(&["a", "b"], &[if name == "receipt.json" { "is not finished" } else { "no such file" }]);
        fs_err::write(&path, good).unwrap();
    }
    attach(&store, &[at("a"), at("b")]).unwrap();

    // Rows that are there from elsewhere: the same ones do no harm, others are refused by name.
    let report = attach(&store, &[at("c")]).unwrap();
    assert_eq!((report.snapshot, report.shards[0].outcome), (None, ShardOutcome::Already));
    let Ok(ShardStart::Job(mut job)) =
        origin.start_shard(plan(features()), shard_plan(&origin, "2/3", &at("f")))
    else {
        panic!()
    };
    let mut w = job.segment_writer(0).unwrap();
    for row in 5000..5010 {
        let mut v = vector(row, 3);
        v[1] += f32::from(u8::from((5003..5006).contains(&row)));
        w.push(row, &v, RowFlags::empty()).unwrap();
    }
    job.seal(0, w).unwrap();
    let rows = job.plan().rows().clone();
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    match attach(&store, &[at("f")]) {
        Err(AttachError::Present { rows, .. }) => assert_eq!(rows, RowSet::from_range(5003..5006)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_are_other_samples_in_a_restored_store_are_refused() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = store_of(&at("s"), 20);
    copy(store.path(), &at("backup"));
    add(&store, 20..40).unwrap();
    shard(&store, "1/1", &at("o"));
    let restored = |name: &str| {
        copy(&at("backup"), &at(name));
        Store::open(at(name)).unwrap()
    };
    let refused = |store: &Store, says: &str| {
        let before = bytes(store.path());
        for dry_run in [true, false] {
            let options = AttachOptions { command: "attach".into(), dry_run };
            match store.attach(&[at("o")], &options, &mut |_| {}) {
                Err(AttachError::Dataset { detail, .. }) => assert!(detail.contains(says), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes(store.path()), before);
    };

    // As many others, and the same ones in another order: dataset, rows and numbers of snapshots are alike.
    let others = restored("others");
    add(&others, 50..70).unwrap();
    assert_eq!(others.snapshot().unwrap().number(), store.snapshot().unwrap().number());
    refused(&others, "row 20 was another sample, and is \"s50\" here");
    let turned = restored("turned");
    add(&turned, 30..40).unwrap();
    add(&turned, 20..30).unwrap();
    refused(&turned, "row 20 was another sample, and is \"s30\" here");

    // The same samples again, some of them deleted by now: whatever is stored of them agrees.
    let same = restored("same");
    add(&same, 20..40).unwrap();
    delete(&same, 3..7);
    let report = attach(&same, &[at("o")]).unwrap();
    assert!(report.features.iter().all(|f| f.complete && f.missing == 0), "{report:?}");
    assert!(verify(&same).is_sound());
    attach(&store, &[at("o")]).unwrap();
}
