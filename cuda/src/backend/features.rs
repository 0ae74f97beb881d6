//! Features of formed gradients on the device: forms, and flat projections by sparse signs.
//!
//! Invariants
//! - the bits are those of `gstore-ingest` on the CPU
//! - nothing is copied to the host before [`Cuda::finished`]

use bytemuck::{Pod, Zeroable};
use gstore_model::sizes::check;

use super::{Cuda, CudaRows, SUM_SCRATCH, THREADS, Tensor, from, number};
use crate::runtime::{Argument, Memory, Result, Runtime};

/// Coordinates that are summed in f32 before the sum goes to the f64 total, as on the CPU.
const BLOCK: usize = 65_536;

/// The value-by-value form of a gradient: `GradForm` of kernels/features.cu.
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

impl DeviceForm {
    /// The gradient itself.
    pub fn plain() -> DeviceForm {
        DeviceForm::zeroed()
    }

    /// The step that Adam would take: `(m_old m + m_new g) / sqrt(v_old v + v_new g^2 + eps)`, or with `eps`
    /// outside the root.
    pub fn adam(
        [m_old, m_new]: [f32; 2],
        [v_old, v_new]: [f32; 2],
        eps: f32,
        eps_inside: bool,
    ) -> DeviceForm {
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

    /// Whether the first and the second moment are used.
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
    /// The tensor's first coordinate of the concatenated gradient, and its length.
    start: usize,
    len: usize,
    pieces: M,
    count: usize,
    starts: M,
    entries: M,
}

/// Vectors of all samples and forms while they are accumulated on the device.
pub struct DeviceSums<M> {
    /// `[samples, forms, dim]`, f64 totals of a flat projection, else f32 coordinates.
    values: M,
    /// `[samples, forms]`, u32: whether all gradients were sound.
    sound: M,
    samples: usize,
    forms: usize,
    dim: usize,
}

/// Values of each sample's tensor in one form.
pub struct Formed<M> {
    values: M,
    samples: usize,
    /// The first coordinate of the concatenated gradient.
    start: usize,
    len: usize,
    /// `[samples, pieces]`, u32: whether a piece has a value that is too large to be summed unscaled in f32.
    large: M,
}

impl<M: Memory> Formed<M> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    pub(super) fn values(&self) -> &M {
        &self.values
    }
}

impl<M: Memory> DeviceSums<M> {
    /// Where a form's coordinates from `first` on start, and the stride between samples; an error unless
    /// there are that many coordinates and samples.
    pub(super) fn place<T>(
        &self,
        samples: usize,
        form: usize,
        (first, len): (usize, usize),
    ) -> Result<[Argument<'_, M>; 2]> {
        let inside = first.checked_add(len).is_some_and(|end| end <= self.dim);
        check(samples == self.samples && form < self.forms && inside, || {
            let DeviceSums { samples: have, forms, dim, .. } = self;
            format!(
                "{len} coordinates at {first} of form {form} of {samples} samples in {have} x {forms} x {dim}"
            )
        })?;
        let step = (self.forms * self.dim) as u64;
        Ok([from::<T, M>(&self.values, form * self.dim + first), Argument::U64(step)])
    }
}

/// Where the gradients of a tensor are.
#[derive(Debug, Clone, Copy)]
pub struct FormPlace {
    /// Offset in every sample's vector of gradients.
    pub offset: usize,
    /// The first coordinate of the concatenated gradient, which indexes the moments.
    pub start: usize,
    /// Number of values.
    pub len: usize,
}

impl<R: Runtime> Cuda<R> {
    /// Zeros for the vectors of samples in some forms: f64 totals of a flat projection, or
    /// f32 coordinates of modules.
    ///
    /// # Errors
    /// Out of memory.
    pub fn sums(&self, [samples, forms, dim]: [usize; 3], flat: bool) -> Result<DeviceSums<R::Memory>> {
        let len = samples.checked_mul(forms).and_then(|vectors| vectors.checked_mul(dim));
        check(len.is_some(), || format!("{samples} x {forms} vectors of {dim} values"))?;
        let len = len.unwrap_or_default();
        let (values, bytes) = match flat {
            true => (self.allocate::<f64>(len)?, 8 * len),
            false => (self.allocate::<f32>(len)?, 4 * len),
        };
        self.runtime.clear(&values, 0, bytes)?;
        let sound = self.upload(&vec![1u32; samples * forms])?;
        Ok(DeviceSums { values, sound, samples, forms, dim })
    }

    /// The vectors, with `T` f64 for a flat projection, which are still to be scaled and rounded, and f32
    /// otherwise; and for each whether all gradients were sound.
    ///
    /// # Errors
    /// A kernel that failed.
    pub fn finished<T: Pod>(&self, sums: &DeviceSums<R::Memory>) -> Result<(Vec<T>, Vec<bool>)> {
        let vectors = sums.samples * sums.forms;
        let sound: Vec<u32> = self.download(&sums.sound, 0, vectors)?;
        let values = self.download(&sums.values, 0, vectors * sums.dim)?;
        Ok((values, sound.into_iter().map(|sound| sound != 0).collect()))
    }

    /// Copies moments of the concatenated gradient to the device, as one row.
    ///
    /// # Errors
    /// Out of memory.
    pub fn moments(&self, values: &[f32]) -> Result<Tensor<R>> {
        self.tensor_of(values, 1, values.len())
    }

    /// Copies the signs of a tensor to the device: its coordinates start at `start` of the concatenated
    /// gradient, and each has `width` entries, a row below `dim` with a sign in the highest bit.
    ///
    /// # Errors
    /// Entries that are not of this kind; out of memory.
    pub fn signs(
        &self,
        dim: usize,
        start: usize,
        entries: &[u32],
        width: usize,
    ) -> Result<DeviceSigns<R::Memory>> {
        check_entries(dim, entries, width)?;
        let len = entries.len() / width;
        let (mut pieces, mut starts, mut sorted) =
            (Vec::new(), Vec::new(), Vec::with_capacity(entries.len()));
        let mut first = 0;
        while first < len {
            let end = len.min(first + BLOCK - (start + first) % BLOCK);
            pieces.push(Piece { starts: starts.len() as u64, first: first as u64 });
            sort_by_row(dim, &entries[first * width..end * width], width, &mut starts, &mut sorted);
            first = end;
        }
        Ok(DeviceSigns {
            dim,
            start,
            len,
            count: pieces.len(),
            pieces: self.upload(&pieces)?,
            starts: self.upload(&starts)?,
            entries: self.upload(&sorted)?,
        })
    }

    /// The forms of a tensor's gradients. Moments, where used, are those of the concatenated gradient in one
    /// row. `order`, if the rows of the tensor are permuted: for each row the one that holds its values.
    /// Unsound gradients are recorded in `sums`, for form number `at`.
    ///
    /// # Errors
    /// Values that do not exist.
    pub fn form(
        &self,
        rows: &CudaRows<R::Memory>,
        FormPlace { offset, start, len }: FormPlace,
        order: Option<&[u32]>,
        (form, at): (DeviceForm, usize),
        moments: [Option<&Tensor<R>>; 2],
        sums: &DeviceSums<R::Memory>,
    ) -> Result<Formed<R::Memory>> {
        let samples = rows.samples();
        rows.check(samples, offset, len)?;
        check(len > 0 && samples == sums.samples && at < sums.forms, || {
            format!("form {at} of {samples} samples in {} x {} vectors", sums.samples, sums.forms)
        })?;
        for (needed, found) in form.moments().into_iter().zip(moments) {
            let there = found.map_or(0, Tensor::<R>::len);
            check(!needed || start.checked_add(len).is_some_and(|end| end <= there), || {
                format!("{there} moments of {len} values at {start}")
            })?;
        }
        if let Some(order) = order {
            let rows = order.len();
            let fits = rows > 0 && len.is_multiple_of(rows) && order.iter().all(|row| (*row as usize) < rows);
            check(fits, || format!("an order of {rows} rows of {len} values"))?;
        }
        let moment = |at: usize| moments[at].map_or(Ok(Argument::Null), |moment| self.argument(moment));
        let width = order.map_or(1, |order| len / order.len());
        let order = order.map(|order| self.upload(order)).transpose()?;
        let threads = THREADS as usize;
        let blocks = (start + len).div_ceil(threads) - start / threads;
        let values = self.allocate::<f32>(samples * len)?;
        let marks = self.allocate::<u32>(samples * blocks)?;
        let arguments = [
            rows.argument(),
            Argument::U64(rows.width() as u64),
            Argument::U64(offset as u64),
            order.as_ref().map_or(Argument::Null, |order| Argument::At(order, 0)),
            Argument::U32(number(width)?),
            moment(0)?,
            moment(1)?,
            Argument::At(&values, 0),
            Argument::At(&marks, 0),
            Argument::Bytes(bytemuck::bytes_of(&form)),
            Argument::U64(start as u64),
            Argument::U64(len as u64),
        ];
        self.launch("form_gradients", [blocks, samples, 1], THREADS, SUM_SCRATCH, &arguments)?;
        let pieces = (start + len).div_ceil(BLOCK) - start / BLOCK;
        let large = self.allocate::<u32>(samples * pieces)?;
        let arguments = [
            Argument::At(&marks, 0),
            Argument::U32(number(blocks)?),
            Argument::U64(start as u64),
            Argument::At(&large, 0),
            from::<u32, _>(&sums.sound, at),
            Argument::U64(sums.forms as u64),
        ];
        self.launch("fold_marks", [pieces, samples, 1], THREADS, SUM_SCRATCH, &arguments)?;
        Ok(Formed { values, samples, start, len, large })
    }

    /// Adds the unscaled projections of all samples to their totals of a form.
    ///
    /// # Errors
    /// Values or totals that do not fit the projection.
    pub fn add_signs(
        &self,
        formed: &Formed<R::Memory>,
        signs: &DeviceSigns<R::Memory>,
        sums: &DeviceSums<R::Memory>,
        form: usize,
    ) -> Result<()> {
        check((formed.start, formed.len, sums.dim) == (signs.start, signs.len, signs.dim), || {
            let DeviceSigns { start, len, dim, .. } = signs;
            let of = format!("{} values at {} and totals of {}", formed.len, formed.start, sums.dim);
            format!("{of}, of a projection of {len} at {start} to {dim}")
        })?;
        let [totals, step] = sums.place::<f64>(formed.samples, form, (0, signs.dim))?;
        let arguments = [
            Argument::At(&formed.values, 0),
            Argument::U64(formed.len as u64),
            Argument::At(&signs.pieces, 0),
            Argument::U32(number(signs.count)?),
            Argument::At(&signs.starts, 0),
            Argument::At(&signs.entries, 0),
            Argument::At(&formed.large, 0),
            totals,
            step,
            Argument::U32(number(signs.dim)?),
        ];
        let blocks = signs.dim.div_ceil(THREADS as usize);
        self.launch("add_signed", [blocks, formed.samples, 1], THREADS, 0, &arguments)
    }
}

/// An error unless each of `width` entries of a coordinate names a row below `dim`.
pub(super) fn check_entries(dim: usize, entries: &[u32], width: usize) -> Result<()> {
    check(width > 0 && entries.len().is_multiple_of(width), || {
        format!("{} entries of coordinates with {width} each", entries.len())
    })?;
    check(entries.iter().all(|entry| ((entry & !(1 << 31)) as usize) < dim), || {
        format!("a sign of a row beyond {dim}")
    })?;
    number(entries.len()).map(|_| ())
}

/// Appends a piece's entries by row, each with its coordinate in the piece in place of the row, and where
/// each row starts.
pub(super) fn sort_by_row(
    dim: usize,
    entries: &[u32],
    width: usize,
    starts: &mut Vec<u32>,
    sorted: &mut Vec<u32>,
) {
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
