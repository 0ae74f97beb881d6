//! The arguments of the command line, its config file, pipelines of its commands, what is typed into its shell,
//! and the words of its messages, for the program and for tests.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod origin;
pub mod pipeline;
pub mod remedy;
pub mod shell;
pub mod stopped;
pub mod wording;
