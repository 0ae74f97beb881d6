//! Runs the target that `GSTORE_FUZZ_TARGET` names; `just fuzz <target> <seconds>` sets it.
#![no_main]

use gstore_fuzz::Target;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("GSTORE_FUZZ_TARGET").expect("GSTORE_FUZZ_TARGET names a target");
        let target = gstore_fuzz::target(&name).expect("GSTORE_FUZZ_TARGET names a target of gstore-fuzz");
        // libFuzzer's hook ends the process at every panic; it must ignore those that a parser catches from a
        // library.
        std::panic::set_hook(Box::new(|_| {}));
        target
    });
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.check(data))) {
        let text = panic.downcast_ref::<String>().cloned();
        eprintln!("panic: {}", text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default());
        std::process::abort();
    }
});
