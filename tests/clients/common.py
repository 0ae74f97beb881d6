"""What the scripts of the clients share: the local command as the measure of what is right."""

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

ADDRESS, TOKEN = sys.argv[1:3]
URI = ADDRESS.replace("grpc://", "grpc+tcp://")


def local(sql, *more):
    """The result of `gstore query` on the store itself."""
    gstore, store = sys.argv[3:5]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.arrow"
        command = [gstore, "query", sql, "--store", store, "-o", str(file), "-q", *more]
        subprocess.run(command, check=True)
        with pa.ipc.open_file(file) as reader:
            return reader.read_all()


@functools.cache
def dim():
    """Coordinates of a gradient."""
    label = "grad-sgd@checkpoint-26"
    return local(f"SELECT dim FROM gstore.features WHERE label = '{label}'").column("dim")[0].as_py()


def statements():
    """Statements whose results are compared."""
    return [
        "SELECT * FROM pool ORDER BY row",
        "SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 20",
        "SELECT row, vector FROM vectors('pool', 'grad-adam@checkpoint-26') ORDER BY row",
        f"SELECT row, arrow_cast(vector, 'FixedSizeList({dim()}, Float16)') AS half FROM vectors('target', 'grad-sgd@checkpoint-26') ORDER BY row",
        "SELECT arrow_cast([1, 2], 'LargeList(Int32)') AS ll, {a: arrow_cast(['x'], 'LargeList(Utf8)')} AS sl",
        "SELECT [1, 2] AS l, {a: 1, b: 'x'} AS s, NULL AS n, arrow_cast(0.5, 'Float16') AS h, now() IS NOT NULL AS t",
        "SELECT * FROM gstore.features ORDER BY number",
        "SELECT created FROM gstore.snapshots ORDER BY number",
        "SELECT row FROM pool WHERE row > 100000",
        "SELECT range, repeat('x', 300) AS x FROM range(30000)",
        "DESCRIBE pool",
    ]


def same(found, wanted, what):
    """The same columns of the same types with the same bits; where batches are cut does not matter."""
    assert found.schema.equals(wanted.schema), f"{what}\n{found.schema}\n{wanted.schema}"
    assert found.num_rows == wanted.num_rows, what
    for name, a, b in zip(found.column_names, found.columns, wanted.columns):
        assert bits(a) == bits(b), f"{what}: {name}"


def bits(column):
    """Values as bytes, so that NaN is NaN and -0 is not 0."""
    sink = pa.BufferOutputStream()
    whole = pa.table({"x": column}).combine_chunks()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        for batch in whole.to_batches():
            # A copy has no offset and no bits beyond its end.
            writer.write_batch(batch.take(pa.array(range(batch.num_rows))))
    return sink.getvalue().to_pybytes()


def raises(kinds, call, says=""):
    """The call fails with one of these exceptions."""
    try:
        call()
    except kinds as error:
        assert says in str(error), error
        return
    raise AssertionError(f"no error: {says}")
