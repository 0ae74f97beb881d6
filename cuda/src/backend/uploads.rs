//! A cache of small uploads: all layers of a pass need the same spans, positions and tiles of keys, and the
//! gradient of a layer needs the tiles of queries that its outputs needed.
//!
//! Invariants
//! - no kernel writes to memory that is kept
//! - it is given back before an allocation fails

use std::mem;
use std::sync::Arc;

use gstore_core::locked;

use super::Cuda;
use crate::runtime::{Result, Runtime};

/// Copies that are kept, and the bytes of the largest of them.
const MOST: usize = 64;
const LARGEST: usize = 128 << 10;

/// Values and where they are on the device, those that were used last at the end.
pub(super) struct Uploads<M>(Vec<(Vec<u8>, Arc<M>)>);

impl<M> Default for Uploads<M> {
    fn default() -> Self {
        Uploads(Vec::new())
    }
}

impl<M> Uploads<M> {
    fn find(&mut self, values: &[u8]) -> Option<Arc<M>> {
        let place = self.0.iter().rposition(|(kept, _)| kept == values)?;
        self.0[place..].rotate_left(1);
        self.0.last().map(|(_, memory)| memory.clone())
    }

    fn keep(&mut self, values: &[u8], memory: &Arc<M>) {
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((values.to_vec(), memory.clone()));
    }

    /// Drops all. Returns whether there were any.
    pub(super) fn clear(&mut self) -> bool {
        !mem::take(&mut self.0).is_empty()
    }
}

impl<R: Runtime> Cuda<R> {
    /// Values in memory of the device that is not written to: that of the same values copied before, if it is
    /// kept.
    pub(super) fn uploaded<T: bytemuck::NoUninit>(&self, values: &[T]) -> Result<Arc<R::Memory>> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let found = locked(&self.uploads).find(bytes);
        if let Some(memory) = found {
            return Ok(memory);
        }
        // Without the lock, which an allocation takes where memory is short.
        let memory = Arc::new(self.upload(values)?);
        if bytes.len() <= LARGEST {
            locked(&self.uploads).keep(bytes, &memory);
        }
        Ok(memory)
    }
}
