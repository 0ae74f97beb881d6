//! Promise: a covariance in blocks gives the same results as one with zeros outside them.

use gstore_curvature::{Blocks, Covariance, Damping, Filter, Module, ModuleFactors, Strategy, dot, product};

use crate::common::{Tokens, assert_close, covariances, energy, fit, fit_with, gradient, module, sum, token};

/// A module with a bias, and samples whose covariances have full rank.
fn case() -> (Module, Vec<Tokens>) {
    let module = module(5, 7, true);
    let value = |at: usize| ((at * at + 3 * at) as f64 * 0.37).sin();
    let one = |at: usize| {
        let mut input: Vec<f64> = (0..6).map(|i| value(at * 11 + i)).collect();
        input.push(1.0);
        token(&input, &(0..5).map(|i| value(at * 11 + 6 + i)).collect::<Vec<_>>())
    };
    (module, (0..9).map(|sample| (0..3).map(|at| one(3 * sample + at)).collect()).collect())
}

/// With zeros outside of the blocks.
fn zeroed(cut: &Covariance) -> Covariance {
    let blocks = cut.blocks().expect("blocks");
    let sums = (0..cut.size).flat_map(|row| blocks.row(&cut.sums, row)).collect();
    Covariance { sums, ..*cut }
}

#[test]
fn everything_is_as_with_zeros_outside_of_the_blocks() {
    let (module, samples) = case();
    let (activation, outputs) = covariances(&module, &samples);
    let query = gradient(&module, &samples[4]);
    for most in [1, 2, 3, 4, 6] {
        let cut = [&activation, &outputs]
            .map(|whole| whole.clone().cut(Blocks::new(whole.size, most)).expect("it was whole"));
        let dense = cut.each_ref().map(zeroed);
        let [a, s] = dense.each_ref().map(Covariance::mean);
        let [found, expected] = [cut, dense].map(|pair| fit_with(&module, &samples, pair.into()));
        let filters = [
            Filter::Inverse(Damping::OfMean),
            Filter::Inverse(Damping::Value(1e-3)),
            Filter::Source { steps: 50, rate: 0.01 },
            Filter::Decay { steps: 50, rate: 0.01 },
            Filter::Identity,
        ];
        for strategy in Strategy::ALL {
            for filter in filters {
                let through = |factors: &ModuleFactors| {
                    let inverse = factors.filtered(&module, strategy, filter).expect("a filter");
                    let own = energy(&inverse, &query);
                    (inverse.apply(&query), own)
                };
                let ((found, own), (expected, of_dense)) = (through(&found), through(&expected));
                let largest = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
                assert_close(strategy.name(), &found, &expected, 1e-9 * largest);
                assert!(
                    (own - dot(&found, &query)).abs() < 1e-9 * own.abs().max(1.0),
                    "{strategy:?} {filter}"
                );
                assert!((own - of_dense).abs() < 1e-9 * own.abs().max(1.0), "{strategy:?} {filter}");
            }
        }
        // The inverse by its definition: S X A + d X gives the query again.
        let inverse = found.inverse(&module, Strategy::Kfac, Damping::Value(0.1)).expect("an inverse");
        let solved = inverse.apply(&query);
        let mapped = product(&product(&s, &solved, (5, 5, 7)), &a, (5, 7, 7));
        let damped: Vec<f64> = solved.iter().map(|value| 0.1 * value).collect();
        assert_close("S X A + d X", &sum(35, [&mapped, &damped]), &query, 1e-9);
        // Each vector of a basis lies in its block.
        let eigen = found.activation_eigen.as_ref().expect("a basis");
        for at in 0..7 {
            let (vector, value) = (eigen.vector(at), eigen.values[at]);
            let mapped = product(&a, &vector, (7, 7, 1));
            let expected: Vec<f64> = vector.iter().map(|part| part * value).collect();
            assert_close("A v", &mapped, &expected, 1e-10);
            let block = Blocks::new(7, most).around(at);
            assert!(vector.iter().enumerate().all(|(row, part)| block.contains(&row) || *part == 0.0));
        }
    }
}

#[test]
fn one_block_is_the_matrix_itself() {
    let (module, samples) = case();
    let (activation, outputs) = covariances(&module, &samples);
    let most = [activation, outputs].map(|whole| {
        let blocks = Blocks::new(whole.size, 7);
        whole.cut(blocks).expect("one block")
    });
    assert_eq!(fit_with(&module, &samples, most.into()), fit(&module, &samples));
}

#[test]
fn blocks_are_summed_as_the_whole_is() {
    let blocks = Blocks::new(5, 2);
    let (mut whole, mut cut) = (Covariance::new(5), Covariance::in_blocks(blocks));
    for token in 1..5u8 {
        let values: Vec<f32> = (0..5u8).map(|at| f32::from(at * token) - 3.0).collect();
        let outer =
            |of: &[f32]| -> Vec<f32> { of.iter().flat_map(|a| of.iter().map(move |b| a * b)).collect() };
        whole.sums.iter_mut().zip(outer(&values)).for_each(|(sum, value)| *sum += f64::from(value));
        whole.count += 1;
        for block in blocks.ranges() {
            let outer = outer(&values[block.clone()]);
            // The first row with the column before its diagonal, and the others from their diagonal on.
            cut.add_block(&block, 0..1, 0, &outer[..block.len()]);
            let others: Vec<f32> =
                outer.chunks(block.len()).skip(1).flat_map(|row| row[1..].iter().copied()).collect();
            cut.add_block(&block, 1..block.len(), 1.min(block.len()), &others);
        }
        cut.count += 1;
    }
    assert!(cut.asymmetry() > 0.1);
    cut.mirror();
    assert_eq!(cut.asymmetry(), 0.0);
    // Of [3, 4; 0, 0] the difference is [0, 4; -4, 0].
    let torn = Covariance { size: 2, sums: vec![3.0, 4.0, 0.0, 0.0], count: 1 };
    assert!((torn.asymmetry() - 32.0_f64.sqrt() / 5.0).abs() < 1e-15);
    assert_eq!(whole.clone().cut(blocks).as_ref(), Some(&cut));
    assert_eq!(cut.mean(), cut.sums.iter().map(|sum| sum / 4.0).collect::<Vec<_>>());
    assert!(cut.cut(Blocks::new(5, 3)).is_none() && whole.cut(Blocks::new(4, 2)).is_none());
}
