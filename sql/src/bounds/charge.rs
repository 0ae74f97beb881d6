//! Arrays that hold the memory of a session for as long as a buffer of theirs is in use.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::ArrowError;
use bytes::Bytes;
use datafusion::arrow::array::ArrayData;
use datafusion::arrow::buffer::Buffer;
use datafusion::execution::memory_pool::MemoryReservation;

/// A buffer and the memory that is reserved for it.
struct ReservedBuffer {
    buffer: Buffer,
    _memory: Arc<MemoryReservation>,
}

impl AsRef<[u8]> for ReservedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

/// The same array, whose buffers hold the reservation.
pub(super) fn with_reservation(array: &ArrayRef, memory: MemoryReservation) -> Result<ArrayRef, ArrowError> {
    Ok(make_array(held(array.to_data(), &Arc::new(memory))?))
}

fn held(data: ArrayData, memory: &Arc<MemoryReservation>) -> Result<ArrayData, ArrowError> {
    let hold = |buffer: &Buffer| match buffer.is_empty() {
        true => buffer.clone(),
        false => {
            Bytes::from_owner(ReservedBuffer { buffer: buffer.clone(), _memory: Arc::clone(memory) }).into()
        }
    };
    let buffers = data.buffers().iter().map(hold).collect();
    let children = data.child_data().iter().map(|child| held(child.clone(), memory));
    let children = children.collect::<Result<_, _>>()?;
    data.into_builder().buffers(buffers).child_data(children).build()
}
