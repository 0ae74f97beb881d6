//! Header of a sketch: which planes it keeps of which vectors.

use serde::{Deserialize, Serialize};

use super::planes::Planes;
use super::rotation::padded_dim;
use crate::kernel::MAX_CODE_DIM;

/// Metadata of a sketch, read before its sections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SketchHeader {
    /// Of this format.
    pub version: u32,
    /// 16 hexadecimal digits. Who knows it could make data for which the stated probabilities do not hold.
    pub seed: String,
    /// Coordinates of a vector.
    pub dim: usize,
    /// Coordinates of a rotated vector.
    pub padded: usize,
    /// Number of vectors.
    pub vectors: u64,
    /// The planes of codes that it keeps; version 1 has all and does not name them.
    #[serde(default, skip_serializing_if = "Planes::is_all")]
    pub planes: Planes,
}

/// The newest version that is understood.
const NEWEST: u32 = 2;

/// The oldest version whose readers understand a sketch of these planes.
fn version(planes: Planes) -> u32 {
    if planes.is_all() { 1 } else { 2 }
}

impl SketchHeader {
    /// Of `vectors` vectors of `dim` coordinates, with all planes.
    pub fn new(dim: usize, seed: u64, vectors: u64) -> Self {
        let (planes, seed) = (Planes::ALL, format!("{seed:016x}"));
        Self { version: version(planes), seed, dim, padded: padded_dim(dim), vectors, planes }
    }

    pub(super) fn keeping(self, planes: Planes) -> Self {
        Self { version: version(planes), planes, ..self }
    }

    /// The seed, where the header is one that can be used for vectors of `dim` coordinates.
    pub fn check(&self, dim: usize) -> Result<u64, String> {
        if self.version > NEWEST {
            return Err(format!("it has version {}, this program reads up to {NEWEST}", self.version));
        }
        if self.version != version(self.planes) {
            return Err(format!(
                "it has version {}, and with the planes {} it would have {}",
                self.version,
                self.planes,
                version(self.planes)
            ));
        }
        if self.dim != dim || !can_sketch(dim) || self.padded != padded_dim(dim) {
            return Err(format!(
                "it is of {} coordinates, padded to {}, and the vectors have {dim}",
                self.dim, self.padded
            ));
        }
        match u64::from_str_radix(&self.seed, 16) {
            Ok(seed) if format!("{seed:016x}") == self.seed => Ok(seed),
            _ => Err(format!("its seed `{}` is not 16 hexadecimal digits", self.seed)),
        }
    }
}

/// Whether vectors of `dim` coordinates can have a sketch: products of more than 2^17 int8 codes
/// would not fit into 32 bits.
pub fn can_sketch(dim: usize) -> bool {
    dim > 0 && dim <= MAX_CODE_DIM && padded_dim(dim) <= MAX_CODE_DIM
}
