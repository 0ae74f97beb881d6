//! Features of formed gradients on the device: forms, flat projections by sparse signs, norms and f16.
//!
//! Invariant: the bits are those of `gstore-ingest` on the CPU.

use bytemuck::{Pod, Zeroable};
use gstore_model::sizes::check;

use super::{Cuda, CudaRows, SUM_SCRATCH, THREADS, number};
use crate::runtime::{Argument, Result, Runtime};

/// Coordinates that are summed in f32 before the sum goes to the f64 total, as on the CPU.
const BLOCK: usize = 65_536;

/// What a gradient is turned into, value by value: `GradForm` of kernels/features.cu.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct DeviceForm {
    kind: u32,
    m_old: f32,
    m_new: f32,
    v_old: f32,
    v_new: f32,
    eps: f32,
    inside: u32,
}

/// Factors of the Adam feature: `(m_old m + m_new g) / sqrt(v_old v + v_new g^2 + eps)`, or with `eps` outside of the
/// root.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamFactors {
    /// Of the first moment and of the gradient in it.
    pub m: [f32; 2],
    /// Of the second moment and of the square in it.
    pub v: [f32; 2],
    /// Keeps the denominator from zero.
    pub eps: f32,
    /// Whether `eps` stands inside the root.
    pub eps_inside: bool,
}

impl DeviceForm {
    /// The gradient itself.
    pub fn plain() -> DeviceForm {
        DeviceForm::zeroed()
    }

    /// The step that Adam would take.
    pub fn adam(of: AdamFactors) -> DeviceForm {
        let AdamFactors { m: [m_old, m_new], v: [v_old, v_new], eps, eps_inside } = of;
        DeviceForm { kind: 1, m_old, m_new, v_old, v_new, eps, inside: u32::from(eps_inside) }
    }

    /// Its signs.
    pub fn sign() -> DeviceForm {
        DeviceForm { kind: 2, ..DeviceForm::zeroed() }
    }

    /// `g / (sqrt(v) + eps)`.
    pub fn normalised(eps: f32) -> DeviceForm {
        DeviceForm { kind: 3, eps, ..DeviceForm::zeroed() }
    }

    /// Whether the first and the second moment enter.
    fn moments(&self) -> [bool; 2] {
        [self.kind == 1, self.kind == 1 || self.kind == 3]
    }
}

/// `SignPiece` of kernels/features.cu.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Piece {
    starts: u64,
    first: u64,
}

/// The flat projection of one tensor by sparse signs, on the device, by output row.
pub struct DeviceSigns<M> {
    dim: usize,
    len: usize,
    pieces: M,
    count: usize,
    starts: M,
    entries: M,
}

/// Values of each sample's tensor in a form, and whether each sample's were sound and small enough to be summed.
pub struct Formed<M> {
    values: M,
    samples: usize,
    len: usize,
    /// Of each sample: whether every gradient was sound, and whether, besides, all forms can be summed in f32 as they
    /// are.
    pub marks: Vec<[bool; 2]>,
}

impl<R: Runtime> Cuda<R> {
    /// Brings the signs of a tensor to the device: its coordinates start at `offset` of the concatenated gradient, and
    /// each has `width` entries, a row below `dim` and in the highest bit a sign.
    ///
    /// # Errors
    /// Entries that are no such rows; no memory.
    pub fn signs(
        &self,
        dim: usize,
        offset: usize,
        entries: &[u32],
        width: usize,
    ) -> Result<DeviceSigns<R::Memory>> {
        check(width > 0 && entries.len().is_multiple_of(width), || {
            format!("{} entries of coordinates with {width} each", entries.len())
        })?;
        check(entries.iter().all(|entry| ((entry & !(1 << 31)) as usize) < dim), || {
            format!("a sign of a row beyond {dim}")
        })?;
        number(entries.len())?;
        let len = entries.len() / width;
        let (mut pieces, mut starts, mut sorted) =
            (Vec::new(), Vec::new(), Vec::with_capacity(entries.len()));
        let mut first = 0;
        while first < len {
            let end = len.min(first + BLOCK - (offset + first) % BLOCK);
            pieces.push(Piece { starts: starts.len() as u64, first: first as u64 });
            sort_by_row(dim, &entries[first * width..end * width], width, &mut starts, &mut sorted);
            first = end;
        }
        Ok(DeviceSigns {
            dim,
            len,
            count: pieces.len(),
            pieces: self.upload(&pieces)?,
            starts: self.upload(&starts)?,
            entries: self.upload(&sorted)?,
        })
    }

    /// The forms of `len` values at `offset` of every sample's vector. Moments have a value for each, where they enter.
    ///
    /// # Errors
    /// Values that are not there.
    pub fn form(
        &self,
        rows: &CudaRows<R::Memory>,
        (offset, len): (usize, usize),
        form: DeviceForm,
        moments: [Option<&[f32]>; 2],
    ) -> Result<Formed<R::Memory>> {
        let samples = rows.samples();
        rows.check(samples, offset, len)?;
        for (needed, found) in form.moments().into_iter().zip(moments) {
            check(!needed || found.is_some_and(|values| values.len() == len), || {
                format!("{} moments of {len} values", found.map_or(0, <[f32]>::len))
            })?;
        }
        let [m, v] = [0, 1].map(|at| moments[at].map(|values| self.upload(values)).transpose());
        let (m, v) = (m?, v?);
        let blocks = len.div_ceil(THREADS as usize);
        let values = self.allocate::<f32>(samples * len)?;
        let marks = self.allocate::<u32>(samples * blocks)?;
        let arguments = [
            rows.argument(),
            Argument::U64(rows.width() as u64),
            Argument::U64(offset as u64),
            m.as_ref().map_or(Argument::Null, |m| Argument::At(m, 0)),
            v.as_ref().map_or(Argument::Null, |v| Argument::At(v, 0)),
            Argument::At(&values, 0),
            Argument::At(&marks, 0),
            Argument::Bytes(bytemuck::bytes_of(&form)),
            Argument::U64(len as u64),
        ];
        self.launch("form_gradients", [blocks, samples, 1], THREADS, SUM_SCRATCH, &arguments)?;
        let marks: Vec<u32> = self.download(&marks, 0, samples * blocks)?;
        let of_sample =
            |marks: &[u32]| [marks.iter().all(|mark| *mark < 2), marks.iter().all(|mark| *mark == 0)];
        let marks = (0..samples).map(|sample| of_sample(&marks[sample * blocks..(sample + 1) * blocks]));
        Ok(Formed { values, samples, len, marks: marks.collect() })
    }

    /// Adds the unscaled projections of all samples to their totals, one row of `dim` after the other.
    ///
    /// # Errors
    /// Values or totals that do not fit the projection; forms that are too large to be summed, for which there is the
    /// CPU.
    pub fn add_signs(
        &self,
        formed: &Formed<R::Memory>,
        signs: &DeviceSigns<R::Memory>,
        totals: &mut [f64],
    ) -> Result<()> {
        check(formed.len == signs.len && totals.len() == formed.samples * signs.dim, || {
            let (len, dim) = (signs.len, signs.dim);
            format!("{} values and {} totals of a projection of {len} to {dim}", formed.len, totals.len())
        })?;
        check(formed.marks.iter().all(|[sound, small]| *sound && *small), || {
            "values that are too large to be summed in f32".to_owned()
        })?;
        let on = self.upload(totals)?;
        let arguments = [
            Argument::At(&formed.values, 0),
            Argument::U64(formed.len as u64),
            Argument::At(&signs.pieces, 0),
            Argument::U32(number(signs.count)?),
            Argument::At(&signs.starts, 0),
            Argument::At(&signs.entries, 0),
            Argument::At(&on, 0),
            Argument::U32(number(signs.dim)?),
            Argument::U32(number(signs.dim)?),
        ];
        let blocks = signs.dim.div_ceil(THREADS as usize);
        self.launch("add_signed", [blocks, formed.samples, 1], THREADS, 0, &arguments)?;
        totals.copy_from_slice(&self.download::<f64>(&on, 0, totals.len())?);
        Ok(())
    }

    /// The f16 values of rows of `width`, each over its norm if `normed`, and the norms.
    ///
    /// # Errors
    /// Values that do not fill rows.
    pub fn packed_rows(&self, values: &[f32], width: usize, normed: bool) -> Result<(Vec<u16>, Vec<f32>)> {
        check(width > 0 && values.len().is_multiple_of(width), || {
            format!("{} values of rows of {width}", values.len())
        })?;
        let rows = values.len() / width;
        let on = self.upload(values)?;
        let (norms, halves) = (self.allocate::<f32>(rows)?, self.allocate::<u16>(values.len())?);
        let arguments = [
            Argument::At(&on, 0),
            Argument::At(&norms, 0),
            Argument::At(&halves, 0),
            Argument::U32(number(width)?),
            Argument::U32(u32::from(normed)),
        ];
        self.launch("pack_rows", [rows, 1, 1], THREADS, 8 * THREADS as usize, &arguments)?;
        Ok((self.download(&halves, 0, values.len())?, self.download(&norms, 0, rows)?))
    }
}

/// Appends a piece's entries by row, each with the coordinate of the piece in place of the row, and where each row
/// starts.
fn sort_by_row(dim: usize, entries: &[u32], width: usize, starts: &mut Vec<u32>, sorted: &mut Vec<u32>) {
    const NEGATIVE: u32 = 1 << 31;
    let base = sorted.len();
    let mut next = vec![0u32; dim + 1];
    for entry in entries {
        next[(entry & !NEGATIVE) as usize + 1] += 1;
    }
    next[0] = base as u32;
    for row in 0..dim {
        next[row + 1] += next[row];
    }
    starts.extend_from_slice(&next);
    sorted.resize(base + entries.len(), 0);
    for (coordinate, of) in (0u32..).zip(entries.chunks_exact(width)) {
        for entry in of {
            let row = (entry & !NEGATIVE) as usize;
            sorted[next[row] as usize] = coordinate | (entry & NEGATIVE);
            next[row] += 1;
        }
    }
}
