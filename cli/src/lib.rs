//! The command line as a library: arguments, config file, commands, pipelines, shell and messages.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr)] // `say!` is for that

mod args;
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
mod origin;
mod output;
mod packing;
mod pipeline;
mod program;
mod progress;
mod question;
mod remedy;
mod shell;
mod sketches;
mod stand_ins;
mod statements;
mod stopped;
mod streams;
mod summary;
mod terminal;
mod texts;
mod training;
mod wording;

pub use args::Cli;
pub use program::main;
