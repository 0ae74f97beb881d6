//! Promise: a few rows of a block, each verified by its own check, are those of the whole block; a flipped
//! bit in one of them is damage that names the row, and the others can still be read.

use crate::common::count::CountVfs;
use crate::common::tokens::{filled_with_tokens, token_feature};
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROWS: u64 = 64;
/// Rows that are read singly: at most one in eight of the block.
const PICKED: [u64; 4] = [0, 3, 41, ROWS - 1];

fn open(path: &Path, checks: Checks) -> FeatureReader {
    let snapshot = Store::open(path).unwrap().snapshot().unwrap();
    snapshot.with_checks(checks).open_feature(&snapshot.features()[0]).unwrap()
}

/// Some rows of a block, or why it cannot be read.
fn said(block: Result<Block<'_>, ReadError>, rows: &[u64]) -> Result<Vec<String>, ReadError> {
    let block = block?;
    let one = |row: &u64| {
        let i = block.rows.iter().position(|r| r == row).unwrap();
        let n = block.rows.len();
        let part = |len: usize| i * len / n..(i + 1) * len / n;
        let values = &block.values.bytes()[part(block.values.bytes().len())];
        let (scale, norm) = (&block.scale[part(block.scale.len())], &block.norm[part(block.norm.len())]);
        format!("{row} {values:?} {scale:?} {norm:?} {} {:x}", block.flags[i], block.check[i])
    };
    Ok(rows.iter().map(one).collect())
}

fn segment(path: &Path) -> PathBuf {
    let of_vectors = |f: &PathBuf| f.starts_with("segments");
    path.join(files(path).into_iter().find(of_vectors).unwrap())
}

#[test]
fn a_few_rows_are_those_of_the_whole_block() {
    for dtype in DType::ALL {
        let (_dir, path, _) = placed(|path| filled(path, ROWS, &feature("grad-sgd", 6, dtype), ROWS));
        let all: Vec<u64> = (0..ROWS).collect();
        let reader = open(&path, Checks::FirstTouch);
        let block = reader.blocks()[0];
        assert_eq!((reader.blocks().len(), block.range()), (1, 0..ROWS));
        let mut scratch = BlockBuffer::new();
        let whole = said(reader.read_block(block, &mut scratch), &all).unwrap();

        for rows in [&PICKED[..], &[5], &[ROWS - 1], &all[40..48]] {
            // A reader that has verified nothing yet.
            let fresh = open(&path, Checks::FirstTouch);
            let block = fresh.blocks()[0];
            let few = fresh.read_rows(block, rows, &mut scratch);
            assert_eq!(few.as_ref().unwrap().rows, rows, "{dtype}: no others were read");
            let want: Vec<String> = rows.iter().map(|row| whole[*row as usize].clone()).collect();
            assert_eq!(said(few, rows).unwrap(), want, "{dtype}");
        }
        // Many rows, in one reading or in all together, are worth the whole block; so is one
        // that was verified before.
        let fresh = open(&path, Checks::FirstTouch);
        let block = fresh.blocks()[0];
        assert_eq!(fresh.read_rows(block, &all[..9], &mut scratch).unwrap().rows.len(), 64, "{dtype}");
        assert_eq!(fresh.read_rows(block, &[1], &mut scratch).unwrap().rows.len(), 64, "{dtype}");
        let fresh = open(&path, Checks::FirstTouch);
        let read = |row| fresh.read_rows(block, &[row], &mut BlockBuffer::new()).unwrap().rows.len();
        assert_eq!((0..9).map(read).filter(|rows| *rows == 1).count(), 8, "{dtype}");
        // So is what cannot be found by its place alone, or is not in the block.
        let off = open(&path, Checks::Off);
        assert_eq!(off.read_rows(block, &[1], &mut scratch).unwrap().rows.len(), 64, "{dtype}");
        assert_eq!(reader.read_rows(block, &[1, ROWS], &mut scratch).unwrap().rows.len(), 64, "{dtype}");
    }
}

#[test]
fn what_is_near_of_a_few_rows_is_read_together() {
    // Header, and six columns: number, values, scale, norm, flags, check.
    let cases = [(6, &PICKED[..], 1 + 6), (3_000, &[0, 5, 6, 60][..], 1 + 5 + 3)];
    for (dim, rows, reads) in cases {
        let (_dir, path, _) = placed(|path| filled(path, ROWS, &feature("grad-sgd", dim, DType::F16), ROWS));
        let vfs = CountVfs::default();
        let snapshot = Store::open_on(Arc::new(vfs.clone()), &path).unwrap().snapshot().unwrap();
        let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        vfs.take();
        let few = reader.read_rows(reader.blocks()[0], rows, &mut BlockBuffer::new()).unwrap().rows.to_vec();
        let counts = vfs.take();
        assert_eq!((few, counts.opened.len(), counts.reads), (rows.to_vec(), 1, reads), "{dim}");
        assert!(counts.read < 4096 + 6 * 4096 + u64::from(dim) * 2 * rows.len() as u64, "{}", counts.read);
    }
}

#[test]
fn blocks_with_gaps_and_blocks_of_tokens_are_read_whole() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("gaps");
    let store = Store::create(&path).unwrap();
    add(&store, 0..ROWS).unwrap();
    publish_rows(&store, &feature("grad-sgd", 6, DType::F16), (0..ROWS).filter(|row| *row != 50), false);
    let reader = open(&path, Checks::FirstTouch);
    let mut scratch = BlockBuffer::new();
    let block = reader.read_rows(reader.blocks()[0], &[60], &mut scratch).unwrap();
    assert_eq!(block.rows.len() as u64, ROWS - 1);

    let path = dir.path().join("tokens");
    filled_with_tokens(&path, ROWS, &token_feature(4, DType::F16), ROWS);
    let reader = open(&path, Checks::FirstTouch);
    let first = reader.blocks()[0];
    let block = reader.read_rows(first, &[first.range().start], &mut scratch).unwrap();
    assert_eq!(block.rows.len(), first.vectors());
}

#[test]
fn a_flipped_bit_is_found_in_the_rows_that_have_it() {
    for dtype in DType::ALL {
        let (_dir, path, _) = placed(|path| filled(path, ROWS, &feature("grad-sgd", 6, dtype), ROWS));
        let snapshot = Store::open(&path).unwrap().snapshot().unwrap();
        let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        let groups = reader.part().attrs.groups.len();
        let block = reader.blocks()[0];
        let mut scratch = BlockBuffer::new();
        let right = said(reader.read_block(block, &mut scratch), &PICKED).unwrap();
        let file = segment(&path);
        let good = fs_err::read(&file).unwrap();
        let mut found = [0; PICKED.len()];
        let mut alone = 0;
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            // Another file under the name: a map of the first one stays what it was.
            fs_err::remove_file(&file).unwrap();
            fs_err::write(&file, bytes).unwrap();
            // The footer has its own digests.
            let Ok(reader) = snapshot.open_feature(&snapshot.features()[0]) else { continue };
            let mut here = 0;
            for (i, row) in PICKED.iter().enumerate() {
                match said(reader.read_rows(reader.blocks()[0], &[*row], &mut scratch), &[*row]) {
                    Ok(got) => assert_eq!(got[0], right[i], "{dtype}: byte {at}, row {row}"),
                    Err(error) => {
                        assert!(error.is_damage(), "{dtype}: byte {at}: {error}");
                        found[i] += 1;
                        here += 1;
                        let text = error.to_string();
                        if text.contains("check of row") {
                            assert!(text.contains(&format!("check of row {row}")), "byte {at}: {text}");
                            assert!(text.contains("segments/"), "byte {at}: {text}");
                        }
                    }
                }
            }
            alone += usize::from(here == 1);
        }
        // Number, values, scale, norm, flags and check of each row belong to no other row.
        let values = match dtype {
            DType::F32 => 6 * 4,
            DType::F16 => 6 * 2,
            DType::I8 => 6,
            DType::I1 => 8 * groups,
        };
        let own = 8 + values + (4 + 4) * groups + 1 + 8;
        assert!(found.iter().all(|n| *n >= own), "{dtype}: {found:?}, at least {own}");
        assert_eq!(alone, own * PICKED.len(), "{dtype}: {found:?}");
    }
}
