//! Promise: a feature may have a vector for each scored token of a row. A row's vectors stay together in
//! every file, are deleted, saved and lost together, and everything above segments goes on counting rows.

use crate::common::tokens::*;
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};

const DIM: u32 = 6;

fn reader(store: &Store) -> FeatureReader {
    let snapshot = store.snapshot().unwrap();
    snapshot.open_feature(&snapshot.features()[0]).unwrap()
}

/// Every live vector, as the blocks have it: key and flags.
fn keys(reader: &FeatureReader) -> Vec<(u64, u32, u8)> {
    let mut buffer = BlockBuffer::new();
    let mut out = Vec::new();
    for b in reader.blocks() {
        let block = reader.read_block(*b, &mut buffer).unwrap();
        assert_eq!((block.len(), block.pos.len()), (b.vectors(), b.vectors()));
        let distinct = block.rows.chunk_by(|a, b| a == b).count();
        assert_eq!(distinct, b.rows());
        let all = block.rows.iter().zip(block.pos).zip(block.flags);
        out.extend(
            all.map(|((row, pos), flags)| (*row, *pos, *flags)).filter(|k| reader.live().contains(k.0)),
        );
    }
    out.sort_unstable();
    out
}

fn expected(rows: impl IntoIterator<Item = u64>) -> Vec<(u64, u32, u8)> {
    rows.into_iter().flat_map(|r| stored(r, 1).into_iter().map(move |(p, _, f)| (r, p, f.bits()))).collect()
}

fn segments(store: &Store) -> Vec<PathBuf> {
    let snapshot = store.snapshot().unwrap();
    let part = &snapshot.features()[0];
    part.segments
        .iter()
        .map(|s| store.path().join(format!("segments/{}/{}.arrow", part.number, s.uuid)))
        .collect()
}

#[test]
fn vectors_come_back_by_row_and_position() {
    for (dtype, tolerance) in [(DType::F32, 0.0), (DType::F16, 5e-4), (DType::I8, 5e-3)] {
        let f = token_feature(DIM, dtype);
        let (_dir, _, store) = placed(|path| filled_with_tokens(path, 5_000, &f, 1_700));
        let reader = reader(&store);
        let part = reader.part();
        assert_eq!((part.rows(), part.state), (5_000, FeatureState::Complete));
        assert_eq!(reader.row_set().unwrap(), RowSet::from_range(0..5_000));
        assert_eq!(keys(&reader), expected(0..5_000));
        for row in [0, 1, 4, 1_699, 1_700, 4_095, 4_096, 4_999] {
            let found = reader.row_vectors(row).unwrap();
            let wanted = stored(row, DIM);
            assert_eq!(found.len(), wanted.len(), "row {row}");
            for (found, (pos, vector, flags)) in found.iter().zip(wanted) {
                assert_eq!((found.pos, found.flags), (Some(pos), flags));
                for half in [0..3, 3..6] {
                    let largest = vector[half.clone()].iter().fold(0f32, |m, x| m.max(x.abs()));
                    let pairs = found.vector[half.clone()].iter().zip(&vector[half]);
                    pairs.for_each(|(a, b)| assert!((a - b).abs() <= tolerance * largest, "{a} {b}"));
                }
            }
        }
        let refused = reader.row(4).unwrap_err();
        assert!(matches!(refused, ReadError::PerToken { .. }), "{refused}");
        assert!(reader.row_vectors(5_000).unwrap().is_empty());
        assert!(verify(&store).is_sound());
    }
}

#[test]
fn a_block_holds_whole_rows_however_large_one_is() {
    const WIDE: u32 = 100_000;
    let f = token_feature(WIDE, DType::F32);
    let (_dir, _, store) = with_samples(4);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    let mut w = job.segment_writer(0).unwrap();
    // 400 kB a vector: twelve of row 0 and 1 fit into a block, the thirty of row 2 are a block of their own.
    let tokens = [5u32, 7, 30, 1];
    for (row, tokens) in tokens.into_iter().enumerate() {
        for pos in 1..=tokens {
            w.push_token((row as u64, pos), &vec![pos as f32; WIDE as usize], RowFlags::empty()).unwrap();
        }
    }
    job.seal(0, w).unwrap();
    job.publish(None, true).unwrap();
    let reader = reader(&store);
    let cut: Vec<_> = reader.blocks().iter().map(|b| (b.range(), b.rows(), b.vectors())).collect();
    assert_eq!(cut, [(0..2, 2, 12), (2..3, 1, 30), (3..4, 1, 1)]);
    let row = reader.row_vectors(2).unwrap();
    assert!(row.iter().enumerate().all(|(i, v)| v.vector[7] == i as f32 + 1.0));
    assert!(verify(&store).is_sound());
}

#[test]
fn keys_must_ascend_and_fit_the_feature() {
    let (_dir, _, store) = with_samples(9);
    let mut job =
        store.start_job(plan(vec![token_feature(1, DType::F32), feature("loss", 1, DType::F32)])).unwrap();
    let none = RowFlags::empty();
    let mut w = job.segment_writer(0).unwrap();
    assert!(w.push(1, &[1.0], none).unwrap_err().to_string().contains("sample and token"));
    w.push_token((1, 4), &[1.0], none).unwrap();
    let again = w.push_token((1, 4), &[1.0], none).unwrap_err();
    assert!(matches!(again, WriteError::Position { row: 1, pos: 4, last: 4 }), "{again}");
    w.push_token((1, 5), &[1.0], none).unwrap();
    assert!(matches!(w.push_token((0, 9), &[1.0], none), Err(WriteError::Order { row: 0, last: 1 })));
    w.push_token((2, 1), &[1.0], none).unwrap();
    assert!(w.push_token((3, 0), &[1.0], none).unwrap_err().to_string().contains("position 0"));
    assert!(w.push_token((3, 2), &[1.0], RowFlags::NO_SCORED).is_err());
    w.push_token((3, 0), &[0.0], RowFlags::NO_SCORED).unwrap();
    assert!(matches!(
        w.push_token((3, 2), &[1.0], none),
        Err(WriteError::Position { row: 3, pos: 2, last: 0 })
    ));
    assert_eq!(w.rows(), 3);
    w.take_back(3);
    assert_eq!(w.row_set(), &RowSet::from_range(1..3));
    w.push_token((3, 2), &[1.0], none).unwrap();
    let mut plain = job.segment_writer(1).unwrap();
    assert!(plain.push_token((0, 1), &[1.0], none).is_err());
}

#[test]
fn digests_stay_whatever_the_files_and_deleted_rows_go_whole() {
    let dir = tempdir().unwrap();
    let f = token_feature(DIM, DType::F16);
    let one = filled_with_tokens(&dir.path().join("one"), 5_000, &f, 5_000);
    let many = filled_with_tokens(&dir.path().join("many"), 5_000, &f, 333);
    assert_eq!(digest(&one, &f), digest(&many, &f));
    for store in [&one, &many] {
        delete(store, (0..5_000).filter(|r| r % 11 == 3));
        assert!(reader(store).row_vectors(14).unwrap().is_empty());
    }
    let before = digest(&many, &f);
    many.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(reader(&many).part().segments.len(), 1);
    assert_eq!([digest(&many, &f), digest(&one, &f)], [before.clone(), before.clone()]);
    assert_eq!(keys(&reader(&many)), expected((0..5_000).filter(|r| r % 11 != 3)));
    let purge =
        DeleteOptions { command: "gstore delete --purge".into(), purge: true, ..DeleteOptions::default() };
    for store in [&one, &many] {
        store.delete(&pool(store), &RowSet::from_rows([9, 4_097]), purge.clone()).unwrap();
    }
    assert_eq!(digest(&many, &f), digest(&one, &f));
    assert_ne!(digest(&many, &f), before);
    assert!(verify(&many).is_sound() && verify(&one).is_sound());
}

#[test]
fn a_repair_keeps_whole_rows_only() {
    // A vector is changed, with its row number or without; its row must go, and no other but
    // what it could belong to.
    for (column, most) in [("vector", 1), ("row", 3), ("pos", 1)] {
        let f = token_feature(DIM, DType::F16);
        let (dir, _, store) = placed(|path| filled_with_tokens(path, 200, &f, 200));
        let path = segments(&store).remove(0);
        let mut bytes = fs_err::read(&path).unwrap();
        let (row, pos) = (4u64, positions(4)[1]);
        let at = match column {
            // The rows are the only column of numbers like these.
            "row" => find(&bytes, &[row, row, row].map(u64::to_le_bytes).concat()) + 8,
            "pos" => {
                find(&bytes, &positions(row).iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<_>>()) + 4
            }
            _ => {
                let found = reader(&store).row_vectors(row).unwrap().remove(1);
                let raw = raw_vector(&store, row, pos);
                assert_eq!(found.pos, Some(pos));
                find(&bytes, &raw)
            }
        };
        bytes[at] ^= 1;
        fs_err::write(&path, bytes).unwrap();
        assert!(!verify(&store).is_sound(), "{column}");
        drop(store);
        let path = dir.path().join("s");
        let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        let store = Store::open(&path).unwrap();
        let lost: u64 = report.lost.iter().map(|l| l.rows.count).sum();
        assert!((1..=most).contains(&lost), "{column}: {lost} rows lost");
        let reader = reader(&store);
        let left = reader.row_set().unwrap();
        assert!(!left.contains(row), "{column}");
        assert_eq!(
            keys(&reader),
            expected(left.iter()),
            "{column}: a row came back without one of its tokens"
        );
        assert!(verify(&store).is_sound());

        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let missing = RowSet::from_range(0..200).difference(&left);
        seal_tokens(&mut job, missing.iter());
        job.publish(None, true).unwrap();
        let whole = filled_with_tokens(&dir.path().join("whole"), 200, &f, 200);
        assert_eq!(digest(&store, &f), digest(&whole, &f), "{column}");
    }
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).expect("the column is there")
}

/// The stored bytes of a token's vector.
fn raw_vector(store: &Store, row: u64, pos: u32) -> Vec<u8> {
    let reader = reader(store);
    let mut buffer = BlockBuffer::new();
    let dim = DIM as usize;
    for b in reader.blocks() {
        let block = reader.read_block(*b, &mut buffer).unwrap();
        let Some(i) = block.of_row(row).find(|i| block.pos[*i] == pos) else { continue };
        let Values::F16(values) = block.values else { unreachable!() };
        return values[i * dim..(i + 1) * dim].iter().flat_map(|v| v.to_le_bytes()).collect();
    }
    unreachable!("row {row} is there")
}

#[test]
fn what_is_stored_says_that_readers_must_know_tokens() {
    let f = token_feature(DIM, DType::F16);
    let (dir, _, store) = placed(|path| filled_with_tokens(path, 50, &f, 50));
    let (manifest, tail) = requirements(&store);
    assert!(manifest.contains("\"tokens\"") && tail.contains("[\"tokens\"]"));
    let plain = filled(&dir.path().join("plain"), 50, &feature("grad-sgd", DIM, DType::F16), 50);
    let (manifest, tail) = requirements(&plain);
    assert!(!manifest.contains("\"tokens\"") && !tail.contains("tokens"), "others are as they were");
}

#[test]
fn shards_attach_in_any_order_and_a_changed_token_is_refused() {
    let dir = tempdir().unwrap();
    let f = token_feature(DIM, DType::F16);
    let whole = filled_with_tokens(&dir.path().join("whole"), 9_000, &f, 9_000);
    let store = Store::create(dir.path().join("s")).unwrap();
    add(&store, 0..9_000).unwrap();
    let shard = |text: &str, out: &Path, changed: Option<u64>| {
        let shard = ShardPlan::new(store.snapshot().unwrap(), "pool", text.parse().unwrap(), out).unwrap();
        let ShardStart::Job(mut job) = store.start_shard(plan(vec![f.clone()]), shard).unwrap() else {
            panic!("it is new")
        };
        let rows = job.plan().rows().clone();
        let mut w = job.segment_writer(0).unwrap();
        for row in rows.iter() {
            for (i, (pos, mut vector, flags)) in stored(row, DIM).into_iter().enumerate() {
                if changed == Some(row) && i == 1 {
                    vector[0] += 1.0;
                }
                w.push_token((row, pos), &vector, flags).unwrap();
            }
        }
        job.seal(0, w).unwrap();
        job.finish(None).unwrap();
    };
    let [one, two, other] = ["one", "two", "other"].map(|n| dir.path().join(n));
    shard("1/2", &one, None);
    shard("2/2", &two, None);
    shard("2/2", &other, Some(8_003));
    let options = AttachOptions { command: "attach".into(), dry_run: false };
    store.attach(&[two, one], &options, &mut |_| {}).unwrap();
    assert_eq!(digest(&store, &f), digest(&whole, &f));
    let refused = store.attach(&[other], &options, &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("8003"), "{refused}");
}

/// The feature's manifest, and the end of its segment, as text.
fn requirements(store: &Store) -> (String, String) {
    let manifests = store.path().join("manifests");
    let name = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("feature-"));
    let listed = fs_err::read_dir(manifests).unwrap().map(|e| e.unwrap().path()).filter(name).max().unwrap();
    let bytes = fs_err::read(segments(store).remove(0)).unwrap();
    let tail = String::from_utf8_lossy(&bytes[bytes.len() - 4096.min(bytes.len())..]).into_owned();
    (fs_err::read_to_string(listed).unwrap(), tail)
}

#[test]
fn the_command_of_a_feature_is_not_that_of_another_of_its_label() {
    let (_dir, path, store) = with_samples(20);
    let start = |f: JobFeature, command: &str| {
        store.start_job(JobPlan { command: command.into(), ..plan(vec![f]) }).unwrap()
    };
    let mut job = start(feature("grad-sgd", 4, DType::F16), "first");
    seal(&mut job, 0, 0..20);
    job.publish(None, true).unwrap();
    let mut job = start(token_feature(4, DType::F16), "second");
    seal_tokens(&mut job, 0..20);
    let snapshot = job.publish(None, true).unwrap();
    let [samples, tokens] = snapshot.features() else { panic!("{:?}", snapshot.features()) };
    assert_eq!(samples.attrs.label, tokens.attrs.label);
    let commands = [samples, tokens].map(|part| snapshot.command_of(part));
    assert_eq!(commands, ["first", "second"].map(|command| Some(command.to_owned())));
    drop(store);
    let folder = path.join(format!("segments/{}", samples.number));
    files(&folder).into_iter().for_each(|file| fs_err::remove_file(folder.join(file)).unwrap());
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    let lost: Vec<Option<&str>> = report.lost.iter().map(|loss| loss.command.as_deref()).collect();
    assert_eq!(lost, [Some("first")], "{report:#?}");
}
