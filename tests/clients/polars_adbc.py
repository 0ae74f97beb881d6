"""polars: its own reading of databases, through ADBC by an address or a connection."""

import adbc_driver_flightsql.dbapi as dbapi
import polars
from adbc_driver_flightsql import DatabaseOptions
from common import TOKEN, URI, dim, local, statements

bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}
scored = "SELECT id, source, score FROM influence('pool', 'target') ORDER BY score DESC"
with dbapi.connect(URI, autocommit=True, db_kwargs=bearer) as connection:
    for sql in [scored, *statements()[:5], *statements()[6:9]]:
        found = polars.read_database(sql, connection=connection)
        assert polars.from_arrow(local(sql)).equals(found), sql
    half = polars.read_database(statements()[3], connection=connection)
    assert half.schema["half"] == polars.Array(polars.Float16, dim()), half.schema

    # In batches, of which each is a frame.
    sql = "SELECT value FROM generate_series(1, 100000) AS t(value)"
    parts = list(polars.read_database(sql, connection=connection, iter_batches=True, batch_size=10000))
    assert len(parts) > 1 and sum(part["value"].sum() for part in parts) == 5000050000

    # With parameters, also those of a function.
    asked = "SELECT id, score FROM influence(?, ?, k => ?) ORDER BY score DESC"
    given = {"parameters": ("pool", "target", 4)}
    found = polars.read_database(asked, connection=connection, execute_options=given)
    plain = "SELECT id, score FROM influence('pool', 'target', k => 4) ORDER BY score DESC"
    assert polars.from_arrow(local(plain)).equals(found)

    # Work of polars on what it was given.
    best = polars.read_database(scored, connection=connection).group_by("source").agg(polars.col("score").max())
    here = polars.from_arrow(local("SELECT source, max(score) AS score FROM influence('pool', 'target') GROUP BY source"))
    assert best.sort("source").equals(here.sort("source"))
print("all checked")
