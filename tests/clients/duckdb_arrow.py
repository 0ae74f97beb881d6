"""DuckDB over Arrow data that was fetched: by ADBC as a table, by pyarrow as a stream."""

import adbc_driver_flightsql.dbapi as dbapi
import duckdb
import pyarrow.flight as flight
from adbc_driver_flightsql import DatabaseOptions
from common import TOKEN, URI, local

bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}
scored = "SELECT id, source, score FROM influence('pool', 'target')"
with dbapi.connect(URI, autocommit=True, db_kwargs=bearer) as connection, connection.cursor() as cursor:
    cursor.execute(scored)
    scores = cursor.fetch_arrow_table()
    here = local(scored)
    ask = "SELECT source, count(*) AS n, max(score) AS best FROM {} GROUP BY source ORDER BY source"
    found = duckdb.sql(ask.format("scores")).fetchall()
    assert found == duckdb.sql(ask.format("here")).fetchall() and len(found) > 1, found

    # Vectors of a fixed length are arrays there.
    cursor.execute("SELECT row, vector FROM vectors('target', 'grad-sgd@checkpoint-26') ORDER BY row")
    vectors = cursor.fetch_arrow_table()
    product = "SELECT a.row, list_inner_product(a.vector::FLOAT[], b.vector::FLOAT[]) AS p FROM vectors a, vectors b WHERE b.row = 0"
    products = dict(duckdb.sql(product).fetchall())
    assert len(products) == 6 and products[0] > 0, products

    # A stream that is read once and never held whole.
    cursor.execute("SELECT value, repeat('x', 300) AS x FROM generate_series(1, 30000) AS t(value)")
    stream = cursor.fetch_record_batch()
    assert duckdb.sql("SELECT sum(value)::BIGINT, count(DISTINCT x) FROM stream").fetchall() == [(450015000, 1)]

client = flight.connect(URI)
options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
info = client.get_flight_info(flight.FlightDescriptor.for_path("dataset", "pool"), options)
pool = client.do_get(info.endpoints[0].ticket, options).to_reader()
count = "SELECT count(*) FROM pool JOIN scores USING (id) WHERE scores.source = pool.source"
assert duckdb.sql(count).fetchall() == [(len(scores),)]
print("all checked")
