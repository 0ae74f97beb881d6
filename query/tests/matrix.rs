//! Promise: a matrix has for every pool row and target sample the score that asking for this sample alone
//! gives, to the bit, however it is cut and wherever making it was stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::world::*;
use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use gstore_core::Cancel;
use gstore_core::parallel::threads_for;
use gstore_query::influence::*;
use gstore_query::matrix::*;
use gstore_store::DType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const NAMES: [&str; 9] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"];

/// A world whose target samples are each a subtask.
fn singles(seed: u64) -> World {
    let mut world = world(seed).normal();
    let rows = world.subtasks.len();
    world.subtasks = NAMES[..rows].iter().map(|name| Some(*name)).collect();
    world
}

/// The bits of every pair, by row and target row.
type Bits = BTreeMap<(u64, u64), u32>;

fn alone(store: &TestStore, spec: &InfluenceSpec, samples: usize) -> Bits {
    let mut bits = Bits::new();
    for sample in 0..samples {
        let targets = vec![TargetRef { dataset: "val".into(), subtask: Some(NAMES[sample].into()) }];
        let spec = InfluenceSpec { targets, ..spec.clone() };
        let Ok(found) = plan(store, &spec).top_k(Order::Best, 1000, None, 1, &GO) else { continue };
        bits.extend(found.rows.iter().map(|row| ((row.row, sample as u64), row.score.to_bits())));
    }
    bits
}

fn specs() -> Vec<InfluenceSpec> {
    let mut specs = Vec::new();
    for sim in [Sim::Cosine, Sim::Dot] {
        for missing in [Missing::Exclude, Missing::Renormalise] {
            for within in [Within::Mean, Within::Max] {
                specs.push(InfluenceSpec { sim, missing, within, ..ask("pool", "val") });
            }
        }
    }
    specs
}

#[test]
fn a_pair_has_the_bits_that_its_sample_has_alone() {
    for seed in 0..10 {
        let world = singles(seed);
        let store = world.store(DType::F16);
        for spec in specs() {
            let want = alone(&store, &spec, world.subtasks.len());
            let whole = plan(&store, &spec);
            let samples = whole.target_samples(&GO).unwrap();
            for (size, most) in [(1, 20), (2, u64::MAX), (samples.rows.len(), 0)] {
                let mut found = Bits::new();
                for group in samples.rows.chunks(size) {
                    let plan = whole.of_samples(group, &GO).unwrap();
                    let tiles = plan.tiles(most, &GO).unwrap();
                    assert_eq!(tiles.samples().len(), group.len());
                    let mut worker = TileWorker::default();
                    for tile in (0..tiles.len()).map(|t| tiles.score(t, &mut worker, &GO).unwrap()) {
                        for (row, scores) in tile.rows.iter().zip(tile.scores.chunks(group.len())) {
                            let pairs = group.iter().zip(scores);
                            found.extend(pairs.map(|(q, score)| ((*row, q.row), score.to_bits())));
                        }
                    }
                }
                assert_eq!(found, want, "seed {seed}, {spec:?}, groups of {size}");
            }
        }
    }
}

/// Row and scores of every line of a file.
fn read(path: &Path) -> Vec<(u64, Vec<f32>)> {
    let file = fs_err::File::open(path).unwrap().into_file();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut lines = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let rows = batch.column_by_name("row").unwrap().as_primitive::<UInt64Type>().clone();
        let scores = batch.column_by_name("scores").unwrap().as_fixed_size_list().clone();
        let ids = batch.column_by_name("id").unwrap().as_string::<i32>().clone();
        for i in 0..rows.len() {
            assert!(!ids.value(i).is_empty());
            let list = scores.value(i);
            lines.push((rows.value(i), list.as_primitive::<Float32Type>().values().to_vec()));
        }
    }
    lines
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs_err::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    all.insert(path.strip_prefix(folder).unwrap().to_owned(), fs_err::read(&path).unwrap());
                }
            }
        }
    }
    all
}

/// A pool of 700 rows and 9 target samples, two checkpoints, two module groups.
fn larger() -> (World, TestStore) {
    let mut numbers = Numbers(7);
    let mut rows =
        |count: usize| -> Vec<Vec<Row>> { (0..2).map(|_| present(&numbers.vectors(count, 24))).collect() };
    let world = World {
        weights: vec![0.25, 0.75],
        pool: rows(700),
        target: rows(9),
        subtasks: NAMES.iter().map(|name| Some(*name)).collect(),
        groups: vec![16, 8],
        cut: 150,
    };
    let store = world.store(DType::F16);
    (world, store)
}

fn options(samples: u64, plan: &Prepared, threads: usize) -> MatrixOptions {
    MatrixOptions { memory: samples * plan.sample_bytes(), part: 200 * samples * 4, threads, replace: false }
}

fn make(
    plan: &Prepared,
    options: MatrixOptions,
    output: MatrixOutput<'_>,
) -> Result<MatrixReport, MatrixError> {
    MatrixJob::new(plan, options, &GO)?.write(output, &mut |_, _| {}, &GO)
}

#[test]
fn a_folder_and_a_file_have_the_same_scores_for_any_cut_and_number_of_threads() {
    let (world, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let want = alone(&store, &ask("pool", "val"), 9);
    let naive = |row: usize, q: usize| -> f64 {
        let cosine = |c: usize| {
            let vector = |rows: &[Row], i: usize| rows[i].clone().unwrap().0;
            let (a, b) = (vector(&world.pool[c], row), vector(&world.target[c], q));
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
        };
        0.25 * cosine(0) + 0.75 * cosine(1)
    };
    let folder = tempfile::tempdir().unwrap();
    for samples in [9, 4, 1] {
        let mut first = None;
        for threads in [1, 3] {
            let out = folder.path().join(format!("m{samples}-{threads}"));
            let report = make(&plan, options(samples, &plan, threads), MatrixOutput::Folder(&out)).unwrap();
            assert_eq!((report.rows, report.samples, report.already_there), (700, 9, false));
            let mut found = Bits::new();
            let mut next = 0u64;
            for group in 0..report.groups {
                let parts = out.join(format!("scores-{group:03}"));
                let mut names: Vec<PathBuf> =
                    fs_err::read_dir(parts).unwrap().map(|entry| entry.unwrap().path()).collect();
                names.sort();
                assert!(names.len() > 1, "a group has several parts");
                let lines: Vec<_> = names.iter().flat_map(|path| read(path)).collect();
                assert!(lines.is_sorted_by_key(|(row, _)| *row));
                for (row, scores) in &lines {
                    let pairs = scores.iter().enumerate();
                    found.extend(pairs.map(|(i, score)| ((*row, next + i as u64), score.to_bits())));
                }
                next += lines[0].1.len() as u64;
            }
            assert_eq!(found, want);
            for ((row, q), bits) in &found {
                let score = f64::from(f32::from_bits(*bits));
                assert!((score - naive(*row as usize, *q as usize)).abs() < 2e-3);
            }
            let all = files(&out);
            assert!(
                all.contains_key(Path::new("matrix.json")) && all.contains_key(Path::new("targets.parquet"))
            );
            assert_eq!(*first.get_or_insert_with(|| all.clone()), all, "threads show in the bytes");
            // The same question again has nothing to do.
            assert!(
                make(&plan, options(samples, &plan, 2), MatrixOutput::Folder(&out)).unwrap().already_there
            );
        }
    }
    let file = folder.path().join("one.parquet");
    let report = make(&plan, options(9, &plan, 2), MatrixOutput::File(&file)).unwrap();
    assert_eq!(report.bytes, fs_err::metadata(&file).unwrap().len());
    for (row, scores) in read(&file) {
        for (q, score) in scores.iter().enumerate() {
            assert_eq!(score.to_bits(), want[&(row, q as u64)]);
        }
    }
    assert!(make(&plan, options(9, &plan, 2), MatrixOutput::File(&file)).unwrap().already_there);
    let error = make(&plan, options(4, &plan, 2), MatrixOutput::File(&folder.path().join("x.parquet")));
    assert!(error.unwrap_err().to_string().contains("name a folder"));
    let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn work_that_was_stopped_goes_on_and_gives_the_same_bytes() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    make(&plan, options(4, &plan, 2), MatrixOutput::Folder(&whole)).unwrap();
    let file = folder.path().join("whole.parquet");
    make(&plan, options(9, &plan, 2), MatrixOutput::File(&file)).unwrap();
    for stop in [1, 2, 3, 5] {
        let out = folder.path().join(format!("stopped-{stop}"));
        let single = folder.path().join(format!("stopped-{stop}.parquet"));
        for (output, options) in [
            (MatrixOutput::Folder(&out), options(4, &plan, 1)),
            (MatrixOutput::File(&single), options(9, &plan, 1)),
        ] {
            let mut runs = 0;
            let report = loop {
                let cancel = Cancel::new();
                let mut seen = 0;
                let job = MatrixJob::new(&plan, options, &GO).unwrap();
                let made = job.write(
                    output,
                    &mut |_, kept| {
                        seen += u32::from(!kept);
                        if seen >= stop {
                            cancel.raise()
                        }
                    },
                    &cancel,
                );
                runs += 1;
                match made {
                    Ok(report) => break report,
                    Err(MatrixError::Query(gstore_query::QueryError::Cancelled(_))) => {
                        let (MatrixOutput::Folder(path) | MatrixOutput::File(path)) = output;
                        assert!(!path.exists(), "nothing is visible before the end");
                        assert!(runs < 100, "no run gets further");
                    }
                    Err(other) => panic!("{other}"),
                }
            };
            assert!(runs == 1 || report.kept > 0);
        }
        assert_eq!(files(&out), files(&whole));
        assert_eq!(fs_err::read(&single).unwrap(), fs_err::read(&file).unwrap());
    }
}

#[test]
fn work_for_another_question_is_refused() {
    let (_, store) = larger();
    let spec = ask("pool", "val");
    let first = plan(&store, &spec);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m");
    let stop = Cancel::new();
    let job = MatrixJob::new(&first, options(4, &first, 1), &GO).unwrap();
    job.write(MatrixOutput::Folder(&out), &mut |_, _| stop.raise(), &stop).unwrap_err();
    let dot = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..spec.clone() });
    let error = make(&dot, options(4, &dot, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains("sim is \"dot\" and was \"cosine\""), "{error}");
    let fewer = MatrixOptions { memory: 2 * first.sample_bytes(), ..options(4, &first, 1) };
    let error = make(&first, fewer, MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains("cut for another memory") && error.contains("3 groups, and now 5"), "{error}");
    // Another state of the store.
    store.dataset("more", 3);
    let later = plan(&store, &spec);
    let error = make(&later, options(4, &later, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains("snapshot is") && error.contains("(snapshot names the state)"), "{error}");
    make(&first, options(4, &first, 1), MatrixOutput::Folder(&out)).unwrap();
    let error = make(&later, options(4, &later, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains("another question"), "{error}");
    let foreign = folder.path().join("foreign");
    fs_err::create_dir(&foreign).unwrap();
    fs_err::write(foreign.join("notes.txt"), "mine").unwrap();
    let error = make(&first, options(4, &first, 1), MatrixOutput::Folder(&foreign)).unwrap_err().to_string();
    assert!(error.contains("not a matrix"), "{error}");
    let small = MatrixOptions { memory: 10, ..MatrixOptions::default() };
    assert!(MatrixJob::new(&first, small, &GO).err().unwrap().to_string().contains("allow more"));
}

#[test]
fn another_matrix_is_replaced_where_that_is_allowed_and_nothing_of_others() {
    let (_, store) = larger();
    let first = plan(&store, &ask("pool", "val"));
    let dot = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let replacing =
        |samples: u64, plan: &Prepared| MatrixOptions { replace: true, ..options(samples, plan, 1) };
    make(&first, options(9, &first, 1), MatrixOutput::Folder(&at("whole"))).unwrap();
    make(&dot, options(4, &dot, 1), MatrixOutput::Folder(&at("whole-dot"))).unwrap();
    let (whole, whole_dot) = (files(&at("whole")), files(&at("whole-dot")));
    let out = at("m");
    // Unfinished work.
    begin(&first, &out);
    let report = make(&dot, replacing(4, &dot), MatrixOutput::Folder(&out)).unwrap();
    assert_eq!((report.kept, files(&out)), (0, whole_dot.clone()));
    // A matrix of more groups, which stays until the other is complete.
    let job = MatrixJob::new(&first, replacing(9, &first), &GO).unwrap();
    job.write(MatrixOutput::Folder(&out), &mut |_, _| assert_eq!(files(&out), whole_dot), &GO).unwrap();
    assert_eq!(files(&out), whole);
    assert!(!hidden(&out).exists());
    // A run that was killed when it had put the former one aside.
    let killed = at("killed");
    begin(&dot, &killed);
    fs_err::rename(&out, hidden(&killed).join(".replaced")).unwrap();
    make(&dot, options(4, &dot, 1), MatrixOutput::Folder(&killed)).unwrap();
    assert_eq!(files(&killed), whole_dot);
    for mine in ["notes.txt", "scores-000/notes.txt"] {
        let (mine, job) = (killed.join(mine), MatrixJob::new(&first, replacing(9, &first), &GO).unwrap());
        fs_err::write(&mine, "mine").unwrap();
        let before = files(&killed);
        let asked = job.check(MatrixOutput::Folder(&killed)).unwrap_err().to_string();
        let made = job.write(MatrixOutput::Folder(&killed), &mut |_, _| {}, &GO).unwrap_err().to_string();
        assert!(asked == made && made.contains("notes.txt is not a file of the matrix"), "{made}");
        assert_eq!(files(&killed), before);
        fs_err::remove_file(mine).unwrap();
    }
}

#[test]
fn a_refused_question_leaves_nothing_in_the_way_of_another() {
    let (mut world, _) = larger();
    world.pool[1][5] = None;
    let store = world.store(DType::F16);
    let all = plan(&store, &InfluenceSpec { missing: Missing::Error, ..ask("pool", "val") });
    let rest = plan(&store, &InfluenceSpec { missing: Missing::Exclude, ..ask("pool", "val") });
    let folder = tempfile::tempdir().unwrap();
    let (m, file) = (folder.path().join("m"), folder.path().join("m.parquet"));
    for output in [MatrixOutput::Folder(&m), MatrixOutput::File(&file)] {
        let error = make(&all, options(9, &all, 1), output).unwrap_err().to_string();
        assert!(error.contains("missing => 'exclude'"), "{error}");
        assert!(fs_err::read_dir(folder.path()).unwrap().all(|entry| entry.unwrap().path() == m));
        let report = make(&rest, options(9, &rest, 1), output).unwrap();
        assert_eq!((report.rows, report.excluded.missing), (699, 1));
    }
}

#[test]
fn a_row_against_itself_is_on_the_diagonal() {
    let mut numbers = Numbers(3);
    let vectors = numbers.vectors(40, 10);
    let store = TestStore::of(&[Feature::new("pool", "grad-sgd", 0, present(&vectors))]);
    let plan = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "pool") });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("self.parquet");
    make(&plan, MatrixOptions::default(), MatrixOutput::File(&file)).unwrap();
    let own: BTreeMap<u64, f32> = plan
        .top_k_self(Order::Best, 40, None, 1, &GO)
        .unwrap()
        .rows
        .iter()
        .map(|r| (r.row, r.score))
        .collect();
    for (row, scores) in read(&file) {
        let (diagonal, own) = (scores[row as usize], own[&row]);
        assert!((diagonal - own).abs() <= 1e-5 * own, "{diagonal} is not {own}");
    }
}

/// Begins a matrix in a folder, and stops when one part is there.
fn begin(plan: &Prepared, out: &Path) {
    let stop = Cancel::new();
    let job = MatrixJob::new(plan, options(4, plan, 1), &GO).unwrap();
    let seen = std::cell::Cell::new(0);
    let made = job.write(
        MatrixOutput::Folder(out),
        &mut |_, _| {
            seen.set(seen.get() + 1);
            if seen.get() > 8 {
                stop.raise()
            }
        },
        &stop,
    );
    assert!(matches!(made, Err(MatrixError::Query(gstore_query::QueryError::Cancelled(_)))));
    assert!(!parts(&hidden(out)).is_empty());
}

fn hidden(out: &Path) -> PathBuf {
    out.with_file_name(format!(".{}.part", out.file_name().unwrap().display()))
}

/// Finished parts in a folder, relative to it.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let all = files(folder).into_keys();
    all.filter(|path| path.starts_with("scores-000") && path.extension().unwrap() == "parquet").collect()
}

#[test]
fn a_name_that_cannot_be_taken_leaves_work_that_knows_its_question() {
    let (_, store) = larger();
    let first = plan(&store, &ask("pool", "val"));
    let dot = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") });
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("m"));
    make(&first, options(4, &first, 2), MatrixOutput::Folder(&whole)).unwrap();
    let job = MatrixJob::new(&first, options(4, &first, 2), &GO).unwrap();
    let mut taken = |_, _| {
        fs_err::create_dir_all(&out).unwrap();
        fs_err::write(out.join("notes.txt"), "mine").unwrap();
    };
    job.write(MatrixOutput::Folder(&out), &mut taken, &GO).unwrap_err();
    fs_err::remove_dir_all(&out).unwrap();
    let error = make(&dot, options(4, &dot, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains("sim is \"dot\""), "{error}");
    let report = make(&first, options(4, &first, 1), MatrixOutput::Folder(&out)).unwrap();
    assert!(report.kept > 0);
    assert_eq!(files(&out), files(&whole));
}

#[test]
fn parts_of_nobody_knows_what_are_made_again() {
    let (_, store) = larger();
    let first = plan(&store, &ask("pool", "val"));
    let dot = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    make(&first, options(4, &first, 2), MatrixOutput::Folder(&at("whole"))).unwrap();
    make(&dot, options(4, &dot, 2), MatrixOutput::Folder(&at("whole-dot"))).unwrap();
    // The question is gone.
    begin(&first, &at("lost"));
    fs_err::write(hidden(&at("lost")).join("matrix.json"), "{}").unwrap();
    fs_err::remove_file(hidden(&at("lost")).join("question.json")).unwrap();
    let report = make(&dot, options(4, &dot, 2), MatrixOutput::Folder(&at("lost"))).unwrap();
    assert_eq!(report.kept, 0);
    assert_eq!(files(&at("lost")), files(&at("whole-dot")));
    // A part is cut off, is another question's, has a changed bit, or is of a version without digests.
    for damage in ["cut", "other", "bit", "version"] {
        let out = at(damage);
        begin(&first, &out);
        let part = hidden(&out).join(&parts(&hidden(&out))[0]);
        let mut bytes = fs_err::read(&part).unwrap();
        match damage {
            "cut" => bytes.truncate(100),
            "other" => bytes = fs_err::read(at("whole-dot").join("scores-000/00000.parquet")).unwrap(),
            "bit" => bytes[200] ^= 1,
            _ => fs_err::remove_dir_all(hidden(&out).join(".digests")).unwrap(),
        }
        let begun = files(&hidden(&out)).into_keys();
        let begun = begun.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).count();
        let kept = if damage == "version" { 0 } else { begun - 1 };
        fs_err::write(&part, bytes).unwrap();
        let report = make(&first, options(4, &first, 2), MatrixOutput::Folder(&out)).unwrap();
        assert_eq!(report.kept, kept, "{damage}");
        assert_eq!(files(&out), files(&at("whole")), "{damage}");
    }
    // A folder in the place of a part.
    let out = at("folder");
    begin(&first, &out);
    let part = hidden(&out).join(&parts(&hidden(&out))[0]);
    fs_err::remove_file(&part).unwrap();
    fs_err::create_dir(&part).unwrap();
    let error = make(&first, options(4, &first, 2), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains(&format!("{} is in the place of a part", part.display())), "{error}");
    fs_err::remove_dir(&part).unwrap();
    make(&first, options(4, &first, 2), MatrixOutput::Folder(&out)).unwrap();
    assert_eq!(files(&out), files(&at("whole")));
    // Foreign files are never removed.
    fs_err::create_dir(hidden(&at("notes"))).unwrap();
    fs_err::write(hidden(&at("notes")).join("notes.txt"), "mine").unwrap();
    let error = make(&first, options(4, &first, 1), MatrixOutput::Folder(&at("notes"))).unwrap_err();
    assert!(error.to_string().contains("not a file of a matrix"), "{error}");
}

#[test]
fn a_question_that_cannot_be_read_is_told_and_given_up_where_that_is_allowed() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m");
    let replacing = || MatrixOptions { replace: true, ..options(4, &plan, 1) };
    for damaged in [&b"{"[..], b"", b"{\"writer\": \"\xff\"}"] {
        begin(&plan, &out);
        fs_err::write(hidden(&out).join("question.json"), damaged).unwrap();
        let error = make(&plan, options(4, &plan, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
        assert!(error.contains("question.json cannot be read") && error.contains("force"), "{error}");
        let report = make(&plan, replacing(), MatrixOutput::Folder(&out)).unwrap();
        assert_eq!(report.kept, 0);
        assert!(!hidden(&out).exists());
        fs_err::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn what_a_run_that_was_killed_at_its_end_left_is_removed() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m");
    make(&plan, options(4, &plan, 2), MatrixOutput::Folder(&out)).unwrap();
    let whole = files(&out);
    fs_err::write(out.join("question.json"), "{}").unwrap();
    fs_err::write(out.join("lock"), "").unwrap();
    fs_err::create_dir(out.join(".digests")).unwrap();
    fs_err::write(out.join(".digests/scores-000-00000"), "").unwrap();
    assert!(make(&plan, options(4, &plan, 2), MatrixOutput::Folder(&out)).unwrap().already_there);
    assert_eq!(files(&out), whole);
    // The parts of a single file stay until it is on the medium.
    let file = folder.path().join("m.parquet");
    let saved = folder.path().join("saved");
    let job = MatrixJob::new(&plan, options(9, &plan, 1), &GO).unwrap();
    let mut copy = |_, _| {
        for (name, bytes) in files(&hidden(&file)) {
            fs_err::create_dir_all(saved.join(&name).parent().unwrap()).unwrap();
            fs_err::write(saved.join(name), bytes).unwrap();
        }
    };
    job.write(MatrixOutput::File(&file), &mut copy, &GO).unwrap();
    fs_err::rename(&saved, hidden(&file)).unwrap();
    assert!(make(&plan, options(9, &plan, 1), MatrixOutput::File(&file)).unwrap().already_there);
    assert!(!hidden(&file).exists());
}

#[test]
fn links_are_refused_for_a_folder_and_followed_for_a_file() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs_err::create_dir(at("real")).unwrap();
    std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
    let job = MatrixJob::new(&plan, options(4, &plan, 1), &GO).unwrap();
    for name in ["link", "link/"] {
        let mut none = |_, _| panic!("computed before it was refused");
        let error = job.write(MatrixOutput::Folder(&at(name)), &mut none, &GO).unwrap_err().to_string();
        assert!(error.contains("symlink"), "{error}");
    }
    assert!(!hidden(&at("link")).exists());
    fs_err::write(at("real/m.parquet"), "old").unwrap();
    std::os::unix::fs::symlink(at("real/m.parquet"), at("m.parquet")).unwrap();
    let job = MatrixJob::new(&plan, options(9, &plan, 1), &GO).unwrap();
    let mut none = |_, _| panic!("computed before it was refused");
    let error = job.write(MatrixOutput::File(&at("m.parquet")), &mut none, &GO).unwrap_err();
    assert!(matches!(error, MatrixError::Exists(_)), "{error}");
    assert_eq!(fs_err::read(at("real/m.parquet")).unwrap(), b"old");
    assert!(!hidden(&at("real/m.parquet")).exists());
    let replace = MatrixOptions { replace: true, ..options(9, &plan, 1) };
    let job = MatrixJob::new(&plan, replace, &GO).unwrap();
    let mut beside =
        |_, _| assert!(hidden(&at("real/m.parquet")).exists() && !hidden(&at("m.parquet")).exists());
    job.write(MatrixOutput::File(&at("m.parquet")), &mut beside, &GO).unwrap();
    assert!(fs_err::symlink_metadata(at("m.parquet")).unwrap().is_symlink());
    assert_eq!(read(&at("real/m.parquet")).len(), 700);
    let forecast = job.forecast();
    assert_eq!(forecast.disk(MatrixOutput::File(&at("m.parquet"))), 2 * forecast.bytes);
    assert_eq!(forecast.disk(MatrixOutput::Folder(&at("m"))), forecast.bytes);
    let memory = |threads| MatrixJob::new(&plan, options(9, &plan, threads), &GO).unwrap().forecast().memory;
    assert_eq!(memory(0), memory(threads_for(0, usize::MAX)), "0 threads are one per core");
    assert!(memory(2) > memory(1));
}

#[test]
fn a_lock_that_leads_nowhere_ends_with_the_reason() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m");
    fs_err::create_dir(hidden(&out)).unwrap();
    let lock = hidden(&out).join("lock");
    std::os::unix::fs::symlink(folder.path().join("nowhere/lock"), &lock).unwrap();
    let error = make(&plan, options(9, &plan, 1), MatrixOutput::Folder(&out)).unwrap_err().to_string();
    assert!(error.contains(&lock.display().to_string()), "{error}");
}

#[test]
fn a_file_that_appears_while_a_matrix_is_made_stays() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.parquet");
    let job = MatrixJob::new(&plan, options(9, &plan, 1), &GO).unwrap();
    let error = job.write(MatrixOutput::File(&file), &mut |_, _| fs_err::write(&file, "mine").unwrap(), &GO);
    assert!(matches!(error, Err(MatrixError::Exists(_))), "{error:?}");
    assert_eq!(fs_err::read(&file).unwrap(), b"mine");
    // The parts are kept for a later run, after the file is moved away or replaced.
    let replace = MatrixOptions { replace: true, ..options(9, &plan, 1) };
    let report = make(&plan, replace, MatrixOutput::File(&file)).unwrap();
    assert!(report.kept > 0 && read(&file).len() == 700, "{report:?}");
}

#[test]
fn a_pipe_is_refused_without_opening_it() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("m.parquet");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for replace in [false, true] {
        let options = MatrixOptions { replace, ..options(9, &plan, 1) };
        let job = MatrixJob::new(&plan, options, &GO).unwrap();
        let mut none = |_, _| panic!("computed before it was refused");
        let asked = job.check(MatrixOutput::File(&pipe)).unwrap_err().to_string();
        let made = job.write(MatrixOutput::File(&pipe), &mut none, &GO).unwrap_err().to_string();
        assert!(asked == made && made.contains("m.parquet is not a regular file"), "{made}");
    }
    assert!(!hidden(&pipe).exists());
}

#[test]
fn a_mount_point_is_refused_before_anything_is_computed() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m");
    fs_err::create_dir(&out).unwrap();
    let command = |name: &str, args: &[&str]| {
        let done = std::process::Command::new(name).args(args).arg(&out).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !command("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        eprintln!("skipped: a mount point needs the right to mount a tmpfs");
        return;
    }
    let made = make(&plan, options(4, &plan, 1), MatrixOutput::Folder(&out));
    command("umount", &["-l"]);
    let error = made.unwrap_err().to_string();
    assert!(error.contains("mount point"), "{error}");
    assert!(!hidden(&out).exists());
}

#[test]
fn of_several_who_make_the_same_one_does_and_nothing_is_left() {
    let (_, store) = larger();
    let plan = plan(&store, &ask("pool", "val"));
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    make(&plan, options(9, &plan, 1), MatrixOutput::Folder(&whole)).unwrap();
    for round in 0..10 {
        let out = folder.path().join(format!("m{round}"));
        let file = folder.path().join(format!("m{round}.parquet"));
        for output in [MatrixOutput::Folder(&out), MatrixOutput::File(&file)] {
            let done = || loop {
                match make(&plan, options(9, &plan, 1), output) {
                    Ok(report) => return report.already_there,
                    Err(error) => assert!(error.to_string().contains("another process"), "{error}"),
                }
            };
            let complete = std::thread::scope(|scope| {
                let others = [scope.spawn(done), scope.spawn(done)];
                others.map(|other| other.join().unwrap())
            });
            assert!(complete.iter().any(|complete| !complete), "one has made it");
            assert!(complete.iter().any(|complete| *complete), "the other has found it");
        }
        assert_eq!(files(&out), files(&whole));
        assert!(!hidden(&out).exists() && !hidden(&file).exists());
    }
}
