//! Flags of `gstore index`.

use clap::Args;

/// `gstore index`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore index --store s                                              which features have which indexes\n  \
    gstore index --store s --sketch --dataset pool                      sketches of all vectors of a dataset\n  \
    gstore index --store s --sketch pool/grad-adam@checkpoint-112\n  \
    gstore query --store s \"SELECT id, score FROM influence('pool', 'gsm8k', mode => 'sketch') ORDER BY score DESC LIMIT 100\"\n\n\
    A sketch holds short codes of every stored vector, 1.6 bytes a coordinate. Rankings in the mode `sketch` read them first and only those vectors that they\n\
    cannot rule out. It is made segment by segment: Ctrl-C keeps what is done, and the same command goes on. Indexes are no part of a snapshot; whoever\n\
    adds rows or compacts gives the command again. Backups leave them out.\n\n\
    Memory: for each thread one block and its codes.")]
pub struct IndexArgs {
    /// Features, by label, dataset/label or number
    #[arg(value_name = "FEATURE")]
    pub features: Vec<String>,
    /// All features of this dataset
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Make the sketches that are missing
    #[arg(long)]
    pub sketch: bool,
    /// Make those that are there anew
    #[arg(long, requires = "sketch")]
    pub rebuild: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
