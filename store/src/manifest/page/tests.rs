use super::*;
use crate::manifest::{Extra, FeaturePart, SegmentEntry};
use crate::vfs::OsVfs;
use gstore_core::Digest;
use proptest::prelude::*;
use uuid::Uuid;

fn entry(row: u64, len: u64) -> SegmentEntry {
    SegmentEntry {
        uuid: Uuid::from_u128(u128::from(row) << 64 | u128::from(len)),
        first_row: row,
        end_row: row + 1,
        rows: 1,
        len,
        tail_len: 10,
        footer_digest: Digest::new(u128::from(row)),
        extra: Extra::new(),
    }
}

fn files(dir: &tempfile::TempDir) -> ManifestFiles {
    fs_err::create_dir_all(dir.path().join("manifests")).unwrap();
    ManifestFiles::new(Arc::new(OsVfs), dir.path())
}

fn tempdir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Splits a list as a publish does and completes it again as a reader does.
fn through(
    files: &ManifestFiles,
    order: Order,
    list: &[SegmentEntry],
    pages: &mut Pages<SegmentEntry>,
) -> (usize, Vec<SegmentEntry>) {
    let mut rest = list.to_vec();
    PageWriter::new(files, "feature-1").split(order, &mut rest, pages).unwrap();
    let tail = rest.len();
    let mut read: Pages<SegmentEntry> = serde_json::from_str(&serde_json::to_string(pages).unwrap()).unwrap();
    let mut reader = PageReader::new(files);
    reader.complete("feature 1", order, &mut rest, &mut read, None).unwrap();
    (tail, rest)
}

fn names(pages: &Pages<SegmentEntry>) -> Vec<String> {
    pages.links().map(|l| l.file.clone()).collect()
}

#[test]
fn a_list_is_the_same_through_pages_and_only_new_pages_are_written() {
    let dir = tempdir();
    let files = files(&dir);
    for order in [Order::Rows, Order::Arrival] {
        let mut pages = Pages::default();
        let mut list = Vec::new();
        let mut before = Vec::new();
        for row in 0..600 {
            list.push(entry(row, 100));
            let (tail, read) = through(&files, order, &list, &mut pages);
            assert_eq!(read, list);
            assert!(tail <= TAIL && tail + PAGE * pages.0.len() == list.len(), "{tail}");
            let now = names(&pages);
            assert_eq!(now[..before.len()], before);
            before = now;
        }
    }
}

#[test]
fn a_page_stays_when_entries_come_before_it_and_goes_when_one_of_its_own_changes() {
    let dir = tempdir();
    let files = files(&dir);
    let mut list: Vec<SegmentEntry> = (0..400).map(|i| entry(1000 + 2 * i, 100)).collect();
    let mut pages = Pages::default();
    through(&files, Order::Rows, &list, &mut pages);
    let all = names(&pages);
    assert_eq!(all.len(), 5);
    // Rows that are filled in, before all and between others.
    list.extend([entry(3, 100), entry(1001, 100), entry(1201, 100)]);
    list.sort_by_key(|e| e.first_row);
    let (_, read) = through(&files, Order::Rows, &list, &mut pages);
    assert_eq!((names(&pages), &read), (all.clone(), &list));
    // One entry is replaced, another removed.
    for (row, with) in [(1000, Some(entry(1000, 200))), (1000 + 2 * 70, None)] {
        let i = list.iter().position(|e| e.first_row == row).unwrap();
        list.splice(i..=i, with);
    }
    let (_, read) = through(&files, Order::Rows, &list, &mut pages);
    assert_eq!(read, list);
    let now = names(&pages);
    assert_eq!(all.iter().filter(|n| now.contains(n)).count(), 3, "{now:?} of {all:?}");
    // Nothing is left.
    list.clear();
    through(&files, Order::Rows, &list, &mut pages);
    assert!(pages.is_empty());
}

#[test]
fn a_page_that_is_named_twice_or_has_other_rows_is_damage() {
    let dir = tempdir();
    let files = files(&dir);
    let list: Vec<SegmentEntry> = (0..200).map(|i| entry(i, 100)).collect();
    let mut pages = Pages::default();
    through(&files, Order::Rows, &list, &mut pages);
    let read = |change: &dyn Fn(&mut Pages<SegmentEntry>)| {
        let mut other = pages.clone();
        change(&mut other);
        for page in &mut other.0 {
            page.entries = Arc::default();
        }
        let mut reader = PageReader::new(&files);
        reader.complete("feature pool/x", Order::Rows, &mut Vec::new(), &mut other, None)
    };
    assert!(read(&|_| ()).is_ok());
    for (change, word) in [
        (
            &(|p: &mut Pages<SegmentEntry>| p.0.push(p.0[0].clone())) as &dyn Fn(&mut Pages<SegmentEntry>),
            "two",
        ),
        (&|p| p.0[0].link.end_row += 1, "64 entries of rows 0..65"),
        (&|p| p.0[0].link.entries -= 1, "63 entries of rows 0..64"),
        (&|p| p.0[0].link.link.len += 1, "length"),
        (&|p| p.0[0].link.link.file = "../x".into(), "plain file name"),
    ] {
        let e = read(change).unwrap_err();
        assert!(e.is_damage() && e.to_string().contains(word), "{e}");
    }
}

#[test]
fn a_part_says_that_it_needs_pages_and_stops_saying_so() {
    let dir = tempdir();
    let files = files(&dir);
    let desc = serde_json::from_value(serde_json::json!({
        "dataset": "pool", "encoding": "00", "checkpoint": null, "ensemble": null,
        "kind": {"name": "loss", "params": {}},
        "space": {"family": "loss", "checkpoint": null, "modules": "00", "projection": "none", "layer": null,
            "loss": "cross_entropy", "reduction": "mean", "dim": 1},
        "dtype": "f32", "compute": "f32"
    }))
    .unwrap();
    let mut part = FeaturePart::new(1, desc, gstore_core::FeatureAttrs::new("x", 1));
    part.segments = (0..129).map(|i| entry(i, 100)).collect();
    let (link, written) = files.write(part.clone()).unwrap();
    assert_eq!((written.requires.clone(), written.segments.len()), (vec![PAGES.to_owned()], 129));
    assert_eq!(files.read::<FeaturePart>(&link).unwrap(), written);
    let mut fewer = written;
    fewer.segments.truncate(3);
    let (link, fewer) = files.write(fewer).unwrap();
    assert!(fewer.requires.is_empty() && fewer.segments_pages.is_empty());
    assert_eq!(files.read::<FeaturePart>(&link).unwrap().segments, part.segments[..3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_changes_of_a_list_come_back_from_its_pages(
        steps in proptest::collection::vec((0u64..400, 0usize..60, any::<bool>(), any::<bool>()), 1..12),
        by_rows in any::<bool>(),
    ) {
        let dir = tempdir();
        let files = files(&dir);
        let order = if by_rows { Order::Rows } else { Order::Arrival };
        let mut list: Vec<SegmentEntry> = Vec::new();
        let mut pages = Pages::default();
        for (i, (row, n, remove, change)) in steps.into_iter().enumerate() {
            for k in 0..n as u64 {
                let row = row + 3 * k;
                if !list.iter().any(|e| e.first_row == row) {
                    list.push(entry(row, 100 + i as u64));
                }
            }
            if remove {
                list.retain(|e| e.first_row % 7 != i as u64 % 7);
            }
            if change {
                list.iter_mut().filter(|e| e.first_row % 97 == i as u64).for_each(|e| e.len += 1000);
            }
            if by_rows {
                list.sort_by_key(|e| e.first_row);
            }
            let (tail, read) = through(&files, order, &list, &mut pages);
            prop_assert_eq!(&read, &list);
            prop_assert!(tail <= TAIL);
            prop_assert!(pages.0.iter().all(|p| p.entries.len() == PAGE));
        }
    }
}
