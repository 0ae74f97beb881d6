//! The tests of [`crate::oracle`] on the backends of this crate.

use crate::oracle;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};
use gstore_model::{Backend, ComputePrecision, HeadTask, LinearWeights, Objective};

macro_rules! on_every_backend {
    ($($module:ident: $($name:ident),+;)+) => {$($(
        #[test]
        fn $name() {
            for level in SimdLevel::available() {
                oracle::$module::$name(&Cpu::with_level(ComputePrecision::F32, level).unwrap());
            }
            oracle::$module::$name(&Candle::cpu());
        }
    )+)+};
}

oracle::every_operation!(on_every_backend);

/// Not among those of every backend: CUDA adds the others to the 1 of the largest logit, in f32.
#[test]
fn entropies_of_nearly_certain_rows_keep_their_digits() {
    fn check<B: Backend>(on: &B) {
        let weight = vec![14.0, 14.0, 0.0, 14.0, -1.5, 0.0];
        let layer = on.pack(LinearWeights { weight, out: 3, input: 2, bias: None }).unwrap();
        let x = on.tensor(vec![1.0, 0.0, 0.0, 1.0], 2, 2).unwrap();
        let objective = Objective::CrossEntropy { smoothing: 0.0 };
        let task = HeadTask { targets: &[0, 0], weights: None, softcap: None, objective, entropies: true };
        let found = on.head(&layer, &x, &task, None).unwrap().entropies;
        let (near, far) = ((-14f64).exp(), (-15.5f64).exp());
        let certain = (near + far).ln_1p() + (14.0 * near + 15.5 * far) / (1.0 + near + far);
        let undecided = (1.0 + near).ln_1p() + 14.0 * near / (2.0 + near);
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip([certain, undecided]) {
            assert!((f64::from(*found) / expected - 1.0).abs() < 2e-6, "{found}, expected {expected}");
        }
    }
    for level in SimdLevel::available() {
        check(&Cpu::with_level(ComputePrecision::F32, level).unwrap());
    }
    check(&Candle::cpu());
}
