//! Projections of a module's formed gradients on the device: both sides, and the signs after them.
//!
//! Invariant: the bits are those of `gstore-ingest` on the CPU, whose sums are in f64, in the same order.

use gstore_model::ColumnMap;
use gstore_model::sizes::check;

use super::features::{DeviceSums, Formed, check_entries, sort_by_row};
use super::maps::DeviceMap;
use super::{Cuda, THREADS, number};
use crate::runtime::{Argument, Result, Runtime};

/// The matrices of a module's two sides.
pub struct ModuleSides {
    /// Of the rows of the gradient.
    pub out: ColumnMap,
    /// Of its columns, without that of a bias.
    pub input: ColumnMap,
    /// What the column of a bias adds to each row of the input side; empty without a bias.
    pub constants: Vec<f32>,
    /// Whether the input side is dense: sums over it are then eight interleaved ones.
    pub is_dense: bool,
}

/// A module's projection on the device.
pub struct DeviceModule<M> {
    /// None for a tensor of one axis.
    sides: Option<DeviceSides<M>>,
    /// Starts and entries of the signs by coordinate; none if the sums are the coordinates.
    signs: Option<[M; 2]>,
    /// Number of values that the signs are applied to.
    sums: usize,
    dim: usize,
}

struct DeviceSides<M> {
    out: DeviceMap<M>,
    input: DeviceMap<M>,
    constants: Option<M>,
    lanes: u32,
}

impl<M> DeviceSides<M> {
    /// Rows and columns of the weight, and rows of both projected sides.
    fn sizes(&self) -> [usize; 4] {
        [self.out.input, self.input.input, self.out.out, self.input.out]
    }
}

impl<R: Runtime> Cuda<R> {
    /// Copies the matrices of a module with `dim` coordinates to the device. `signs`: an entry for each value
    /// that is summed, a coordinate with a sign in the highest bit; none if the sums themselves are the
    /// coordinates. Without sides the values are those of the tensor.
    ///
    /// # Errors
    /// Matrices that do not fit each other; out of memory.
    pub fn module(
        &self,
        sides: Option<&ModuleSides>,
        signs: Option<&[u32]>,
        dim: usize,
    ) -> Result<DeviceModule<R::Memory>> {
        let cells = sides.map(|sides| sides.out.out.saturating_mul(sides.input.out));
        let sums = signs.map_or(dim, <[u32]>::len);
        check(cells.is_none_or(|cells| cells == sums), || {
            format!("{sums} values for {dim} coordinates of a module with {cells:?} sums")
        })?;
        let signs = match signs {
            None => None,
            Some(entries) => {
                check_entries(dim, entries, 1)?;
                let (mut starts, mut sorted) = (Vec::new(), Vec::with_capacity(entries.len()));
                sort_by_row(dim, entries, 1, &mut starts, &mut sorted);
                Some([self.upload(&starts)?, self.upload(&sorted)?])
            }
        };
        let sides = sides.map(|sides| self.device_sides(sides)).transpose()?;
        Ok(DeviceModule { sides, signs, sums, dim })
    }

    fn device_sides(&self, sides: &ModuleSides) -> Result<DeviceSides<R::Memory>> {
        let ModuleSides { out, input, constants, is_dense } = sides;
        check(constants.is_empty() || constants.len() == input.out, || {
            format!("{} constants of a side with {} rows", constants.len(), input.out)
        })?;
        let constants = (!constants.is_empty()).then(|| self.upload(constants)).transpose()?;
        let (out, input) = (self.device_map(out)?, self.device_map(input)?);
        Ok(DeviceSides { out, input, constants, lanes: if *is_dense { 8 } else { 1 } })
    }

    /// Projects a module's formed gradients of all samples into their vectors of a form, from coordinate
    /// `first` on. A module with a bias needs the bias's gradients as well.
    ///
    /// # Errors
    /// Gradients or vectors that do not fit the module.
    pub fn project_module(
        &self,
        module: &DeviceModule<R::Memory>,
        weight: &Formed<R::Memory>,
        bias: Option<&Formed<R::Memory>>,
        sums: &DeviceSums<R::Memory>,
        (form, first): (usize, usize),
    ) -> Result<()> {
        let samples = weight.samples();
        let Some(sides) = &module.sides else {
            check(bias.is_none(), || "a bias of a module without sides".to_owned())?;
            return self.finish_module(module, weight, sums, (form, first));
        };
        let [rows, width, k_out, k_in] = sides.sizes();
        let has_bias = sides.constants.is_some();
        let fits = |bias: &Formed<R::Memory>| has_bias && bias.len() == rows && bias.samples() == samples;
        check(weight.len() == rows * width && bias.map_or(!has_bias, fits), || {
            format!("{} values of a module of {rows} rows of {width}, bias {has_bias}", weight.len())
        })?;
        let columns = width + usize::from(has_bias);
        let folded = self.allocate::<f64>(samples * k_out * columns)?;
        let arguments = [
            Argument::At(weight.values(), 0),
            Argument::U64(weight.len() as u64),
            bias.map_or(Argument::Null, |bias| Argument::At(bias.values(), 0)),
            Argument::U64(rows as u64),
            Argument::At(&sides.out.starts, 0),
            Argument::At(&sides.out.columns, 0),
            Argument::At(&sides.out.factors, 0),
            Argument::At(&folded, 0),
            Argument::U32(number(width)?),
        ];
        let threads = THREADS as usize;
        self.launch("fold_rows", [columns.div_ceil(threads), k_out, samples], THREADS, 0, &arguments)?;
        let cells = self.allocate::<f64>(samples * k_out * k_in)?;
        let arguments = [
            Argument::At(&folded, 0),
            Argument::At(&sides.input.starts, 0),
            Argument::At(&sides.input.columns, 0),
            Argument::At(&sides.input.factors, 0),
            sides.constants.as_ref().map_or(Argument::Null, |constants| Argument::At(constants, 0)),
            Argument::At(&cells, 0),
            Argument::U32(number(width)?),
            Argument::U32(number(k_in)?),
            Argument::U32(sides.lanes),
        ];
        let grid = [(k_in * sides.lanes as usize).div_ceil(threads), k_out, samples];
        self.launch("fold_columns", grid, THREADS, 8 * threads, &arguments)?;
        let from = [Argument::Null, Argument::At(&cells, 0)];
        self.add_module(module, (from, k_out * k_in), sums, (samples, form, first))
    }

    /// Turns sums computed from a module's factors into its coordinates.
    ///
    /// # Errors
    /// Sums or vectors that do not fit the module.
    pub fn finish_module(
        &self,
        module: &DeviceModule<R::Memory>,
        of: &Formed<R::Memory>,
        sums: &DeviceSums<R::Memory>,
        (form, first): (usize, usize),
    ) -> Result<()> {
        check(of.len() == module.sums, || format!("{} values of a module with {}", of.len(), module.sums))?;
        let from = [Argument::At(of.values(), 0), Argument::Null];
        self.add_module(module, (from, of.len()), sums, (of.samples(), form, first))
    }

    /// The values that become the coordinates of each sample, in f32 or in f64; the other is null.
    fn add_module(
        &self,
        module: &DeviceModule<R::Memory>,
        ([values, cells], vector): ([Argument<'_, R::Memory>; 2], usize),
        sums: &DeviceSums<R::Memory>,
        (samples, form, first): (usize, usize, usize),
    ) -> Result<()> {
        let [out, step] = sums.place::<f32>(samples, form, (first, module.dim))?;
        let [starts, entries] = [0, 1].map(|at| match &module.signs {
            Some(signs) => Argument::At(&signs[at], 0),
            None => Argument::Null,
        });
        let dim = Argument::U32(number(module.dim)?);
        let arguments = [values, cells, Argument::U64(vector as u64), starts, entries, out, step, dim];
        let blocks = module.dim.div_ceil(THREADS as usize);
        self.launch("sum_signed", [blocks, samples, 1], THREADS, 0, &arguments)
    }
}
