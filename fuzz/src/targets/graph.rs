//! Graphs: index files with matching digests, searched.
//!
//! The bytes are those of an index file; its digests are recomputed, so that changes reach the readers of
//! headers, levels and edges.

use super::MIB;
use super::index::resealed;
use crate::Target;
use crate::one_file::OneFile;
use gstore_core::Cancel;
use gstore_query::ann::{Graph, GraphHeader};
use gstore_store::fuzzing;
use half::f16;
use std::path::Path;
use std::sync::Arc;

/// The header, nodes and vectors of a graph.
pub const GRAPH: Target = Target {
    name: "graph",
    run: |data| {
        searches(data);
    },
    // As an index, plus a bit and a few words for each node.
    per_byte: 300,
    constant: MIB,
    words: &[
        b"\"version\":1",
        b"\"dim\":4",
        b"\"indexed\":50",
        b"\"vectors\":50",
        b"\"no_scored\":",
        b"usearch\x02\x00",
        b"\x00\x7c",
        b"\x01\xfe",
        b"\xff\xff\xff\xff",
    ],
};

/// More coordinates than any input has bytes for.
const MOST_DIM: usize = 1 << 12;

/// Searches the graph with its own metadata, and returns the number of rows found.
pub fn searches(data: &[u8]) -> usize {
    let Some(data) = resealed(data) else { return 0 };
    let vfs = Arc::new(OneFile(data.into()));
    let Ok(Some((file, _))) = fuzzing::index(vfs, Path::new("graph")) else { return 0 };
    let Ok(header) = serde_json::from_value::<GraphHeader>(file.header().clone()) else { return 0 };
    if header.dim > MOST_DIM {
        return 0;
    }
    let Ok(graph) = Graph::open(file, "pool/graph", (&header.space, header.dim), header.vectors) else {
        return 0;
    };
    let (never, mut found) = (Cancel::new(), 0);
    let query: Vec<f16> = (0..header.dim).map(|i| f16::from_f32(0.5 - (i % 3) as f32 / 4.0)).collect();
    for (ef, budget) in [(1, u64::MAX), (10, 20), (usize::MAX, u64::MAX)] {
        for third in [false, true] {
            let allowed = |row: u64| !third || row.is_multiple_of(3);
            let search = || graph.search(&query, ef, allowed, budget, &never);
            let Ok(Some(first)) = search() else { continue };
            assert!(first.rows.len() as u64 <= header.indexed.min(ef as u64));
            assert!(first.rows.iter().all(|(distance, row)| !distance.is_nan() && allowed(*row)));
            assert!(first.rows.is_sorted_by(|a, b| a.0 <= b.0), "nearest first: {:?}", first.rows);
            assert_eq!(search().ok().flatten().as_ref(), Some(&first), "the same twice");
            found += first.rows.len();
        }
    }
    found
}
