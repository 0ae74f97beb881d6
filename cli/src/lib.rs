//! The arguments of the command line, its config file, pipelines of its commands, and what is typed into its
//! shell, for the program and for tests.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod pipeline;
pub mod shell;
