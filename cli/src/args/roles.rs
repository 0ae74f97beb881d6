//! Roles of the arguments that name files and folders.
//!
//! Pipelines and config files take them from one table, by the parser's names of arguments. Values cannot tell
//! roles: a text can look like a path, and a file that a stage writes is not one of its inputs.

use std::path::Path;

/// What a value of an argument is to its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueRole {
    /// A file, a folder or a pattern that must be there.
    Read,
    /// As [`Self::Read`], behind a name and `=` or alone.
    NamedRead,
    /// A folder or a pattern that must be there, or a repository of the Hub.
    Model,
    /// As [`Self::Model`], behind a name and `=` or alone.
    NamedModel,
    /// Such checkpoints behind an `@`, with commas between them.
    Segment,
    /// A file of a template, or the name of one.
    Template,
    /// A file or a folder that is written.
    Written,
    /// A path that is no input and no result, such as the store.
    Aside,
}

/// Roles by the first words of a command and its arguments; the first that fits is the one.
const ROLES: [(&str, &[&str], ValueRole); 37] = [
    ("", &["store", "config"], ValueRole::Aside),
    ("run", &["pipeline"], ValueRole::Aside),
    ("serve", &["client_ca", "audit_log", "spill"], ValueRole::Aside),
    ("evaluate text", &["data"], ValueRole::NamedRead),
    ("evaluate retrain", &["truth"], ValueRole::Written),
    ("evaluate retrain", &["rows"], ValueRole::Read),
    ("evaluate", &["truth", "subsets", "outputs", "query_data", "labels"], ValueRole::Read),
    ("evaluate", &["with", "influential", "references", "shots"], ValueRole::Read),
    ("evaluate", &["scores"], ValueRole::NamedRead),
    ("evaluate", &["rows", "targets"], ValueRole::Written),
    ("evaluate", &["checkpoints"], ValueRole::NamedModel),
    ("ingest", &["checkpoints"], ValueRole::NamedModel),
    ("ingest", &["out"], ValueRole::Written),
    ("import", &["manifest", "losses"], ValueRole::Read),
    ("daunce", &["adapters"], ValueRole::NamedModel),
    ("daunce", &["hidden_states", "rows"], ValueRole::Read),
    ("train", &["eval_data", "resume_from_checkpoint", "rows"], ValueRole::Read),
    ("prefilter", &["predictions"], ValueRole::Written),
    ("factors import", &["folder"], ValueRole::Read),
    ("factors", &["folder", "plots"], ValueRole::Written),
    ("factors", &["checkpoint"], ValueRole::Model),
    ("factors fit", &["average"], ValueRole::NamedModel),
    ("score", &["checkpoint"], ValueRole::Model),
    ("score", &["segment"], ValueRole::Segment),
    ("score", &["target_data"], ValueRole::Read),
    ("score", &["kronfluence"], ValueRole::Written),
    ("select", &["scores"], ValueRole::Written),
    ("delete", &["ids"], ValueRole::Read),
    ("query", &["file"], ValueRole::Read),
    ("query", &["with"], ValueRole::NamedRead),
    ("backup", &["to"], ValueRole::Written),
    ("restore", &["from"], ValueRole::Read),
    ("", &["data", "folders", "tls_ca", "tls_cert", "tls_key"], ValueRole::Read),
    ("", &["output", "plot", "report"], ValueRole::Written),
    ("", &["model", "adapter", "tokenizer"], ValueRole::Model),
    ("", &["checkpoint_folders"], ValueRole::NamedModel),
    ("", &["template"], ValueRole::Template),
];

/// The role of an argument of a command, by the command's words.
pub fn role(words: &[impl AsRef<str>], id: &str) -> Option<ValueRole> {
    let fits = |first: &str| first.split(' ').zip(words).all(|(first, word)| first == word.as_ref());
    let found = ROLES.iter().find(|(first, ids, _)| ids.contains(&id) && (first.is_empty() || fits(first)));
    found.map(|(_, _, role)| *role)
}

/// The value of `NAME=VALUE`, or a value alone, whatever files there are.
pub fn without_name(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !name.contains('/') => value,
        _ => text,
    }
}

/// Whether a folder has the first part of a path, which may have a `=` in its own name.
pub fn has_first_part(folder: &Path, path: &str) -> bool {
    path.split('/').next().is_some_and(|first| !first.is_empty() && folder.join(first).exists())
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;
    use crate::args;

    #[test]
    fn every_argument_that_is_a_path_has_a_role() {
        let mut open = vec![(Vec::<String>::new(), args::command())];
        let all = || ROLES.iter().flat_map(|(_, ids, _)| ids.iter().copied());
        let mut met: BTreeSet<&str> = BTreeSet::new();
        while let Some((words, command)) = open.pop() {
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                let role = role(&words, id);
                let names = arg.get_value_names().unwrap_or_default();
                let is_called = |name: &str| ["DIR", "FILE", "PATH"].iter().any(|path| name.contains(*path));
                let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
                    || arg.get_action().takes_values() && names.iter().any(|name| is_called(name));
                assert!(!is_path || role.is_some(), "{id} of {words:?} is a path without a role");
                met.extend(all().filter(|known| *known == id && role.is_some()));
            }
            for inner in command.get_subcommands() {
                open.push(([&words[..], &[inner.get_name().to_owned()]].concat(), inner.clone()));
            }
        }
        // Those of servers are only where there are servers.
        let of_servers = ["client_ca", "audit_log", "spill", "tls_ca", "tls_cert", "tls_key"];
        let is_expected = |id: &&str| cfg!(feature = "serve") || !of_servers.contains(id);
        let missing: Vec<&str> = all().filter(is_expected).filter(|id| !met.contains(id)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
