//! Entry point for fuzzing of uploads: streams read up to where the store would be changed.

use arrow_flight::FlightData;
use futures::FutureExt;
use tonic::Status;

use super::decode::Batches;
use super::form::{Upload, UploadKind};
use super::samples;
use super::vectors::VectorBatch;
use crate::options::RequestLimits;

/// What stands between the parts of a stream.
const BETWEEN: &[u8] = b"\xf1\xf2\xf3\xf4";

/// Reads a stream: the command, then for each message its header and its body. The rows that come out.
pub(crate) fn rows(bytes: &[u8]) -> Result<u64, Status> {
    let mut parts = parts(bytes);
    let upload = Upload::read(parts.next().unwrap_or_default())?;
    let mut messages = Vec::new();
    while let Some(header) = parts.next() {
        let body = parts.next().unwrap_or_default();
        let message = FlightData::new().with_data_header(header.to_vec()).with_data_body(body.to_vec());
        messages.push(Ok(message));
    }
    let (mut batches, most) =
        (Batches::of(futures::stream::iter(messages)), RequestLimits::default().put_rows);
    let (mut rows, mut kept) = (0u64, None);
    // Everything is there, so nothing has to be waited for.
    while let Some(batch) = batches.next().now_or_never().unwrap_or(Ok(None))? {
        rows = rows.saturating_add(batch.num_rows() as u64);
        if rows > most {
            break;
        }
        match upload.what {
            _ if batch.num_rows() == 0 => {}
            UploadKind::Vectors { losses, .. } => drop(VectorBatch::of(&batch, losses)?),
            UploadKind::Samples(_) => samples::keep(&mut kept, std::io::sink, &batch)?,
        }
    }
    Ok(rows)
}

fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest?;
        let at = all.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (part, after) = all.split_at(at.unwrap_or(all.len()));
        rest = at.and_then(|_| after.get(BETWEEN.len()..));
        Some(part)
    })
}
