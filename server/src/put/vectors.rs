//! Vectors and losses of an upload, from the columns of the stream to a feature.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt8Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use gstore::{DType, PutError, PutReport, UPLOAD, VectorPut, VectorSamples, VectorShape, VectorSpec};
use serde_json::{Map, Value, json};
use tonic::Status;

use super::error;
use super::incoming::UploadEvents;
use crate::access::Caller;
use crate::core::Core;

/// Bytes of the ids of a batch, which texts that share bytes can have many of.
const IDS: u64 = 64 << 20;
/// Flags that a client may set: no scored token, not finite, truncated, missing values.
const FLAGS: u8 = 0b1111;

pub(super) fn store_vectors(
    core: &Core,
    spec: &VectorSpec,
    losses: bool,
    key: Option<&str>,
    caller: &Caller,
    mut incoming: UploadEvents,
) -> Result<Map<String, Value>, Status> {
    let failed = |e: PutError| error::put_status(&e, &spec.dataset, core.root());
    let what = if losses { "losses" } else { "vectors" };
    let command = format!("{UPLOAD}{what} of {} (token {})", spec.dataset, caller.name);
    let add_runs = caller.datasets.is_none();
    let mut put = None;
    while let Some(batch) = incoming.next()? {
        let columns = VectorBatch::of(&batch, losses)?;
        let open = match &mut put {
            Some(open) => open,
            None => {
                let store = &core.sessions.store;
                let started = VectorPut::start(store, spec, columns.shape, key, &command, add_runs);
                put.insert(started.map_err(failed)?)
            }
        };
        columns.push_to(open).map_err(failed)?;
    }
    let Some(put) = put else { return Err(Status::invalid_argument("the upload has no vectors")) };
    let PutReport { mut told, repeated } = put.finish().map_err(failed)?;
    told.insert("repeated".to_owned(), json!(repeated));
    Ok(told)
}

/// A batch as plain values.
pub(super) struct VectorBatch {
    shape: VectorShape,
    samples: SampleRefs,
    values: Vec<f32>,
    flags: Option<Vec<u8>>,
}

enum SampleRefs {
    Rows(Vec<u64>),
    Ids(StringViewArray),
}

impl VectorBatch {
    /// Takes a batch apart.
    pub(super) fn of(batch: &RecordBatch, losses: bool) -> Result<Self, Status> {
        let value = if losses { "loss" } else { "vector" };
        let (mut samples, mut vectors, mut flags) = (None, None, None);
        let mut seen = HashSet::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            if !seen.insert(name) {
                return Err(refused(&format!("two columns are called {name:?}; send one")));
            }
            if column.logical_null_count() > 0 {
                return Err(refused(&format!("column `{}` has nulls", name.escape_debug())));
            }
            match name {
                "row" | "id" if samples.is_some() => {
                    return Err(refused("samples are named by `row` or by `id`, not by both"));
                }
                "row" if column.data_type().is_integer() => {
                    let negative = |_| refused("column `row` has a negative number; rows count from 0");
                    let rows = convert(column, &DataType::UInt64).map_err(negative)?;
                    samples = Some(SampleRefs::Rows(rows.as_primitive::<UInt64Type>().values().to_vec()));
                }
                "id" if is_text(column.data_type()) => {
                    let ids = convert(column, &DataType::Utf8View)?.as_string_view().clone();
                    if ids.lengths().map(u64::from).sum::<u64>() > IDS {
                        return Err(refused(
                            "the ids of a batch have at most 64 MiB; send fewer rows in one",
                        ));
                    }
                    samples = Some(SampleRefs::Ids(ids));
                }
                "flags" if *column.data_type() == DataType::UInt8 => {
                    flags = Some(column.as_primitive::<UInt8Type>().values().to_vec());
                }
                name if name == value => vectors = Some(values(column, losses)?),
                other => {
                    let (other, ty) = (other.escape_debug(), column.data_type());
                    return Err(refused(&format!(
                        "column `{other}` of type {ty} has no place here; send `row` as integers or `id` as text, `{value}`, and `flags` as unsigned bytes where there are some"
                    )));
                }
            }
        }
        let samples = samples.ok_or_else(|| refused("there is neither a column `row` nor `id`"))?;
        let (shape, values) = vectors.ok_or_else(|| refused(&format!("there is no column `{value}`")))?;
        if flags.as_ref().is_some_and(|flags| flags.iter().any(|bits| bits & !FLAGS != 0)) {
            return Err(refused("flags must be from 0 to 15"));
        }
        Ok(Self { shape, samples, values, flags })
    }

    fn push_to(&self, put: &mut VectorPut) -> Result<(), PutError> {
        match &self.samples {
            SampleRefs::Rows(rows) => {
                put.push(VectorSamples::Rows(rows), &self.values, self.flags.as_deref())
            }
            SampleRefs::Ids(ids) => {
                let ids: Vec<&str> = ids.iter().flatten().collect();
                put.push(VectorSamples::Ids(&ids), &self.values, self.flags.as_deref())
            }
        }
    }
}

/// Whether values are texts, by themselves or as numbers of those in a dictionary.
fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, values) => values.is_string(),
        ty => ty.is_string(),
    }
}

/// The values one vector after the other, and what a vector is.
fn values(column: &ArrayRef, losses: bool) -> Result<(VectorShape, Vec<f32>), Status> {
    let (items, dim) = match column.data_type() {
        DataType::FixedSizeList(_, length) if !losses => {
            let dim = usize::try_from(*length).unwrap_or(0);
            (ArrayRef::clone(column.as_fixed_size_list().values()), dim)
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 if losses => (ArrayRef::clone(column), 1),
        other => {
            let wanted = match losses {
                true => "losses are floats",
                false => "vectors are lists of a fixed size",
            };
            return Err(refused(&format!("{wanted}, not {other}")));
        }
    };
    if items.null_count() > 0 || dim == 0 {
        return Err(refused("vectors must have at least one value, and no nulls"));
    }
    let dtype = match items.data_type() {
        DataType::Float16 if !losses => DType::F16,
        DataType::Float16 | DataType::Float32 => DType::F32,
        DataType::Float64 if losses => DType::F32,
        other => {
            let why = format!(
                "vectors are of floats of 16 or 32 bits, not {other}; cast them before they are sent"
            );
            return Err(refused(&why));
        }
    };
    let items = convert(&items, &DataType::Float32)?;
    Ok((VectorShape { dim, dtype }, items.as_primitive::<Float32Type>().values().to_vec()))
}

fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Status> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to, &options).map_err(|e| refused(&e.to_string()))
}

fn refused(why: &str) -> Status {
    Status::invalid_argument(why)
}
