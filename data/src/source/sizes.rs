//! Checks of the sizes that a data file states, before memory is taken for them.
//!
//! A library makes room for as many bytes as a file says, and a process that cannot have them ends at once,
//! with no error that could name the file. So what says too much is found before it is decoded.

use arrow_ipc::{CompressionType, Message};

/// Bytes that one of LZ4 is unpacked to at most: each byte of a length adds 255.
const LZ4_RATIO: u64 = 255;
/// Bytes that one of zstd is unpacked to at most: a block has 128 KiB, and takes four bytes at least.
const ZSTD_RATIO: u64 = (128 << 10) / 4;

/// Whether a process can have so many bytes at once.
pub(super) fn has_room(bytes: u64) -> bool {
    let mut room: Vec<u8> = Vec::new();
    let had = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // What nothing looks at would not be asked for.
    std::hint::black_box(&mut room);
    had
}

/// Refuses an Arrow message whose compressed buffers say that they have more bytes than they can be unpacked
/// to, or than there is memory for.
pub(super) fn check_message(message: &Message<'_>, body: &[u8]) -> Result<(), String> {
    let of_dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let Some(batch) = message.header_as_record_batch().or(of_dictionary) else { return Ok(()) };
    let Some(compression) = batch.compression() else { return Ok(()) };
    let ratio = if compression.codec() == CompressionType::LZ4_FRAME { LZ4_RATIO } else { ZSTD_RATIO };
    let mut total = 0u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let place = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let (Ok(start), Ok(length)) = place else { return Err("a buffer of negative length".to_owned()) };
        let bytes = body.get(start..).and_then(|rest| rest.get(..length));
        let bytes = bytes.ok_or("a buffer that ends outside of its message")?;
        if bytes.is_empty() {
            continue;
        }
        let (says, packed) = bytes.split_first_chunk().ok_or("a compressed buffer that is too short")?;
        let says = match i64::from_le_bytes(*says) {
            // Stored as it is.
            -1 => continue,
            says => says,
        };
        let most = (packed.len() as u64).saturating_mul(ratio);
        match u64::try_from(says).ok().filter(|says| *says <= most) {
            Some(says) => total = total.saturating_add(says),
            None => {
                let packed = packed.len();
                return Err(format!("{packed} compressed bytes that should be unpacked to {says}"));
            }
        }
    }
    match has_room(total) {
        true => Ok(()),
        false => {
            Err(format!("a batch that should be unpacked to {total} bytes, which there is no memory for"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int8Array, RecordBatch};
    use arrow_ipc::root_as_message;
    use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};

    use super::*;

    #[test]
    fn a_batch_that_there_is_no_memory_for_is_refused() {
        let column: ArrayRef = Arc::new(Int8Array::from(vec![1]));
        let columns = (0..4096).map(|name| (name.to_string(), Arc::clone(&column)));
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        let start = writer.get_ref().len();
        writer.write(&batch).unwrap();
        let stream = writer.into_inner().unwrap();
        let length = u32::from_le_bytes(*stream[start + 4..].first_chunk().unwrap());
        let mut message = stream[start + 8..][..length as usize].to_vec();
        // Every buffer becomes the same bytes, which say that they are unpacked to the most that they can be.
        let mut body = vec![0; 4 << 20];
        let says = (body.len() as u64 - 8) * ZSTD_RATIO;
        body[..8].copy_from_slice(&says.to_le_bytes());
        let place = [0_u64.to_le_bytes(), (body.len() as u64).to_le_bytes()].concat();
        let (at, count) = {
            let batch = root_as_message(&message).unwrap().header_as_record_batch().unwrap();
            let places = batch.buffers().unwrap();
            (places.bytes().as_ptr() as usize - message.as_ptr() as usize, places.len())
        };
        message[at..][..count * place.len()].copy_from_slice(&place.repeat(count));
        let error = check_message(&root_as_message(&message).unwrap(), &body).unwrap_err();
        let total = says * count as u64;
        assert!(error.starts_with(&format!("a batch that should be unpacked to {total} bytes")), "{error}");
    }

    #[test]
    fn there_is_room_for_what_can_be_had() {
        assert!(has_room(0) && has_room(1 << 20));
        assert!(!has_room(1 << 60) && !has_room(u64::MAX));
    }
}
