//! `gstore`: the command line of the store. All of it is in the library, where tests reach it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gstore_cli::main()
}
