//! Forecast of the size, memory and work of a matrix.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use gstore_core::parallel::threads_for;
use gstore_store::Values;
use half::f16;
use serde::Serialize;

use super::error::MatrixError;
use super::files::bytes;
use super::place::OutputPaths;
use super::{MatrixJob, MatrixOutput};
use crate::influence::{Missing, PlanSide};
use crate::kernel::{Kernel, Queries, Scratch};

/// Bytes of a thread at most, without the samples' vectors: values and sums of a window, a tile, its
/// encoding, and those that wait to be written.
const OF_THREAD: u64 = 48 << 20;

/// Rows, bytes and products of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatrixForecast {
    /// Pool rows that may have scores.
    pub rows: u64,
    /// Target samples.
    pub samples: u64,
    /// Groups that they are taken in: passes over the pools.
    pub passes: u64,
    /// Bytes of the result.
    pub bytes: u64,
    /// Bytes of memory at most, without the map of the store.
    pub memory: u64,
    /// Products of two numbers.
    pub products: u64,
    /// Bytes of vectors that are read.
    pub read: u64,
}

impl MatrixForecast {
    /// Rows of all passes.
    pub fn row_passes(&self) -> u64 {
        self.rows.saturating_mul(self.passes)
    }

    /// Bytes on disk at most while the matrix is made: a file is joined while its parts are there.
    pub fn disk(&self, output: MatrixOutput<'_>) -> u64 {
        match output {
            MatrixOutput::Folder(_) => self.bytes,
            MatrixOutput::File(_) => self.bytes.saturating_mul(2),
        }
    }
}

impl MatrixJob<'_> {
    /// What the matrix will take.
    pub fn forecast(&self) -> MatrixForecast {
        let question = &self.question;
        let (rows, samples) = (question.candidates.min(self.most_rows()), question.samples);
        let passes = question.groups.len() as u64;
        let mut of_row = 0u64;
        let mut dims = 0u64;
        for feature in self.prepared.pools().first().map(|pool| &pool.features[..]).unwrap_or_default() {
            dims += u64::from(feature.desc.dim());
            of_row += feature.attrs.value_bytes(feature.desc.dtype);
        }
        let largest = question.groups.iter().map(|group| group.samples).max().unwrap_or_default();
        let of_threads = OF_THREAD * threads_for(self.options.threads, usize::MAX) as u64;
        MatrixForecast {
            rows,
            samples,
            passes,
            // In addition to the scores, a row number and an id of a few characters.
            bytes: rows.saturating_mul(samples.saturating_mul(4) + passes * 24),
            memory: largest
                .saturating_mul(self.prepared.sample_bytes())
                .saturating_add(of_threads)
                .saturating_add(self.inverses),
            products: rows.saturating_mul(samples).saturating_mul(dims),
            read: rows.saturating_mul(of_row).saturating_mul(passes),
        }
    }

    /// Rows that have vectors enough for a score, at most.
    fn most_rows(&self) -> u64 {
        let of_pool = |pool: &PlanSide| -> u64 {
            let rows =
                pool.features.iter().map(|feature| feature.segments.iter().map(|s| s.rows).sum::<u64>());
            match self.prepared.spec().missing {
                Missing::Renormalise => rows.sum(),
                Missing::Exclude | Missing::Error => rows.min().unwrap_or_default(),
            }
        };
        self.prepared.pools().iter().map(of_pool).sum()
    }

    /// Bytes that the output will still take on disk: none where this matrix is there, and less where an
    /// earlier run was stopped.
    ///
    /// # Errors
    /// Where the output is something else.
    pub fn room(&self, output: MatrixOutput<'_>) -> Result<u64, MatrixError> {
        let place = OutputPaths::new(output, self.options.replace)?;
        if place.finished(&self.question)?.is_some() {
            return Ok(0);
        }
        let begun = match bytes(&place.hidden) {
            Ok(begun) => begun,
            // Also where another process finishes this very moment.
            Err(MatrixError::Io(error)) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(self.forecast().disk(output).saturating_sub(begun))
    }
}

/// Products of two numbers that this machine does in a second, for vectors of `dim` values and `samples`
/// samples: a tenth of a second is spent on finding out. `threads` 0 means one per core.
pub fn products_per_second(dim: usize, samples: usize, threads: usize) -> f64 {
    let (dim, samples) = (dim.clamp(1, 1 << 16), samples.clamp(1, 256));
    let rows = ((4 << 20) / (2 * dim)).clamp(12, 192);
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 16 & 255) as f32 / 128.0 - 1.0;
    let vectors: Vec<f32> = (0..samples * dim).map(value).collect();
    let stored: Vec<f16> = (0..rows * dim).map(|i| f16::from_f32(value(i))).collect();
    let queries = Queries::new(&vectors, dim, &[]);
    let factors = vec![1.0f32; rows];
    let kernel = Kernel::detect();
    let run = || {
        let (mut scratch, mut out) = (Scratch::default(), vec![0.0f32; rows * samples]);
        let begun = Instant::now();
        let mut done = 0u64;
        while done == 0 || begun.elapsed() < Duration::from_millis(100) {
            kernel.scaled_dots(Values::F16(&stored), &queries, &[0], &factors, &mut scratch, &mut out);
            done += (rows * samples * dim) as u64;
        }
        done as f64 / begun.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads_for(threads, usize::MAX)).map(|_| scope.spawn(run)).collect();
        let own = run();
        own + helpers.into_iter().map(|helper| helper.join().unwrap_or(0.0)).sum::<f64>()
    })
}
