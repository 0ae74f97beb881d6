"""pyarrow.flight: Flight SQL by hand, and plain Flight."""

import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.flight as flight
from common import TOKEN, URI, dim, local, raises, same, statements
from protobuf import packed, text


def statement(sql):
    """A CommandStatementQuery as Flight SQL packs it."""
    return flight.FlightDescriptor.for_command(packed("CommandStatementQuery", text(1, sql)))


client = flight.connect(URI)
options = flight.FlightCallOptions(headers=[client.authenticate_basic_token("anybody", TOKEN)], timeout=120)


def read(descriptor):
    info = client.get_flight_info(descriptor, options)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda e: client.do_get(e.ticket, options).read_all(), info.endpoints))
    for part in parts:
        assert part.schema.equals(info.schema), descriptor
    return pa.concat_tables(parts)


for sql in statements():
    same(read(statement(sql)), local(sql), sql)

# In chunks, and left in the middle.
info = client.get_flight_info(statement(statements()[-2]), options)
reader = client.do_get(info.endpoints[0].ticket, options)
assert reader.read_chunk().data.num_rows > 0
reader.cancel()

# Plain Flight.
flights = {"/".join(part.decode() for part in info.descriptor.path): info for info in client.list_flights(options=options)}
assert flights["dataset/pool"].total_records == 120, flights.keys()
same(read(flight.FlightDescriptor.for_path("dataset", "target")), local("SELECT * FROM target"), "target")
stored = read(flight.FlightDescriptor.for_path("vectors", "pool", "grad-adam@checkpoint-26"))
assert stored.schema.field("vector").type == pa.list_(pa.field("item", pa.float16(), nullable=False), dim()), stored.schema
values = local("SELECT row, vector FROM vectors('pool', 'grad-adam@checkpoint-26') ORDER BY row")
assert stored.column("row").equals(values.column("row"))
half = stored.column("vector").combine_chunks().flatten().to_numpy().reshape(120, dim()).astype("float32")
scale = stored.column("scale").combine_chunks().flatten().to_numpy().reshape(120, -1)
wide = scale.repeat(dim() // scale.shape[1], axis=1)
real = values.column("vector").combine_chunks().flatten().to_numpy().reshape(120, dim())
assert (half * wide).tobytes() == real.tobytes()
asked = {"influence": {"pool": "pool", "target": "target", "k": 9}}
same(
    read(flight.FlightDescriptor.for_command(json.dumps(asked).encode())),
    local("SELECT * FROM influence('pool', 'target', k => 9)"),
    "influence",
)
health = json.loads(next(iter(client.do_action(flight.Action("health", b""), options))).body.to_pybytes())
assert health["status"] == "serving"

# Refusals.
raises(flight.FlightUnauthenticatedError, lambda: client.get_flight_info(statement("SELECT 1")), "token")
raises(pa.ArrowInvalid, lambda: client.get_flight_info(statement("SELECT nothing FROM pool"), options), "nothing")
raises(pa.ArrowInvalid, lambda: client.get_flight_info(statement("DROP TABLE pool"), options), "gstore drop")
raises(flight.FlightUnauthenticatedError, lambda: flight.connect(URI).authenticate_basic_token("a", "wrong"), "token")
print("all checked")
