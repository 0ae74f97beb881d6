//! Flags of `gstore index`, and those of sketches that other commands have too.

use clap::{ArgGroup, Args};
use gstore_query::sketch::Planes;

/// What sketches keep of their codes, where a command makes some.
#[derive(Args, Debug, Clone, Copy)]
pub struct PlanesArgs {
    /// Planes that the sketches keep: sign, nibble, int8 [default: those of its sketches, else all]
    #[arg(long, value_name = "PLANES", requires = "sketch")]
    pub planes: Option<Planes>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore index --store s                            # which features have which indexes\n  \
    gstore index --store s --sketch --dataset pool    # sketches of all vectors of a dataset\n  \
    gstore index --store s --sketch pool/grad-adam@checkpoint-112\n  \
    gstore index --store s --sketch --planes sign,nibble --dataset pool\n  \
    gstore index --store s --hnsw --dataset pool      # graphs of its embeddings\n  \
    gstore index --store s --evaluate --dataset pool  # what graphs find, and what sketches save\n  \
    gstore query --store s \"SELECT id, score FROM influence('pool', 'gsm8k', mode => 'sketch') ORDER BY score DESC LIMIT 100\"\n\n\
    A sketch holds short codes of every stored vector, 1.6 bytes a coordinate. Rankings in the mode `sketch` read them first and only those vectors that they\n\
    cannot rule out. It is built segment by segment: Ctrl-C keeps what is done; run the same command again to continue. Features of fewer than 16 coordinates, such as losses, get one\n\
    only if they or their kinds are named. Indexes are not part of a snapshot; after\n\
    adding rows, run the command again or use `gstore ingest --sketch`; `gstore compact` makes those of the files that it writes. Backups leave them out.\n\n\
    Codes are kept in three planes: sign (a bit a coordinate), nibble (4 bits) and int8 (8 bits). With --planes a sketch keeps some of them. Rankings keep the\n\
    same guarantee but read more vectors; `certified` needs int8. The choice is kept for the feature, also for rows that are added later, until another is given: then its\n\
    sketches are rebuilt. --evaluate reports what each plane costs and saves.\n\n\
    A graph links every vector, divided by its length, to its neighbours (HNSW); nearest(...) in SQL finds rows by it without comparing all. It takes 2 bytes a\n\
    coordinate and about 300 a vector, and while it is made three times that in memory: of one segment at a time. The command shows\n\
    the space that it needs first, and refuses to start if the disk lacks it. It is made segment by segment\n\
    like a sketch, but only by this command: what `gstore compact`, `gstore delete --purge`, `gstore ingest` and `gstore attach` write has no graph until it is run again.\n\n\
    Memory: of sketches, for each thread one block and its codes; of graphs as above.")]
#[command(group = ArgGroup::new("made").args(["sketch", "hnsw"]))]
pub struct IndexArgs {
    /// Features, by label, dataset/label or number
    #[arg(value_name = "FEATURE")]
    pub features: Vec<String>,
    /// Features of this dataset only; without FEATURE all of them
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Make the sketches that are missing
    #[arg(long)]
    pub sketch: bool,
    #[command(flatten)]
    pub kept: PlanesArgs,
    /// Make the graphs of neighbours that are missing: of embeddings, unless features or kinds are named
    #[arg(long, conflicts_with_all = ["sketch", "planes"])]
    pub hnsw: bool,
    /// Compare graphs with a scan: recall, vectors compared, time; and report what planes of sketches save
    #[arg(long, conflicts_with_all = ["sketch", "planes"])]
    pub evaluate: bool,
    /// Only features of these kinds
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// How vectors are compared in a graph: `cosine` only
    #[arg(long, value_name = "SIM", requires = "hnsw", conflicts_with = "sketch", default_value = "cosine")]
    pub sim: String,
    /// Rows that --evaluate asks about
    #[arg(long, value_name = "N", requires = "evaluate", conflicts_with = "sketch", default_value_t = 100,
        value_parser = super::at_least::<usize>(1))]
    pub queries: usize,
    /// Seed of the choice of those rows
    #[arg(long, value_name = "N", requires = "evaluate", conflicts_with = "sketch", default_value_t = 0)]
    pub seed: u64,
    /// Candidates that a search keeps in --evaluate [default: that of nearest()]
    #[arg(long, value_name = "N", requires = "evaluate", conflicts_with = "sketch", value_parser = super::at_least::<usize>(1))]
    pub ef: Option<usize>,
    /// Rebuild existing ones
    #[arg(long, requires = "made")]
    pub rebuild: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use crate::args::command;

    #[test]
    fn an_option_that_would_do_nothing_is_refused() {
        let parse = |words: &str| {
            let words = ["gstore", "index", "--dataset", "pool"].into_iter().chain(words.split(' '));
            command().try_get_matches_from(words)
        };
        for words in [
            "--planes sign",
            "--hnsw --planes sign",
            "--evaluate --planes sign",
            "--sketch --sim cosine",
            "--sketch --queries 5",
            "--sketch --seed 1",
            "--sketch --ef 9",
            "--hnsw --queries 5",
            "--hnsw --seed 1",
            "--hnsw --ef 9",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        for words in ["--sketch --planes sign", "--hnsw --evaluate --queries 5 --seed 1 --ef 9 --sim cosine"]
        {
            assert!(parse(words).is_ok(), "{words}");
        }
        let error = parse("--evaluate --ef 0").expect_err("refused").to_string();
        assert!(error.contains("expected a whole number of at least 1"), "{error}");
    }
}
