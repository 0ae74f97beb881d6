//! Linear modules whose factors are collected: where the maps of the engine belong in them.

use std::collections::BTreeMap;

use gstore_curvature::Module;
use gstore_model::architectures::{Decoder, LinearId, Param, Piece, Role};
use gstore_model::{Backend, BackendError, ColumnMap};

/// Where the outputs of a linear map of the engine belong.
pub(super) struct Place {
    /// Which module.
    pub module: usize,
    /// Its outputs among those of a fused module; none: they are those of the module.
    columns: Option<ColumnMap>,
}

impl Place {
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
pub(super) struct Modules {
    /// Names and shapes.
    pub list: Vec<Module>,
    /// Number of each module's maps.
    pub pieces: Vec<usize>,
    /// What gives inputs the constant of each module's bias.
    constants: Vec<Option<ColumnMap>>,
    places: BTreeMap<LinearId, Place>,
}

impl Modules {
    /// The linear ones of `chosen`, which are indices into `decoder.params`.
    pub fn new(decoder: &Decoder, chosen: &[usize]) -> Modules {
        let mut modules = Modules::default();
        for param in chosen.iter().filter_map(|index| decoder.params.get(*index)) {
            if let (Role::Weight(pieces), [out, width]) = (&param.role, &param.shape[..]) {
                modules.add(decoder, param, pieces, [*out, *width]);
            }
        }
        modules
    }

    fn add(&mut self, decoder: &Decoder, param: &Param, pieces: &[Piece], [out, width]: [usize; 2]) {
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
            self.places.insert(piece.linear, Place { module, columns });
        }
        self.pieces.push(pieces.len());
        self.constants.push(bias.then(|| with_constant(width)));
        self.list.push(Module { name, out, input: width + usize::from(bias), bias });
    }

    /// Where a map belongs, if in one of the modules.
    pub fn place(&self, linear: LinearId) -> Option<&Place> {
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
