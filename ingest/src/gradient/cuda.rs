//! Features of gradients on an NVIDIA GPU.
//!
//! Invariants
//! - forms and projections have the bits of the host
//! - nothing but finished vectors is copied to the host; those of a flat projection are scaled and rounded
//!   there

use std::ops::Range;

use super::device::{DeviceFeatures, GradientBackend};
use super::factored::FactorMaps;
use super::features::GradFeatures;
use super::forms::{EpsPlacement, GradForm};
use super::projector::Projector;
use crate::projection::{
    BLOCK, FactoredProjector, FlatProjector, PostProjection, SideEntries, SideMatrix, tensor_modules,
};
use gstore_cuda::{
    Cuda, CudaRows, CudaTensor, DeviceForm, DeviceModule, DeviceSigns, DeviceSums, FormPlace, Formed,
    ModuleSides, Runtime,
};
use gstore_model::gradients::{RowOrder, TensorSlice};
use gstore_model::{BackendError, ColumnMap};

impl<R: Runtime> GradientBackend for Cuda<R> {
    type Features = CudaFeatures<R>;
}

/// Forms, and how each tensor is projected, on the device.
pub struct CudaFeatures<R: Runtime> {
    forms: Vec<GradForm>,
    /// The first and the second moment of the concatenated gradient, where they enter.
    moments: [Option<CudaTensor<R::Memory>>; 2],
    /// The first coordinate of each part of the concatenated gradient.
    starts: Vec<usize>,
    projection: DeviceProjection<R::Memory>,
}

enum DeviceProjection<M> {
    Flat {
        /// Of each part.
        signs: Vec<DeviceSigns<M>>,
        dim: usize,
    },
    Modules {
        modules: Vec<ProjectedModule<M>>,
        /// The module of each tensor.
        of_tensor: Vec<usize>,
        dim: usize,
    },
}

struct ProjectedModule<M> {
    on: DeviceModule<M>,
    /// Its first coordinate.
    first: usize,
    /// Whether its plain gradient comes from factors.
    uses_factors: bool,
}

impl<R: Runtime> CudaFeatures<R> {
    /// The form number `at` of the values of a place. Rows that lie elsewhere are at `order`.
    fn form(
        &self,
        on: &Cuda<R>,
        rows: &CudaRows<R::Memory>,
        (place, order): (&TensorSlice, Option<&[u32]>),
        at: usize,
        sums: &DeviceSums<R::Memory>,
    ) -> Result<Formed<R::Memory>, BackendError> {
        let TensorSlice { tensor, offset, len, .. } = *place;
        let from = FormPlace { offset, start: self.starts[tensor], len };
        let moments = self.moments.each_ref().map(Option::as_ref);
        on.form(rows, from, order, (device_form(self.forms[at]), at), moments, sums)
    }

    fn add_signs(
        &self,
        on: &Cuda<R>,
        rows: &CudaRows<R::Memory>,
        place: &TensorSlice,
        signs: &DeviceSigns<R::Memory>,
        sums: &DeviceSums<R::Memory>,
    ) -> Result<(), BackendError> {
        let order = place.order.as_ref().map(sources);
        for at in 0..self.forms.len() {
            let formed = self.form(on, rows, (place, order.as_deref()), at, sums)?;
            on.add_signs(&formed, signs, sums, at)?;
        }
        Ok(())
    }

    /// `places`: those of the module's weight and of its bias, if it has one.
    fn add_module(
        &self,
        on: &Cuda<R>,
        rows: &CudaRows<R::Memory>,
        places: &[TensorSlice],
        module: &ProjectedModule<R::Memory>,
        sums: &DeviceSums<R::Memory>,
    ) -> Result<(), BackendError> {
        let orders: Vec<Option<Vec<u32>>> =
            places.iter().map(|place| place.order.as_ref().map(sources)).collect();
        for (at, form) in self.forms.iter().enumerate() {
            if form.is_linear() && module.uses_factors {
                continue;
            }
            let formed = places.iter().zip(&orders);
            let formed =
                formed.map(|(place, order)| self.form(on, rows, (place, order.as_deref()), at, sums));
            let formed: Vec<_> = formed.collect::<Result<_, BackendError>>()?;
            if let [weight, bias @ ..] = &formed[..] {
                on.project_module(&module.on, weight, bias.first(), sums, (at, module.first))?;
            }
        }
        Ok(())
    }
}

impl<R: Runtime> DeviceFeatures<Cuda<R>> for CudaFeatures<R> {
    type Sums = DeviceSums<R::Memory>;

    fn prepare(
        on: &Cuda<R>,
        features: &GradFeatures,
        parts: &[Range<usize>],
    ) -> Result<Option<Self>, BackendError> {
        let GradFeatures { forms, projector, moments } = features;
        let tables = match projector {
            Projector::Flat(flat) => flat_bytes(flat, parts),
            Projector::Factored { projector, .. } => modules_bytes(projector),
        };
        let enters = |at: usize| forms.iter().any(|form| form.moments()[at]);
        let moments = moments.as_ref().map(|moments| [&moments.exp_avg, &moments.exp_avg_sq]);
        let moments = [0, 1].map(|at| moments.filter(|_| enters(at)).map(|both| both[at]));
        let of_moments: usize = moments.iter().flatten().map(|values| 4 * values.len()).sum();
        let budget = on.table_budget()?;
        if tables.is_none_or(|bytes| bytes.saturating_add(of_moments) > budget) {
            return Ok(None);
        }
        let projection = match projector {
            Projector::Flat(flat) => {
                let signs = parts.iter().filter_map(|part| {
                    let (entries, width) = flat.sparse_signs(part.clone())?;
                    Some(on.signs(flat.dim(), part.start, &entries, width))
                });
                DeviceProjection::Flat { signs: signs.collect::<Result<_, BackendError>>()?, dim: flat.dim() }
            }
            Projector::Factored { projector, .. } => DeviceProjection::Modules {
                modules: modules(on, features, projector)?,
                of_tensor: tensor_modules(projector.modules()),
                dim: projector.dim(),
            },
        };
        let [first, second] = moments.map(|values| values.map(|values| on.moments(values)).transpose());
        Ok(Some(CudaFeatures {
            forms: forms.clone(),
            moments: [first?, second?],
            starts: parts.iter().map(|part| part.start).collect(),
            projection,
        }))
    }

    fn sums(&self, on: &Cuda<R>, samples: usize) -> Result<Self::Sums, BackendError> {
        let (dim, is_flat) = match &self.projection {
            DeviceProjection::Flat { dim, .. } => (*dim, true),
            DeviceProjection::Modules { dim, .. } => (*dim, false),
        };
        on.sums([samples, self.forms.len(), dim], is_flat)
    }

    fn add_formed(
        &self,
        on: &Cuda<R>,
        rows: &CudaRows<R::Memory>,
        places: &[TensorSlice],
        sums: &mut Self::Sums,
    ) -> Result<(), BackendError> {
        match &self.projection {
            DeviceProjection::Flat { signs, .. } => places
                .iter()
                .try_for_each(|place| self.add_signs(on, rows, place, &signs[place.tensor], sums)),
            DeviceProjection::Modules { modules, of_tensor, .. } => {
                let module = |place: &TensorSlice| of_tensor[place.tensor];
                let mut of_modules = places.chunk_by(|a, b| module(a) == module(b));
                of_modules
                    .try_for_each(|both| self.add_module(on, rows, both, &modules[module(&both[0])], sums))
            }
        }
    }

    fn add_factored(
        &self,
        on: &Cuda<R>,
        rows: &CudaRows<R::Memory>,
        maps: &FactorMaps<Cuda<R>>,
        plain: usize,
        sums: &mut Self::Sums,
    ) -> Result<(), BackendError> {
        let DeviceProjection::Modules { modules, .. } = &self.projection else { return Ok(()) };
        for (module, part) in maps.parts() {
            let ProjectedModule { on: module, first, .. } = &modules[module];
            let place = FormPlace { offset: part.start, start: 0, len: part.len() };
            let values = on.form(rows, place, None, (DeviceForm::plain(), plain), [None, None], sums)?;
            on.finish_module(module, &values, sums, (plain, *first))?;
        }
        Ok(())
    }

    fn finished(
        &self,
        on: &Cuda<R>,
        features: &GradFeatures,
        sums: &Self::Sums,
    ) -> Result<(Vec<f32>, Vec<bool>), BackendError> {
        let Projector::Flat(flat) = &features.projector else { return on.finished(sums) };
        let (totals, sound) = on.finished::<f64>(sums)?;
        let mut vectors = vec![0.0; totals.len()];
        let each = totals.chunks_exact(flat.dim()).zip(vectors.chunks_exact_mut(flat.dim()));
        each.for_each(|(totals, vector)| flat.finish(totals, vector));
        Ok((vectors, sound))
    }
}

/// Bytes of the signs of some parts; none where a projection has no such signs, or a part more than a kernel
/// can count.
fn flat_bytes(flat: &FlatProjector, parts: &[Range<usize>]) -> Option<usize> {
    let (_, width) = flat.sparse_signs(0..0)?;
    let of_part = |part: &Range<usize>| {
        let entries = part.len().checked_mul(width).filter(|entries| u32::try_from(*entries).is_ok())?;
        // A piece has the start of each row.
        let pieces = part.len() / BLOCK + 2;
        entries.checked_add(pieces * (flat.dim() + 1))?.checked_mul(4)
    };
    parts.iter().try_fold(0usize, |sum, part| sum.checked_add(of_part(part)?))
}

/// At most so many bytes of matrices and signs; none where a factor of each coordinate follows the sides.
fn modules_bytes(projector: &FactoredProjector) -> Option<usize> {
    (0..projector.modules().len()).try_fold(0usize, |sum, module| {
        // An entry of a side is a number and a factor there.
        let sides = projector.sides(module).map_or(0, |of| 2 * (of.out.bytes() + of.input.bytes()));
        let signs = match projector.last(module) {
            PostProjection::Nothing => 0,
            PostProjection::Signs(signs) => 4 * (signs.len() + projector.range(module).len() + 1),
            PostProjection::Scale(_) => return None,
        };
        sum.checked_add(sides + signs)
    })
}

/// The modules on the device: with sides where a form needs the gradient itself.
fn modules<R: Runtime>(
    on: &Cuda<R>,
    features: &GradFeatures,
    projector: &FactoredProjector,
) -> Result<Vec<ProjectedModule<R::Memory>>, BackendError> {
    let module = |at: usize| {
        let uses_factors = features.projector.uses_factors(at);
        let is_formed = !uses_factors || features.forms.iter().any(|form| !form.is_linear());
        let sides = projector.sides(at).filter(|_| is_formed).map(|sides| ModuleSides {
            out: column_map(&sides.out),
            input: column_map(&sides.input),
            constants: sides.input.constant.clone(),
            is_dense: matches!(sides.input.entries, SideEntries::Dense(_)),
        });
        let signs = match projector.last(at) {
            PostProjection::Signs(signs) => Some(&signs[..]),
            PostProjection::Nothing | PostProjection::Scale(_) => None,
        };
        let range = projector.range(at);
        let on = on.module(sides.as_ref(), signs, range.len())?;
        Ok(ProjectedModule { on, first: range.start, uses_factors })
    };
    (0..projector.modules().len()).map(module).collect()
}

fn column_map(side: &SideMatrix) -> ColumnMap {
    let (rows, columns) = (side.rows, side.columns);
    let entries = match &side.entries {
        SideEntries::Sparse(entries) => entries.iter().map(|e| (e.dest, e.source, e.factor)).collect(),
        SideEntries::Dense(values) => {
            let column =
                |at: usize| (0..rows).map(move |row| (row as u32, at as u32, values[row * columns + at]));
            (0..columns).flat_map(column).collect()
        }
    };
    ColumnMap { input: columns, out: rows, entries, constant: None }
}

/// Of each row of a tensor the formed one that belongs there.
fn sources(order: &RowOrder) -> Vec<u32> {
    let mut sources = vec![0; order.rows.len()];
    for (formed, row) in (0..).zip(&order.rows) {
        sources[*row] = formed;
    }
    sources
}

fn device_form(form: GradForm) -> DeviceForm {
    match form {
        GradForm::Plain => DeviceForm::plain(),
        GradForm::Sign => DeviceForm::sign(),
        GradForm::Normalised { eps } => DeviceForm::normalised(eps as f32),
        GradForm::Adam(params) => {
            let [m, v] = params.factors();
            let eps_inside = params.eps_placement == EpsPlacement::Inside;
            DeviceForm::adam(m, v, params.eps as f32, eps_inside)
        }
    }
}
