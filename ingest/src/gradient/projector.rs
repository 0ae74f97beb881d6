//! The projection of a gradient: of all tensors at once, or of each module.

use crate::projection::{FactoredProjector, FlatProjector, GradientShape, ProjectionRoute};

/// How a gradient becomes short.
pub enum Projector {
    /// All tensors as one vector.
    Flat(FlatProjector),
    /// Each module by itself.
    Factored {
        /// The modules' matrices.
        projector: FactoredProjector,
        /// How each module's plain gradient is projected. Any other form needs the gradient itself, and that
        /// of an adapter always exists.
        routes: Vec<ProjectionRoute>,
    },
}

impl Projector {
    /// Length of a projected vector.
    pub fn dim(&self) -> usize {
        match self {
            Projector::Flat(flat) => flat.dim(),
            Projector::Factored { projector, .. } => projector.dim(),
        }
    }

    /// The modules' matrices, if each module is projected by itself.
    pub(super) fn factored(&self) -> Option<&FactoredProjector> {
        match self {
            Projector::Flat(_) => None,
            Projector::Factored { projector, .. } => Some(projector),
        }
    }

    /// Of how many modules it is said what their blocks leave out of a gradient; 0 where that is not wanted.
    pub(super) fn residual_modules(&self) -> usize {
        let projector = self.factored().filter(|projector| projector.wants_residual());
        projector.map_or(0, |projector| projector.modules().len())
    }

    /// The same projection, of gradients that are all formed.
    pub(super) fn of_formed(self) -> Projector {
        match self {
            Projector::Factored { projector, .. } => {
                let routes = vec![ProjectionRoute::Formed; projector.modules().len()];
                Projector::Factored { projector, routes }
            }
            flat => flat,
        }
    }

    /// Whether the plain gradient of a module is projected from its factors.
    pub(super) fn uses_factors(&self, module: usize) -> bool {
        let Projector::Factored { projector, routes } = self else { return false };
        // A tensor of one axis has no factors, whatever way is asked for.
        let has_factors =
            projector.modules().get(module).is_some_and(|m| !matches!(m.shape, GradientShape::Vector { .. }));
        has_factors && routes.get(module) == Some(&ProjectionRoute::Factors)
    }
}
