//! Promise: what a publish writes and what a reader reads again does not grow with the store, and a list
//! whose parts are in many files is as safe as one in a single file.

use crate::common::count::CountVfs;
use crate::common::crash::CrashVfs;
use crate::common::*;
use gstore_store::*;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One job with a segment for each row of a range.
fn publish(store: &Store, f: &JobFeature, rows: Range<u64>) -> Result<(), Box<dyn std::error::Error>> {
    let mut job = store.start_job(plan(vec![f.clone()]))?;
    for row in rows {
        if job.rows_done(0).contains(row) {
            continue;
        }
        let mut w = job.segment_writer(0)?;
        w.push(row, &vector(row, f.desc.dim()), RowFlags::empty())?;
        job.seal(0, w)?;
    }
    job.publish(None, false)?;
    Ok(())
}

fn store_with(path: &Path, samples: u64, f: &JobFeature, segments: u64) {
    let store = Store::create_on(Arc::new(CountVfs::without_syncs()), path).unwrap();
    add(&store, 0..samples).unwrap();
    publish(&store, f, 0..segments).unwrap();
}

fn pages(path: &Path) -> Vec<PathBuf> {
    let all = files(&path.join("manifests"));
    all.into_iter().filter(|f| f.to_string_lossy().contains("-page-")).collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

#[test]
fn every_long_list_comes_back_whole() {
    let f = feature("grad-sgd", 2, DType::F32);
    let (_dir, path) = place();
    let store = Store::create_on(Arc::new(CountVfs::without_syncs()), &path).unwrap();
    const N: u64 = 150;
    for row in 0..N {
        add(&store, row..row + 1).unwrap();
    }
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    for row in 0..N {
        seal(&mut job, 0, [row]);
        seal_counts(&mut job, [row]).unwrap();
    }
    job.publish(None, true).unwrap();
    let written = store.snapshot().unwrap();
    let opened = Store::open(&path).unwrap();
    let read = opened.snapshot().unwrap();
    assert_eq!(read.datasets(), written.datasets());
    assert_eq!(read.features(), written.features());
    let (dataset, part) = (&read.datasets()[0], &read.features()[0]);
    let n = N as usize;
    assert_eq!((dataset.files.len(), dataset.sources.len(), part.segments.len()), (n, n, n));
    assert_eq!(dataset.encodings[0].files.len(), n);
    assert!(dataset.sources.windows(2).all(|w| w[0].end_row == w[1].first_row));
    assert_eq!(digest(&opened, &f), digest(&store, &f));
    let counts = read.encoding(&dataset.encodings[0]).unwrap().counts(0..N).unwrap();
    assert_eq!(counts.len(), n);
    let kinds: Vec<_> = pages(&path).iter().map(|p| p.to_string_lossy()[..9].to_owned()).collect();
    assert_eq!(kinds, ["dataset-1", "dataset-1", "dataset-1", "feature-1"]);
    let report = verify(&opened);
    assert!(report.is_sound() && report.unreferenced.iter().all(|u| !u.contains("-page-")), "{report:?}");
    // Ids are still found, and the ledger agrees with all files.
    assert_eq!(add(&opened, 0..N + 1).unwrap().added, 1);
}

#[test]
fn a_publish_writes_what_changed_and_a_reader_reads_what_changed() {
    let f = feature("grad-sgd", 2, DType::F32);
    let (_dir, path) = place();
    const SEGMENTS: u64 = 3000;
    const MORE: u64 = 70;
    store_with(&path, SEGMENTS + MORE, &f, SEGMENTS);
    assert_eq!(pages(&path).len(), (SEGMENTS as usize - 128).div_ceil(64));
    let (writer_vfs, reader_vfs) = (CountVfs::without_syncs(), CountVfs::default());
    let writer = Store::open_on(Arc::new(writer_vfs.clone()), &path).unwrap();
    let reader = Store::open_on(Arc::new(reader_vfs.clone()), &path).unwrap();
    reader_vfs.take();
    let (mut read_pages, mut written_pages) = (0, 0);
    for row in SEGMENTS..SEGMENTS + MORE {
        writer_vfs.take();
        publish(&writer, &f, row..row + 1).unwrap();
        let counts = writer_vfs.take();
        let bytes = counts.bytes_to("/manifests/");
        assert!((1000..100_000).contains(&bytes), "row {row}: {bytes} bytes");
        // Nothing of the catalog is parsed again but CURRENT.
        assert_eq!(counts.reads_of("/manifests/"), 0, "{:?}", counts.opened);
        written_pages += usize::from(counts.bytes_to("-page-") > 0);
        let seen = reader.snapshot().unwrap();
        assert_eq!(seen.features()[0].segments.len() as u64, row + 1);
        let counts = reader_vfs.take();
        assert!(counts.reads_of("/manifests/") <= 3, "{:?}", counts.opened);
        read_pages += counts.reads_of("-page-");
    }
    assert_eq!(read_pages, written_pages);
    assert!((1..=2).contains(&written_pages), "{written_pages}");
    assert_eq!(reader.snapshot().unwrap().features(), writer.snapshot().unwrap().features());
}

#[test]
fn a_damaged_page_is_an_error_that_names_its_rows() {
    let f = feature("grad-sgd", 2, DType::F32);
    let (_dir, path, _) = placed(|path| store_with(path, 200, &f, 200));
    let found = pages(&path);
    assert_eq!(found.len(), 2);
    for page in found {
        let file = path.join("manifests").join(&page);
        let good = fs_err::read(&file).unwrap();
        let entries = json(&file)["entries"].as_array().unwrap().clone();
        let rows = entries[0]["first_row"].as_u64().unwrap()..entries[63]["end_row"].as_u64().unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [None, Some(&flipped[..]), Some(&good[..good.len() - 1]), Some(&[])] {
            match bad {
                Some(bytes) => fs_err::write(&file, bytes).unwrap(),
                None => fs_err::remove_file(&file).unwrap(),
            }
            let e = Store::open(&path).unwrap_err();
            let text = e.to_string();
            assert!(e.is_damage() && text.contains(&page.to_string_lossy().into_owned()), "{text}");
            assert!(text.contains(&format!("rows {}..{} of feature pool/", rows.start, rows.end)), "{text}");
            let report = Store::verify_folder(&path, VerifyOptions::default(), &mut |_| {}).unwrap();
            let affected: Vec<_> = report.problems.iter().filter_map(|p| p.rows.as_ref()).collect();
            assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
            assert_eq!(affected[0].ranges, vec![[rows.start, rows.end]], "{affected:?}");
            // The segments of the other page and of the part were looked at all the same.
            assert!(report.files >= 136, "{}", report.files);
            fs_err::write(&file, &good).unwrap();
        }
    }
    assert!(verify(&Store::open(&path).unwrap()).is_sound());
}

#[test]
fn a_crash_while_pages_are_written_loses_nothing() {
    let f = feature("grad-sgd", 2, DType::F32);
    let dir = tempdir().unwrap();
    let start = dir.path().join("start");
    store_with(&start, 132, &f, 127);
    let whole = dir.path().join("whole");
    copy(&start, &whole);
    publish(&Store::open(&whole).unwrap(), &f, 127..130).unwrap();
    assert_eq!(pages(&whole).len(), 1);
    let expected = digest(&Store::open(&whole).unwrap(), &f);
    let mut crashes = 0;
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        copy(&start, &path);
        let vfs = CrashVfs::new(n);
        let result = Store::open_on(Arc::new(vfs.clone()), &path)
            .map_err(Into::into)
            .and_then(|store| publish(&store, &f, 127..130));
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        crashes += 1;
        let store = Store::open(&path).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        let segments = store.snapshot().unwrap().features()[0].segments.len();
        assert!(segments == 130 || (segments == 127 && result.is_err()), "after {n} operations: {segments}");
        publish(&store, &f, 127..130).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        assert_eq!(digest(&store, &f), expected, "after {n} operations");
        assert_sound(&store, format_args!("after {n} operations"));
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(crashes > 30, "{crashes}");
}
