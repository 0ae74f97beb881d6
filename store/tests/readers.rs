//! Promise: readers see whole snapshots while a writer publishes, and take nothing from it.

use crate::common::*;
use gstore_store::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn readers_see_whole_snapshots_while_a_writer_publishes() {
    let (_dir, path) = place();
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
            publish_rows(&store, &f, i * STEP..(i + 1) * STEP, false);
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
    let (_dir, path) = place();
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

/// A process has a limited number of maps, and some file systems have none at all.
#[test]
fn what_the_system_refuses_to_map_is_read() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, plain) = placed(|path| filled(path, 30, &f, 10));
    let no_memory = |operation: &str, _: &std::path::Path| match operation {
        "map" => Err(std::io::Error::from_raw_os_error(12)),
        _ => Ok(()),
    };
    let store = Store::open_on(crate::common::hook::HookVfs::new(no_memory), &path).unwrap();
    let (expected, snapshot) = (plain.snapshot().unwrap(), store.snapshot().unwrap());
    let expected = expected.open_feature(&expected.features()[0]).unwrap();
    for checks in [Checks::FirstTouch, Checks::Off] {
        let reader = snapshot.with_checks(checks).open_feature(&snapshot.features()[0]).unwrap();
        let (mut scratch, mut other) = (BlockBuffer::new(), BlockBuffer::new());
        // The first time a block is read and verified; later it would be mapped.
        for _ in 0..3 {
            for b in reader.blocks() {
                let (found, good) =
                    (reader.read_block(*b, &mut scratch), expected.read_block(*b, &mut other));
                assert_eq!(format!("{:?}", found.unwrap()), format!("{:?}", good.unwrap()));
            }
            for row in [0, 7, 29] {
                assert_eq!(
                    format!("{:?}", reader.row(row).unwrap().unwrap()),
                    format!("{:?}", expected.row(row).unwrap().unwrap())
                );
            }
        }
    }
    // What is read again is verified again.
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    let (block, mut scratch) = (reader.blocks()[0], BlockBuffer::new());
    reader.read_block(block, &mut scratch).unwrap();
    for file in files(&path.join("segments")) {
        let file = path.join("segments").join(file);
        flip(&file, |bytes| bytes.len() / 3);
    }
    let e = reader.read_block(block, &mut scratch).unwrap_err();
    assert!(e.is_damage(), "{e}");
}
