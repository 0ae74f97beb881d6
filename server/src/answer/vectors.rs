//! Stored vectors as they are: their own type, with the scales that make values of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float16Type, Float32Type, Int8Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, PrimitiveArray, RecordBatch,
};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use gstore_store::{
    DType, FeaturePart, FeatureReader, Granularity, LookupError, SharedBlock, SharedColumn, Snapshot,
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

/// The feature of a dataset with this name.
pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    dataset: &str,
    name: &str,
) -> Result<&'a Arc<FeaturePart>, Status> {
    snapshot.feature_of(dataset, name).map_err(|error| match error {
        LookupError::Ambiguous { .. } => Status::invalid_argument(error.to_string()),
        _ => Status::not_found(error.to_string()),
    })
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
        for cell in self.reader.cells() {
            for place in self.reader.blocks_in(cell) {
                let range = place.range();
                if range.end <= self.rows.start || range.start >= self.rows.end {
                    continue;
                }
                let block = self.reader.share_block(place).map_err(|e| status::read_status(&e))?;
                let batch =
                    self.batch(&block, range).map_err(|e| status::internal("vectors cannot be sent", &e))?;
                if batch.num_rows() > 0 && to.blocking_send(batch).is_err() {
                    return Err(Status::cancelled("the rows are no longer read"));
                }
            }
        }
        Ok(())
    }

    /// The vectors of a block of some rows that are live and asked for; if that is all of them, as parts of
    /// the map.
    fn batch(&self, block: &SharedBlock, range: Range<u64>) -> Result<RecordBatch, ArrowError> {
        let rows = shared::<UInt64Type>(block.rows());
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
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let live = self.reader.live();
        if self.rows.start <= range.start && range.end <= self.rows.end && live.covers(range) {
            return Ok(batch);
        }
        let wanted = BooleanArray::from_unary(&rows, |row| self.rows.contains(&row) && live.contains(row));
        filter_record_batch(&batch, &wanted)
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
