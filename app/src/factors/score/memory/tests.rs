//! Promise: memory is as the sizes of modules, batches and outputs say, and what does not fit is refused.

use super::*;

fn modules() -> [Module; 2] {
    let module = |name: &str, out, input| Module { name: name.into(), out, input, bias: false };
    [module("a", 10, 20), module("b", 30, 10)]
}

fn sizes(modules: &[Module]) -> ScoreSizes<'_> {
    ScoreSizes {
        modules,
        tables: modules.len(),
        layers: &[],
        fused: false,
        devices: 1,
        weights: 1_000_000,
        activations: [2_000, 125],
        threads: 2,
        batch: [64, 4],
        query_batch: [64, 4],
        query_tokens: 64,
        tokens_of_queries: 150,
        per: ScorePer::Row,
        by_token: false,
        filters: 1,
        segments: 1,
        rank: None,
        top: None,
        queries: Some(3),
        sum_queries: false,
        measures_rows: false,
        rotates: true,
        rotates_rows: false,
        solves: false,
        max_block: usize::MAX,
        held: None,
    }
}

#[test]
fn a_query_is_its_columns_and_its_scores_on_the_way() {
    let modules = modules();
    // 500 weights; 2 * 2 + 4 + 1 batches of 4 rows; 2 workers' products of 4 rows.
    let columns = 4 * 500;
    let of_rows = columns + 8 * 4 * 9 + 2 * 12 * 4;
    assert_eq!(sizes(&modules).query(), of_rows);
    assert_eq!(ScoreSizes { filters: 3, ..sizes(&modules) }.query(), 3 * of_rows);
    assert_eq!(ScoreSizes { segments: 3, ..sizes(&modules) }.query(), of_rows + 2 * 4 * 500);
    assert_eq!(ScoreSizes { top: Some(5), ..sizes(&modules) }.query(), of_rows + 2 * 16 * 5);
    let of_modules = ScoreSizes { per: ScorePer::Module, ..sizes(&modules) };
    assert_eq!(of_modules.query(), of_rows + 8 * 4 * 9);
    assert_eq!(ScoreSizes { sum_queries: true, ..sizes(&modules) }.query(), of_rows + 8 * 500);
    // Every token has a score; 64 of them are multiplied with the 30 rows of the widest matrix.
    let of_tokens = ScoreSizes { per: ScorePer::Token, by_token: true, ..sizes(&modules) };
    assert_eq!(of_tokens.query(), columns + 8 * 64 * 9 + 2 * (8 * 64 + 12 * 64 * 30));
    assert_eq!(of_tokens.worker(), 10_000 + 4 * 64 * 40);
    // Queries that are rotated come as tokens, others as two gradients of a module for each of 4 rows.
    assert_eq!(sizes(&modules).worker(), 10_000 + 4 * 64 * 40);
    assert_eq!(ScoreSizes { rotates: false, ..sizes(&modules) }.worker(), 10_000 + 4 * 2 * 4 * 300);
    // Inputs and gradients of rows, and then of queries too, are rotated before their gradients are formed.
    let of_rows = ScoreSizes { rotates_rows: true, ..sizes(&modules) };
    assert_eq!(of_rows.worker(), 10_000 + 4 * (2 * 4 * 300 + 64 * 40));
    assert_eq!(of_rows.gradient(), 4 * 500);
}

/// Up to 11 tokens both take fewer multiplications as tokens, of 30 and 40 values each.
#[test]
fn tokens_of_fused_modules_come_twice() {
    let modules = modules();
    let of = |query_tokens, fused| ScoreSizes { query_tokens, fused, ..sizes(&modules) }.gradient();
    assert_eq!(of(64, false), 4 * (11 * 30 + 11 * 40));
    assert_eq!(of(64, true), of(64, false));
    assert_eq!(of(6, false), 4 * 6 * (30 + 40));
    assert_eq!(of(6, true), 4 * (11 * 30 + 11 * 40));
}

#[test]
fn a_solve_takes_vectors_of_all_weights_and_sums_of_each_thread() {
    let modules = modules();
    let (plain, solves) = (sizes(&modules), ScoreSizes { solves: true, ..sizes(&modules) });
    // 500 weights: 5 vectors in f64 and one in f32; the sums of 2 workers, and all.
    assert_eq!(solves.query() - plain.query(), 500 * (5 * 8 + 4 + 3 * 8));
    let more = |threads| ScoreSizes { threads, ..solves }.query() - ScoreSizes { threads, ..plain }.query();
    assert_eq!(more(3) - more(2), 500 * 8);
    assert_eq!(ScoreSizes { devices: 2, ..solves }.query() - solves.query(), 500 * 4);
    // Gradients of a group are held at once, and those in f32 are counted once.
    let (all, one) = (solves.fitted(u64::MAX).expect("fits"), ScoreSizes { queries: Some(1), ..solves });
    let one = one.fitted(u64::MAX).expect("fits");
    assert_eq!((all.queries_at_once, all.memory - one.memory), (1, 2 * solves.query()));
    let single = ScoreSizes { threads: 1, ..solves };
    let [reading, scoring] = single.fixed();
    let least = reading.max(scoring) + single.gradient() + single.query();
    assert_eq!(solves.fitted(least).expect("fits").groups.len(), 3);
    let error = solves.fitted(least - 1).expect_err("too little").to_string();
    assert!(error.contains("one query") && error.contains("no iterative solve"), "{error}");
}

#[test]
fn rows_for_themselves_are_scales_and_eigenvectors() {
    let modules = modules();
    let own = ScoreSizes { queries: None, filters: 2, rotates_rows: true, ..sizes(&modules) };
    // 500 + 1000 values of eigenvectors; those of the second module, rotated, for two filters, and its
    // eigenvalues.
    let (scales, bases) = (8 * 2 * 500, 500 + 1000);
    let making = 8 * (1000 + 3 * 300);
    assert_eq!(own.bases(), [scales + making, scales].map(|bytes| bytes + 4 * bases));
    let many = ScoreSizes { devices: 9, ..own };
    assert_eq!(many.bases(), [scales + making, scales].map(|bytes| bytes + 9 * 4 * bases));
    assert_eq!(ScoreSizes { rotates: false, rotates_rows: false, ..own }.bases(), [scales; 2]);
    // The eigenvectors of queries' rows are read before the queries.
    let of_queries = ScoreSizes { queries: Some(3), ..own };
    let preconditioning = 2 * of_queries.preconditioning();
    assert_eq!(of_queries.bases(), [preconditioning + 4 * bases, 4 * bases]);
    let extent = own.fitted(u64::MAX).expect("fits");
    let workers = 2 * (10_000 + 4 * (2 * 4 * 300 + 64 * 40));
    let memory = 1_000_000 + 4 * bases + scales + making.max(workers);
    assert_eq!((extent.memory, extent.groups.len()), (memory, 1));
    assert_eq!(own.fitted(memory).expect("fits").threads, 2);
    let error = own.fitted(1_000_000).expect_err("too little").to_string();
    assert!(error.contains("scoring rows for themselves") && error.contains("diagonal"), "{error}");
}

#[test]
fn scores_of_a_report_wait_in_memory() {
    let modules = modules();
    let held = ScoreSizes { held: Some([1_000_000, 1]), ..sizes(&modules) };
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
    let fixed = sizes.fixed().into_iter().max().expect("two");
    // A quarter of the gradients of a group is held besides.
    let each = sizes.query() + sizes.gradient() / 4;
    let two = sizes.fitted(fixed + sizes.gradient() + 2 * each).expect("fits");
    assert_eq!((two.threads, two.groups), (2, vec![0..2, 2..3]));
    let one = ScoreSizes { threads: 1, ..sizes };
    let fixed = one.fixed().into_iter().max().expect("two");
    let least = fixed + one.gradient() + one.query();
    let found = sizes.fitted(least).expect("fits");
    assert_eq!((found.threads, found.groups.len(), found.memory), (1, 3, least));
    let error = sizes.fitted(least - 1).expect_err("too little").to_string();
    assert!(error.contains("one query") && error.contains("low rank"), "{error}");
}

/// Else a thread too many would leave memory for one query and layer at a time.
#[test]
fn more_memory_and_more_threads_take_no_longer() {
    let module = |out| Module { name: "m".into(), out, input: 10, bias: false };
    let modules = [10, 20, 30, 60].map(module);
    let layers = [vec![3], vec![2], vec![1], vec![0]];
    let sizes = ScoreSizes { layers: &layers, queries: Some(24), ..sizes(&modules) };
    let seconds = |threads, limit| {
        let plan = ScoreSizes { threads, ..sizes }.fitted(limit).ok()?;
        Some(plan.cost() as f64 / plan.threads as f64)
    };
    let most = ScoreSizes { threads: 6, ..sizes }.fitted(u64::MAX).expect("fits").memory;
    for limit in (sizes.weights..=most).step_by(1_000) {
        for threads in 1..=6 {
            let Some(found) = seconds(threads, limit) else { continue };
            let fewer = threads.checked_sub(1).filter(|fewer| *fewer > 0);
            let with_fewer = fewer.and_then(|fewer| seconds(fewer, limit));
            assert!(with_fewer.is_none_or(|with_fewer| found <= with_fewer), "{threads} threads, {limit}");
            let with_less = seconds(threads, limit - 1_000);
            assert!(with_less.is_none_or(|with_less| found <= with_less), "{threads} threads, {limit}");
        }
    }
    assert_eq!(seconds(6, most), Some(0.5));
}

/// Passes of some layers hold less of each query, so that more queries share a pass.
#[test]
fn layers_come_in_passes_of_their_own_before_queries_do() {
    let module = |out| Module { name: "m".into(), out, input: 10, bias: false };
    let modules = [10, 10, 10, 30, 60].map(module);
    let layers = [vec![2, 3], vec![0, 1], vec![4]];
    let sizes = ScoreSizes { layers: &layers, ..sizes(&modules) };
    // 400, 200 and 600 weights, and as they come, of about as many.
    let parts = |count| sizes.parts(count);
    assert_eq!(parts(1), [vec![0, 1, 2, 3, 4]]);
    assert_eq!(parts(2), [vec![0, 1, 2, 3], vec![4]]);
    assert_eq!(parts(3), [vec![2, 3], vec![0, 1], vec![4]]);
    let whole = sizes.fitted(u64::MAX).expect("fits");
    assert_eq!((whole.parts.len(), whole.groups.len()), (1, 1));
    let halves = sizes.extent_in(parts(2), u64::MAX).expect("fits");
    assert!(halves.memory < whole.memory, "{halves:?} {whole:?}");
    let found = sizes.fitted(halves.memory).expect("fits");
    assert_eq!((&found.parts, found.groups.len()), (&parts(2), 1));
    // Where all layers have to be in a pass, queries are what has several.
    let single = ScoreSizes { threads: 1, ..sizes };
    let halves = single.extent_in(parts(2), u64::MAX).expect("fits");
    let found = ScoreSizes { layers: &[], ..single }.fitted(halves.memory).expect("fits");
    assert!(found.parts.len() == 1 && found.groups.len() > 1, "{found:?}");
    // What is refused is one query for one layer.
    let error = sizes.fitted(1_000_000).expect_err("too little").to_string();
    let [reading, fixed, query, gradient] = ScoreSizes { threads: 1, ..sizes }.needs(&parts(3));
    let least = reading.max(fixed) + query + gradient;
    assert!(error.contains("one query"), "{error}");
    assert!(sizes.fitted(least).is_ok() && sizes.fitted(least - 1).is_err());
}

#[test]
fn blocks_are_counted_as_they_are_stored() {
    let modules = modules();
    let cut = ScoreSizes { max_block: 5, ..sizes(&modules) };
    assert_eq!(cut.eigenvectors(&modules[0]), 10 * 5 + 20 * 5);
    assert_eq!(ScoreSizes { max_block: 4, ..cut }.eigenvectors(&modules[1]), 30 * 4 + 10 * 4);
    assert_eq!(sizes(&modules).eigenvectors(&modules[1]), 30 * 30 + 10 * 10);
    let own = ScoreSizes { queries: None, rotates_rows: true, ..cut };
    let (scales, bases) = (8 * 500, 150 + 200);
    let making = 8 * (200 + 3 * 300);
    assert_eq!(own.bases(), [scales + making, scales].map(|bytes| bytes + 4 * bases));
}

#[test]
fn each_thread_preconditions_in_one_module_and_segment_at_a_time() {
    let modules = modules();
    let one = sizes(&modules);
    // Of the second module: eigenvectors, and once more with their transposes; eigenvalues, and the scale
    // twice.
    assert_eq!(one.preconditioning(), 8 * (3 * 1000 + 3 * 300));
    assert_eq!(ScoreSizes { filters: 3, ..one }.preconditioning(), 8 * (5 * 1000 + 6 * 300));
    assert_eq!(ScoreSizes { max_block: 5, ..one }.preconditioning(), 8 * (3 * 200 + 3 * 300));
    // With few eigenvectors it is the queries: both bases in f32, a scale and a column, and a query in f64
    // and twice in f32.
    let cut = ScoreSizes { max_block: 2, ..one };
    assert_eq!(cut.preconditioning(), 4 * 2 * 80 + (8 * 3 + 4 * 2) * 300);
    // Solved for, all in f64: a scale and a query three times.
    assert_eq!(ScoreSizes { solves: true, ..cut }.preconditioning(), 8 * (2 * 80 + 4 * 300));
    assert_eq!(ScoreSizes { rotates: false, ..one }.preconditioning(), 8 * 3 * 300);
    assert_eq!(ScoreSizes { rotates: false, filters: 3, ..one }.preconditioning(), 8 * 7 * 300);
    assert_eq!(one.bases(), [2 * one.preconditioning(), 0]);
    // The filter of what a segment leaves; how many segments there are makes no difference.
    let two = ScoreSizes { segments: 2, ..one };
    assert_eq!(two.preconditioning(), 8 * (5 * 1000 + 5 * 300));
    assert_eq!(ScoreSizes { segments: 9, ..one }.preconditioning(), two.preconditioning());
    // Up to 11 tokens are rotated with fewer multiplications: 11 * (10^2 + 20^2) of 10 * 20 * (10 + 20), and
    // 11 * (30^2 + 10^2) of 30 * 10 * (30 + 10).
    let held = 4 * (11 * 30 + 11 * 40);
    assert_eq!((one.gradient(), two.gradient()), (held, held + 2 * 8 * 300));
    assert_eq!(ScoreSizes { sum_queries: true, ..one }.gradient(), 4 * 500);
    // Neither wide batches nor preconditioning add to the other's peak.
    let small = ScoreSizes { activations: [0; 2], ..one };
    let extent = small.fitted(u64::MAX).expect("fits");
    let fixed = 1_000_000 + 2 * small.preconditioning();
    assert!(small.worker() < small.preconditioning());
    assert_eq!(extent.memory, fixed + 3 * small.query() + 3 * small.gradient());
    let large = ScoreSizes { activations: [0, 20_000], ..one };
    let fixed = 1_000_000 + 2 * large.worker();
    assert_eq!(
        large.fitted(u64::MAX).expect("fits").memory,
        fixed + 3 * large.query() + 3 * large.gradient()
    );
}

#[test]
fn gradients_of_queries_are_gone_when_rows_are_scored() {
    let modules = modules();
    let sizes = ScoreSizes { activations: [0, 20_000], tokens_of_queries: 30, ..sizes(&modules) };
    // Workers have all of the queries' 30 tokens in batches, and two gradients of each.
    assert_eq!(sizes.query_workers(), 30 * 20_000 + 4 * 2 * 3 * 300);
    let scoring = 1_000_000 + 2 * sizes.worker();
    assert_eq!(sizes.fixed(), [1_000_000 + sizes.query_workers(), scoring]);
    let memory = scoring + 3 * sizes.query();
    let plan = sizes.fitted(u64::MAX).expect("fits");
    assert_eq!((plan.memory, plan.groups.len()), (memory, 1));
    let same = sizes.fitted(memory).expect("fits");
    assert_eq!((same.memory, same.groups.len(), same.threads), (memory, 1, 2));
    // Batches of queries have limits of their own; a solver has batches of rows, too.
    let many = ScoreSizes { tokens_of_queries: 500, queries: Some(9), ..sizes };
    assert_eq!(many.query_workers(), 2 * 64 * 20_000 + 4 * 128 * 40);
    let smaller = ScoreSizes { query_batch: [32, 2], query_tokens: 40, ..many };
    assert_eq!(smaller.query_workers(), 2 * 40 * 20_000 + 4 * 80 * 40);
    let solves = ScoreSizes { solves: true, ..sizes };
    assert_eq!(solves.query_workers(), 2 * solves.worker());
    // A pool of one row makes neither its batches nor those of queries smaller.
    let small = ScoreSizes { batch: [64, 1], ..solves };
    assert_eq!(small.query_workers(), 2 * solves.worker());
    let small = ScoreSizes { by_token: true, activations: [0, 0], ..small };
    assert_eq!(small.query_workers(), 2 * (4 * 64 * 40));
    let small = ScoreSizes { query_batch: [64, 9], ..small };
    assert_eq!(small.query_workers(), 2 * (4 * 2 * 9 * 300));
    assert_eq!(ScoreSizes { queries: None, tokens_of_queries: 0, ..sizes }.query_workers(), 0);
}

#[test]
fn sums_are_in_one_file_between_two_passes_and_in_two_between_more() {
    assert_eq!([0, 1, 2, 3, 9].map(|passes| sum_bytes(passes, 10)), [0, 0, 80, 160, 160]);
}

#[test]
fn batches_grow_until_activations_take_more_than_twice_the_columns() {
    let tokens = |least, columns| enlarged(least, (200, columns), (2000, 2)).0;
    assert_eq!(tokens(512, 100 * 2048), [2048, 1024]);
    assert_eq!(tokens(512, 100 * 4095), [2048, 1024]);
    assert_eq!(tokens(512, u64::MAX), [8192, 4096, 2048, 1024]);
    // A few columns are no reason.
    assert_eq!([tokens(512, 100 * 1023), tokens(512, 0)], [[0; 0]; 2]);
    // No tokens count as one, and more are asked for.
    assert_eq!(tokens(0, 800), [8, 4, 2]);
    assert_eq!(tokens(8192, u64::MAX), [0; 0]);
    // Each thread has four batches, if there are rows for them.
    let rows = |rows| enlarged(512, (1, u64::MAX), (rows, 2)).1;
    assert_eq!([2000, 100, 5].map(rows), [250, 12, 1]);
}
