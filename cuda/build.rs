//! Compiles the kernels for the emulator of the tests. A build for devices compiles nothing here: devices run
//! what is in `kernels/`, or what the driver's compiler makes of the embedded source. Also ignores tests whose
//! reference results are missing.

fn main() {
    gstore_reference::set_condition();
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=emulator");
    #[cfg(feature = "emulate")]
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .debug(false)
        .define("GSTORE_EMULATE", None)
        .warnings(true)
        .file("emulator/emulate.cpp")
        .compile("gstore_emulate");
}
