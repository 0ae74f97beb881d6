//! Batches as messages: headers of Arrow IPC, and the buffers of the arrays.

use std::collections::VecDeque;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_flight::FlightData;
use arrow_flight::SchemaAsIpc;
use arrow_flight::error::FlightError;
use arrow_ipc::MessageHeader;
use arrow_ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use gstore_sql::output::{plain_batch, plain_schema};

use super::FlightMessage;

/// Bytes of the mark and the length that begin a message in a stream of Arrow IPC.
const MARK: usize = 8;

/// The schema, as [`plain_schema`] makes it, and then the batches in messages of about `most` bytes.
pub(crate) fn messages(
    schema: SchemaRef,
    most: usize,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> BoxStream<'static, Result<FlightMessage, FlightError>> {
    let most = most.max(1);
    let schema = plain_schema(&schema);
    let options = IpcWriteOptions::default();
    let first = FlightData::from(SchemaAsIpc::new(&schema, &options));
    let mut encoder = None;
    let rest = batches.map(move |batch| {
        let batch = plain_batch(batch?)?;
        if encoder.is_none() {
            encoder = Some(StreamEncoder::try_new(&schema)?);
        }
        let mut all = Vec::new();
        if let Some(encoder) = &mut encoder {
            for part in parts(&batch, most) {
                take_messages(encoder.encode(&part)?, &mut all)?;
            }
        }
        Ok(all)
    });
    let rest = rest.flat_map(|all: Result<Vec<FlightMessage>, FlightError>| match all {
        Ok(all) => stream::iter(all).map(Ok).boxed(),
        Err(error) => stream::iter([Err(error)]).boxed(),
    });
    stream::iter([Ok(FlightMessage::from(first))]).chain(rest).boxed()
}

/// A batch in parts of about `most` bytes.
pub(crate) fn parts(batch: &RecordBatch, most: usize) -> impl Iterator<Item = RecordBatch> + '_ {
    let most = most.max(1);
    let size = |column: &dyn Array| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.get_buffer_memory_size())
    };
    let bytes: usize = batch.columns().iter().map(|column| size(column)).sum();
    let rows = batch.num_rows();
    let each = rows.div_ceil(bytes.div_ceil(most).max(1)).max(1);
    (0..rows).step_by(each).map(move |at| batch.slice(at, each.min(rows - at)))
}

/// A buffer as the owner of its bytes.
struct OwnedBuffer(Buffer);

impl AsRef<[u8]> for OwnedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Takes the messages of batches out of what a stream of Arrow IPC would be.
fn take_messages(buffers: Vec<Buffer>, to: &mut Vec<FlightMessage>) -> Result<(), ArrowError> {
    // Arrays without rows or nulls have buffers of no bytes.
    let buffers = buffers.into_iter().filter(|buffer| !buffer.is_empty());
    let mut rest: VecDeque<Bytes> = buffers.map(|buffer| Bytes::from_owner(OwnedBuffer(buffer))).collect();
    while !rest.is_empty() {
        let mark = take(&mut rest, MARK).concat();
        let Some((_, length)) = mark.split_last_chunk::<4>() else { return Err(broken()) };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| broken())?;
        let header = take(&mut rest, length).concat();
        let message = arrow_ipc::root_as_message(&header).map_err(|_| broken())?;
        let of_rows = message.header_type() != MessageHeader::Schema;
        let body = take(&mut rest, usize::try_from(message.bodyLength()).map_err(|_| broken())?);
        if of_rows {
            to.push(FlightMessage { header: header.into(), metadata: Bytes::new(), body });
        }
    }
    Ok(())
}

fn broken() -> ArrowError {
    ArrowError::IpcError("a message that was encoded cannot be read".to_owned())
}

/// The next `bytes` of all.
fn take(from: &mut VecDeque<Bytes>, mut bytes: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    while bytes > 0
        && let Some(first) = from.front_mut()
    {
        let part = first.split_to(bytes.min(first.len()));
        bytes -= part.len();
        if first.is_empty() {
            from.pop_front();
        }
        if !part.is_empty() {
            taken.push(part);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::{Float32Type, Int32Type, Int64Type};
    use arrow_array::{
        ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float32Array, Int64Array,
        LargeListArray, RecordBatch, StringArray, StringViewArray, StructArray,
    };
    use arrow_flight::decode::FlightRecordBatchStream;
    use arrow_schema::{DataType, Field};
    use futures::TryStreamExt;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let texts =
            || (0..rows).map(|i| (i % 3 > 0).then(|| "text ".repeat(usize::try_from(i % 7).unwrap())));
        let lists = (0..rows).map(|i| Some([Some(i as f32), None]));
        let words: DictionaryArray<Int32Type> =
            (0..rows).map(|i| ["a", "b"][usize::from(i % 2 == 0)]).collect();
        let long = LargeListArray::from_iter_primitive::<Int64Type, _, _>((0..rows).map(|i| Some([Some(i)])));
        let long: ArrayRef = Arc::new(long);
        let field = Arc::new(Field::new("long", long.data_type().clone(), true));
        let columns: [(&str, ArrayRef); 8] = [
            ("n", Arc::new(Int64Array::from_iter_values(0..rows))),
            ("text", Arc::new(texts().collect::<StringArray>())),
            ("view", Arc::new(texts().collect::<StringViewArray>())),
            (
                "flag",
                Arc::new((0..rows).map(|i| (i % 5 > 0).then_some(i % 2 == 0)).collect::<BooleanArray>()),
            ),
            ("vector", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, 2))),
            ("word", Arc::new(words)),
            ("long", Arc::clone(&long)),
            ("nested", Arc::new(StructArray::from(vec![(field, long)]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    async fn back(schema: SchemaRef, most: usize, batches: Vec<RecordBatch>) -> (usize, Vec<RecordBatch>) {
        let sent = messages(schema, most, stream::iter(batches.into_iter().map(Ok)));
        let sent: Vec<FlightData> = sent.map_ok(FlightData::from).try_collect().await.unwrap();
        let read =
            FlightRecordBatchStream::new_from_flight_data(stream::iter(sent.clone().into_iter().map(Ok)));
        (sent.len(), read.try_collect().await.unwrap())
    }

    #[tokio::test]
    async fn a_reader_gets_the_batches_back() {
        let plain = batch(1000).project(&[0, 1, 2, 3, 4]).unwrap();
        let (messages, read) = back(plain.schema(), 1 << 20, vec![plain.clone(), plain.slice(3, 70)]).await;
        assert_eq!(messages, 3);
        assert_eq!(read, [plain.clone(), plain.slice(3, 70)]);
        let (messages, read) = back(plain.schema(), 4000, vec![plain.clone()]).await;
        assert!(messages > 10, "{messages}");
        assert_eq!(arrow_select::concat::concat_batches(&plain.schema(), &read).unwrap(), plain);
        let (_, read) = back(plain.schema(), 4000, vec![plain.slice(0, 0), plain.slice(0, 1)]).await;
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        let nothing =
            RecordBatch::try_from_iter([("t", Arc::new(StringArray::from(vec![""; 3])) as ArrayRef)]);
        let nothing = nothing.unwrap();
        assert_eq!(back(nothing.schema(), 4000, vec![nothing.clone()]).await.1, [nothing]);
        let (messages, read) = back(plain.schema(), 4000, vec![]).await;
        assert_eq!((messages, read.len()), (1, 0));
    }

    #[tokio::test]
    async fn dictionaries_become_values_and_other_types_stay() {
        let all = batch(100);
        let announced = plain_schema(&all.schema());
        assert_eq!(announced.field(5).data_type(), &DataType::Utf8);
        for columns in [&[0, 1, 2, 3, 4, 6, 7][..], &[5, 6, 7]] {
            let given = all.project(columns).unwrap();
            let (_, read) = back(given.schema(), 1 << 20, vec![given.clone()]).await;
            assert_eq!(read[0].schema().fields(), announced.project(columns).unwrap().fields());
            assert_eq!(read[0].num_rows(), 100);
        }
    }

    #[test]
    fn long_columns_are_not_copied() {
        let values = Float32Array::from_iter_values((0..1 << 16).map(|i| i as f32));
        let start = values.values().as_ptr().cast::<u8>();
        let batch = RecordBatch::try_from_iter([("v", Arc::new(values) as ArrayRef)]).unwrap();
        let mut all = Vec::new();
        take_messages(StreamEncoder::try_new(&batch.schema()).unwrap().encode(&batch).unwrap(), &mut all)
            .unwrap();
        assert!(all[0].body.iter().any(|part| part.as_ptr() == start));
    }
}
