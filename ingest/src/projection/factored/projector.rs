//! The projector of a model's modules, each by itself.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

use gstore_store::ModuleGroup;

use super::{fact_mask, fact_sjlt, sparse, two_sided};
use crate::projection::error::ProjectionError;
use crate::projection::groups;
use crate::projection::key::MatrixSide;
use crate::projection::kind::ProjectionKind;
use crate::projection::modules::{GradientShape, ModuleShape, SideEntry, SideMatrices, SideMatrix};
use crate::projection::philox::{RandomWords, StreamTag};
use crate::projection::spec::ProjectionSpec;

/// The part of a gradient's length that rounding may hide of what a block leaves out: 2^-10.
const ROUNDING: f64 = 1.0 / 1024.0;

/// Projects the gradients of one list of modules.
///
/// Matrices are drawn when a module is first asked for, so a projector that only says what its vectors look
/// like costs nothing. Nothing here starts threads; sums are in f64, in index order, and rounded once.
pub struct FactoredProjector {
    spec: ProjectionSpec,
    checkpoint: Option<String>,
    modules: Vec<ModuleShape>,
    drawn: Vec<OnceLock<ModuleMatrices>>,
    /// Whether it is also wanted what blocks of an eigenbasis leave out.
    residual: bool,
    /// First coordinate of each module, and their number.
    starts: Vec<usize>,
    groups: Vec<ModuleGroup>,
}

struct ModuleMatrices {
    /// None of a tensor of one axis.
    sides: Option<SideMatrices>,
    /// The output side by destination; empty if it is dense.
    rows: Vec<SideEntry>,
    last: PostProjection,
}

/// What makes coordinates of the sums of both sides, or of the values of a tensor of one axis.
pub enum PostProjection {
    /// They are the coordinates.
    Nothing,
    /// One more projection: of each value a coordinate and, in the highest bit, a sign.
    Signs(Vec<u32>),
    /// A factor of each.
    Scale(Vec<f64>),
}

impl PostProjection {
    fn apply<T: Copy + Into<f64>>(&self, values: &[T], out: &mut [f32]) {
        match self {
            PostProjection::Signs(packed) => fact_sjlt::scatter(packed, values, out),
            PostProjection::Nothing => {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = (*value).into() as f32;
                }
            }
            PostProjection::Scale(scale) => {
                for ((out, value), scale) in out.iter_mut().zip(values).zip(scale) {
                    let value: f64 = (*value).into();
                    *out = (value * scale) as f32;
                }
            }
        }
    }
}

impl FactoredProjector {
    /// Checks the modules; draws nothing.
    ///
    /// `checkpoint`: the checkpoint's id, used (and needed) when the spec says `per_checkpoint`.
    pub fn new(
        spec: &ProjectionSpec,
        modules: &[ModuleShape],
        checkpoint: Option<&str>,
    ) -> Result<Self, ProjectionError> {
        if !spec.kind.is_factored() {
            return Err(ProjectionError::NotFactored { kind: spec.kind });
        }
        spec.check()?;
        let checkpoint = spec.scope(checkpoint)?.map(str::to_owned);
        check(modules)?;
        spec.basis.as_ref().map_or(Ok(()), |basis| basis.check(modules))?;
        let dims: Vec<u32> = modules.iter().map(|module| spec.module_dim(module)).collect();
        if dims.iter().try_fold(0u32, |sum, dim| sum.checked_add(*dim)).is_none() {
            return Err(ProjectionError::TooManyModules { modules: modules.len(), dim: spec.dim });
        }
        let mut starts = vec![0; modules.len() + 1];
        for (at, dim) in dims.iter().enumerate() {
            starts[at + 1] = starts[at] + *dim as usize;
        }
        let groups = groups::by_module(modules.iter().map(|m| m.name.as_str()).zip(dims));
        let drawn = modules.iter().map(|_| OnceLock::new()).collect();
        let (spec, modules) = (spec.clone(), modules.to_vec());
        Ok(Self { spec, checkpoint, modules, drawn, residual: false, starts, groups })
    }

    /// The same, of which it is also wanted what its blocks of an eigenbasis leave out of each gradient.
    pub fn with_residual(self) -> Self {
        Self { residual: self.spec.basis.is_some(), ..self }
    }

    /// Whether it is wanted what blocks leave out.
    pub fn wants_residual(&self) -> bool {
        self.residual
    }

    /// What the block of a module leaves out of a gradient whose squared length in the module is `energy`:
    /// the length of what is left out, and of all. `coordinates`: those of the module.
    ///
    /// The first is 0 where all coordinates are kept. Else it is at least 2^-10 of the second, below which a
    /// difference of two squares is rounding.
    pub fn residual(&self, module: usize, energy: f64, coordinates: &[f32]) -> [f32; 2] {
        let whole = energy.sqrt();
        let Some(block) = self.modules.get(module).and_then(|module| self.spec.block(module)) else {
            return [0.0, whole as f32];
        };
        if block.is_whole() {
            return [0.0, whole as f32];
        }
        let kept = block.energy(coordinates);
        [(energy - kept).max(ROUNDING * ROUNDING * energy).sqrt() as f32, whole as f32]
    }

    /// Whether it samples coordinates.
    pub(crate) fn is_mask(&self) -> bool {
        matches!(self.spec.kind, ProjectionKind::FactMask { .. })
    }

    /// The modules, in the order of their coordinates.
    pub fn modules(&self) -> &[ModuleShape] {
        &self.modules
    }

    /// Coordinates of all modules.
    pub fn dim(&self) -> usize {
        self.starts[self.modules.len()]
    }

    /// The coordinates of a module.
    pub fn range(&self, module: usize) -> Range<usize> {
        self.starts[module]..self.starts[module + 1]
    }

    /// Module groups of the output, ascending and without gaps; tensors of one module (both LoRA
    /// factors) share a group.
    pub fn groups(&self) -> Vec<ModuleGroup> {
        self.groups.clone()
    }

    /// Values that a backend sums over the tokens of a sample before [`Self::finish`],
    /// `[rows of out, rows of in]`; 0 of a vector.
    pub fn accumulated_len(&self, module: usize) -> usize {
        self.spec.sides(&self.modules[module]).map_or(0, |(k_out, k_in)| k_out * k_in)
    }

    /// Both sides of a module; none of a tensor of one axis, whose gradient is always formed.
    pub fn sides(&self, module: usize) -> Option<&SideMatrices> {
        self.drawn(module).sides.as_ref()
    }

    /// What follows the sides of a module, for devices that have them.
    pub fn last(&self, module: usize) -> &PostProjection {
        &self.drawn(module).last
    }

    /// Turns what was accumulated into the module's coordinates: a copy of `two_sided`, scaled of `ekfac`,
    /// one more projection of the others.
    ///
    /// # Panics
    /// If the module is a vector or a length does not fit.
    pub fn finish<T: Copy + Into<f64>>(&self, module: usize, accumulated: &[T], out: &mut [f32]) {
        let lengths = (self.accumulated_len(module), self.range(module).len());
        assert_eq!(
            (accumulated.len(), out.len()),
            lengths,
            "lengths of what is accumulated and of the output"
        );
        let ModuleMatrices { sides, last, .. } = self.drawn(module);
        assert!(sides.is_some(), "{} has no factors", self.modules[module].name);
        last.apply(accumulated, out);
    }

    /// Projects a formed gradient: `weight` row-major `[out, input]`, and the gradient of the
    /// bias, empty without one.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn project_formed(&self, module: usize, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let shape = &self.modules[module];
        let biases = if shape.shape.bias() { shape.shape.matrix().0 } else { 0 };
        assert_eq!((weight.len(), bias.len()), (shape.weight_len(), biases), "gradient of {}", shape.name);
        assert_eq!(out.len(), self.range(module).len(), "output of {}", shape.name);
        let ModuleMatrices { sides, rows, last } = self.drawn(module);
        match sides {
            None => last.apply(weight, out),
            Some(SideMatrices { out: side, input }) => {
                let cells = match rows.is_empty() {
                    true => two_sided::project(side, input, weight, bias),
                    false => sparse::project(rows, side.rows, input, weight, bias),
                };
                last.apply(&cells, out);
            }
        }
    }

    fn drawn(&self, module: usize) -> &ModuleMatrices {
        self.drawn[module].get_or_init(|| self.draw(&self.modules[module]))
    }

    fn draw(&self, module: &ModuleShape) -> ModuleMatrices {
        let words =
            |tag, side| RandomWords::of(tag, &module.name, side, self.spec.seed, self.checkpoint.as_deref());
        if let Some(block) = self.spec.block(module) {
            let (sides, last) = (block.matrices(module.shape.bias()), PostProjection::Scale(block.scale()));
            return ModuleMatrices { sides: Some(sides), rows: Vec::new(), last };
        }
        let (rows, columns) = module.shape.matrix();
        let Some((k_out, k_in)) = module.shape.sides(self.spec.kind) else {
            let words = words(StreamTag::Sjlt, MatrixSide::Whole);
            let last = PostProjection::Signs(fact_sjlt::signs(words, self.spec.dim, rows));
            return ModuleMatrices { sides: None, rows: Vec::new(), last };
        };
        let both = |tag, draw: fn(RandomWords, u32, usize, bool) -> SideMatrix| SideMatrices {
            out: draw(words(tag, MatrixSide::Out), k_out as u32, rows, false),
            input: draw(words(tag, MatrixSide::In), k_in as u32, columns, module.shape.bias()),
        };
        let sides = match self.spec.kind {
            ProjectionKind::TwoSided { .. } => both(StreamTag::Rademacher, two_sided::side),
            ProjectionKind::FactMask { .. } => both(StreamTag::Mask, fact_mask::side),
            _ => both(StreamTag::Sjlt, fact_sjlt::side),
        };
        let last = match self.spec.kind {
            ProjectionKind::TwoSided { .. } => PostProjection::Nothing,
            _ => {
                let words = words(StreamTag::Sjlt, MatrixSide::Post);
                PostProjection::Signs(fact_sjlt::signs(words, self.spec.dim, k_out * k_in))
            }
        };
        ModuleMatrices { rows: sparse::by_destination(&sides.out), sides: Some(sides), last }
    }
}

/// Refuses modules that have no well-defined matrix.
fn check(modules: &[ModuleShape]) -> Result<(), ProjectionError> {
    if modules.is_empty() {
        return Err(ProjectionError::NoTensors);
    }
    let mut names = HashSet::new();
    for module in modules {
        if !names.insert(&module.name) {
            return Err(ProjectionError::SameName { name: module.name.clone() });
        }
        let shape = match module.shape {
            GradientShape::Vector { len } => vec![len],
            GradientShape::Linear { out, input, .. } => vec![out, input],
            GradientShape::Embedding { vocab, hidden } => vec![vocab, hidden],
        };
        if shape.contains(&0) {
            return Err(ProjectionError::EmptyTensor { name: module.name.clone(), shape });
        }
        let (rows, columns) = module.shape.matrix();
        if rows.max(columns) > u32::MAX as usize || rows.checked_mul(columns).is_none() {
            return Err(ProjectionError::TooWide { inputs: module.shape.numel() });
        }
    }
    Ok(())
}
