"""The calls of the Flight SQL JDBC driver, as its source makes them, sent through pyarrow.

The jar is in no registry that tests can reach. What is checked here is what the driver takes its answers from: columns of
the metadata commands by place and type, schemas in prepared statements, one endpoint at least, and its order of calls.
"""

import pyarrow as pa
import pyarrow.flight as flight
from common import TOKEN, URI, local, raises, same
from protobuf import field, fields, number, packed, text

client = flight.connect(URI)
# ArrowFlightSqlClientHandler: the handshake with user and password, then the bearer token on every call.
options = flight.FlightCallOptions(headers=[client.authenticate_basic_token("tableau", TOKEN)], timeout=120)


def ask(kind, message=b""):
    """getFlightInfo, then getStream of every endpoint, as FlightSqlClient does."""
    return rows(packed(kind, message), kind)


def rows(command, what):
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command), options)
    assert len(info.endpoints) >= 1, what
    parts = [client.do_get(endpoint.ticket, options).read_all() for endpoint in info.endpoints]
    for part in parts:
        assert part.schema.equals(info.schema), f"{what}\n{part.schema}\n{info.schema}"
    return pa.concat_tables(parts)


def names(table):
    return [(f.name, str(f.type)) for f in table.schema]


def action(kind, message):
    return list(client.do_action(flight.Action(kind, packed(f"Action{kind}Request", message)), options))


def schema(data):
    """IPC-encapsulated bytes, with the mark of a continuation, as MessageSerializer reads them."""
    assert data[:4] == b"\xff\xff\xff\xff", data[:8]
    return pa.ipc.read_schema(pa.py_buffer(data))


def prepare(sql):
    [result] = action("CreatePreparedStatement", text(1, sql))
    any = fields(result.body.to_pybytes())
    assert any[1].endswith(b"ActionCreatePreparedStatementResult"), any[1]
    prepared = fields(any[2])
    return prepared[1], schema(prepared[2]), schema(prepared[3])


def run(handle, values=None):
    if values is not None:
        command = flight.FlightDescriptor.for_command(packed("CommandPreparedStatementQuery", field(1, handle)))
        writer, answers = client.do_put(command, values.schema, options)
        writer.write_batch(values)
        writer.done_writing()
        handle = fields(answers.read().to_pybytes())[1]
        writer.close()
    return rows(packed("CommandPreparedStatementQuery", field(1, handle)), "a prepared statement")


# DatabaseMetaData: everything that ArrowDatabaseMetadata reads of GetSqlInfo, in one request.
info = ask("CommandGetSqlInfo")
assert names(info)[0] == ("info_name", "uint32"), info.schema
union = info.schema.field("value").type
assert [str(f.type) for f in union] == ["string", "bool", "int64", "int32", "list<item: string>", str(union.field(5).type)]
said = dict(zip(info["info_name"].to_pylist(), info["value"].to_pylist()))
missing = [n for n in [0, 1, 3, *range(500, 577)] if n not in said and n != 526]
assert not missing, missing
assert (said[0], said[3], said[504]) == ("gstore", True, '"') and len(said[508]) > 0
some = b"".join(number(1, n) for n in [0, 504, 508])
assert sorted(ask("CommandGetSqlInfo", some)["info_name"].to_pylist()) == [0, 504, 508]

# getCatalogs, getSchemas, getTableTypes
assert names(ask("CommandGetCatalogs")) == [("catalog_name", "string")]
assert ask("CommandGetCatalogs")["catalog_name"].to_pylist() == ["store"]
schemas = ask("CommandGetDbSchemas", text(1, None) + text(2, "%"))
assert names(schemas) == [("catalog_name", "string"), ("db_schema_name", "string")]
assert schemas["db_schema_name"].to_pylist() == ["data", "gstore"]
assert ask("CommandGetDbSchemas", text(2, "da_a")).num_rows == 1
assert ask("CommandGetTableTypes")["table_type"].to_pylist() == ["SYSTEM TABLE", "TABLE", "VIEW"]

# getTables, and getColumns, which is getTables with schemas.
four = [("catalog_name", "string"), ("db_schema_name", "string"), ("table_name", "string"), ("table_type", "string")]
tables = ask("CommandGetTables", text(3, "%") + text(4, "TABLE") + number(5, False))
assert names(tables) == four and tables["table_name"].to_pylist() == ["pool", "target"], tables
assert ask("CommandGetTables", text(4, "VIEW")).num_rows == 0
columns = ask("CommandGetTables", text(1, "store") + text(2, "data") + text(3, "pool") + number(5, True))
assert names(columns) == [*four, ("table_schema", "binary")] and columns.num_rows == 1
assert schema(columns["table_schema"][0].as_py()).names == local("SELECT * FROM pool").schema.names
everything = ask("CommandGetTables", number(5, True))
assert {"pool", "features"} <= set(everything["table_name"].to_pylist())
assert all(len(schema(data)) > 0 for data in everything["table_schema"].to_pylist())

# Keys
key = ask("CommandGetPrimaryKeys", text(1, "store") + text(2, "data") + text(3, "pool"))
assert key["column_name"].to_pylist() == ["row"] and key["key_sequence"].to_pylist() == [1]
for kind in ["CommandGetExportedKeys", "CommandGetImportedKeys"]:
    found = ask(kind, text(3, "pool"))
    assert found.num_rows == 0 and len(found.schema) == 13
assert ask("CommandGetCrossReference", text(3, "pool") + text(6, "target")).num_rows == 0

# getTypeInfo
types = ask("CommandGetXdbcTypeInfo")
assert names(types)[:2] == [("type_name", "string"), ("data_type", "int32")] and types.num_rows > 5
assert len(types.schema) == 19, types.schema

# Statement.executeQuery: prepared as well; the kind of statement is told by the columns of its result.
for sql in ["SELECT id, source FROM pool ORDER BY row LIMIT 3", "SELECT row FROM pool WHERE row > 100000"]:
    handle, columns, parameters = prepare(sql)
    assert len(columns) > 0 and len(parameters) == 0, sql
    found = run(handle)
    assert found.schema.equals(columns), f"{found.schema}\n{columns}"
    same(found, local(sql), sql)
    action("ClosePreparedStatement", field(1, handle))

# PreparedStatement: setString and setInt need every parameter in the schema; executed twice.
asked = "SELECT id, score FROM influence(?, ?, k => ?) ORDER BY score DESC"
handle, columns, parameters = prepare(asked)
assert len(columns) == 2 and len(parameters) == 3, parameters
for k in [3, 8]:
    values = pa.record_batch([pa.array(["pool"]), pa.array(["target"]), pa.array([k], pa.int64())], names=["1", "2", "3"])
    wanted = f"SELECT id, score FROM influence('pool', 'target', k => {k}) ORDER BY score DESC"
    same(run(handle, values), local(wanted), wanted)
action("ClosePreparedStatement", field(1, handle))

# Statement.executeUpdate, and close of a cursor in the middle.
raises(pa.ArrowInvalid, lambda: prepare("DELETE FROM pool"), "gstore delete")
handle, _, _ = prepare("SELECT range FROM range(10000000)")
info = client.get_flight_info(
    flight.FlightDescriptor.for_command(packed("CommandPreparedStatementQuery", field(1, handle))), options
)
reader = client.do_get(info.endpoints[0].ticket, options)
assert reader.read_chunk().data.num_rows > 0
reader.cancel()
action("ClosePreparedStatement", field(1, handle))

# Connection.close
list(client.do_action(flight.Action("CloseSession", b""), options))
print("all checked")
