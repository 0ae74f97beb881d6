//! `gstore`: the command line of the store. All of it is in the library, where tests reach it.
#![forbid(unsafe_code)]

/// Sums, gradients and queries take gigabytes, and the first touch of each small page interrupts the work.
#[global_allocator]
static ALLOCATOR: gstore_core::LargePages = gstore_core::LargePages;

fn main() -> std::process::ExitCode {
    gstore_cli::main()
}
