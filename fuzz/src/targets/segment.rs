//! Segments without a catalog, as resumed jobs, attached shards and repairs read them.

use super::KIB;
use crate::Target;
use crate::one_file::OneFile;
use gstore_store::{BlockBuffer, Checks, fuzzing};
use std::path::Path;
use std::sync::Arc;

/// Head, blocks and tail of a segment.
pub const SEGMENT: Target = Target {
    name: "segment",
    run,
    // The file is held by the file system, the map and the buffer; its tail is text, parsed into strings. A
    // vector of signs takes a 32-bit value for each bit.
    per_byte: 48,
    constant: 64 * KIB,
    words: &[
        b"ARROW1",
        b"gstore.blocks",
        b"gstore.rows",
        b"\"rows\":",
        b"\"len\":",
        b"[[0,8,8,\"",
        b"\xff\xff\xff\xff",
    ],
};

fn run(data: &[u8]) {
    let vfs = Arc::new(OneFile(data.into()));
    for checks in [Checks::FirstTouch, Checks::Off] {
        let Ok((reader, problems)) = fuzzing::segment(vfs.clone(), Path::new("segment"), checks) else {
            return;
        };
        let sound = problems == 0 && checks == Checks::FirstTouch;
        for b in reader.blocks() {
            let few = b.range().take(4).chain([b.range().end - 1, b.range().end]);
            for row in few.collect::<Vec<_>>() {
                let stored = reader.row_vectors(row);
                assert!(stored.is_ok() || !sound, "row {row} of a sound segment: {stored:?}");
            }
            let mut buffer = BlockBuffer::new();
            if let Ok(block) = reader.read_block(*b, &mut buffer) {
                assert_eq!(block.len(), b.vectors());
                assert!(block.rows.iter().all(|row| b.range().contains(row)) || checks == Checks::Off);
            }
        }
        let digest = reader.content_digest();
        let rows = reader.row_set();
        if sound {
            assert!(digest.is_ok(), "a sound segment: {digest:?}");
            let rows = rows.expect("a sound segment has rows");
            assert_eq!(rows.len(), reader.blocks().iter().map(|b| b.rows() as u64).sum::<u64>());
        }
    }
}
