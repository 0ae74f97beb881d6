//! The tests of [`crate::oracle`] on the backends of this crate.

use crate::oracle;
use gstore_model::ComputePrecision;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, SimdLevel};

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
