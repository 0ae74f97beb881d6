//! The arguments of the command line, its config file, and pipelines of its commands, for the program and for
//! tests.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod pipeline;
