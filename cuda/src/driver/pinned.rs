//! Pinned memory of the host, through which values go to a device and come back: threads copy side by side, and a copy
//! to the device waits for work that was launched before it only where much is on its way.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::slice;
use std::sync::Mutex;

use cudarc::driver::{CudaStream, DriverError, result, sys};
use gstore_core::locked;

use crate::runtime::MOST_WRITTEN;

type Given<T> = std::result::Result<T, DriverError>;

/// Memory that small values go through, one after the other, and the largest of them, in bytes.
const STAGING: usize = 32 << 20;
const MOST_STAGED: usize = 64 << 10;

/// The largest value that goes through a piece of its own, in bytes, and how many of these are on their way before one
/// is waited for.
const PIECE: usize = MOST_WRITTEN;
const MOST_LEAVING: usize = 32;

/// The least size of a piece for values that come back, and the largest of these, in bytes.
const LEAST_LANDED: usize = 64 << 10;
const MOST_LANDED: usize = 8 << 20;

/// Pinned memory, and an event that is recorded behind a copy from or to it.
struct Piece {
    start: *mut u8,
    bytes: usize,
    event: sys::CUevent,
}

// SAFETY: it owns the memory and the event.
unsafe impl Send for Piece {}

impl Piece {
    /// For values of that many bytes. The context is bound to the thread.
    fn new(bytes: usize) -> Given<Piece> {
        let bytes = bytes.next_power_of_two();
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: the device is open.
        match unsafe { result::malloc_host(bytes, 0) } {
            Ok(start) => Ok(Piece { start: start.cast(), bytes, event }),
            Err(error) => {
                // SAFETY: nothing uses the event.
                let _ = unsafe { result::event::destroy(event) };
                Err(error)
            }
        }
    }

    /// Frees it once nothing is copied from or to it any more. The context is bound to the thread.
    fn free(self) {
        // SAFETY: both were made by `new`, and nothing uses them.
        let _ =
            unsafe { result::event::destroy(self.event).and_then(|()| result::free_host(self.start.cast())) };
    }
}

/// Memory that small values go through.
struct Staging {
    start: *mut u8,
    used: usize,
}

// SAFETY: it owns the memory.
unsafe impl Send for Staging {}

/// The pinned memory of a device.
pub(super) struct Pinned {
    staging: Mutex<Staging>,
    /// Pieces whose values leave, or have left, for the device: the last ones at the end.
    leaving: Mutex<VecDeque<Piece>>,
    /// Unused pieces for values that come back, as many as threads have read at the same time.
    landing: Mutex<Vec<Piece>>,
}

impl Pinned {
    /// The context is bound to the thread.
    pub(super) fn new() -> Given<Pinned> {
        // SAFETY: the device is open.
        let start = unsafe { result::malloc_host(STAGING, 0)? };
        let staging = Mutex::new(Staging { start: start.cast(), used: 0 });
        Ok(Pinned { staging, leaving: Mutex::default(), landing: Mutex::default() })
    }

    /// Copies values to the device. They are taken when it returns.
    ///
    /// # Safety
    /// The context is bound to the thread, and its device has that many bytes at the address.
    pub(super) unsafe fn write(&self, to: u64, from: &[u8], stream: &CudaStream) -> Given<()> {
        if from.len() <= MOST_STAGED {
            // SAFETY: as the caller says.
            return unsafe { self.stage(to, from, stream) };
        }
        let piece = (from.len() <= PIECE).then(|| self.piece_to_leave());
        // Also if no more memory can be pinned.
        let Some(Ok(piece)) = piece else {
            // SAFETY: as the caller says; the driver has taken the values of pageable memory when it returns.
            return unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) };
        };
        // SAFETY: as the caller says; nothing else uses the piece, which has enough bytes and stays until its
        // event has happened. If a call fails, it is neither used again nor freed: the device may still read it.
        unsafe {
            piece.start.copy_from_nonoverlapping(from.as_ptr(), from.len());
            let values = slice::from_raw_parts(piece.start, from.len());
            result::memcpy_htod_async(to, values, stream.cu_stream())?;
            result::event::record(piece.event, stream.cu_stream())?;
        }
        locked(&self.leaving).push_back(piece);
        Ok(())
    }

    /// As [`Pinned::write`], of small values.
    unsafe fn stage(&self, to: u64, from: &[u8], stream: &CudaStream) -> Given<()> {
        let mut staging = locked(&self.staging);
        if staging.used + from.len() > STAGING {
            // What was staged has arrived by then.
            stream.synchronize()?;
            staging.used = 0;
        }
        // SAFETY: the place is inside the staging memory, and nothing waits to be copied from it.
        let staged = unsafe {
            let place = staging.start.add(staging.used);
            place.copy_from_nonoverlapping(from.as_ptr(), from.len());
            slice::from_raw_parts(place, from.len())
        };
        staging.used = (staging.used + from.len()).next_multiple_of(256);
        // SAFETY: as the caller of `write` says; the staged values stay until the stream is waited for.
        unsafe { result::memcpy_htod_async(to, staged, stream.cu_stream()) }
    }

    /// A piece from which nothing is copied any more.
    fn piece_to_leave(&self) -> Given<Piece> {
        let first = {
            let mut leaving = locked(&self.leaving);
            // SAFETY: the event was recorded. One that has not happened is reported as an error.
            let is_done = |piece: &Piece| unsafe { result::event::query(piece.event) }.is_ok();
            match leaving.len() >= MOST_LEAVING || leaving.front().is_some_and(is_done) {
                true => leaving.pop_front(),
                false => None,
            }
        };
        let Some(piece) = first else { return Piece::new(PIECE) };
        // SAFETY: the event was recorded.
        unsafe { result::event::synchronize(piece.event) }?;
        Ok(piece)
    }

    /// Copies values from the device, and waits for them.
    ///
    /// # Safety
    /// As [`Pinned::write`].
    pub(super) unsafe fn read(&self, from: u64, to: &mut [u8], stream: &CudaStream) -> Given<()> {
        let piece = (to.len() <= MOST_LANDED).then(|| self.piece_to_land(to.len()));
        // Also if no more memory can be pinned.
        let Some(Ok(piece)) = piece else {
            // SAFETY: as the caller says; `to` is borrowed until the copy is done.
            unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }?;
            return stream.synchronize();
        };
        // SAFETY: as the caller says; the piece has that many bytes and belongs to this thread. If a call fails, it
        // is not used again.
        unsafe {
            let landed = slice::from_raw_parts_mut(piece.start, to.len());
            result::memcpy_dtoh_async(landed, from, stream.cu_stream())?;
            result::event::record(piece.event, stream.cu_stream())?;
            result::event::synchronize(piece.event)?;
            to.copy_from_slice(landed);
        }
        locked(&self.landing).push(piece);
        Ok(())
    }

    /// A piece for that many bytes, unused by other threads.
    fn piece_to_land(&self, bytes: usize) -> Given<Piece> {
        let own = locked(&self.landing).pop();
        match own {
            Some(own) if own.bytes >= bytes => Ok(own),
            small => {
                if let Some(small) = small {
                    small.free();
                }
                Piece::new(bytes.max(LEAST_LANDED))
            }
        }
    }

    /// Frees all memory.
    ///
    /// # Safety
    /// The context is bound to the thread, and all copies are done.
    pub(super) unsafe fn free(&self) {
        // SAFETY: it was allocated this way, and nothing uses it.
        let _ = unsafe { result::free_host(locked(&self.staging).start.cast()) };
        locked(&self.leaving).drain(..).chain(locked(&self.landing).drain(..)).for_each(Piece::free);
    }
}
