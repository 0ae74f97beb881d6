//! Flight SQL: statements, prepared statements, and the tables about tables.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas,
    CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementQuery, CommandStatementUpdate, ProstMessageExt, SqlInfo,
};
use arrow_flight::{FlightDescriptor, IpcMessage};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::Schema;
use gstore_core::Cancel;
use gstore_server::{Remote, RemoteOptions};
use gstore_sql::{Parameters, SqlErrorKind, SqlOptions, SqlRunner};
use gstore_store::{BackupOptions, DatasetName, Store, ViewOptions};
use prost::Message;
use tonic::Code;

use crate::client::{Client, command, messages, statement, text};
use crate::{Server, fixture, options, served, token};

const STATEMENTS: [&str; 7] = [
    "SELECT * FROM pool ORDER BY row",
    "SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 5",
    "SELECT row, vector FROM vectors('pool', 'grad-adam@checkpoint-1') ORDER BY row",
    "SELECT * FROM gstore.features ORDER BY number",
    "SELECT repeat('x', 9) AS x, [1, 2] AS l, arrow_cast(0.5, 'Float16') AS h, \
     arrow_cast([1, 2], 'LargeList(Int32)') AS ll, {x: arrow_cast(['a'], 'LargeList(Utf8)')} AS s",
    "SELECT row FROM pool WHERE row > 100",
    "DESCRIBE pool",
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_give_what_a_session_gives_here() {
    let (server, client) = served(options()).await;
    let snapshot = server.store.snapshot().unwrap();
    let session =
        gstore_sql::SqlSession::new(snapshot, SqlOptions { threads: 2, ..SqlOptions::default() }).unwrap();
    for sql in STATEMENTS {
        let here = session.run(sql).await.unwrap();
        let batches: Vec<_> = futures::TryStreamExt::try_collect(here.stream).await.unwrap();
        // By the plan of the question, and then without it or by a copy.
        for _ in 0..2 {
            let (told, rows) = client.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_eq!(told.fields(), here.schema.fields(), "{sql}");
            assert_eq!(text(&rows), text(&batches), "{sql}");
        }
    }
    let (_, plan) = client
        .sql("EXPLAIN ANALYZE SELECT id FROM influence('pool', 'target') ORDER BY score DESC LIMIT 2")
        .await
        .unwrap();
    assert!(text(&plan).contains("rows_scored="), "{}", text(&plan));
    // The tables about tables have the schema that they are said to have, too.
    let tables = |include_schema| CommandGetTables { include_schema, ..CommandGetTables::default() };
    for (descriptor, columns) in [
        (command(&CommandGetCatalogs {}), 1),
        (command(&CommandGetDbSchemas::default()), 2),
        (command(&tables(false)), 4),
        (command(&tables(true)), 5),
        (command(&CommandGetTableTypes {}), 1),
        (command(&CommandGetPrimaryKeys { table: "pool".into(), ..CommandGetPrimaryKeys::default() }), 6),
        (command(&CommandGetExportedKeys { table: "pool".into(), ..CommandGetExportedKeys::default() }), 13),
        (command(&CommandGetImportedKeys { table: "pool".into(), ..CommandGetImportedKeys::default() }), 13),
        (command(&CommandGetCrossReference { pk_table: "pool".into(), ..Default::default() }), 13),
        (command(&CommandGetSqlInfo::default()), 2),
        (command(&CommandGetXdbcTypeInfo::default()), 19),
    ] {
        let (schema, _) = client.rows(descriptor).await.unwrap();
        assert_eq!(schema.fields().len(), columns);
    }
    for (catalog, schema, keys) in
        [("store", "data", 1), ("store", "gstore", 0), ("other", "data", 0), ("", "data", 0)]
    {
        let keyed = CommandGetPrimaryKeys {
            catalog: Some(catalog.into()),
            db_schema: Some(schema.into()),
            table: "pool".into(),
        };
        let (_, batches) = client.rows(command(&keyed)).await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), keys, "{catalog}.{schema}");
    }
    let only = CommandGetTables {
        db_schema_filter_pattern: Some("data".into()),
        table_name_filter_pattern: Some("p%l".into()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let (_, batches) = client.rows(command(&only)).await.unwrap();
    assert_eq!(batches[0].column(2).as_string::<i32>().value(0), "pool");
    let schema = IpcMessage(batches[0].column(4).as_binary::<i32>().value(0).to_vec().into());
    let schema = Schema::try_from(schema).unwrap();
    assert_eq!(schema.field(0).name(), "row");
    let names = CommandGetSqlInfo { info: vec![SqlInfo::FlightSqlServerName as u32, 90_000] };
    assert_eq!(client.rows(command(&names)).await.unwrap().1[0].num_rows(), 1);
    let nulls = CommandGetSqlInfo { info: vec![SqlInfo::SqlNullOrdering as u32] };
    let nulls = text(&client.rows(command(&nulls)).await.unwrap().1);
    assert!(nulls.contains("{bigint_value=3}"), "at the end in both orders: {nulls}");
    let subqueries = CommandGetSqlInfo { info: vec![SqlInfo::SqlSupportedSubqueries as u32] };
    let subqueries = text(&client.rows(command(&subqueries)).await.unwrap().1);
    assert!(subqueries.contains("=15}"), "compared, EXISTS, IN, and ANY and ALL: {subqueries}");
    client.sql("SELECT row FROM pool WHERE row = ANY (SELECT row FROM target)").await.unwrap();
    client.sql("SELECT row FROM pool WHERE row < ALL (SELECT row + 1 FROM target)").await.unwrap();
    let times = CommandGetSqlInfo { info: vec![SqlInfo::SqlDatetimeFunctions as u32] };
    let times = text(&client.rows(command(&times)).await.unwrap().1);
    assert!(times.contains("date_part") && !times.contains("extract"), "{times}");
    let types = text(&client.rows(command(&CommandGetXdbcTypeInfo::default())).await.unwrap().1);
    let said = "SELECT unnest([typeof(1::UBIGINT), typeof(1::UINTEGER), typeof(1::REAL), typeof('a'::BYTEA), \
         typeof(1::USMALLINT), typeof(1::UTINYINT), typeof(now()), typeof(INTERVAL '1 day')]) AS t";
    let (_, said) = client.sql(said).await.unwrap();
    let said: Vec<&str> =
        said.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    assert_eq!(said[..4], ["UBIGINT", "UINTEGER", "FLOAT", "BLOB"]);
    assert_eq!(said[4..], ["USMALLINT", "UTINYINT", "TIMESTAMP WITH TIME ZONE", "INTERVAL"]);
    assert!(said.iter().all(|name| types.contains(&format!("| {name} "))), "{types}");
    let unknown = CommandGetSqlInfo { info: vec![90_000] };
    assert!(client.rows(command(&unknown)).await.unwrap().1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_keeps_no_client_from_the_list_of_tables() {
    let (server, client) = served(options()).await;
    let roots = fs_err::read_dir(server.store.path().join("manifests")).unwrap().map(|file| file.unwrap());
    let number = |file: &fs_err::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        name.strip_prefix("root-").and_then(|rest| rest.split(['-', '.']).next()?.parse::<u64>().ok())
    };
    let oldest = roots.filter(|file| number(file).is_some()).min_by_key(number).unwrap();
    fs_err::write(oldest.path(), "{}").unwrap();
    assert_eq!(client.sql("SELECT number FROM gstore.snapshots").await.unwrap_err().code(), Code::DataLoss);
    let described = client.sql("DESCRIBE gstore.snapshots").await.unwrap().1;
    assert!(text(&described).contains("parent"), "{}", text(&described));

    let asked = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let (_, batches) = client.rows(command(&asked)).await.unwrap();
    let columns = |batch: &RecordBatch| -> Vec<usize> {
        let schemas = batch.column(2).as_string::<i32>().iter().zip(batch.column(4).as_binary::<i32>());
        let asked = schemas.filter(|(name, _)| matches!(name, Some("pool" | "snapshots" | "features")));
        asked
            .map(|(_, schema)| {
                let schema = IpcMessage(schema.unwrap().to_vec().into());
                Schema::try_from(schema).unwrap().fields().len()
            })
            .collect()
    };
    let columns: Vec<usize> = batches.iter().flat_map(columns).collect();
    assert!(columns.len() == 3 && columns.iter().all(|count| *count > 5), "{columns:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_listed_with_their_columns() {
    let (server, client) = served(options()).await;
    for (name, sql) in [("few", "SELECT id, row AS n FROM pool LIMIT 3"), ("lost", "SELECT id FROM gone")] {
        let name = DatasetName::try_from(name).unwrap();
        server.store.create_view(None, &name, sql, ViewOptions::default()).unwrap();
    }
    let listed = async |asked: CommandGetTables| -> Vec<(String, String, Vec<String>)> {
        let (_, batches) = client.rows(command(&asked)).await.unwrap();
        let of = |batch: &RecordBatch| -> Vec<(String, String, Vec<String>)> {
            let texts = |column: usize| batch.column(column).as_string::<i32>();
            let columns = |row: usize| {
                let schema = IpcMessage(batch.column(4).as_binary::<i32>().value(row).to_vec().into());
                let schema = Schema::try_from(schema).unwrap();
                schema.fields().iter().map(|field| field.name().clone()).collect()
            };
            let row =
                |i| (format!("{}.{}", texts(1).value(i), texts(2).value(i)), texts(3).value(i).to_owned());
            (0..batch.num_rows()).map(|i| (row(i).0, row(i).1, columns(i))).collect()
        };
        batches.iter().flat_map(of).collect()
    };
    let all = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let views = CommandGetTables { table_types: vec!["VIEW".into()], ..all.clone() };
    let expected = [("data.few", vec!["id", "n"]), ("data.lost", vec![])].map(|(name, columns)| {
        (name.to_owned(), "VIEW".to_owned(), columns.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(listed(views).await, expected);
    let everything = listed(all.clone()).await;
    assert!(expected.iter().all(|view| everything.contains(view)), "{everything:?}");
    assert!(everything.iter().any(|(name, kind, _)| name == "data.pool" && kind == "TABLE"));
    let tables = listed(CommandGetTables { table_types: vec!["TABLE".into()], ..all }).await;
    assert!(!tables.is_empty() && tables.iter().all(|(_, kind, _)| kind == "TABLE"), "{tables:?}");
    let kinds = text(&client.rows(command(&CommandGetTableTypes {})).await.unwrap().1);
    assert!(["| SYSTEM TABLE ", "| TABLE ", "| VIEW "].iter().all(|kind| kinds.contains(kind)), "{kinds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_ask_for_the_columns_gives_those_of_the_stream() {
    let (_server, client) = served(options()).await;
    let word = "arrow_cast('x', 'Dictionary(Int8, Utf8)')";
    let long = "arrow_cast([1, 2], 'LargeList(Int32)')";
    for (values, types) in [
        (format!("{long} AS a"), "LargeList(Int32)"),
        (format!("{word} AS a"), "Utf8"),
        (format!("[{word}] AS a"), "List(Utf8)"),
        (format!("{{x: {word}, y: {long}}} AS a"), "Struct(\"x\": Utf8, \"y\": LargeList(Int32))"),
        (format!("{long} AS a, {word} AS b"), "LargeList(Int32), Utf8"),
        (
            format!("arrow_cast([1, 2], 'FixedSizeList(2, Float16)') AS a, {word} AS b"),
            "FixedSizeList(2 x Float16), Utf8",
        ),
    ] {
        let sql = format!("SELECT {values} FROM range(3)");
        // Compares what is told with what comes.
        let (told, rows) = client.sql(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let shown: Vec<String> = told.fields().iter().map(|f| f.data_type().to_string()).collect();
        assert_eq!(shown.join(", "), types, "{sql}");
        assert!(rows.iter().all(|batch| batch.schema().fields() == told.fields()), "{sql}");
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
        let asked = client.inner.clone().get_schema(client.request(statement(&sql))).await.unwrap();
        assert_eq!(Schema::try_from(IpcMessage(asked.into_inner().schema)).unwrap(), told, "{sql}");
        let prepared = client.prepare(&sql).await.unwrap();
        assert_eq!(Schema::try_from(IpcMessage(prepared.dataset_schema)).unwrap(), told, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_values_also_in_the_arguments_of_functions() {
    let (mut server, client) = served(options()).await;
    let prepared =
        client.prepare("SELECT id, score FROM influence(?, ?, k => ?) ORDER BY score DESC").await.unwrap();
    let parameters = Schema::try_from(IpcMessage(prepared.parameter_schema)).unwrap();
    let types: Vec<String> = parameters.fields().iter().map(|f| f.data_type().to_string()).collect();
    assert_eq!(types, ["Utf8", "Utf8", "Int64"]);
    let dataset = Schema::try_from(IpcMessage(prepared.dataset_schema)).unwrap();
    assert_eq!(dataset.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["id", "score"]);
    let handle = prepared.prepared_statement_handle;
    let unbound = client.run_prepared(handle.clone()).await.unwrap_err();
    let says =
        "the parameter $1 has no value\n  it is given with the statement: send one value for each parameter";
    assert!(unbound.message().contains(says), "{unbound}");
    let row = |k: i64| {
        let columns: [(&str, ArrayRef); 3] = [
            ("0", Arc::new(StringArray::from(vec!["pool"]))),
            ("1", Arc::new(StringArray::from(vec!["target"]))),
            ("2", Arc::new(Int64Array::from(vec![k]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    };
    let bound = client.bind(handle.clone(), row(3)).await.unwrap();
    let (_, rows) = client.run_prepared(bound.clone()).await.unwrap();
    let (_, direct) = client
        .sql("SELECT id, score FROM influence('pool', 'target', k => 3) ORDER BY score DESC")
        .await
        .unwrap();
    assert_eq!(text(&rows), text(&direct));
    let many = arrow_select::concat::concat_batches(&row(1).schema(), [&row(1), &row(2)]);
    assert_eq!(client.bind(handle.clone(), many.unwrap()).await.unwrap_err().code(), Code::InvalidArgument);
    let packed = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
    if let Ok(packed) = packed {
        let status = client.bind_as(handle.clone(), row(3), packed).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("compressed"), "{status}");
    }
    // Handles outlive the server, and are only taken as they were given.
    let mut changed = bound.to_vec();
    changed[40] ^= 1;
    assert_eq!(client.run_prepared(changed.into()).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop();
    let again = server.again();
    let client = Client::with(&again, &server.token).await;
    assert_eq!(text(&client.run_prepared(bound).await.unwrap().1), text(&direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_says_what_does_it_or_that_it_is_a_query() {
    let (_server, client) = served(options()).await;
    let rows =
        RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
    let refused = async |update: FlightDescriptor| {
        let sent = messages(update, vec![rows.clone()], IpcWriteOptions::default()).await;
        client.inner.clone().do_put(client.request(futures::stream::iter(sent))).await.err().unwrap()
    };
    // A message of the type "".
    let nothing = refused(FlightDescriptor::new_cmd(vec![0x0a, 0x00])).await;
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert!(nothing.message().contains("neither with a command of Flight SQL nor"), "{nothing}");
    let prepared_statement_handle = client.prepare("SELECT $1").await.unwrap().prepared_statement_handle;
    let several = refused(command(&CommandPreparedStatementUpdate { prepared_statement_handle })).await;
    assert_eq!(several.code(), Code::InvalidArgument);
    assert!(several.message().contains("executemany, are not supported"), "{several}");
    let open = "SELECT * FROM influence('po' || $1, 'target')";
    let prepared_statement_handle = client.prepare(open).await.unwrap().prepared_statement_handle;
    let unknown = refused(command(&CommandPreparedStatementUpdate { prepared_statement_handle })).await;
    assert!(unknown.message().contains("known only with the values of its parameters"), "{unknown}");
    let wrong = client.prepare("SELECT source, count(*) FROM pool WHERE length > ?").await.unwrap_err();
    assert!(wrong.code() == Code::InvalidArgument && wrong.message().contains("GROUP BY"), "{wrong}");
    for (sql, says) in [
        ("SELECT 1", "this statement changes nothing; send it as a query"),
        ("SELECT nothing FROM pool", "there is no column"),
        ("DELETE FROM pool WHERE row = 1", "a job of the store does that"),
    ] {
        let update = CommandStatementUpdate { query: sql.to_owned(), transaction_id: None };
        let status = refused(command(&update)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
        assert!(status.message().contains(says), "{sql}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_a_transaction_is_refused() {
    let (_server, client) = served(options()).await;
    let query = || "SELECT 1".to_owned();
    let of = |id: &'static [u8]| Some(bytes::Bytes::from_static(id));
    let asked = command(&CommandStatementQuery { query: query(), transaction_id: of(b"1") });
    assert_eq!(client.rows(asked).await.unwrap_err().code(), Code::Unimplemented);
    let request = ActionCreatePreparedStatementRequest { query: query(), transaction_id: of(b"1") };
    let prepared = client.action("CreatePreparedStatement", request.as_any().encode_to_vec()).await;
    assert_eq!(prepared.unwrap_err().code(), Code::Unimplemented);
    let without = command(&CommandStatementQuery { query: query(), transaction_id: of(b"") });
    assert!(client.rows(without).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_values_of_parameters_once() {
    let (_server, client) = served(options()).await;
    let handle = client.prepare("SELECT length($1) AS n").await.unwrap().prepared_statement_handle;
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
    let bound = client.bind(handle, RecordBatch::try_from_iter([("1", long)]).unwrap()).await.unwrap();
    let asked = command(&CommandPreparedStatementQuery { prepared_statement_handle: bound.clone() });
    let info = client.info(asked).await.unwrap();
    assert!(info.encoded_len() < bound.len() + 4096, "{} of {}", info.encoded_len(), bound.len());
    let rows = client.get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap().1;
    assert!(text(&rows).contains("1048576"), "{}", text(&rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_the_store_is_refused_with_what_does_it() {
    let (_server, client) = served(options()).await;
    for (sql, says) in [
        ("DELETE FROM pool WHERE row = 1", "a job of the store does that"),
        ("INSERT INTO pool VALUES (1)", "a job of the store does that"),
        ("UPDATE pool SET id = 'x'", "a job of the store does that"),
        ("DROP TABLE pool", "a job of the store does that"),
        ("CREATE TABLE x AS SELECT 1", "a job of the store does that"),
        ("COPY pool TO '/tmp/x.csv'", "writes a result"),
        ("EXPLAIN ANALYZE COPY pool TO '/tmp/x.csv'", "not allowed"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "a job of the store does that"),
        ("SET datafusion.execution.batch_size = 1", "not allowed"),
        ("SELECT * FROM '/etc/passwd'", "there is no table"),
        ("SELECT 1; SELECT 2", "only one statement is allowed"),
    ] {
        for status in client.refused(sql).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
            assert!(status.message().contains(says), "{sql}: {status}");
        }
    }
    let chain = format!("SELECT {}1", "1 + ".repeat(5000));
    assert_eq!(client.sql(&chain).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server_are_not_shown() {
    let (_server, client) = served(options()).await;
    for sql in [
        "SHOW ALL",
        "SHOW datafusion.runtime.temp_directory",
        "SELECT value FROM information_schema.df_settings",
        "SELECT (SELECT max(value) FROM store.information_schema.DF_SETTINGS) AS s",
        "WITH s AS (SELECT * FROM information_schema.df_settings) SELECT a.value FROM s AS a",
        "EXPLAIN ANALYZE VERBOSE SELECT value FROM information_schema.df_settings",
    ] {
        for status in client.refused(sql).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
            assert!(status.message().contains("settings of a server"), "{sql}: {status}");
        }
    }
    assert!(client.sql("SELECT table_name FROM information_schema.tables").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_a_pivot_are_looked_up_while_it_is_planned() {
    let (_server, client) = served(options()).await;
    let sql = "PIVOT (SELECT * FROM (VALUES ('b', 1), ('a', 2), ('b', 3)) AS v(k, n)) ON k USING sum(n)";
    assert!(client.prepare(sql).await.is_ok());
    // By the plan of the question, and then without it.
    for _ in 0..2 {
        let (told, rows) = client.sql(sql).await.unwrap();
        let names: Vec<&str> = told.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(rows[0].column(1).as_primitive::<arrow_array::types::Int64Type>().value(0), 4);
    }
    for sql in ["PIVOT (SELECT * FROM gstore.statements) ON state", "PIVOT (SELECT random() > 2 AS k) ON k"] {
        for status in client.refused(sql).await {
            assert!(status.message().contains("may be others when it runs"), "{status}");
        }
    }
    assert!(client.sql("PIVOT (SELECT * FROM gstore.statements) ON state IN ('running')").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_each_element_are_computed() {
    let (_server, client) = served(options()).await;
    let sql = "SELECT len([y FOR y IN list_transform([1, 2, 3], x -> x + 1) IF y > 2]) AS n FROM extra";
    let rows = client.sql(sql).await.unwrap().1;
    assert_eq!(rows[0].column(0).as_primitive::<arrow_array::types::Int64Type>().value(0), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reads_one_snapshot_and_the_next_one_what_was_published() {
    let (server, client) = served(options()).await;
    let before = server.store.snapshot().unwrap().number();
    let count = "SELECT count(*) AS n FROM extra";
    let info = client.info(statement(count)).await.unwrap();
    let prepared = client.prepare(count).await.unwrap().prepared_statement_handle;
    let sample = |i: usize| (format!("new{i}"), "{\"text\": \"new\"}".to_owned(), Vec::new());
    fixture::append_samples(&server.store, "extra", Vec::new(), 2, sample);
    let number =
        |rows: &[RecordBatch]| rows[0].column(0).as_primitive::<arrow_array::types::Int64Type>().value(0);
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert_eq!(number(&client.get(ticket).await.unwrap().1), 3, "the snapshot of the question");
    assert_eq!(number(&client.sql(count).await.unwrap().1), 5);
    assert_eq!(number(&client.run_prepared(prepared).await.unwrap().1), 5);
    let mut pinned = client.clone();
    pinned.headers.push(("gstore-snapshot", before.to_string()));
    assert_eq!(number(&pinned.sql(count).await.unwrap().1), 3);
    pinned.headers.pop();
    pinned.headers.push(("gstore-snapshot", "999".to_owned()));
    let unknown = pinned.sql(count).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let why = "there is no snapshot 999; the history goes from ";
    assert!(unknown.message().starts_with(why), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_restored_in_its_folder_is_what_the_next_request_sees() {
    let (server, mut client) = served(options()).await;
    let path = server.store.path().to_owned();
    let [saved, old] = ["saved", "old"].map(|name| path.with_file_name(name));
    let more = |rows: usize| {
        let sample = |i: usize| (format!("new{i}"), "{\"text\": \"new\"}".to_owned(), Vec::new());
        fixture::append_samples(&Store::open(&path).unwrap(), "extra", Vec::new(), rows, sample);
    };
    let number =
        |rows: &[RecordBatch]| rows[0].column(0).as_primitive::<arrow_array::types::Int64Type>().value(0);
    let never = Cancel::new();
    server.store.backup(&saved, &BackupOptions::default(), &mut |_| {}, &never).unwrap();
    more(2);
    let count = "SELECT count(*) AS n FROM extra";
    let newest = ("gstore-snapshot", server.store.snapshot().unwrap().number().to_string());
    let mut pinned = client.clone();
    pinned.headers.push(newest.clone());
    let ticket = client.info(statement(count)).await.unwrap().endpoint[0].ticket.clone().unwrap();
    let free = client.prepare(count).await.unwrap().prepared_statement_handle;
    let held = pinned.prepare(count).await.unwrap().prepared_statement_handle;
    assert_eq!(number(&client.get(ticket.clone()).await.unwrap().1), 5);

    fs_err::rename(&path, &old).unwrap();
    Store::restore(&saved, &path, &mut |_| {}, &never).unwrap();
    // Tokens are in no backup.
    client.headers = vec![("authorization", format!("Bearer {}", token(&server.store, "all", None)))];
    assert_eq!(number(&client.sql(count).await.unwrap().1), 3);
    assert_eq!(client.get(ticket.clone()).await.unwrap_err().code(), Code::NotFound);
    // The same number as before.
    more(1);
    let mut pinned = client.clone();
    pinned.headers.push(newest);
    assert_eq!(number(&client.sql(count).await.unwrap().1), 4);
    assert_eq!(number(&pinned.sql(count).await.unwrap().1), 4);
    assert_eq!(number(&client.run_prepared(free).await.unwrap().1), 4);
    for gone in [client.get(ticket).await, client.run_prepared(held).await] {
        let status = gone.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().contains("the store was restored"), "{status}");
    }
}

#[test]
fn the_client_gives_rows_notes_and_errors_as_a_runner_here() {
    let mut server = Server::start(options());
    let remote = RemoteOptions {
        address: format!("grpc://{}", server.address),
        token: Some(server.token.clone()),
        ..RemoteOptions::default()
    };
    let remote = Remote::connect(&remote).unwrap();
    let here = SqlRunner::new(server.store.snapshot().unwrap(), SqlOptions::default()).unwrap();
    let (never, none) = (Cancel::new(), Parameters::default());
    for sql in STATEMENTS {
        let mut there = remote.run(sql, &none, &never).unwrap();
        let mut local = here.run(sql, &never).unwrap();
        let batches = |rows: &mut dyn Iterator<Item = Result<RecordBatch, gstore_sql::SqlError>>| {
            rows.map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(text(&batches(&mut there)), text(&batches(&mut local)), "{sql}");
        assert_eq!(there.notes(), local.notes(), "{sql}");
        assert_eq!(there.schema().fields(), local.schema().fields(), "{sql}");
    }
    let mut values = Parameters::default();
    values.add(Some("k"), &serde_json::json!(2)).unwrap();
    values.add(Some("t"), &serde_json::json!("target")).unwrap();
    let rows = remote.run("SELECT id FROM influence('pool', $t, k => $k)", &values, &never).unwrap();
    assert_eq!(rows.map(|b| b.unwrap().num_rows()).sum::<usize>(), 2);
    for sql in ["SELECT nothing FROM pool", "SELEC 1", "SELECT id FROM influence('pol', 'target')"] {
        let there = remote.run(sql, &none, &never).err().unwrap();
        assert_eq!(there.to_string(), here.run(sql, &never).err().unwrap().to_string());
    }
    let raised = Cancel::raised();
    let stopped = remote.run("SELECT 1", &none, &raised).err().unwrap();
    assert_eq!(stopped.kind(), SqlErrorKind::Cancelled);
    server.stop();
    // The first may still meet the old connection; a new one is refused.
    for _ in 0..2 {
        let gone = remote.run("SELECT 1", &none, &never).err().unwrap().to_string();
        assert!(gone.contains("the server may have stopped"), "{gone}");
    }
}
