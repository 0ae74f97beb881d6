//! Computing a shard: where it writes, what it leaves out, how it goes on.

use super::support::*;
use crate::common::count::CountVfs;
use crate::common::hook::HookVfs;
use crate::common::*;
use gstore_store::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn a_stopped_shard_goes_on_and_a_finished_one_does_nothing() {
    let (dir, _, store) = placed(empty_store);
    let out = dir.path().join("o");
    let start = |text: &str| store.start_shard(plan(features()), shard_plan(&store, text, &out));
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    let rows = job.plan().rows().clone();
    assert!(!compute(&mut job, &rows, 1));
    match start("1/1") {
        Err(ShardError::Busy { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(job);
    match attach(&store, std::slice::from_ref(&out)) {
        Err(AttachError::Unfinished { shard, .. }) => assert_eq!(shard, "1/1"),
        other => panic!("{other:?}"),
    }
    let whole = shard_plan(&store, "1/1", &out);
    match store.start_shard_until(plan(features()), whole, &Cancel::raised()) {
        Err(ShardError::Job(JobError::Stopped(_))) => {}
        other => panic!("{other:?}"),
    }
    // What others put there stays, what was unfinished goes.
    fs_err::write(out.join("slurm-1.out"), "log").unwrap();
    let name = files(&out).into_iter().find(|f| f.extension().is_some_and(|e| e == "arrow")).unwrap();
    fs_err::write(out.join(format!("{}.part", name.display())), "half").unwrap();
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    assert!(job.resumed());
    assert_eq!((job.discarded().len(), job.rows_done(0).len()), (1, CELL_ROWS));
    assert!(compute(&mut job, &rows, usize::MAX));
    let receipt = job.finish(Some(run_update())).unwrap();
    assert!(out.join("slurm-1.out").exists());
    let before = bytes(&out);
    match start("1/1") {
        Ok(ShardStart::Finished(again)) => assert_eq!(*again, receipt),
        other => panic!("{other:?}"),
    }
    let same = |b: &[(PathBuf, Vec<u8>)]| {
        b.iter().filter(|(f, _)| !f.ends_with("job.json")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(same(&bytes(&out)), same(&before));
    assert!(matches!(start("1/2"), Err(ShardError::Other { what: "shard", .. })));
    // A damaged file is computed again, whatever the receipt says.
    flip(&out.join(&name), |_| 900);
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    assert_eq!(job.discarded().len(), 1);
    assert!(matches!(attach(&store, std::slice::from_ref(&out)), Err(AttachError::Unfinished { .. })));
    compute(&mut job, &rows, usize::MAX);
    job.finish(Some(run_update())).unwrap();
    attach(&store, &[out]).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn a_finished_shard_whose_samples_cannot_be_opened_now_stays_finished() {
    let (dir, _, store) = placed(|path| store_of(path, FEW));
    let out = dir.path().join("o");
    let receipt = shard(&store, "1/1", &out);
    let start = |store: &Store| store.start_shard(plan(features()), shard_plan(store, "1/1", &out));
    for number in [libc::EMFILE, libc::EACCES] {
        let vfs =
            HookVfs::new(move |operation, at| match operation == "open" && at.ends_with("samples.xxh3") {
                true => Err(std::io::Error::from_raw_os_error(number)),
                false => Ok(()),
            });
        let refused = start(&Store::open_on(vfs, store.path()).unwrap()).unwrap_err().to_string();
        assert!(refused.contains("could not read the samples of "), "{refused}");
    }
    match start(&store) {
        Ok(ShardStart::Finished(again)) => assert_eq!(*again, receipt),
        other => panic!("{other:?}"),
    }
    fs_err::remove_file(out.join("samples.xxh3")).unwrap();
    assert!(matches!(start(&store), Ok(ShardStart::Job(_))));
}

#[test]
fn only_a_folder_for_shards_is_written_to() {
    let (dir, _, store) = placed(empty_store);
    let start = |out: &Path| store.start_shard(plan(features()), shard_plan(&store, "1/2", out));
    let link = dir.path().join("link");
    fs_err::os::unix::fs::symlink(store.path(), &link).unwrap();
    for path in [store.path(), link.as_path()] {
        assert!(matches!(start(&path.join("tmp/x")), Err(ShardError::InsideStore { .. })));
    }
    let strange = dir.path().join("strange");
    fs_err::create_dir(&strange).unwrap();
    fs_err::write(strange.join("thesis.tex"), "x").unwrap();
    match start(&strange) {
        Err(ShardError::NotEmpty { found, .. }) => assert_eq!(found, "thesis.tex"),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(&strange).len(), 1);
    fs_err::write(strange.join("job.json"), "{").unwrap();
    assert!(matches!(start(&strange), Err(ShardError::Note { .. })));
    // Unfinished rows are never receipted.
    let out = dir.path().join("o");
    let Ok(ShardStart::Job(job)) = start(&out) else { panic!() };
    match job.finish(None) {
        Err(ShardError::Incomplete { rows, .. }) => assert_eq!(rows.ranges()[0].start, 0),
        other => panic!("{other:?}"),
    }
    assert!(!out.join("receipt.json").exists());
    // Other work in the same folder.
    let other = JobPlan { identity: json!("other"), ..plan(features()) };
    match store.start_shard(other, shard_plan(&store, "1/2", &out)) {
        Err(ShardError::Other { what, .. }) => assert_eq!(what, "the work"),
        other => panic!("{other:?}"),
    }
    // The same labels for other vectors.
    let mut wider = features();
    wider[1].desc.dtype = DType::F32;
    match store.start_shard(plan(wider), shard_plan(&store, "1/2", &out)) {
        Err(ShardError::Other { what, wanted, found, .. }) => {
            assert_eq!(what, "the list of features");
            let as_said = |dtype| format!(r#"grad-adam@checkpoint-7 {{"dtype":"{dtype}"}}"#);
            assert_eq!((wanted, found), (as_said("f32"), as_said("i8")));
        }
        other => panic!("{other:?}"),
    }
    let fewer = features().into_iter().take(1).collect();
    match store.start_shard(plan(fewer), shard_plan(&store, "1/2", &out)) {
        Err(ShardError::Other { wanted, found, .. }) => {
            assert_eq!(
                (&*wanted, &*found),
                ("grad-sgd@checkpoint-7", "grad-sgd@checkpoint-7, grad-adam@checkpoint-7")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_snapshot_has_is_not_computed_again() {
    let (dir, _, store) = placed(empty_store);
    let mut job = store.start_job(plan(features())).unwrap();
    seal(&mut job, 0, 100..5000);
    job.publish(None, false).unwrap();
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("{i}"))).collect();
    let plan_of = |i: usize| shard_plan(&store, &format!("{i}/2"), &out[i - 1]);
    let Ok(ShardStart::Job(job)) = store.start_shard(plan(features()), plan_of(1)) else { panic!() };
    assert_eq!(job.rows_done(0), RowSet::from_range(100..5000));
    drop(job);
    let rows: u64 = (1..=2)
        .flat_map(|i| shard(&store, &format!("{i}/2"), &out[i - 1]).files)
        .filter(|f| matches!(f, ReceiptFile::Segment { feature: 0, .. }))
        .map(|f| f.row_set().len())
        .sum();
    assert_eq!(rows, SAMPLES - 4900);
    attach(&store, &out).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn a_long_file_in_place_of_the_digests_of_samples_is_not_read() {
    const LONG: u64 = 1 << 26;
    let (dir, path, store) = placed(|path| store_of(path, 20));
    let out = dir.path().join("o");
    shard(&store, "1/1", &out);
    let samples = fs_err::OpenOptions::new().write(true).open(out.join("samples.xxh3")).unwrap();
    samples.set_len(LONG).unwrap();
    drop(samples);
    let vfs = CountVfs::default();
    let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
    let started = store.start_shard(plan(features()), shard_plan(&store, "1/1", &out)).unwrap();
    assert!(matches!(started, ShardStart::Job(_)), "it is unfinished again");
    assert!(vfs.take().read < LONG);
}

#[test]
fn shards_work_on_a_store_that_cannot_be_written() {
    let (dir, _, store) = placed(empty_store);
    // Whatever would change a file below the store fails.
    let vfs = crate::common::hook::read_only(store.path(), std::io::ErrorKind::ReadOnlyFilesystem);
    let reader = Store::open_on(vfs, store.path()).unwrap();
    for i in 1..=2 {
        shard(&reader, &format!("{i}/2"), &dir.path().join(format!("{i}")));
    }
    attach(&store, &[dir.path().join("1"), dir.path().join("2")]).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn a_live_job_whose_note_is_damaged_is_not_written_over() {
    let (_dir, _, store) = placed(empty_store);
    let job = store.start_job(plan(vec![features().remove(0)])).unwrap();
    fs_err::write(store.path().join("tmp").join(job.id()).join("job.json"), "{").unwrap();
    let other = || store.start_job(plan(vec![features().remove(1)]));
    assert!(matches!(other(), Err(JobError::Busy { pid: 0, .. })));
    drop(job);
    other().unwrap();
}
