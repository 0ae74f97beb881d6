//! The sink that projects weight gradients from their factors, without forming them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::energies::{GradientEnergies, HeadPieces};
use super::kurtosis::KurtosisCheck;
use crate::projection::{FactoredProjector, SideEntries, SideMatrix, tensor_modules};
use gstore_model::architectures::{Decoder, LinearId, Param, RowRuns, TensorRole};
use gstore_model::{
    Backend, BackendError, ColumnMap, LinearFactors, LinearWeights, Sink, Slot, TableFactors,
};

enum SideMap<B: Backend> {
    Dense(B::Linear),
    Sparse(ColumnMap),
}

/// A module whose gradient is projected from its factors.
struct ModuleMaps<B: Backend> {
    /// Which of the projector's modules.
    module: usize,
    /// The tensor that is its weight.
    tensor: usize,
    input: SideMap<B>,
    /// Where its values start in what is accumulated for a sample, and their number.
    offset: usize,
    len: usize,
}

/// What a slot adds to.
struct SlotMap<B: Backend> {
    /// Index into the maps' modules.
    index: usize,
    /// Of a linear map: the output side, cut to the map's rows. Of a table: none, its side is looked up by
    /// token.
    out: Option<SideMap<B>>,
}

/// The sides of the modules that are projected from factors.
pub struct FactorMaps<B: Backend> {
    modules: Vec<ModuleMaps<B>>,
    slots: BTreeMap<Slot, SlotMap<B>>,
    /// Values that are accumulated for a sample.
    pub width: usize,
}

impl<B: Backend> FactorMaps<B> {
    /// `modules`: module of the projector and the tensor that is its weight.
    pub fn new<'a>(
        backend: &B,
        decoder: &Decoder,
        projector: &FactoredProjector,
        modules: impl IntoIterator<Item = (usize, &'a Param)>,
    ) -> Result<FactorMaps<B>, BackendError> {
        let mut maps = FactorMaps { modules: Vec::new(), slots: BTreeMap::new(), width: 0 };
        let tensors = tensor_modules(projector.modules());
        for (module, param) in modules {
            let tensor = tensors.iter().position(|of| *of == module).unwrap_or(tensors.len());
            let Some(sides) = projector.sides(module) else { continue };
            let len = projector.accumulated_len(module);
            let index = maps.modules.len();
            let input = side(backend, &sides.input, None)?;
            maps.modules.push(ModuleMaps { module, tensor, input, offset: maps.width, len });
            maps.width += len;
            let mut add = |slot, out| maps.slots.insert(slot, SlotMap { index, out });
            match &param.role {
                TensorRole::Weight(pieces) => {
                    for piece in pieces {
                        let out = side(backend, &sides.out, Some(piece.rows))?;
                        add(Slot::Linear(piece.linear), Some(out));
                    }
                }
                TensorRole::Embedding => {
                    add(Slot::Embedding, None);
                    if decoder.tied {
                        add(Slot::Linear(LinearId::Head), Some(side(backend, &sides.out, None)?));
                    }
                }
                TensorRole::Positions => {
                    add(Slot::Positions, None);
                }
                TensorRole::Bias(_) | TensorRole::NormWeight(_) | TensorRole::NormBias(_) => {}
            }
        }
        Ok(maps)
    }

    /// Turns what one sample accumulated into the modules' coordinates of its vector; says whether all of it
    /// is finite.
    pub fn finish(&self, projector: &FactoredProjector, accumulated: &[f32], out: &mut [f32]) -> bool {
        for (module, part) in self.parts() {
            projector.finish(module, &accumulated[part], &mut out[projector.range(module)]);
        }
        accumulated.iter().all(|v| v.is_finite())
    }

    /// Each module, and its part of what is accumulated for a sample.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.modules.iter().map(|of| (of.module, of.offset..of.offset + of.len))
    }
}

/// Uploads a side, cut to the columns `rows` in that order if they are given.
fn side<B: Backend>(
    backend: &B,
    matrix: &SideMatrix,
    rows: Option<RowRuns>,
) -> Result<SideMap<B>, BackendError> {
    let columns: Vec<usize> =
        rows.map_or_else(|| (0..matrix.columns).collect(), |rows| rows.iter().collect());
    match &matrix.entries {
        SideEntries::Dense(values) => {
            let row = |row: usize| &values[row * matrix.columns..(row + 1) * matrix.columns];
            let weight = (0..matrix.rows).flat_map(|r| columns.iter().map(move |c| row(r)[*c])).collect();
            let bias = (!matrix.constant.is_empty()).then(|| matrix.constant.clone());
            let weights = LinearWeights { weight, out: matrix.rows, input: columns.len(), bias };
            Ok(SideMap::Dense(backend.pack(weights)?))
        }
        SideEntries::Sparse(entries) => {
            let by_source = |source: &usize| {
                let at = entries.binary_search_by_key(source, |e| e.source as usize).ok()?;
                Some(entries[at])
            };
            let cut = columns.iter().enumerate().filter_map(|(to, source)| {
                let entry = by_source(source)?;
                Some((entry.dest, to as u32, entry.factor))
            });
            let constant = matrix.constant.iter().position(|v| *v != 0.0);
            Ok(SideMap::Sparse(ColumnMap {
                input: columns.len(),
                out: matrix.rows,
                entries: cut.collect(),
                constant: constant.map(|at| (at as u32, matrix.constant[at])),
            }))
        }
    }
}

impl<B: Backend> SideMap<B> {
    fn apply(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor, BackendError> {
        match self {
            SideMap::Dense(linear) => backend.linear(linear, x, None),
            SideMap::Sparse(map) => backend.map_columns(x, map),
        }
    }
}

/// Adds up projected outer products, one accumulator per sample.
pub(super) struct FactorSink<'a, B: Backend> {
    pub maps: &'a FactorMaps<B>,
    pub projector: &'a FactoredProjector,
    /// Looks at what a mask samples.
    pub kurtosis_check: Option<&'a KurtosisCheck>,
    /// What is accumulated; not needed to ask what the sink wants.
    pub out: Option<&'a mut B::Rows>,
    /// Squared lengths of the gradients, where they are wanted.
    pub energies: Option<&'a mut GradientEnergies>,
    /// The factors of the head, which come in pieces of a batch, for these.
    pub head: HeadPieces,
}

impl<B: Backend> FactorSink<'_, B> {
    /// Adds the squared lengths of the gradients of a module's map; those of the head when all of its pieces
    /// are there.
    fn add_energies(
        &mut self,
        backend: &B,
        (module, id): (usize, LinearId),
        factors: (&B::Tensor, &B::Tensor),
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        match &mut self.energies {
            None => Ok(()),
            Some(_) if id == LinearId::Head => self.head.push(backend, factors, spans),
            Some(energies) => {
                let bias = self.projector.modules()[module].shape.bias();
                energies.add_linear(backend, (module, bias), factors, spans)
            }
        }
    }

    /// Adds those of the head.
    fn finish_energies(&mut self, backend: &B) -> Result<(), BackendError> {
        let Some((x, grad, spans)) = std::mem::take(&mut self.head).whole(backend)? else { return Ok(()) };
        let (Some(energies), Some(slot)) =
            (&mut self.energies, self.maps.slots.get(&Slot::Linear(LinearId::Head)))
        else {
            return Ok(());
        };
        let module = self.maps.modules[slot.index].module;
        let bias = self.projector.modules()[module].shape.bias();
        energies.add_linear(backend, (module, bias), (&x, &grad), &spans)
    }
}

impl<B: Backend> Sink<B> for FactorSink<'_, B> {
    fn wants(&self, slot: Slot) -> bool {
        self.maps.slots.contains_key(&slot)
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let LinearFactors { x, grads, spans } = *maps;
        for (id, grad) in grads {
            let Some(slot) = self.maps.slots.get(&Slot::Linear(*id)) else { continue };
            let (module, Some(out)) = (&self.maps.modules[slot.index], &slot.out) else { continue };
            if let Some(kurtosis_check) = self.kurtosis_check {
                kurtosis_check.factors(module.tensor, backend, &[x, grad])?;
            }
            let inputs = module.input.apply(backend, x)?;
            let outputs = out.apply(backend, grad)?;
            if let Some(out) = &mut self.out {
                backend.weight_grads(&inputs, &outputs, spans, out, module.offset)?;
            }
            self.add_energies(backend, (module.module, *id), (x, *grad), spans)?;
        }
        Ok(())
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let Some(slot) = self.maps.slots.get(&factors.slot) else { return Ok(()) };
        let module = &self.maps.modules[slot.index];
        let Some(sides) = self.projector.sides(module.module) else { return Ok(()) };
        if let Some(kurtosis_check) = self.kurtosis_check {
            kurtosis_check.factors(module.tensor, backend, &[factors.grad])?;
        }
        // The output side of a looked-up row is that row's column of the side's matrix.
        let mut values = Vec::with_capacity(factors.ids.len() * sides.out.rows);
        let mut column = vec![0.0; sides.out.rows];
        for id in factors.ids {
            sides.out.column(*id as usize, &mut column);
            values.extend(column.iter().map(|v| (*v * f64::from(factors.scale)) as f32));
        }
        let outputs = backend.tensor(values, factors.ids.len(), sides.out.rows)?;
        let inputs = module.input.apply(backend, factors.grad)?;
        match &mut self.out {
            Some(out) => backend.weight_grads(&inputs, &outputs, factors.spans, out, module.offset),
            None => Ok(()),
        }
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        if layer.is_none() { self.finish_energies(backend) } else { Ok(()) }
    }
}
