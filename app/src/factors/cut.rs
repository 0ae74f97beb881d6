//! Blocks into which the covariances of a fit are cut.

use gstore_core::many;
use gstore_curvature::{Blocks, Module, Strategy};

use super::request::FitRequest;
use super::stamp::FactorStamp;
use crate::work::JobContext;

/// Rows of the largest block that a request asks for, which may extend factors.
pub(super) fn most_rows(request: &FitRequest, extended: Option<&FactorStamp>) -> usize {
    match (request.max_block, extended) {
        (Some(most), _) => most,
        (None, Some(extended)) => extended.max_block.unwrap_or(usize::MAX),
        (None, None) => FitRequest::MAX_BLOCK as usize,
    }
}

/// The largest block of factors that are cut into some; none where all covariances are whole.
pub(super) fn cut(modules: &[Module], strategy: Strategy, max_block: usize) -> Option<usize> {
    let wide = |module: &Module| module.input.max(module.out) > max_block;
    (strategy.rotates() && modules.iter().any(wide)).then_some(max_block)
}

/// Says that covariances are cut.
pub(super) fn tell_blocks(
    modules: &[Module],
    strategy: Strategy,
    max_block: usize,
    work: &mut JobContext<'_>,
) {
    if let Some(most) = cut(modules, strategy, max_block) {
        let wide = modules.iter().filter(|module| module.input.max(module.out) > most).count();
        let wide = many(wide as u64, "module");
        work.progress.note(&format!("covariances of {wide} are cut into blocks of at most {most} rows"));
    }
}

/// Whether both numbers cut covariances into the same blocks.
pub(super) fn same_blocks(modules: &[Module], a: Option<usize>, b: Option<usize>) -> bool {
    let blocks = |size, most: Option<usize>| Blocks::new(size, most.unwrap_or(usize::MAX));
    let mut sizes = modules.iter().flat_map(|module| [module.input, module.out]);
    sizes.all(|size| blocks(size, a) == blocks(size, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cut_alike_are_the_same() {
        let modules = [Module { name: "m".into(), out: 64, input: 128, bias: false }];
        // Two blocks of 32, and 43, 43 and 42.
        assert!(same_blocks(&modules, Some(48), Some(50)) && same_blocks(&modules, None, Some(128)));
        assert!(!same_blocks(&modules, Some(48), None) && !same_blocks(&modules, Some(48), Some(64)));
    }
}
