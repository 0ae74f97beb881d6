//! Promise: the examples of the library do what they say.

#[path = "../examples/ingest.rs"]
mod ingest;
#[path = "../examples/nearest.rs"]
mod nearest;
#[path = "../examples/put_vectors.rs"]
mod put_vectors;
#[path = "../examples/query.rs"]
mod query;

use gstore::{
    Device, Diversity, Format, InfluenceSpec, JobContext, Models, Order, Progress, SelectionRequest, Store,
    TargetRef, Unit, pretty,
};

/// The stages of a job, and what was done in each.
#[derive(Default)]
struct Stages(Vec<(String, u64)>);

impl Progress for Stages {
    fn start(&mut self, stage: &str, _: u64, _: Unit) {
        self.0.push((stage.to_owned(), 0));
    }
    fn advance(&mut self, done: u64) {
        self.0.last_mut().unwrap().1 += done;
    }
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn a_pool_is_ingested_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ingest::run(&store).unwrap();
    // The same again finds nothing to do.
    ingest::run(&store).unwrap();
    let sources = query::run(&store).unwrap();
    assert!(sources.contains("| source") && sources.lines().count() > 5, "{sources}");
    let snapshot = Store::open(&store).unwrap().snapshot().unwrap();
    let work = JobContext::silent("test");
    let first = gstore::query(&snapshot, "SELECT id FROM pool ORDER BY row LIMIT 1", None, &work).unwrap();
    let text = pretty(&first).unwrap();
    let id = text.lines().nth(3).and_then(|line| line.split('|').nth(1)).unwrap().trim().to_owned();
    let near = nearest::run(&store, &id).unwrap();
    assert!(near.contains("similarity") && near.lines().count() == 9, "{near}");

    // A selection is written as the original lines.
    let kind = Some("embed-mean".to_owned());
    let spec = InfluenceSpec {
        pools: vec!["pool".to_owned()],
        pool_kind: kind.clone(),
        target_kind: kind,
        ..InfluenceSpec::default()
    };
    let (top, order, rules) = ("3".to_owned(), Order::Best, Diversity::default());
    let targets = vec![TargetRef::parse("pool")];
    let request = SelectionRequest {
        spec: InfluenceSpec { targets, ..spec.clone() },
        top,
        of: None,
        order,
        rules,
        condition: None,
        rank_all: false,
        with_scores: false,
        models: None,
    };
    let mut work = JobContext::silent("test");
    let found = gstore::select(&snapshot, &request, &mut work).unwrap();
    let mut written = Vec::new();
    let mut stages = Stages::default();
    let mut reported = JobContext { progress: &mut stages, ..JobContext::silent("test") };
    found.write_lines(&mut written, &mut reported).unwrap();
    found.write_scores(Vec::<u8>::new(), Format::Csv, false, &mut reported).unwrap();
    found.write_table(Vec::<u8>::new(), Format::Parquet, &mut reported).unwrap();
    let stages: Vec<(&str, u64)> = stages.0.iter().map(|(stage, done)| (stage.as_str(), *done)).collect();
    assert_eq!(
        stages,
        [("writing rows", 3), ("writing scores", 3), ("reading records", 3), ("writing rows", 3)]
    );
    let pool = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/data/pool.jsonl");
    let pool = fs_err::read_to_string(pool).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert_eq!(written.lines().count(), 3);
    assert!(written.lines().all(|line| pool.lines().any(|stored| stored == line)), "{written}");

    // The row nearest to a sample that is given is the one with its text.
    let given = pool.lines().nth(4).unwrap().to_owned();
    let spec = InfluenceSpec { given: vec![given.clone()], ..spec };
    let models = Models::at(None, Vec::new(), Device::Cpu, 1).shared();
    let asked = gstore::ask(&snapshot, &spec, Some(models), &mut work).unwrap();
    let best = asked.rank(Order::Best, 1, &work).unwrap();
    assert_eq!(best.rows[0].row, 4);
    let table = asked.table(Order::Best, &best.rows, |_| String::new(), work.cancel).unwrap();
    let table = pretty(&[table]).unwrap();
    assert!(table.contains("proponent") && table.contains("true"), "{table}");
    let id = given.split("\"id\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let row = asked.explain(id, &work).unwrap();
    assert!(row.in_target && row.record.as_deref() == Some(given.as_bytes()) && row.given.len() == 1);
    let missing = asked.explain("nothing", &work).err().unwrap().to_string();
    assert!(missing.contains("no row of `pool` has the id"), "{missing}");
}

#[test]
fn vectors_of_another_program_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    put_vectors::run(folder.path()).unwrap();
    let snapshot = Store::open(folder.path()).unwrap().snapshot().unwrap();
    let sql = "SELECT id FROM nearest('points', id => 'p2', k => 2) ORDER BY id";
    let near = pretty(&gstore::query(&snapshot, sql, None, &JobContext::silent("test")).unwrap()).unwrap();
    for id in ["p1", "p3"] {
        assert!(near.contains(id), "{near}");
    }
    assert_eq!(near.lines().count(), 6, "{near}");
}
