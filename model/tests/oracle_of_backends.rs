//! The tests of [`crate::oracle`] on the backends of this crate.

use crate::oracle;
use gstore_model::Compute;
use gstore_model::candle::Candle;
use gstore_model::cpu::{Cpu, Level};

macro_rules! on_every_backend {
    ($($module:ident: $($name:ident),+;)+) => {$($(
        #[test]
        fn $name() {
            for level in Level::available() {
                oracle::$module::$name(&Cpu::with_level(Compute::F32, level).unwrap());
            }
            oracle::$module::$name(&Candle::cpu());
        }
    )+)+};
}

oracle::every_operation!(on_every_backend);
