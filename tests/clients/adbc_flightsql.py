"""ADBC: the driver for Flight SQL, with pandas and polars behind it."""

import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager as manager
import pandas
import polars
from adbc_driver_flightsql import DatabaseOptions
from common import TOKEN, URI, dim, local, raises, same, statements

password = {"username": "anybody", "password": TOKEN}
bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}


def connect(**kwargs):
    return dbapi.connect(URI, autocommit=True, db_kwargs=kwargs)


for kwargs in [password, bearer]:
    with connect(**kwargs) as connection, connection.cursor() as cursor:
        for sql in statements():
            cursor.execute(sql)
            same(cursor.fetch_arrow_table(), local(sql), sql)

with connect(**bearer) as connection, connection.cursor() as cursor:
    # Parameters, also in the arguments of a function; the same statement once more with others.
    asked = "SELECT id, score FROM influence(?, ?, k => ?) WHERE source <> ? ORDER BY score DESC"
    for k in [5, 9]:
        cursor.execute(asked, ("pool", "target", k, "a"))
        plain = f"SELECT id, score FROM influence('pool', 'target', k => {k}) WHERE source <> 'a' ORDER BY score DESC"
        same(cursor.fetch_arrow_table(), local(plain), plain)
    cursor.execute("SELECT $2 AS b, $1 AS a", (1.5, None))
    assert cursor.fetchall() == [(None, 1.5)]
    cursor.execute("SELECT $b AS b, $a AS a", polars.DataFrame({"a": [1], "b": [2]}))
    assert cursor.fetchall() == [(2, 1)]

    # In chunks, and left in the middle.
    cursor.execute(statements()[-2])
    reader = cursor.fetch_record_batch()
    assert reader.read_next_batch().num_rows > 0
    cursor.execute("SELECT range, repeat('x', 1000) AS x FROM range(10000000)")
    assert cursor.fetchone()[0] == 0

with connect(**bearer) as connection, connection.cursor() as cursor:
    # Frames.
    sql = "SELECT row, vector FROM vectors('target', 'grad-sgd@checkpoint-26') ORDER BY row"
    cursor.execute(sql)
    frame = cursor.fetch_df()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 6
    assert frame.vector[0].tobytes() == local(sql).column("vector")[0].values.to_numpy().tobytes()
    cursor.execute(sql)
    frame = cursor.fetch_polars()
    assert frame.schema["vector"] == polars.Array(polars.Float32, dim())
    assert polars.from_arrow(local(sql)).equals(frame)
    half = statements()[3]
    cursor.execute(half)
    frame = cursor.fetch_polars()
    assert frame.schema["half"] == polars.Array(polars.Float16, dim()), frame.schema
    cursor.execute(sql)
    through = polars.read_database(sql, connection=connection)
    assert polars.from_arrow(local(sql)).equals(through)

    # What a tree of tables is made of.
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "gstore", info
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    [catalog] = objects
    schemas = {s["db_schema_name"]: s["db_schema_tables"] for s in catalog["catalog_db_schemas"]}
    tables = {t["table_name"]: t for t in schemas["data"]}
    assert set(tables) == {"pool", "target"} and "features" in {t["table_name"] for t in schemas["gstore"]}
    assert [c["column_name"] for c in tables["pool"]["table_columns"]][:2] == ["row", "id"]
    assert sorted(connection.adbc_get_table_types()) == ["SYSTEM TABLE", "TABLE", "VIEW"]
    schema = connection.adbc_get_table_schema("pool", db_schema_filter="data")
    assert schema.equals(local("SELECT * FROM pool").schema), schema
    assert cursor.adbc_execute_schema("SELECT row, id FROM pool").names == ["row", "id"]

    # Refusals.
    wrong = (manager.ProgrammingError,)
    raises(wrong, lambda: cursor.execute("SELECT nothing FROM pool"), "there is no column")
    raises(wrong, lambda: cursor.execute("DELETE FROM pool"), "gstore delete")
    raises(wrong, lambda: cursor.execute("SELECT id FROM pool WHERE row = ?"), "has no value")
    raises(wrong, lambda: cursor.executemany("SELECT id FROM pool WHERE row = ?", [(1,), (2,)]), "executemany")
    cursor.execute("SELECT 1 AS one")
    assert cursor.fetchone() == (1,)

raises((manager.ProgrammingError, manager.OperationalError), lambda: connect(username="a", password="wrong").cursor().execute("SELECT 1"), "token")
print("all checked")
