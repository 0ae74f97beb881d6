//! Linear modules whose factors are collected: where the maps of the engine belong in them.

use std::collections::{BTreeMap, BTreeSet};

use gstore_curvature::Module;
use gstore_model::architectures::{Decoder, LinearId, Param, TensorRole, WeightSlice};
use gstore_model::{Backend, BackendError, ColumnMap, LinearWeights};

/// Where the outputs of a linear map of the engine belong.
pub(super) struct MapOutputs {
    pub module: usize,
    /// Its outputs among those of a fused module; none: they are those of the module.
    columns: Option<ColumnMap>,
}

impl MapOutputs {
    /// Rows of the module's weight that are those of the map, in the map's order.
    fn rows(&self, module: &Module) -> Vec<usize> {
        match &self.columns {
            Some(map) => map.entries.iter().map(|(row, _, _)| *row as usize).collect(),
            None => (0..module.out).collect(),
        }
    }

    /// Gradients of the map's outputs among those of the module; the rest is 0.
    pub fn widened<B: Backend>(&self, backend: &B, grad: &B::Tensor) -> Result<B::Tensor, BackendError> {
        match &self.columns {
            Some(map) => backend.map_columns(grad, map),
            None => Ok(grad.clone()),
        }
    }
}

/// The chosen modules, in the order of the model's parameters.
#[derive(Default)]
pub(super) struct LinearModules {
    /// Names and shapes.
    pub list: Vec<Module>,
    /// Number of each module's maps.
    pub pieces: Vec<usize>,
    /// What gives inputs the constant of each module's bias.
    constants: Vec<Option<ColumnMap>>,
    places: BTreeMap<LinearId, MapOutputs>,
}

impl LinearModules {
    /// The linear ones of `chosen`, which are indices into `decoder.params`.
    pub fn new(decoder: &Decoder, chosen: &[usize]) -> LinearModules {
        let mut modules = LinearModules::default();
        for param in chosen.iter().filter_map(|index| decoder.params.get(*index)) {
            if let (TensorRole::Weight(pieces), [out, width]) = (&param.role, &param.shape[..]) {
                modules.add(decoder, param, pieces, [*out, *width]);
            }
        }
        modules
    }

    fn add(&mut self, decoder: &Decoder, param: &Param, pieces: &[WeightSlice], [out, width]: [usize; 2]) {
        let name = param.module().to_owned();
        let bias = decoder.param(&format!("{name}.bias")).is_some();
        let module = self.list.len();
        for piece in pieces {
            let in_order = piece.rows.iter().eq(0..out);
            let entries = || piece.rows.iter().enumerate().map(|(from, to)| (to as u32, from as u32, 1.0));
            let columns = (!in_order).then(|| ColumnMap {
                input: piece.rows.len(),
                out,
                entries: entries().collect(),
                constant: None,
            });
            self.places.insert(piece.linear, MapOutputs { module, columns });
        }
        self.pieces.push(pieces.len());
        self.constants.push(bias.then(|| with_constant(width)));
        self.list.push(Module { name, out, input: width + usize::from(bias), bias });
    }

    /// The modules of each layer that has some, in the order in which a pass has them: the last layer first,
    /// and the head behind all.
    pub fn by_layer(&self) -> Vec<Vec<usize>> {
        let (mut layers, mut head) = (BTreeMap::<usize, BTreeSet<usize>>::new(), BTreeSet::new());
        for (id, place) in &self.places {
            match id {
                LinearId::Layer { layer, .. } => layers.entry(*layer).or_default().insert(place.module),
                LinearId::Head => head.insert(place.module),
            };
        }
        let layers = layers.into_values().rev().chain((!head.is_empty()).then_some(head));
        layers.map(|modules| modules.into_iter().collect()).collect()
    }

    /// Where the values of each module begin, where they follow each other.
    pub fn starts(&self) -> Vec<usize> {
        let start = |at: &mut usize, module: &Module| {
            let begin = *at;
            *at += module.len();
            Some(begin)
        };
        self.list.iter().scan(0, start).collect()
    }

    /// The maps of a direction in which the modules move: values of all of them, one after the other,
    /// `[out, input]` each, where the last input is that of a bias.
    pub fn maps(&self, values: &[f64]) -> Vec<(LinearId, LinearWeights)> {
        let starts = self.starts();
        let map = |(id, place): (&LinearId, &MapOutputs)| {
            let module = &self.list[place.module];
            let (rows, width) = (place.rows(module), module.width());
            let row = |row: &usize| &values[starts[place.module] + row * module.input..][..module.input];
            let weight = rows.iter().flat_map(|at| &row(at)[..width]).map(|value| *value as f32).collect();
            let bias = module.bias.then(|| rows.iter().map(|at| row(at)[width] as f32).collect());
            (*id, LinearWeights { weight, out: rows.len(), input: width, bias })
        };
        self.places.iter().map(map).collect()
    }

    /// Where a map belongs, if in one of the modules.
    pub fn place(&self, linear: LinearId) -> Option<&MapOutputs> {
        self.places.get(&linear)
    }

    /// Inputs of a module with the constant of its bias, if it has one.
    pub fn inputs<B: Backend>(
        &self,
        backend: &B,
        module: usize,
        x: &B::Tensor,
    ) -> Result<B::Tensor, BackendError> {
        match self.constants.get(module).and_then(Option::as_ref) {
            Some(map) => backend.map_columns(x, map),
            None => Ok(x.clone()),
        }
    }
}

/// All columns, and a 1 behind them.
fn with_constant(width: usize) -> ColumnMap {
    let entries = (0..width as u32).map(|column| (column, column, 1.0)).collect();
    ColumnMap { input: width, out: width + 1, entries, constant: Some((width as u32, 1.0)) }
}
