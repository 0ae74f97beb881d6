//! Promise: readers see whole snapshots while a writer publishes, and take nothing from it.

mod common;

use common::*;
use gstore_store::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn readers_see_whole_snapshots_while_a_writer_publishes() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    Store::create(&path).unwrap();
    let stop = AtomicBool::new(false);
    const STEP: u64 = 7;
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 0..3 {
            readers.push(scope.spawn(|| {
                let store = Store::open(&path).unwrap();
                let (mut last, mut seen) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = store.snapshot().unwrap();
                    assert!(snapshot.number() >= last, "went back");
                    seen += u64::from(snapshot.number() > last);
                    last = snapshot.number();
                    let Ok(part) = snapshot.dataset("pool") else { continue };
                    let rows: usize = snapshot
                        .samples(part)
                        .unwrap()
                        .scan(&["id", "record"], None)
                        .map(|b| b.unwrap().num_rows())
                        .sum();
                    assert_eq!((rows as u64, rows as u64 % STEP), (part.rows, 0));
                    for f in snapshot.features() {
                        let reader = snapshot.open_feature(f).unwrap();
                        assert_eq!(reader.row_set().unwrap().len(), f.rows());
                        reader.content_digest().unwrap();
                    }
                }
                seen
            }));
        }
        let store = Store::open(&path).unwrap();
        let f = feature("grad-sgd", 16, DType::F16);
        for i in 0..40 {
            add(&store, i * STEP..(i + 1) * STEP).unwrap();
            let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
            seal(&mut job, 0, i * STEP..(i + 1) * STEP);
            job.publish(None, false).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for r in readers {
            assert!(r.join().unwrap() > 0);
        }
        assert_eq!(store.snapshot().unwrap().number(), 80);
        assert!(verify(&store).is_sound());
    });
}

#[test]
fn two_writers_take_turns() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    Store::create(&path).unwrap();
    std::thread::scope(|scope| {
        for w in 0..4u64 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                for i in 0..10 {
                    add(&store, w * 5..w * 5 + 10 + i).unwrap();
                }
            });
        }
    });
    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 34);
    assert!(verify(&store).is_sound());
}

#[test]
fn what_readers_hold_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Store>();
    shared::<Snapshot>();
    shared::<SampleReader>();
    shared::<EncodingReader>();
    shared::<FeatureReader>();
    shared::<IndexFile>();
    fn sent<T: Send>() {}
    sent::<Job>();
    sent::<SegmentWriter>();
    sent::<SampleAppend>();
    sent::<IndexWriter>();
}
