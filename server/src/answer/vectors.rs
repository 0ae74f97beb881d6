//! Stored vectors as they are: their own type, with the scales that make values of them.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float16Type, Float32Type, Int8Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, FixedSizeListArray, PrimitiveArray, RecordBatch, UInt8Array, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_store::{Block, BlockBuffer, DType, FeaturePart, FeatureReader, Granularity, Snapshot, Values};
use tokio::sync::mpsc;
use tonic::Status;

use crate::handle::Vectors;
use crate::status;

/// A feature open for reading.
pub(crate) struct Reading {
    reader: FeatureReader,
    rows: Range<u64>,
    schema: SchemaRef,
}

/// The feature of a dataset by its label or number.
pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    dataset: &str,
    name: &str,
) -> Result<&'a Arc<FeaturePart>, Status> {
    snapshot.dataset(dataset).map_err(|e| Status::not_found(e.to_string()))?;
    let own = snapshot.features_of(dataset);
    let fits: Vec<_> =
        own.iter().filter(|f| f.attrs.label == name || f.number.to_string() == name).copied().collect();
    let labels =
        || own.iter().map(|f| format!("{} ({})", f.attrs.label, f.number)).collect::<Vec<_>>().join(", ");
    match fits.as_slice() {
        [one] => Ok(*one),
        [] => Err(Status::not_found(format!(
            "dataset `{dataset}` has no feature `{name}`; it has {}",
            labels()
        ))),
        _ => Err(Status::invalid_argument(format!(
            "dataset `{dataset}` has several features `{name}`; name one by its number: {}",
            labels()
        ))),
    }
}

/// Opens the feature that is asked for. Reads the footers of its files.
pub(crate) fn open(snapshot: &Snapshot, wanted: &Vectors) -> Result<Reading, Status> {
    let feature = find(snapshot, &wanted.dataset, &wanted.feature)?;
    let reader = snapshot.open_feature_shared(feature).map_err(|e| status::of_read(&e))?;
    Ok(Reading { reader, rows: wanted.rows(), schema: schema(feature)? })
}

/// The columns of stored vectors.
pub(crate) fn schema(feature: &FeaturePart) -> Result<SchemaRef, Status> {
    let too_long = |_| Status::internal("a vector is longer than a list can be");
    let list = |ty, length: usize| {
        let length = i32::try_from(length).map_err(too_long)?;
        Ok::<_, Status>(DataType::FixedSizeList(Arc::new(Field::new("item", ty, false)), length))
    };
    let stored = match feature.desc.dtype {
        DType::F16 => DataType::Float16,
        DType::F32 => DataType::Float32,
        DType::I8 => DataType::Int8,
    };
    let groups = feature.attrs.groups.len();
    let mut fields = vec![Field::new("row", DataType::UInt64, false)];
    if feature.desc.granularity == Granularity::Token {
        fields.push(Field::new("pos", DataType::UInt32, false));
    }
    fields.push(Field::new("vector", list(stored, feature.desc.dim() as usize)?, false));
    fields.push(Field::new("scale", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("norm", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("flags", DataType::UInt8, false));
    Ok(Arc::new(Schema::new(fields)))
}

impl Reading {
    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads all and hands it over; waits while the reader is behind.
    pub(crate) fn send_all(&self, to: &mpsc::Sender<RecordBatch>) -> Result<(), Status> {
        let mut buffer = BlockBuffer::default();
        let live = Arc::clone(self.reader.live());
        for cell in self.reader.cells() {
            for place in self.reader.blocks_in(cell) {
                let range = place.range();
                if range.end <= self.rows.start || range.start >= self.rows.end {
                    continue;
                }
                let block = self.reader.read_block(place, &mut buffer).map_err(|e| status::of_read(&e))?;
                let inside = self.rows.start <= range.start && range.end <= self.rows.end;
                let kept = match inside && live.covers(range) {
                    true => Kept::All(block.len()),
                    false => Kept::These(
                        (0..block.len())
                            .filter(|i| self.rows.contains(&block.rows[*i]) && live.contains(block.rows[*i]))
                            .collect(),
                    ),
                };
                if kept.len() == 0 {
                    continue;
                }
                let batch = self.batch(&block, &kept);
                let batch = batch.map_err(|e| status::internal("vectors cannot be sent", &e))?;
                if to.blocking_send(batch).is_err() {
                    return Err(Status::cancelled("nobody reads the rows any more"));
                }
            }
        }
        Ok(())
    }

    fn batch(&self, block: &Block<'_>, kept: &Kept) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match (field.name().as_str(), block.values) {
                ("row", _) => Arc::new(UInt64Array::from(kept.of(block.rows, 1))),
                ("pos", _) => Arc::new(UInt32Array::from(kept.of(block.pos, 1))),
                ("flags", _) => Arc::new(UInt8Array::from(kept.of(block.flags, 1))),
                ("scale", _) => list::<Float32Type>(field, |length| kept.of(block.scale, length))?,
                ("norm", _) => list::<Float32Type>(field, |length| kept.of(block.norm, length))?,
                (_, Values::F16(v)) => list::<Float16Type>(field, |length| kept.of(v, length))?,
                (_, Values::F32(v)) => list::<Float32Type>(field, |length| kept.of(v, length))?,
                (_, Values::I8(v)) => list::<Int8Type>(field, |length| kept.of(v, length))?,
            });
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

fn list<T: ArrowPrimitiveType>(
    field: &Field,
    values: impl FnOnce(usize) -> Vec<T::Native>,
) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let DataType::FixedSizeList(item, length) = field.data_type() else {
        return Err(arrow_schema::ArrowError::SchemaError("a vector that is no list".to_owned()));
    };
    let values = PrimitiveArray::<T>::new(values(usize::try_from(*length).unwrap_or(0)).into(), None);
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, Arc::new(values), None)?))
}

/// Places of a block that are sent.
enum Kept {
    All(usize),
    These(Vec<usize>),
}

impl Kept {
    fn len(&self) -> usize {
        match self {
            Self::All(len) => *len,
            Self::These(places) => places.len(),
        }
    }

    /// The values of these places, `each` of them a place.
    fn of<T: Copy>(&self, values: &[T], each: usize) -> Vec<T> {
        match self {
            Self::All(_) => values.to_vec(),
            Self::These(places) => {
                places.iter().flat_map(|i| values[i * each..(i + 1) * each].iter().copied()).collect()
            }
        }
    }
}
