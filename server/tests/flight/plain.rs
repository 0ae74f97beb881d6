//! Plain Flight: datasets, vectors and questions without SQL.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_flight::FlightDescriptor;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use gstore_store::{DType, FeatureAttrs, JobFeature, JobPlan, RowFlags, SignRotation, Store};
use prost::Message;
use tonic::Code;

use crate::client::{Client, text};
use crate::{Server, fixture, options, served};

fn json(text: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(text.as_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_can_be_read() {
    let (_server, client) = served(options()).await;
    let all = client.flights("").await;
    assert!(all.contains(&"dataset/pool".to_owned()), "{all:?}");
    assert!(all.contains(&"vectors/pool/grad-adam@checkpoint-1".to_owned()), "{all:?}");
    assert_eq!(client.flights("dataset/po").await, ["dataset/pool"]);
    assert!(all.contains(&"vectors/pool/grad-sgd-tokens@checkpoint-1".to_owned()), "{all:?}");
    for name in &all {
        let path = FlightDescriptor::new_path(name.split('/').map(str::to_owned).collect());
        let info = client.info(path.clone()).await.unwrap();
        let rows: usize = client.rows(path).await.unwrap().1.iter().map(RecordBatch::num_rows).sum();
        // Of vectors of tokens it is not known how many there are.
        let told = if name.contains("-tokens@") { -1 } else { i64::try_from(rows).unwrap() };
        assert_eq!(info.total_records, told, "{name}");
        assert!(info.total_bytes >= 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_come_by_every_way() {
    let (_server, client) = served(options()).await;
    for (asked, sql) in [
        (r#"{"dataset": "pool"}"#, "SELECT * FROM pool"),
        (r#"{"dataset": "pool", "rows": [3, 7]}"#, "SELECT * FROM pool WHERE row >= 3 AND row < 7"),
        (
            r#"{"vectors": {"dataset": "pool", "feature": "grad-adam@checkpoint-2", "type": "f32", "rows": [1, 4]}}"#,
            "SELECT * FROM vectors('pool', 'grad-adam@checkpoint-2') WHERE row BETWEEN 1 AND 3",
        ),
        (
            r#"{"influence": {"pool": ["pool"], "target": "target", "k": 4, "checkpoints": ["checkpoint-1"], "explain": true}}"#,
            "SELECT * FROM influence('pool', 'target', k => 4, checkpoints => 'checkpoint-1', explain => true)",
        ),
        (
            r#"{"sql": "SELECT row FROM pool WHERE row < $1", "parameters": [2]}"#,
            "SELECT row FROM pool WHERE row < 2",
        ),
    ] {
        let (_, rows) = client.rows(json(asked)).await.unwrap_or_else(|e| panic!("{asked}: {e}"));
        assert_eq!(text(&rows), text(&client.sql(sql).await.unwrap().1), "{asked}");
    }
    for (asked, code) in [
        (r#"{"dataset": "nothing"}"#, Code::NotFound),
        (r#"{"vectors": {"dataset": "pool", "feature": "nothing"}}"#, Code::NotFound),
        (r#"{"influence": {"pool": "pool", "target": "target", "kk": 4}}"#, Code::InvalidArgument),
        (r#"{"influence": {"pool": "pool"}}"#, Code::InvalidArgument),
    ] {
        assert_eq!(client.rows(json(asked)).await.unwrap_err().code(), code, "{asked}");
    }
    let without = client.rows(json(r#"{"vectors": {"dataset": "bare", "feature": "x"}}"#)).await.unwrap_err();
    assert_eq!(without.message(), "dataset \"bare\" has no feature \"x\"; there are none yet");
    // A schema can be asked for by itself.
    let request = client.request(json(r#"{"dataset": "pool"}"#));
    let schema = client.inner.clone().get_schema(request).await.unwrap().into_inner();
    let schema = arrow_schema::Schema::try_from(arrow_flight::IpcMessage(schema.schema)).unwrap();
    assert_eq!(schema.field(1).name(), "id");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_not_found_and_messages_name_no_place_of_a_statement() {
    let server = Server::start(options());
    let narrow = crate::token(&server.store, "narrow", Some(&["pool", "target"]));
    let (all, narrow) = (Client::of(&server).await, Client::with(&server, &narrow).await);
    for (client, unknown) in [(&all, "nothing"), (&narrow, "other")] {
        for (pool, target, k, code) in [
            ("pool", unknown, 4, Code::NotFound),
            (unknown, "target", 4, Code::NotFound),
            ("pool", "target", -3, Code::InvalidArgument),
        ] {
            let names = format!(r#""pool": "{pool}", "target": "{target}""#);
            let mut asked = vec![format!(r#"{{"influence": {{{names}, "k": {k}}}}}"#)];
            if code == Code::NotFound {
                asked.push(format!(r#"{{"matrix": {{{names}}}}}"#));
            }
            for asked in asked {
                let ticket = arrow_flight::Ticket::new(asked.clone().into_bytes());
                for status in
                    [client.rows(json(&asked)).await.unwrap_err(), client.get(ticket).await.unwrap_err()]
                {
                    assert_eq!(status.code(), code, "{asked}: {status}");
                    assert!(!status.message().contains("(line "), "{asked}: {status}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_vectors_come_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    fixture::large(&folder.path().join("store"), 700, 3, 16, 1);
    let store = Store::open(folder.path().join("store")).unwrap();
    let token = crate::token(&store, "all", None);
    let server = Server::on(store.clone(), token, folder, options());
    let client = Client::of(&server).await;
    let ask = |rows: &str| {
        json(&format!(r#"{{"vectors": {{"dataset": "pool", "feature": "grad-adam@checkpoint-1"{rows}}}}}"#))
    };
    let snapshot = store.snapshot().unwrap();
    let reader = snapshot.open_feature(snapshot.features_of("pool")[0]).unwrap();
    for (asked, first, rows) in [(ask(""), 0, 700), (ask(r#", "rows": [13, 600]"#), 13, 587)] {
        let (_, batches) = client.rows(asked).await.unwrap();
        let mut row = first;
        for batch in &batches {
            check(batch, &reader, &mut row);
        }
        assert_eq!(row, first + rows);
    }
    // Deleted rows are not sent.
    let gone = gstore_store::RowSet::from_ranges([20..30]);
    let delete = gstore_store::DeleteOptions { command: "test".into(), purge: false, ..Default::default() };
    store.delete(snapshot.dataset("pool").unwrap(), &gone, delete).unwrap();
    let (_, batches) = client.rows(ask("")).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 690);
}

/// Signs come with the rotation that turns them into values; older ones, and other types, have none.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_stored_signs_name_their_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fixture::large(&path, 20, 3, 16, 1);
    let store = Store::open(&path).unwrap();
    let old = store.snapshot().unwrap().features_of("pool")[0].desc.clone();
    let kinds = [("older", SignRotation::None), ("newer", SignRotation::Hadamard)];
    let features = kinds.map(|(kind, rotation)| {
        let mut desc = old.clone();
        (desc.kind.name, desc.dtype, desc.rotation) = (kind.to_owned(), DType::I1, rotation);
        JobFeature { desc, attrs: FeatureAttrs::new(kind.to_owned(), 16) }
    });
    let plan = JobPlan {
        command: "ingest".to_owned(),
        identity: serde_json::json!("signs"),
        features: features.to_vec(),
        detail: serde_json::json!({}),
    };
    let mut job = store.start_job(plan).unwrap();
    for feature in 0..2 {
        let mut writer = job.segment_writer(feature).unwrap();
        (0..20).for_each(|row| writer.push(row, &[1.5; 16], RowFlags::empty()).unwrap());
        job.seal(feature, writer).unwrap();
    }
    job.publish(None, true).unwrap();
    let token = crate::token(&store, "all", None);
    let server = Server::on(store, token, folder, options());
    let client = Client::of(&server).await;
    for (feature, rotation) in
        [("grad-adam@checkpoint-1", None), ("older", None), ("newer", Some("hadamard"))]
    {
        let path = ["vectors", "pool", feature].map(str::to_owned).to_vec();
        let (schema, batches) = client.rows(FlightDescriptor::new_path(path)).await.unwrap();
        assert_eq!(schema.metadata().get("gstore.rotation").map(String::as_str), rotation, "{feature}");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20);
    }
}

fn check(batch: &RecordBatch, reader: &gstore_store::FeatureReader, row: &mut u64) {
    let rows = batch.column(0).as_primitive::<arrow_array::types::UInt64Type>();
    let vectors = batch.column_by_name("vector").unwrap().as_fixed_size_list();
    let scales = batch.column_by_name("scale").unwrap().as_fixed_size_list();
    for i in 0..batch.num_rows() {
        assert_eq!(rows.value(i), *row);
        let vector = vectors.value(i);
        let scale = scales.value(i).as_primitive::<Float32Type>().value(0);
        let sent = vector.as_primitive::<Float16Type>().values();
        let stored = reader.row(*row).unwrap().unwrap().vector;
        assert!(
            sent.iter().zip(&stored).all(|(a, b)| (a.to_f32() * scale).to_bits() == b.to_bits()),
            "row {row}"
        );
        *row += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_place_of_a_ticket_is_answered_too() {
    let (_server, client) = served(options()).await;
    let command = CommandStatementQuery { query: "SELECT 7".into(), transaction_id: None };
    let ticket = arrow_flight::Ticket::new(command.as_any().encode_to_vec());
    assert!(text(&client.get(ticket).await.unwrap().1).contains('7'));
}
