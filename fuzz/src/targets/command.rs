//! The config file of the command line.

use super::MIB;
use crate::{Target, folder};
use clap::CommandFactory;
use gstore_cli::Cli;
use gstore_cli::config;
use std::cell::OnceCell;
use std::ffi::OsString;

/// A config file of `gstore ingest`.
pub const CONFIG: Target = Target {
    name: "config",
    run,
    per_byte: 400,
    // Includes the description of all commands.
    constant: 4 * MIB,
    words: &[
        b"[ingest]\n",
        b"[select]\n",
        b"store = ",
        b"features = [",
        b"dim = 64",
        b"'''",
        b"\"\"\"",
        b"= {",
        b"[[",
        b"inf",
        b"1979-05-27T07:32:00Z",
        b"a.b.c.",
    ],
};

thread_local! {
    static COMMAND: OnceCell<clap::Command> = const { OnceCell::new() };
}

fn run(data: &[u8]) {
    let folder = folder::with("config", &[("gstore.toml", data)]);
    let file = folder.join("gstore.toml").into_os_string();
    let argv: Vec<OsString> = ["gstore".into(), "ingest".into(), "--config".into(), file].into();
    COMMAND.with(|command| {
        let command = command.get_or_init(|| {
            let mut command = Cli::command();
            command.build();
            command
        });
        if let Ok(expanded) = config::expand(command, argv.clone(), &mut Vec::new()) {
            assert!(expanded.len() >= argv.len());
            assert_eq!(expanded[..2], argv[..2]);
            assert_eq!(
                expanded[expanded.len() - 2..],
                argv[2..],
                "the command line stays behind the file's options"
            );
        }
    });
}
