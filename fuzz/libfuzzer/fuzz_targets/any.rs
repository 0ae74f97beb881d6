//! Runs the target that `GSTORE_FUZZ_TARGET` names; `just fuzz <target> <seconds>` sets it.
#![no_main]

use gstore_fuzz::Target;
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("GSTORE_FUZZ_TARGET").expect("GSTORE_FUZZ_TARGET names a target");
        gstore_fuzz::target(&name).expect("GSTORE_FUZZ_TARGET names a target of gstore-fuzz")
    });
    target.check(data);
});
