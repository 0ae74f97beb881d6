//! Number of forward passes that the stored features of a row take.

use std::collections::BTreeMap;

/// Forward passes that a gradient takes: a backward pass does the work of two.
pub const GRADIENT_PASSES: u32 = 3;

/// The models that a row goes through, and through which of them backwards as well.
///
/// Everything that is stored of one model comes from one pass of it; that of a gradient has its loss and its
/// embeddings too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passes {
    /// By model, whether a gradient is taken.
    models: BTreeMap<String, bool>,
}

impl Passes {
    /// Adds what is stored of a model.
    pub fn add(&mut self, model: &str, is_gradient: bool) {
        *self.models.entry(model.to_owned()).or_default() |= is_gradient;
    }

    /// How many there are.
    pub fn count(&self) -> f64 {
        let each = |is_gradient: &bool| if *is_gradient { GRADIENT_PASSES } else { 1 };
        f64::from(self.models.values().map(each).sum::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(models: &[(&str, bool)]) -> Passes {
        let mut passes = Passes::default();
        models.iter().for_each(|(model, is_gradient)| passes.add(model, *is_gradient));
        passes
    }

    #[test]
    fn a_model_is_passed_through_once() {
        assert_eq!(of(&[]).count(), 0.0);
        assert_eq!(of(&[("base", false), ("base", false)]).count(), 1.0);
        assert_eq!(of(&[("base", false), ("tuned", false)]).count(), 2.0);
        assert_eq!(of(&[("base", false), ("tuned", true), ("tuned", true)]).count(), 4.0);
        // The gradient's pass has the loss as well.
        assert_eq!(of(&[("tuned", true), ("tuned", false)]).count(), 3.0);
        assert_eq!(of(&[("tuned", false), ("tuned", true)]).count(), 3.0);
    }
}
