//! Remedies of errors as commands and flags.

use gstore_core::Remedy;

/// The command or flag that is meant.
pub fn words(remedy: &Remedy<'_>) -> String {
    let command = match *remedy {
        Remedy::Option(name, value) => {
            return format!("--{} {value}", name.replace('_', "-")).trim_end().to_owned();
        }
        Remedy::Add => "add".into(),
        Remedy::Ingest => "ingest".into(),
        Remedy::IngestKind { kind, per_token } => {
            let (tokens, features) = (
                if per_token { " --per-token" } else { "" },
                if kind.is_empty() { "" } else { " --features " },
            );
            format!("ingest{tokens}{features}{kind}")
        }
        Remedy::IngestAs { dataset, kind, per_token, run, template, max_length } => {
            let option = |name: &str, value: &str| match value {
                "" => String::new(),
                value => format!(" --{name} {value}"),
            };
            let tokens = if per_token { " --per-token" } else { "" };
            let length = max_length.map_or_else(String::new, |length| length.to_string());
            format!(
                "ingest{}{} --features {kind}{tokens}{}{}",
                option("run", run),
                option("dataset", dataset),
                option("template", template),
                option("max-length", &length)
            )
        }
        Remedy::Verify => "verify".into(),
        Remedy::Repair => "verify --repair".into(),
        Remedy::Index { kind: "", .. } => {
            return "`gstore index` (--sketch or --hnsw, with the feature's name)".into();
        }
        Remedy::Index { kind, feature, rebuild } => {
            format!("index --{kind}{} {feature}", if rebuild { " --rebuild" } else { "" })
        }
        Remedy::Backup => "backup --to DIR".into(),
        Remedy::Restore => "restore".into(),
        Remedy::Delete(dataset) => format!("delete --dataset {dataset} --id ID ..."),
        Remedy::Purge => "delete --purge".into(),
        Remedy::DropFeature(name) => format!("drop feature {name}"),
        Remedy::DropEnsemble(name) => format!("drop ensemble {name}"),
        Remedy::RemoveLeftovers => {
            return "`gstore gc --keep N` with N at least the number of snapshots".into();
        }
        Remedy::DropJobs => "gc --drop-jobs".into(),
        Remedy::AskWithModels => return "`gstore ask` or `gstore query`".into(),
        Remedy::Solve => "score --solver cg".into(),
        Remedy::WriteResult => return "`gstore query -o FILE` (in the shell `.once FILE`)".into(),
        Remedy::OwnTable => "query --with NAME=FILE".into(),
        Remedy::InsteadOf(statement) => match statement {
            "UPDATE" | "MERGE" => "add --if-changed replace",
            "DELETE" | "TRUNCATE" => "delete",
            "DROP TABLE" => "drop",
            "CREATE INDEX" => "index",
            "CREATE VIEW" => "view create",
            "DROP VIEW" => "view drop",
            "VACUUM" => "compact",
            _ => "add",
        }
        .into(),
    };
    format!("`gstore {command}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    /// Every flag behind a command, and every flag of an option, is one that the command line knows.
    fn check(words: &str) {
        let root = args::command();
        let mut command = None;
        for word in words.split([' ', '`', '(', ',']) {
            if let Some(found) = root.find_subcommand(word) {
                command = Some(found);
            } else if let Some(flag) = word.strip_prefix("--") {
                let has = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == Some(flag));
                assert!(command.map_or_else(|| root.get_subcommands().any(has), has), "{words}: {flag}");
            }
        }
        assert!(command.is_some() || words.starts_with("--"), "{words}");
    }

    #[test]
    fn remedies_are_commands_and_flags_that_there_are() {
        let kind = |kind, per_token| Remedy::IngestKind { kind, per_token };
        let of_val = |run, per_token, template, max_length| Remedy::IngestAs {
            dataset: "val",
            kind: "grad-sgd",
            per_token,
            run,
            template,
            max_length,
        };
        let index = |kind, rebuild| Remedy::Index { kind, feature: "pool/grad-sgd", rebuild };
        for (remedy, expected) in [
            (Remedy::Option("if_changed", "keep"), "--if-changed keep"),
            (Remedy::Option("checkpoint_folders", ""), "--checkpoint-folders"),
            (Remedy::Add, "`gstore add`"),
            (Remedy::Ingest, "`gstore ingest`"),
            (kind("", true), "`gstore ingest --per-token`"),
            (kind("loss", true), "`gstore ingest --per-token --features loss`"),
            (kind("loss", false), "`gstore ingest --features loss`"),
            (
                of_val("", false, "chat", None),
                "`gstore ingest --dataset val --features grad-sgd --template chat`",
            ),
            (
                of_val("r", false, "chat", None),
                "`gstore ingest --run r --dataset val --features grad-sgd --template chat`",
            ),
            (
                of_val("r", true, "", Some(64)),
                "`gstore ingest --run r --dataset val --features grad-sgd --per-token --max-length 64`",
            ),
            (Remedy::Verify, "`gstore verify`"),
            (Remedy::Repair, "`gstore verify --repair`"),
            (index("sketch", false), "`gstore index --sketch pool/grad-sgd`"),
            (index("hnsw", true), "`gstore index --hnsw --rebuild pool/grad-sgd`"),
            (index("", false), "`gstore index` (--sketch or --hnsw, with the feature's name)"),
            (Remedy::Backup, "`gstore backup --to DIR`"),
            (Remedy::Restore, "`gstore restore`"),
            (Remedy::Delete("pool"), "`gstore delete --dataset pool --id ID ...`"),
            (Remedy::Purge, "`gstore delete --purge`"),
            (Remedy::DropFeature("4"), "`gstore drop feature 4`"),
            (Remedy::DropEnsemble("ens"), "`gstore drop ensemble ens`"),
            (Remedy::RemoveLeftovers, "`gstore gc --keep N` with N at least the number of snapshots"),
            (Remedy::DropJobs, "`gstore gc --drop-jobs`"),
            (Remedy::AskWithModels, "`gstore ask` or `gstore query`"),
            (Remedy::Solve, "`gstore score --solver cg`"),
            (Remedy::WriteResult, "`gstore query -o FILE` (in the shell `.once FILE`)"),
            (Remedy::OwnTable, "`gstore query --with NAME=FILE`"),
            (Remedy::InsteadOf("INSERT"), "`gstore add`"),
            (Remedy::InsteadOf("UPDATE"), "`gstore add --if-changed replace`"),
            (Remedy::InsteadOf("DELETE"), "`gstore delete`"),
            (Remedy::InsteadOf("DROP TABLE"), "`gstore drop`"),
            (Remedy::InsteadOf("CREATE INDEX"), "`gstore index`"),
            (Remedy::InsteadOf("CREATE VIEW"), "`gstore view create`"),
            (Remedy::InsteadOf("VACUUM"), "`gstore compact`"),
        ] {
            assert_eq!(words(&remedy), expected);
            check(expected);
        }
    }
}
