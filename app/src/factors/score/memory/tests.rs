//! Promise: memory is as the sizes of modules, batches and outputs say, and what does not fit is refused.

use super::*;

fn modules() -> [Module; 2] {
    let module = |name: &str, out, input| Module { name: name.into(), out, input, bias: false };
    [module("a", 10, 20), module("b", 30, 10)]
}

fn sizes(modules: &[Module]) -> Sizes<'_> {
    Sizes {
        modules,
        weights: 1_000_000,
        activations: 10_000,
        threads: 2,
        batch: [64, 4],
        per: ScorePer::Row,
        by_token: false,
        filters: 1,
        segments: 1,
        rank: None,
        top: None,
        queries: Some(3),
        sum_queries: false,
        rotates: true,
        held: None,
    }
}

#[test]
fn a_query_is_its_columns_and_its_scores_on_the_way() {
    let modules = modules();
    // 500 weights; 2 * 2 + 4 batches of 4 rows; 2 workers' products of 4 rows.
    let columns = 2 * 4 * 500;
    let of_rows = columns + 8 * 4 * 8 + 2 * 12 * 4;
    assert_eq!(sizes(&modules).query(), of_rows);
    assert_eq!(Sizes { filters: 3, ..sizes(&modules) }.query(), 3 * of_rows);
    assert_eq!(Sizes { segments: 3, ..sizes(&modules) }.query(), of_rows + 2 * columns);
    assert_eq!(Sizes { top: Some(5), ..sizes(&modules) }.query(), of_rows + 2 * 16 * 5);
    let of_modules = Sizes { per: ScorePer::Module, ..sizes(&modules) };
    assert_eq!(of_modules.query(), of_rows + 8 * 4 * 8);
    // Every token has a score; 64 of them are multiplied with the 30 rows of the widest matrix.
    let of_tokens = Sizes { per: ScorePer::Token, by_token: true, ..sizes(&modules) };
    assert_eq!(of_tokens.query(), columns + 8 * 64 * 8 + 2 * (8 * 64 + 12 * 64 * 30));
    assert_eq!(of_tokens.worker(), 10_000 + 4 * 64 * 40);
    assert_eq!(sizes(&modules).worker(), 10_000 + 4 * 2 * 300);
}

#[test]
fn rows_for_themselves_are_scales_and_eigenvectors() {
    let modules = modules();
    let own = Sizes { queries: None, filters: 2, ..sizes(&modules) };
    // 500 + 1000 values of eigenvectors; those of the second module and its eigenvalues once more.
    let (scales, bases) = (8 * 2 * 500, 500 + 1000);
    assert_eq!(own.own(), [scales + 12 * bases + 16 * 1000 + 24 * 300, scales + 4 * bases]);
    assert_eq!(Sizes { rotates: false, ..own }.own(), [scales; 2]);
    let extent = own.fitted(u64::MAX).expect("fits");
    let workers = 2 * (10_000 + 4 * 2 * 300);
    let memory = 1_000_000 + (scales + 12 * bases + 16 * 1000 + 24 * 300).max(workers + scales + 4 * bases);
    assert_eq!((extent.memory, extent.groups.len()), (memory, 1));
    assert_eq!(own.fitted(memory).expect("fits").threads, 2);
    let error = own.fitted(1_000_000).expect_err("too little").to_string();
    assert!(error.contains("scoring rows for themselves") && error.contains("diagonal"), "{error}");
}

#[test]
fn scores_of_a_report_wait_in_memory() {
    let modules = modules();
    let held = Sizes { held: Some([1_000_000, 1]), ..sizes(&modules) };
    // 3 queries, and the orders of one.
    assert_eq!(held.waiting(), 4 * 3 * 1_000_000 + 32 * 1_000_000);
    let without = sizes(&modules).fitted(u64::MAX).expect("fits").memory;
    assert_eq!(held.fitted(u64::MAX).expect("fits").memory, without + held.waiting());
    let error = held.fitted(without + 1_000_000).expect_err("too little").to_string();
    assert!(error.contains("keeping all scores") && error.contains("row by row"), "{error}");
}

#[test]
fn queries_that_do_not_fit_take_several_passes_then_fewer_threads() {
    let modules = modules();
    let sizes = sizes(&modules);
    let [_, fixed] = sizes.fixed();
    let two = sizes.fitted(fixed + sizes.gradient() + 2 * sizes.query()).expect("fits");
    assert_eq!((two.threads, two.groups), (2, vec![0..2, 2..3]));
    let one = Sizes { threads: 1, ..sizes };
    let [_, fixed] = one.fixed();
    let least = fixed + one.gradient() + one.query();
    let found = sizes.fitted(least).expect("fits");
    assert_eq!((found.threads, found.groups.len(), found.memory), (1, 3, least));
    let error = sizes.fitted(least - 1).expect_err("too little").to_string();
    assert!(error.contains("one query") && error.contains("low rank"), "{error}");
}
