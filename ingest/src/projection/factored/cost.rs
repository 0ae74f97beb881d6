//! Multiply-adds of the ways to a projected vector, and which way a module takes.
//!
//! Only shapes and a nominal number of tokens enter, never the tokens of a sample: the two ways differ in the
//! last bits, and a row must not depend on its batch.

use crate::projection::kind::ProjectionKind;
use crate::projection::modules::{GradientShape, ModuleShape, SideEntry};
use crate::projection::spec::ProjectionSpec;

/// Tokens of the sample that costs are reckoned for unless the caller knows better.
pub(crate) const NOMINAL_TOKENS: u64 = 512;

/// How a module's vector is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionRoute {
    /// Each token's factors are projected and their products summed; the gradient never exists.
    Factors,
    /// The gradient is formed, then projected.
    Formed,
}

/// Multiply-adds per sample of one module. Modules share the reads of a flat mask, so
/// theirs is an upper bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectionCost {
    /// From the factors to the vector; none where there are no factors to project.
    pub factors: Option<u64>,
    /// Forming the gradient.
    pub forming: u64,
    /// From the formed gradient to the vector.
    pub projecting: u64,
}

impl ProjectionCost {
    /// Forming and projecting.
    pub fn formed(&self) -> u64 {
        self.forming.saturating_add(self.projecting)
    }

    /// Of a way; that of forming where there are no factors.
    pub fn of(&self, way: ProjectionRoute) -> u64 {
        match (way, self.factors) {
            (ProjectionRoute::Factors, Some(factors)) => factors,
            _ => self.formed(),
        }
    }
}

/// The cost of one sample of `tokens` tokens in a module.
pub(crate) fn module_cost(spec: &ProjectionSpec, module: &ModuleShape, tokens: u64) -> ProjectionCost {
    let (shape, sides) = (module.shape, spec.sides(module));
    let (rows, columns) = shape.matrix();
    let (rows, columns) = (rows as u64, columns as u64);
    let forming = match shape {
        GradientShape::Linear { .. } => product(&[tokens, rows, columns]),
        GradientShape::Embedding { .. } => product(&[tokens, columns]),
        GradientShape::Vector { .. } => product(&[tokens, rows]),
    };
    let Some((k_out, k_in)) = sides else {
        return ProjectionCost { factors: None, forming, projecting: flat_cost(spec, shape.numel()) };
    };
    let (k_out, k_in) = (k_out as u64, k_in as u64);
    let cells = product(&[k_out, k_in]);
    // A one-hot side costs nothing to project, and of a sparse one only one row of cells is touched.
    let one_hot = matches!(shape, GradientShape::Embedding { .. });
    let touched = if one_hot { k_in } else { cells };
    let dense_out = if one_hot { 0 } else { rows };
    let (factors, projecting) = match spec.kind {
        ProjectionKind::TwoSided { .. } | ProjectionKind::Ekfac => {
            let sides = sum(&[product(&[dense_out, k_out]), product(&[columns, k_in]), cells]);
            let folding = product(&[rows, columns, k_out]);
            (product(&[tokens, sides]), sum(&[folding, product(&[columns, cells])]))
        }
        ProjectionKind::FactMask { .. } => (sum(&[product(&[tokens, touched]), cells]), sum(&[cells, cells])),
        _ => {
            let sides = sum(&[dense_out, columns, touched]);
            let folding = product(&[rows, columns]);
            (
                sum(&[product(&[tokens, sides]), cells]),
                sum(&[folding, product(&[columns, k_out.min(rows)]), cells]),
            )
        }
    };
    ProjectionCost { factors: Some(factors), forming, projecting }
}

/// The way with fewer multiply-adds; the factors if both have as many.
///
/// `needs_formed`: whether the feature needs the gradient itself, as every function of it
/// does that is not linear.
pub(crate) fn choose_module(
    spec: &ProjectionSpec,
    module: &ModuleShape,
    nominal_tokens: u64,
    needs_formed: bool,
) -> ProjectionRoute {
    let cost = module_cost(spec, module, nominal_tokens);
    match cost.factors {
        Some(factors) if !needs_formed && factors <= cost.formed() => ProjectionRoute::Factors,
        _ => ProjectionRoute::Formed,
    }
}

/// Bytes that a projector holds for a module once it was asked for its matrices.
pub(crate) fn table_bytes(spec: &ProjectionSpec, module: &ModuleShape) -> u64 {
    const ENTRY: u64 = size_of::<SideEntry>() as u64;
    let shape = module.shape;
    let (rows, columns) = shape.matrix();
    let (rows, columns) = (rows as u64, columns as u64);
    let constant = |k_in: u64| if shape.bias() { 4 * k_in } else { 0 };
    let inputs = columns - u64::from(shape.bias());
    match (spec.kind, spec.sides(module)) {
        (ProjectionKind::TwoSided { .. } | ProjectionKind::Ekfac, Some((k_out, k_in))) => {
            let (k_out, k_in) = (k_out as u64, k_in as u64);
            sum(&[product(&[4, rows, k_out]), product(&[4, inputs, k_in]), constant(k_in)])
        }
        (kind, Some((k_out, k_in))) => {
            let (k_out, k_in) = (k_out as u64, k_in as u64);
            let mask = matches!(kind, ProjectionKind::FactMask { .. });
            let (out, input) = if mask { (k_out, k_in) } else { (rows, inputs) };
            // The output side is held by source and by destination.
            sum(&[
                product(&[2, ENTRY, out]),
                product(&[ENTRY, input]),
                product(&[4, k_out, k_in]),
                constant(k_in),
            ])
        }
        (
            ProjectionKind::TwoSided { .. }
            | ProjectionKind::FactMask { .. }
            | ProjectionKind::FactSjlt { .. }
            | ProjectionKind::Ekfac,
            None,
        ) => product(&[4, rows]),
        (ProjectionKind::Sjlt { s }, None) => product(&[4, u64::from(s), shape.numel()]),
        (ProjectionKind::Rademacher, None) => {
            product(&[16, u64::from(spec.dim).div_ceil(128), shape.numel()])
        }
        (ProjectionKind::Gaussian, None) => product(&[4, u64::from(spec.dim), shape.numel()]),
        (ProjectionKind::None | ProjectionKind::Mask, None) => 0,
    }
}

/// Multiply-adds of a projection of the flattened tensor.
fn flat_cost(spec: &ProjectionSpec, numel: u64) -> u64 {
    match spec.kind {
        ProjectionKind::None => 0,
        ProjectionKind::Sjlt { s } => product(&[u64::from(s), numel]),
        ProjectionKind::Rademacher | ProjectionKind::Gaussian => product(&[u64::from(spec.dim), numel]),
        ProjectionKind::Mask => u64::from(spec.dim).min(numel),
        ProjectionKind::TwoSided { .. }
        | ProjectionKind::FactMask { .. }
        | ProjectionKind::FactSjlt { .. }
        | ProjectionKind::Ekfac => numel,
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |n, f| n.saturating_mul(*f))
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |n, t| n.saturating_add(*t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dim: u32) -> ProjectionSpec {
        ProjectionSpec::sized(name.parse().unwrap(), dim)
    }

    fn module(shape: GradientShape) -> ModuleShape {
        ModuleShape { name: "module".to_owned(), shape }
    }

    fn cost(spec: &ProjectionSpec, shape: GradientShape, tokens: u64) -> ProjectionCost {
        module_cost(spec, &module(shape), tokens)
    }

    #[test]
    fn worked_sizes() {
        // In units of 10^9, T = 1024, 4096 coordinates a module.
        let billions = |n: u64| (n as f64 / 1e7).round() / 100.0;
        let square = GradientShape::Linear { out: 4096, input: 4096, bias: false };
        let wide = GradientShape::Linear { out: 14336, input: 4096, bias: false };
        for (shape, forming, two_sided) in [(square, 17.18, 0.54), (wide, 60.13, 1.21)] {
            assert_eq!(billions(cost(&spec("two_sided", 4096), shape, 1024).forming), forming);
            assert_eq!(billions(cost(&spec("two_sided", 4096), shape, 1024).factors.unwrap()), two_sided);
            let mask = cost(&spec("fact_mask", 4096), shape, 1024).factors.unwrap();
            assert_eq!(mask, 1025 * 128 * 128);
        }
        let sjlt = |shape| cost(&spec("fact_sjlt", 4096), shape, 1024).factors.unwrap();
        assert_eq!((billions(sjlt(square)), billions(sjlt(wide))), (0.03, 0.04));
        let flat = ProjectionSpec { dim: 8192, ..ProjectionSpec::default() };
        assert_eq!(cost(&flat, GradientShape::Vector { len: 10_000_000 }, 1).projecting, 40_000_000);
    }

    #[test]
    fn the_way_depends_on_shapes() {
        let way =
            |name, shape, needs| choose_module(&spec(name, 1024), &module(shape), NOMINAL_TOKENS, needs);
        let full = GradientShape::Linear { out: 2048, input: 2048, bias: true };
        let lora = GradientShape::Linear { out: 8, input: 2048, bias: false };
        let norm = GradientShape::Vector { len: 2048 };
        let table = GradientShape::Embedding { vocab: 50_000, hidden: 768 };
        for name in ["two_sided", "fact_mask", "fact_sjlt"] {
            assert_eq!(way(name, full, false), ProjectionRoute::Factors);
            assert_eq!(way(name, full, true), ProjectionRoute::Formed);
            assert_eq!(way(name, norm, false), ProjectionRoute::Formed);
            assert_eq!(way(name, table, false), ProjectionRoute::Factors);
        }
        assert_eq!(way("two_sided", lora, false), ProjectionRoute::Formed);
        assert_eq!(way("fact_sjlt", lora, false), ProjectionRoute::Factors);
        assert_eq!(way("sjlt", lora, false), ProjectionRoute::Formed);
    }
}
