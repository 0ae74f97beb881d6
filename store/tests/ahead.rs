//! Promise: what is read ahead of its use, past the system's memory or through it, is what is read at its
//! use; what cannot be read is left to be read there, and damage is found there.

use crate::common::cold::{ColdVfs, Direct, Pace};
use crate::common::indexes::{KIND, build_all, build_one, expected, index_files};
use crate::common::*;
use gstore_store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn open(store: &Store) -> FeatureReader {
    let snapshot = store.snapshot().unwrap();
    snapshot.open_feature(&snapshot.features()[0]).unwrap()
}

/// What blocks need, read ahead; and the bytes that were read.
fn read_ahead(reader: &FeatureReader) -> (BlockBuffer, u64) {
    let (mut wants, mut ahead) = (SpanRequests::new(), ReadAhead::default());
    reader.blocks().iter().for_each(|block| reader.want(*block, &mut wants));
    assert!(wants.bytes() > 0 && !wants.is_empty());
    let read = ahead.read(wants);
    let mut scratch = BlockBuffer::new();
    scratch.see(Some(&Arc::new(ahead)));
    (scratch, read)
}

fn pool_of(path: &Path) -> Store {
    filled(path, 5_000, &feature("grad-sgd", 6, DType::F16), 3_000)
}

#[test]
fn blocks_are_those_that_are_read_at_their_use() {
    let (_dir, path) = place();
    let plain = open(&pool_of(&path));
    for direct in [Direct::Works, Direct::MostlyFails, Direct::Missing] {
        let vfs = ColdVfs::new(direct);
        let reader = open(&Store::open_on(vfs.clone(), &path).unwrap());
        // The second time all are verified.
        for _ in 0..2 {
            let (mut scratch, read) = read_ahead(&reader);
            assert!(read > 0, "{direct:?}");
            for block in reader.blocks() {
                let mut other = BlockBuffer::new();
                let want = plain.read_block(*block, &mut other).unwrap();
                assert_eq!(reader.read_block(*block, &mut scratch).unwrap(), want);
            }
        }
        match direct {
            // Blocks that follow one another in a file are read together: one read for each segment.
            Direct::Works => assert_eq!(vfs.reads(), 2 * reader.segments().len()),
            Direct::MostlyFails | Direct::Flips(_) => assert!(vfs.reads() > 0),
            Direct::Missing => assert_eq!(vfs.reads(), 0),
        }
        assert_eq!(reader.content_digest().unwrap(), plain.content_digest().unwrap());
    }
    // What is in memory is not read ahead: the files were just written.
    let mut wants = SpanRequests::new();
    plain.blocks().iter().for_each(|block| plain.want(*block, &mut wants));
    assert!(wants.is_empty());
}

#[test]
fn memory_of_a_long_read_is_not_used_up_for_a_short_one() {
    let (_dir, path, _) = placed(|path| filled(path, 7_000, &feature("grad-sgd", 2048, DType::F16), 7_000));
    let reader = open(&Store::open_on(ColdVfs::new(Direct::Works), &path).unwrap());
    let mut ahead = ReadAhead::default();
    // All at once, then one block and, behind one that is left out, the others: together less than before.
    for left_out in [None, Some(1)] {
        let mut wants = SpanRequests::new();
        let wanted = reader.blocks().iter().enumerate().filter(|(at, _)| Some(*at) != left_out);
        wanted.for_each(|(_, block)| reader.want(*block, &mut wants));
        let all = wants.bytes();
        assert!(all > MOST_READ_AHEAD / 2);
        assert_eq!(ahead.read(wants), all, "without {left_out:?}");
    }
}

#[test]
fn a_disk_is_read_by_its_faster_way_once_both_were_measured() {
    let (_dir, path) = place();
    let plain = open(&filled(&path, 7_000, &feature("grad-sgd", 2048, DType::F16), 7_000));
    let [slow, fast] = [100, 0].map(Duration::from_millis);
    // Numbers that no disk has.
    for (disk, direct, ordinary, refused) in [
        (u64::MAX - 10, slow, fast, false),
        (u64::MAX - 11, fast, slow, false),
        (u64::MAX - 12, fast, fast, true),
    ] {
        let vfs = ColdVfs::paced(
            if refused { Direct::Missing } else { Direct::Works },
            Pace { disk, direct, ordinary },
        );
        let reader = open(&Store::open_on(vfs.clone(), &path).unwrap());
        let (mut direct_reads, mut scratch) = (Vec::new(), BlockBuffer::new());
        for _ in 0..24 {
            let before = vfs.reads();
            let read;
            (scratch, read) = read_ahead(&reader);
            assert!((20 << 20..32 << 20).contains(&read), "{read}");
            direct_reads.push(vfs.reads() > before);
        }
        // By turns of 32 MiB that are not counted and 64 that are: two and three such reads.
        let trial: Vec<bool> = (0..20).map(|at| at / 5 % 2 == 0 && !refused).collect();
        assert_eq!(direct_reads[..20], trial, "{disk}");
        assert_eq!(direct_reads[20..], [direct < ordinary; 4], "{disk}");
        let known = measured_disks().into_iter().find(|(number, _)| *number == disk);
        assert_eq!(
            known.map(|(_, rates)| rates.direct < rates.ordinary),
            (!refused).then_some(direct > ordinary)
        );
        for block in reader.blocks() {
            let mut other = BlockBuffer::new();
            let want = plain.read_block(*block, &mut other).unwrap();
            assert_eq!(reader.read_block(*block, &mut scratch).unwrap(), want);
        }
    }
}

#[test]
fn a_block_that_is_going_to_be_read_whole_is_asked_for_whole() {
    let (_dir, path) = place();
    drop(pool_of(&path));
    let reader = open(&Store::open_on(ColdVfs::new(Direct::Works), &path).unwrap());
    let block = reader.blocks()[0];
    let whole = {
        let mut wants = SpanRequests::new();
        reader.want(block, &mut wants);
        wants.bytes()
    };
    let wanted = |rows: &[u64]| {
        let mut wants = SpanRequests::new();
        reader.want_rows(block, rows, &mut wants);
        assert!(!wants.is_empty());
        wants.bytes()
    };
    let mut scratch = BlockBuffer::new();
    let few: Vec<u64> = (0..block.vectors() as u64 / 8).map(|row| block.range().start + row * 8).collect();
    assert_eq!(wanted(&few), 0, "they are read one by one");
    assert_eq!(reader.read_rows(block, &few, &mut scratch).unwrap().len(), few.len());
    // As many were read one by one as may be, and the next one is read with all others.
    assert_eq!(wanted(&few[..1]), whole);
    assert_eq!(reader.read_rows(block, &few[..1], &mut scratch).unwrap().len(), block.rows());
    // It is verified and rows are parts of the map.
    assert_eq!(wanted(&few), 0);
    assert_eq!(wanted(&block.range().collect::<Vec<_>>()), whole);
}

#[test]
fn damage_of_what_was_read_ahead_is_that_of_an_ordinary_read() {
    let (_dir, path) = place();
    drop(pool_of(&path));
    let segment = files(&path).into_iter().find(|file| file.starts_with("segments")).unwrap();
    flip(&path.join(segment), |bytes| bytes.len() / 2);
    let said = |reader: &FeatureReader, scratch: &mut BlockBuffer| -> Vec<String> {
        let said = reader.blocks().iter().map(|block| match reader.read_block(*block, scratch) {
            Ok(block) => format!("{} rows", block.len()),
            Err(e) => e.to_string(),
        });
        said.collect()
    };
    let plain = open(&Store::open(&path).unwrap());
    let want = said(&plain, &mut BlockBuffer::new());
    assert_eq!(want.iter().filter(|said| said.contains("is damaged")).count(), 1, "{want:?}");
    let cold = open(&Store::open_on(ColdVfs::new(Direct::Works), &path).unwrap());
    let (mut scratch, read) = read_ahead(&cold);
    assert!(read > 0);
    assert_eq!(said(&cold, &mut scratch), want);
}

#[test]
fn a_bit_that_a_direct_read_changes_is_damage_of_that_read_alone() {
    let (_dir, path) = place();
    let plain = open(&pool_of(&path));
    let reader = open(&Store::open_on(ColdVfs::new(Direct::Flips("segments")), &path).unwrap());
    let (mut scratch, read) = read_ahead(&reader);
    assert!(read > 0);
    let damaged = |scratch: &mut BlockBuffer| {
        let said = reader.blocks().iter().filter_map(|block| reader.read_block(*block, scratch).err());
        said.filter(|e| e.to_string().contains("digest")).count()
    };
    assert!(damaged(&mut scratch) > 0);
    assert_eq!(damaged(&mut BlockBuffer::new()), 0);
    assert_eq!(reader.content_digest().unwrap(), plain.content_digest().unwrap());
}

#[test]
fn an_index_is_read_ahead_unless_another_one_took_its_place() {
    let (_dir, path, store) = placed(pool_of);
    build_all(&store, KIND).unwrap();
    let reader = open(&Store::open_on(ColdVfs::new(Direct::Works), &path).unwrap());
    let segment = &reader.segments()[0];
    let [_, values, _] = expected(&reader, segment);
    let index = reader.index(segment, KIND).unwrap().unwrap();
    let section = index.section("values").unwrap();
    for replaced in [false, true] {
        if replaced {
            let plain = open(&store);
            build_one(&store, &plain, &plain.segments()[0], KIND).unwrap();
        }
        for range in [0..section.len(), 70..71, 100..section.len() - 3] {
            let (mut wants, mut ahead) = (SpanRequests::new(), ReadAhead::default());
            section.want(&range, true, &mut wants).unwrap();
            let all = wants.bytes();
            assert!(all >= range.end - range.start);
            assert_eq!(ahead.read(wants), if replaced { 0 } else { all });
            let mut scratch = BlockBuffer::new();
            scratch.see(Some(&Arc::new(ahead)));
            let read = section.read(range.clone(), &mut scratch).unwrap();
            assert_eq!(read, &values[range.start as usize..range.end as usize]);
        }
    }
}

#[test]
fn parts_of_a_section_are_read_without_what_is_between_them_unless_that_is_little() {
    let (_dir, path, store) = placed(|path| filled(path, 3_000, &feature("grad-sgd", 64, DType::F16), 3_000));
    build_all(&store, KIND).unwrap();
    // Chunks have 192 bytes; the second part is near the first.
    let parts = [100..110, 20_000..20_200, 300_000..300_010];
    for direct in [Direct::Works, Direct::MostlyFails, Direct::Missing] {
        let vfs = ColdVfs::new(direct);
        let reader = open(&Store::open_on(vfs.clone(), &path).unwrap());
        let segment = &reader.segments()[0];
        let [_, values, _] = expected(&reader, segment);
        let index = reader.index(segment, KIND).unwrap().unwrap();
        let section = index.section("values").unwrap();
        let (mut wants, mut ahead) = (SpanRequests::new(), ReadAhead::default());
        parts.iter().for_each(|part| section.want(part, true, &mut wants).unwrap());
        assert_eq!(wants.bytes(), 20_352 + 192);
        ahead.read(wants);
        if direct == Direct::Works {
            assert_eq!((vfs.reads(), vfs.bytes()), (2, 20_352 + 192));
        }
        let ahead = Arc::new(ahead);
        let mut scratch = BlockBuffer::new();
        // The second time they are verified.
        for ahead in [Some(&ahead), None] {
            scratch.see(ahead);
            let got = section.read_parts(&(0..section.len()), &parts, &mut scratch).unwrap();
            assert_eq!(got.len() as u64, section.len());
            for part in &parts {
                let part = part.start as usize..part.end as usize;
                assert_eq!(got[part.clone()], values[part], "{direct:?}");
            }
        }
        assert!(section.read_parts(&(0..100), &parts, &mut scratch).is_err(), "parts outside of the range");
    }

    let file = path.join(&index_files(&path)[0]);
    let sound = fs_err::read(&file).unwrap();
    let start = 64 + 8 * 3_000;
    for (at, is_wanted) in [(30_000, false), (200_000, false), (300_005, true)] {
        let mut bytes = sound.clone();
        bytes[start + at] ^= 1;
        fs_err::remove_file(&file).unwrap();
        fs_err::write(&file, bytes).unwrap();
        let reader = open(&store);
        let index = reader.index(&reader.segments()[0], KIND).unwrap().unwrap();
        let section = index.section("values").unwrap();
        let mut scratch = BlockBuffer::new();
        let read = section.read_parts(&(0..section.len()), &parts, &mut scratch);
        let said = read.map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(said.contains("chunk 1562 of section values"), is_wanted, "{at}: {said}");
    }
}
