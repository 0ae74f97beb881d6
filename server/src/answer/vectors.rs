//! Stored vectors as they are: their own type, with the scales that make values of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float16Type, Float32Type, Int8Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, ArrowPrimitiveType, FixedSizeListArray, PrimitiveArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use gstore_store::{
    Block, BlockBuffer, DType, FeaturePart, FeatureReader, Granularity, SharedBlock, SharedColumn, Snapshot,
    Values,
};
use tokio::sync::mpsc;
use tonic::Status;

use crate::handle::Vectors;
use crate::status;

pub(crate) struct OpenFeature {
    reader: FeatureReader,
    rows: Range<u64>,
    pub(crate) schema: SchemaRef,
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
pub(crate) fn open(snapshot: &Snapshot, wanted: &Vectors) -> Result<OpenFeature, Status> {
    let feature = find(snapshot, &wanted.dataset, &wanted.feature)?;
    let reader = snapshot.open_feature_shared(feature).map_err(|e| status::read_status(&e))?;
    Ok(OpenFeature { reader, rows: wanted.first..wanted.end, schema: schema(feature)? })
}

/// Of the metadata of the schema: how module groups were rotated before their signs were taken.
const ROTATION: &str = "gstore.rotation";

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
        DType::I1 => DataType::UInt64,
    };
    let items = feature.attrs.groups.iter().map(|group| feature.desc.dtype.items(group.len as usize)).sum();
    let groups = feature.attrs.groups.len();
    let mut fields = vec![Field::new("row", DataType::UInt64, false)];
    if feature.desc.granularity == Granularity::Token {
        fields.push(Field::new("pos", DataType::UInt32, false));
    }
    fields.push(Field::new("vector", list(stored, items)?, false));
    fields.push(Field::new("scale", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("norm", list(DataType::Float32, groups)?, false));
    fields.push(Field::new("flags", DataType::UInt8, false));
    let rotation = feature.desc.rotation;
    let metadata = match rotation.is_none() {
        true => HashMap::new(),
        false => HashMap::from([(ROTATION.to_owned(), rotation.name().to_owned())]),
    };
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

impl OpenFeature {
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
                let batch = match live.covers(range) {
                    true => self.whole(&self.reader.share_block(place).map_err(|e| status::read_status(&e))?),
                    false => {
                        let block = self.reader.read_block(place, &mut buffer);
                        let block = block.map_err(|e| status::read_status(&e))?;
                        let wanted = |row: &u64| self.rows.contains(row) && live.contains(*row);
                        let kept: Vec<usize> = block
                            .rows
                            .iter()
                            .enumerate()
                            .filter(|(_, row)| wanted(row))
                            .map(|(i, _)| i)
                            .collect();
                        self.some(&block, &kept)
                    }
                };
                let batch = batch.map_err(|e| status::internal("vectors cannot be sent", &e))?;
                if batch.num_rows() > 0 && to.blocking_send(batch).is_err() {
                    return Err(Status::cancelled("the rows are not read any more"));
                }
            }
        }
        Ok(())
    }

    /// Of a block whose rows are all live, the vectors of the rows that are asked for, as parts of the map.
    fn whole(&self, block: &SharedBlock) -> Result<RecordBatch, ArrowError> {
        let rows = shared::<UInt64Type>(block.rows());
        // Rows ascend in a block, so a range of them is a range of its vectors.
        let before = |end: u64| rows.values().partition_point(|row| *row < end);
        let (first, end) = (before(self.rows.start), before(self.rows.end));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match (field.name().as_str(), field.data_type()) {
                ("row", _) => Arc::new(rows.clone()),
                ("pos", _) => Arc::new(shared::<UInt32Type>(block.pos())),
                ("flags", _) => Arc::new(shared::<UInt8Type>(block.flags())),
                ("scale", _) => list(field, shared::<Float32Type>(block.scale()))?,
                ("norm", _) => list(field, shared::<Float32Type>(block.norm()))?,
                (_, DataType::FixedSizeList(item, _)) => match item.data_type() {
                    DataType::Float16 => list(field, shared::<Float16Type>(block.values()))?,
                    DataType::Float32 => list(field, shared::<Float32Type>(block.values()))?,
                    DataType::UInt64 => list(field, shared::<UInt64Type>(block.values()))?,
                    _ => list(field, shared::<Int8Type>(block.values()))?,
                },
                (name, _) => return Err(ArrowError::SchemaError(format!("no column `{name}` is stored"))),
            });
        }
        let all = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(all.slice(first, end.saturating_sub(first)))
    }

    /// Some vectors of a block, copied.
    fn some(&self, block: &Block<'_>, kept: &[usize]) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match (field.name().as_str(), block.values) {
                ("row", _) => Arc::new(copied::<UInt64Type>(block.rows, 1, kept)),
                ("pos", _) => Arc::new(copied::<UInt32Type>(block.pos, 1, kept)),
                ("flags", _) => Arc::new(copied::<UInt8Type>(block.flags, 1, kept)),
                ("scale", _) => list(field, copied::<Float32Type>(block.scale, length(field), kept))?,
                ("norm", _) => list(field, copied::<Float32Type>(block.norm, length(field), kept))?,
                (_, Values::F16(v)) => list(field, copied::<Float16Type>(v, length(field), kept))?,
                (_, Values::F32(v)) => list(field, copied::<Float32Type>(v, length(field), kept))?,
                (_, Values::I8(v)) => list(field, copied::<Int8Type>(v, length(field), kept))?,
                (_, Values::I1(v)) => list(field, copied::<UInt64Type>(v.words(), length(field), kept))?,
            });
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// Items of each list of a column.
fn length(field: &Field) -> usize {
    match field.data_type() {
        DataType::FixedSizeList(_, length) => usize::try_from(*length).unwrap_or(0),
        _ => 1,
    }
}

fn list<T: ArrowPrimitiveType>(field: &Field, values: PrimitiveArray<T>) -> Result<ArrayRef, ArrowError> {
    let DataType::FixedSizeList(item, length) = field.data_type() else {
        return Err(ArrowError::SchemaError("a vector that is not a list".to_owned()));
    };
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, Arc::new(values), None)?))
}

/// A column of a block, which stays where it is.
fn shared<T: ArrowPrimitiveType>(column: SharedColumn) -> PrimitiveArray<T> {
    let values = Buffer::from(Bytes::from_owner(column));
    PrimitiveArray::new(values.into(), None)
}

/// The values of these places, `each` of them a place.
fn copied<T: ArrowPrimitiveType>(values: &[T::Native], each: usize, places: &[usize]) -> PrimitiveArray<T> {
    let mut all = Vec::with_capacity(places.len() * each);
    for place in places {
        all.extend_from_slice(values.get(place * each..(place + 1) * each).unwrap_or_default());
    }
    PrimitiveArray::new(all.into(), None)
}
