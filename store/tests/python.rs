//! Promise: pyarrow and polars open a segment as it is, and see its vectors without a conversion.

use crate::common::*;
use gstore_store::*;
use std::process::Command;

const SCRIPT: &str = r#"
import sys, numpy as np, pyarrow as pa, polars as pl
path, dim, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
reader = pa.ipc.open_file(pa.memory_map(path))
before = pa.total_allocated_bytes()
batch = reader.get_batch(0)
vectors = batch["vector"].values.to_numpy(zero_copy_only=True).reshape(-1, dim)
assert pa.total_allocated_bytes() - before < 4096, "vectors were copied"
assert vectors.dtype == np.dtype(kind), vectors.dtype
scale = batch["scale"].values.to_numpy().reshape(len(batch), -1)
tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(batch["vector"].type.value_type, [dim]), batch["vector"])
assert tensor.to_numpy_ndarray().shape == (len(batch), dim)
frame = pl.read_ipc(path)
lazy = pl.scan_ipc(path).select("row", "norm", "flags").collect()
assert frame.height == lazy.height == sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
assert frame["vector"].to_numpy().shape == (frame.height, dim)
assert np.array_equal(frame["vector"].to_numpy()[: len(batch)], vectors)
if kind == "uint64":
    bits = np.unpackbits(vectors.view(np.uint8), axis=1, bitorder="little").reshape(len(batch), 2, 64)
    vectors = np.where(bits[:, :, :20] == 1, -1, 1).reshape(len(batch), 40)
values = vectors.astype(np.float64) * np.repeat(scale, vectors.shape[1] // scale.shape[1], axis=1)
print(" ".join(f"{v:.9e}" for v in values[3]))
print(reader.metadata[b"gstore.rows"].decode() if b"gstore.rows" in (reader.metadata or {}) else "none")
"#;

/// The Python to use: `GSTORE_PYTHON`, else `python3`. `None` if it does not have the packages.
fn python() -> Option<String> {
    let python = std::env::var("GSTORE_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import pyarrow, polars, numpy"]).output();
    found.is_ok_and(|o| o.status.success()).then_some(python)
}

#[test]
fn pyarrow_and_polars_open_segments() {
    let Some(python) = python() else {
        println!("skipped: no Python with pyarrow, polars and numpy (set GSTORE_PYTHON)");
        return;
    };
    for (dtype, kind, items) in [
        (DType::F16, "float16", "40"),
        (DType::F32, "float32", "40"),
        (DType::I8, "int8", "40"),
        (DType::I1, "uint64", "2"),
    ] {
        let dir = tempdir().unwrap();
        // The signs themselves: docs/python.md has what rotates back.
        let f = unrotated(feature("grad-sgd", 40, dtype));
        let store = filled(&dir.path().join("s"), 5000, &f, 5000);
        let snapshot = store.snapshot().unwrap();
        let part = &snapshot.features()[0];
        let path = dir.path().join(format!("s/segments/{}/{}.arrow", part.number, part.segments[0].uuid));
        let out =
            Command::new(&python).arg("-c").arg(SCRIPT).arg(&path).args([items, kind]).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{dtype}: {errors}");
        let mut lines = text.lines();
        let values: Vec<f32> =
            lines.next().unwrap().split(' ').map(|v| v.parse::<f64>().unwrap() as f32).collect();
        let ours = snapshot.open_feature(part).unwrap().row(3).unwrap().unwrap().vector;
        assert!(values.iter().zip(&ours).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{dtype}");
        assert_eq!(lines.next(), Some("{\"first\":0,\"end\":5000,\"rows\":5000}"), "{dtype}");
    }
}
