//! The arguments of the command line and its config file, for the program and for tests of their parsers.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
