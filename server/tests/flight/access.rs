//! Access: tokens of all sorts, what they see, and bytes that are no requests.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandGetTableTypes, CommandGetTables};
use arrow_flight::{Criteria, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use gstore_server::{NewToken, Scope, ServeError, ServeOptions, Tokens, serve};
use gstore_store::{
    ArtifactPart, DatasetName, EnsembleUpdate, LossColumns, Member, RowFlags, Store, ViewOptions,
};
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Client, basic, channel, command, statement, text};
use crate::{Server, options, served, token};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_works_gets_in() {
    let server = Server::start(options());
    let tokens = Tokens::of(&server.store);
    let new =
        |name: &str, expires| NewToken { name: name.into(), scope: Scope::Read, expires, datasets: None };
    let expired = tokens.create(new("expired", Some(Duration::ZERO))).unwrap();
    let revoked = tokens.create(new("revoked", None)).unwrap();
    assert!(Client::with(&server, &revoked).await.sql("SELECT 1").await.is_ok());
    tokens.revoke("revoked").unwrap();
    let code = |status: tonic::Status| status.code();
    // Twenty refusals in a row are what an address may have, so not every call is tried with every token.
    for bad in ["gst_x", &expired, &server.token[..40]] {
        let client = Client::with(&server, bad).await;
        assert_eq!(client.sql("SELECT 1").await.map_err(code).err(), Some(Code::Unauthenticated), "{bad}");
    }
    for bad in ["", &revoked] {
        let client = Client::with(&server, bad).await;
        assert_eq!(client.sql("SELECT 1").await.map_err(code).err(), Some(Code::Unauthenticated), "{bad}");
        assert_eq!(client.get(Ticket::new(vec![1])).await.map_err(code).err(), Some(Code::Unauthenticated));
        assert_eq!(client.action("health", vec![]).await.map_err(code).err(), Some(Code::Unauthenticated));
        assert_eq!(client.prepare("SELECT 1").await.map_err(code).err(), Some(Code::Unauthenticated));
        let request = client.request(Criteria::default());
        assert_eq!(
            client.inner.clone().list_flights(request).await.err().unwrap().code(),
            Code::Unauthenticated
        );
        let request = client.request(statement("SELECT 1"));
        assert_eq!(
            client.inner.clone().get_schema(request).await.err().unwrap().code(),
            Code::Unauthenticated
        );
        let put = client.request(futures::stream::iter([]));
        assert_eq!(client.inner.clone().do_put(put).await.err().unwrap().code(), Code::Unauthenticated);
    }
    let mut none = Client::of(&server).await;
    none.headers.clear();
    assert_eq!(none.sql("SELECT 1").await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_a_moment_makes_no_token_a_wrong_one() {
    let (server, client) = served(options()).await;
    let here = server.store.path().to_owned();
    let away = here.with_extension("away");
    fs_err::rename(&here, &away).unwrap();
    // More often than an address may show wrong tokens.
    for _ in 0..30 {
        assert_eq!(client.sql("SELECT 1").await.unwrap_err().code(), Code::Unavailable);
    }
    fs_err::rename(&away, &here).unwrap();
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_turns_a_password_into_a_bearer() {
    let server = Server::start(options());
    let mut client = FlightServiceClient::new(channel(&server).await);
    let response = client.handshake(basic(&server.token)).await.unwrap();
    let bearer = response.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
    assert_eq!(bearer, format!("Bearer {}", server.token));
    assert_eq!(response.into_inner().try_collect::<Vec<_>>().await.unwrap().len(), 1);
    assert_eq!(client.handshake(basic("wrong")).await.err().unwrap().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_some_datasets_sees_no_others() {
    let server = Server::start(options());
    let narrow = token(&server.store, "narrow", Some(&["pool", "target"]));
    // A dataset that was dropped may be one that was hidden.
    let of_dropped = DatasetName::try_from("left_over").unwrap();
    server.store.create_view(None, &of_dropped, "SELECT id FROM gone", ViewOptions::default()).unwrap();
    let client = Client::with(&server, &narrow).await;
    for sql in [
        "SELECT count(*) FROM pool",
        "SELECT id FROM influence('pool', 'target') ORDER BY score DESC LIMIT 1",
        "SELECT row FROM vectors('pool', 'grad-adam@checkpoint-1')",
    ] {
        assert!(client.sql(sql).await.is_ok(), "{sql}");
    }
    for sql in [
        "SELECT * FROM other",
        "SELECT * FROM store.data.other",
        "SELECT id FROM influence('pool', 'other') ORDER BY score DESC LIMIT 1",
        "SELECT id FROM influence('extra', 'target') ORDER BY score DESC LIMIT 1",
        "SELECT row FROM vectors('other', 'grad-sgd@checkpoint-1')",
        "EXPLAIN SELECT * FROM other",
        "DESCRIBE other",
    ] {
        let status = client.sql(sql).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
    }
    let missing = client.rows(FlightDescriptor::new_path(vec!["dataset".into(), "other".into()])).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    let tables = text(&client.rows(command(&CommandGetTables::default())).await.unwrap().1);
    let mut shown = vec![("flights", client.flights("").await.join(" ")), ("tables", tables)];
    for table in [
        "gstore.artifacts",
        "gstore.datasets",
        "gstore.columns",
        "gstore.features",
        "gstore.segments",
        "gstore.samples",
        "gstore.snapshots",
        "gstore.tags",
        "gstore.views",
        "information_schema.tables",
        "information_schema.views",
    ] {
        shown.push((table, text(&client.sql(&format!("SELECT * FROM {table}")).await.unwrap().1)));
    }
    for (what, listed) in shown {
        for hidden in ["other", "foreign", "extra", "holes", "bare", "left_over", "gone"] {
            assert!(!listed.contains(hidden), "{what}: {listed}");
        }
    }
    // A handle of somebody who sees more gives no more.
    let all = Client::of(&server).await;
    let info = all.info(statement("SELECT * FROM other")).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert!(all.get(ticket.clone()).await.is_ok());
    assert_eq!(client.get(ticket).await.unwrap_err().code(), Code::InvalidArgument);
}

/// An ensemble of two models, with losses of the first row of a dataset.
fn ensemble(store: &Store, name: &str, dataset: &str) {
    let members = (0..2).map(|k| Member::new(format!("{name}-{k}"), "theta"));
    let snapshot = store.update_ensemble(&EnsembleUpdate::new(name, "theta", members), "test").unwrap();
    let columns = LossColumns::new(snapshot.ensemble(name).unwrap(), dataset, "");
    let plan = LossColumns::plan("test", vec![columns.members(0..2, 0)], &Value::Null);
    let mut job = store.start_job(plan).unwrap();
    let mut writer = job.segment_writer(0).unwrap();
    writer.push(0, &[0.5f32, 0.25], RowFlags::empty()).unwrap();
    job.seal(0, writer).unwrap();
    job.publish(None, false).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_artifacts_are_seen_by_who_sees_their_datasets() {
    let server = Server::start(options());
    for (name, dataset) in [("of_pool", "pool"), ("of_other", "other")] {
        ensemble(&server.store, name, dataset);
        let name = format!("sums_{name}");
        let mut part = ArtifactPart::new(&name, "gram", vec![dataset.to_owned()], json!(1));
        part.provenance.insert("command".into(), json!("gstore factors --beside other"));
        for key in ["folder", "model", "weights", "tokenizer"] {
            part.provenance.insert(key.into(), json!(format!("/srv/models/{key}-of-it")));
        }
        server.store.put_artifact(part, None, None, "gstore factors --beside other").unwrap();
    }
    // The word is the name of an artifact or an ensemble, not that of its dataset.
    for of in ["of_pool", "of_other"] {
        for (name, call) in [
            ("sums", format!("influence('pool', 'target', precondition => 'sums_{of}')")),
            ("models", format!("daunce('pool', 'target', ensemble => '{of}')")),
            ("kept", format!("predicted('pool', 'sums_{of}')")),
        ] {
            let name = DatasetName::try_from(format!("{name}_by_{of}").as_str()).unwrap();
            let sql = format!("SELECT id FROM {call}");
            server.store.create_view(None, &name, &sql, ViewOptions::default()).unwrap();
        }
    }
    let narrow = token(&server.store, "narrow", Some(&["pool", "target"]));
    let (all, narrow) = (Client::of(&server).await, Client::with(&server, &narrow).await);
    let listed = async |client: &Client, table: &str| -> String {
        text(&client.sql(&format!("SELECT * FROM gstore.{table}")).await.unwrap().1)
    };
    for table in ["artifacts", "checkpoints", "features", "members", "segments", "snapshots", "views"] {
        let listed = listed(&narrow, table).await;
        assert!(!listed.contains("other") && !listed.contains("/srv"), "{table}: {listed}");
    }
    for (table, own, hidden) in [
        ("members", "of_pool-1", "of_other-1"),
        ("artifacts", "sums_of_pool", "sums_of_other"),
        ("views", "sums_by_of_pool", "sums_by_of_other"),
        ("views", "models_by_of_pool", "models_by_of_other"),
        ("views", "kept_by_of_pool", "kept_by_of_other"),
    ] {
        assert!(listed(&narrow, table).await.contains(own), "{table}");
        let of_all = listed(&all, table).await;
        assert!(of_all.contains(hidden) && !of_all.contains("/srv"), "{table}: {of_all}");
    }
    assert!(listed(&all, "artifacts").await.contains("weights-of-it"), "the last name is shown");
    // Nor do errors that say what there is.
    for sql in [
        "SELECT row FROM daunce('pool', 'target')",
        "SELECT row FROM daunce('pool', 'target', ensemble => 'of_othr')",
        "SELECT row FROM influence('pool', 'target', precondition => 'sums_of_othr')",
    ] {
        let status = narrow.sql(sql).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
        assert!(!status.message().contains("of_other"), "{sql}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_refused() {
    let (_server, client) = served(options()).await;
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let good = client.info(statement("SELECT 1")).await.unwrap().endpoint[0].ticket.clone().unwrap().ticket;
    let path = FlightDescriptor::new_path(vec!["..".into(), "../../etc/passwd".into()]);
    assert_eq!(client.info(path).await.unwrap_err().code(), Code::NotFound);
    for i in 0..300 {
        let mut bytes: Vec<u8> = match i % 3 {
            0 => (0..i).map(|_| random()).collect(),
            1 => good.to_vec(),
            _ => br#"{"vectors": {"dataset": "pool", "feature": "grad-adam@checkpoint-1"}}"#.to_vec(),
        };
        if let Some(at) = (!bytes.is_empty()).then(|| usize::from(random()) % bytes.len()) {
            bytes[at] ^= 1 << (i % 8);
        }
        let refused = |result: Result<(), tonic::Status>| match result {
            Ok(()) => true,
            Err(status) => {
                matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::Unimplemented)
            }
        };
        assert!(refused(client.get(Ticket::new(bytes.clone())).await.map(|_| ())), "{bytes:?}");
        assert!(
            refused(client.info(FlightDescriptor::new_cmd(bytes.clone())).await.map(|_| ())),
            "{bytes:?}"
        );
        for kind in ["CreatePreparedStatement", "CancelQuery", "CancelFlightInfo", "nothing"] {
            assert!(refused(client.action(kind, bytes.clone()).await.map(|_| ())), "{kind} {bytes:?}");
        }
    }
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_everybody() {
    let server = Server::start(options());
    let mut health = HealthClient::new(channel(&server).await);
    for service in ["", "arrow.flight.protocol.FlightService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}: serving");
    }
}

#[test]
fn what_others_can_reach_is_protected() {
    let folder = tempfile::tempdir().unwrap();
    let store = gstore_store::Store::create(folder.path().join("s")).unwrap();
    let stop = gstore_core::Cancel::raised();
    let open = || ServeOptions { listen: "0.0.0.0:0".parse().unwrap(), ..options() };
    let run = |options| serve(store.clone(), options, &stop, |_| {});
    assert!(matches!(run(open()), Err(ServeError::PlainText(_))));
    let nobody = ServeOptions { without_tokens: true, plain_text: true, ..open() };
    assert!(matches!(run(nobody), Err(ServeError::WithoutTokens(_))));
    assert!(run(ServeOptions { plain_text: true, ..open() }).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_recorded() {
    let (mut server, client) = served(options()).await;
    client.sql("SELECT row FROM pool").await.unwrap();
    let _ = client.sql("SELECT nothing").await;
    let mut lost = client.clone();
    lost.headers.push(("gstore-snapshot", "999".to_owned()));
    assert_eq!(lost.prepare("SELECT 2").await.unwrap_err().code(), Code::NotFound);
    assert!(Client::with(&server, "gst_wrong").await.sql("SELECT 3").await.is_err());
    client.flights("").await;
    client.rows(command(&CommandGetTableTypes {})).await.unwrap();
    client.action("tags", Vec::new()).await.unwrap();
    client.action("snapshots", Vec::new()).await.unwrap();
    let handle = client.prepare("SELECT $1").await.unwrap().prepared_statement_handle;
    let value: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    client.bind(handle, RecordBatch::try_from_iter([("1", value)]).unwrap()).await.unwrap();
    server.stop();
    let lines = fs_err::read_to_string(&server.audit).unwrap();
    let records: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let find = |what: &str| records.iter().find(|r| r["what"] == what).unwrap_or_else(|| panic!("{lines}"));
    let done = find("SELECT row FROM pool");
    assert_eq!((done["rows"].as_u64(), done["token"].as_str()), (Some(12), Some("all")));
    assert!(done["bytes"].as_u64().unwrap() > 0 && done["peer"].as_str().unwrap().starts_with("127."));
    assert!(!lines.contains(&server.token));
    let outcomes = ["SELECT row FROM pool", "SELECT nothing", "SELECT 2"].map(|what| &find(what)["outcome"]);
    assert_eq!(outcomes, ["ok", "invalid_argument", "not_found"]);
    for listed in ["flights", "table types", "tags", "snapshots"] {
        assert_eq!((&find(listed)["kind"], &find(listed)["token"]), (&json!("list"), &json!("all")));
    }
    let of = |kind: &str| records.iter().find(|r| r["kind"] == kind).unwrap_or_else(|| panic!("{lines}"));
    assert_eq!(of("bind")["what"], "SELECT $1");
    let refused = of("refused");
    assert!(refused["peer"].as_str().unwrap().starts_with("127.") && !lines.contains("gst_wrong"), "{lines}");
}
