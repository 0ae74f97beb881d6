//! The command line: its arguments, config file, commands, pipelines of them, shell and messages, for the program
//! and for tests.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr)] // `say!` is for that

pub mod args;
mod commands;
mod completing;
mod condition;
pub mod config;
mod context;
mod copies;
mod datasets;
mod drawing;
mod ending;
mod exchange;
mod failure;
mod forecast;
mod generating;
mod held;
mod models;
mod new_store;
mod options;
pub mod origin;
mod output;
mod packing;
pub mod pipeline;
mod program;
mod progress;
mod question;
pub mod remedy;
pub mod shell;
mod sketches;
mod stand_ins;
mod statements;
pub mod stopped;
mod streams;
mod summary;
mod terminal;
mod texts;
mod training;
pub mod wording;

pub use program::main;
