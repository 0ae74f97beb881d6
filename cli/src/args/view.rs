//! Flags of `gstore view`.

use clap::{Args, Subcommand};

use super::ListOutputArgs;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore view create best \"SELECT id, score, prompt FROM influence('pool', 'gsm8k', k => 100)\" --store s\n  \
    gstore query --store s \"SELECT * FROM best WHERE prompt ILIKE '%apple%'\"\n  \
    gstore view list --store s\n  \
    gstore view drop best --store s\n\n\
    A view is computed each time that it is read. Older snapshots keep the views that they had; servers read them too.")]
pub struct ViewArgs {
    #[command(subcommand)]
    pub what: ViewWhat,
}

/// What to do with views.
#[derive(Subcommand, Debug)]
pub enum ViewWhat {
    /// Save a statement under a name
    Create {
        /// Name of the view: lower-case letters, digits and _
        #[arg(value_name = "NAME")]
        name: String,
        /// The statement: a query without parameters
        #[arg(value_name = "SQL")]
        sql: String,
        /// Replace a view of this name
        #[arg(long)]
        force: bool,
        /// Print what was saved as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the views with their statements
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: ListOutputArgs,
    },
    /// Remove a view
    #[command(aliases = ["delete", "remove", "rm"])]
    Drop {
        /// Name of the view
        #[arg(value_name = "NAME")]
        name: String,
        /// Print what was removed as JSON
        #[arg(long)]
        json: bool,
    },
}
