//! Command lines that change the store that they name.

#[cfg(feature = "serve")]
use super::TokenWhat;
use super::{Command, DaunceWhat, EvaluateWhat, FactorsWhat, PrefilterWhat, ViewWhat};

impl Command {
    /// Whether a result of the command goes into the store of its command line, so that a store which cannot
    /// be written is found before the work and not after it.
    pub fn changes_store(&self) -> bool {
        match self {
            // An `add` and a `gc` hold the lock of writers also where they only tell.
            Self::Add(_) | Self::Import(_) | Self::Drop(_) | Self::Gc(_) => true,
            Self::Compact(args) => !args.dry_run,
            Self::Delete(args) => !args.dry_run,
            // A shard goes into a folder of its own, and without data there may be nothing to do.
            Self::Ingest(args) => {
                !args.data.is_empty() && !args.dry_run && !args.gradients.explain && args.shard.is_none()
            }
            Self::Train(args) => !args.dry_run,
            Self::Generate(args) => args.answers.dataset_as.is_some() || args.as_features,
            Self::Evaluate(args) => match &args.what {
                EvaluateWhat::Retrain(args) => args.ensemble.is_some(),
                _ => false,
            },
            Self::Daunce(args) => match &args.what {
                DaunceWhat::Train(args) => !args.dry_run,
                DaunceWhat::Losses(args) => !args.dry_run,
                DaunceWhat::Attach(_) => true,
                _ => false,
            },
            Self::Attach(args) => !args.dry_run,
            Self::Select(args) => args.cascade.cascade.is_some(),
            Self::Prefilter(args) => matches!(&args.what, PrefilterWhat::Fit(args) if !args.dry_run),
            Self::Factors(args) => match &args.what {
                // A job of an array writes into the folder that it shares with the others.
                FactorsWhat::Fit(args) => !args.dry_run && args.partition.is_none(),
                FactorsWhat::Gram(_) | FactorsWhat::Import(_) => true,
                _ => false,
            },
            Self::Tag(args) => !args.lists(),
            Self::View(args) => !matches!(args.what, ViewWhat::List { .. }),
            Self::Revert(args) => !args.dry_run,
            Self::Index(args) => args.sketch || args.hnsw,
            Self::Verify(args) => args.repair && !args.dry_run,
            #[cfg(feature = "serve")]
            Self::Token(args) => !matches!(args.what, TokenWhat::List { .. }),
            _ => false,
        }
    }

    /// Whether the command makes its store where there is none.
    pub fn may_make_store(&self) -> bool {
        match self {
            Self::Add(_) => true,
            Self::Ingest(args) => !args.data.is_empty(),
            Self::Train(args) => args.data.samples.dataset.is_none(),
            Self::Generate(args) => args.answers.dataset_as.is_some(),
            Self::Daunce(args) => match &args.what {
                DaunceWhat::Train(args) => !args.reads_store(),
                DaunceWhat::Attach(_) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use crate::args::{Cli, command};

    #[test]
    fn what_only_reads_or_tells_changes_nothing() {
        for (line, changes) in [
            ("add --data a.jsonl", true),
            ("ingest --dataset a --model m --features loss", false),
            ("ingest --dataset a --data a.jsonl --model m --features loss", true),
            ("ingest --dataset a --data a.jsonl --model m --features loss --dry-run", false),
            ("ingest --dataset a --model m --features loss --shard 1/2 --out o", false),
            ("select --pool a --target b --top 5% -o c.jsonl", false),
            ("generate --model m --text t --perplexity", false),
            ("prefilter list", false),
            ("factors gram g --dataset a", true),
            ("factors list", false),
            ("delete --dataset a --id b --dry-run", false),
            ("delete --dataset a --id b", true),
            ("index", false),
            ("index --sketch --dataset a", true),
            ("tag", false),
            ("tag list", false),
            ("tag list --delete", true),
            ("tag first", true),
            ("view list", false),
            ("compact", true),
            ("compact --dry-run", false),
            ("gc", true),
            ("ls", false),
        ] {
            let words = ["gstore"].into_iter().chain(line.split(' '));
            let matches = command().try_get_matches_from(words).expect("a command line");
            let cli = Cli::from_arg_matches(&matches).expect("a command");
            assert_eq!(cli.command.changes_store(), changes, "{line}");
        }
    }
}
