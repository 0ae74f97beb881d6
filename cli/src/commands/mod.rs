//! Commands, one file each.

pub mod add;
pub mod ask;
pub mod attach;
pub mod backup;
pub mod compact;
pub mod completions;
pub mod daunce;
pub mod delete;
pub mod demo;
pub mod drop;
pub mod evaluate;
pub mod factors;
mod folder;
pub mod gc;
pub mod generate;
pub mod gradients;
pub mod import;
pub mod index;
pub mod info;
pub mod ingest;
pub mod ls;
pub mod matrix;
pub mod merge;
pub mod perplexity;
pub mod plot;
mod plotted;
pub mod prefilter;
pub mod query;
pub mod revert;
mod rows_file;
pub mod run;
pub mod score;
pub mod select;
#[cfg(feature = "serve")]
pub mod serve;
pub mod snapshots;
pub mod tag;
#[cfg(feature = "serve")]
pub mod token;
pub mod train;
pub mod verify;
pub mod view;
