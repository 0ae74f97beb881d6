//! Arrow IPC files (Feather 2): blocks that an index at the end of the file lists.
//!
//! The index decides where blocks are: not every writer puts a stream that reads in order before it.
//! A block is read only after its place was held against the length of the file, so that a damaged index
//! never asks for memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, convert::fb_to_schema, root_as_footer, root_as_message};
use arrow_schema::Fields;

use super::rows::{BatchReader, BatchRows, caught, check, unopened};
use super::sizes::check_message;
use super::stream::CONTINUATION;
use super::{DataError, DataFile, unpack};

/// Bytes between the last block and the index: the mark of the end, which may be padded.
const MOST_BEHIND_BLOCKS: u64 = 72;

/// Length of the index and the magic word.
const TAIL: u64 = 10;

pub(super) struct BlockReader {
    file: File,
    length: u64,
    decoder: FileDecoder,
    fields: Fields,
    batches: Vec<Block>,
    next: usize,
    file_bytes: u64,
}

impl BlockReader {
    pub(super) fn rows(path: Arc<Path>, file: &DataFile) -> Result<BatchRows<Self>, DataError> {
        let file_bytes = fs_err::metadata(file.path())?.len();
        let input = unpack::seekable(file)?;
        let opened = caught(|| Self::open(input, file_bytes));
        let opened = opened.map_err(|message| unopened("an Arrow file", &message));
        BatchRows::new(path, opened.and_then(|reader| check(&reader.fields).map(|()| reader)))
    }

    fn open(mut file: File, file_bytes: u64) -> Result<Self, String> {
        let length = file.seek(SeekFrom::End(0)).map_err(text)?;
        let start = length.checked_sub(TAIL).ok_or("it is too short")?;
        let tail = read_at(&mut file, length, start, TAIL)?;
        let tail: [u8; TAIL as usize] = tail.try_into().map_err(|_| "it is too short")?;
        let index = read_footer_length(tail).map_err(text)? as u64;
        let index_start = start.checked_sub(index).ok_or("its index is too long")?;
        let index = read_at(&mut file, length, index_start, index)?;
        let footer = root_as_footer(&index).map_err(text)?;
        let schema = fb_to_schema(footer.schema().ok_or("its index has no schema")?);
        let fields = schema.fields().clone();
        let decoder = FileDecoder::new(Arc::new(schema), footer.version());
        let dictionaries: Vec<Block> = footer.dictionaries().iter().flatten().copied().collect();
        let batches: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
        let ends = dictionaries.iter().chain(&batches).filter_map(|block| {
            let length = i64::from(block.metaDataLength()).checked_add(block.bodyLength())?;
            u64::try_from(block.offset().checked_add(length)?).ok()
        });
        if ends.max().is_some_and(|end| index_start.saturating_sub(end) > MOST_BEHIND_BLOCKS) {
            return Err(
                "its index leaves out a part of it; if files were joined, give each by itself".to_owned()
            );
        }
        let mut reader = Self { file, length, decoder, fields, batches, next: 0, file_bytes };
        for block in dictionaries {
            let bytes = reader.block(&block)?;
            reader.decoder.read_dictionary(&block, &bytes).map_err(text)?;
        }
        Ok(reader)
    }

    /// The bytes of a block, of which no buffer says more than it can hold.
    fn block(&mut self, block: &Block) -> Result<Buffer, String> {
        let start = u64::try_from(block.offset()).map_err(text)?;
        let parts = (u64::try_from(block.metaDataLength()), u64::try_from(block.bodyLength()));
        let (Ok(head), Ok(body)) = parts else { return Err("a block of negative length".to_owned()) };
        let length = head.checked_add(body).ok_or("a block longer than the file")?;
        let bytes = read_at(&mut self.file, self.length, start, length)?;
        let (head, body) = bytes.split_at(usize::try_from(head).map_err(text)?);
        let prefix = if head.starts_with(&CONTINUATION) { 8 } else { 4 };
        let description = head.get(prefix..).ok_or("a block without a description")?;
        check_message(&root_as_message(description).map_err(text)?, body)?;
        Ok(Buffer::from(bytes))
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, String> {
        let Some(block) = self.batches.get(self.next).copied() else { return Ok(None) };
        self.next += 1;
        let bytes = self.block(&block)?;
        let batch = self.decoder.read_record_batch(&block, &bytes).map_err(text)?;
        batch.map(Some).ok_or_else(|| "a block that holds no rows".to_owned())
    }
}

impl BatchReader for BlockReader {
    fn next_batch(&mut self, _: u64) -> Result<Option<RecordBatch>, String> {
        caught(|| self.batch())
            .map_err(|message| format!("damaged: {message}; copy or download the file again"))
    }

    /// The share of the blocks stands for the share of the bytes.
    fn bytes_read(&self, _: u64) -> u64 {
        let share = u128::from(self.file_bytes) * self.next as u128;
        u64::try_from(share / self.batches.len().max(1) as u128).unwrap_or(self.file_bytes)
    }
}

fn read_at(file: &mut File, file_length: u64, start: u64, length: u64) -> Result<Vec<u8>, String> {
    if start.checked_add(length).is_none_or(|end| end > file_length) {
        return Err("it points past its end".to_owned());
    }
    file.seek(SeekFrom::Start(start)).map_err(text)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(text)?];
    file.read_exact(&mut bytes).map_err(text)?;
    Ok(bytes)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
