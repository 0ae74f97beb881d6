//! Promise: crates, and the folders of a crate, use each other in one direction, and libraries do not mention
//! the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crates of the workspace, and for each the ones that it may use outside its tests.
const CRATES: &[(&str, &[&str])] = &[
    ("gstore-core", &[]),
    ("gstore-curvature", &[]),
    ("gstore-store", &["gstore-core"]),
    ("gstore-model", &["gstore-core"]),
    ("gstore-cuda", &["gstore-core", "gstore-model", "gstore-query", "gstore-store"]),
    ("gstore-data", &["gstore-core", "gstore-store"]),
    (
        "gstore-ingest",
        &["gstore-core", "gstore-curvature", "gstore-store", "gstore-model", "gstore-cuda", "gstore-data"],
    ),
    ("gstore-train", &["gstore-core", "gstore-store", "gstore-model", "gstore-cuda", "gstore-data"]),
    ("gstore-generate", &["gstore-core", "gstore-store", "gstore-model", "gstore-cuda", "gstore-data"]),
    ("gstore-evaluate", &["gstore-core", "gstore-store", "gstore-data", "gstore-train", "gstore-generate"]),
    ("gstore-learn", &["gstore-core", "gstore-store"]),
    ("gstore-query", &["gstore-core", "gstore-curvature", "gstore-store"]),
    ("gstore-functions", &["gstore-core"]),
    (
        "gstore-sql",
        &["gstore-core", "gstore-functions", "gstore-store", "gstore-data", "gstore-learn", "gstore-query"],
    ),
    ("gstore", LIBRARIES),
    ("gstore-server", LIBRARIES),
    ("gstore-cli", FRONT_ENDS),
];

/// All crates below the command line.
pub(crate) const FRONT_ENDS: &[&str] = &[
    "gstore-core",
    "gstore-curvature",
    "gstore-store",
    "gstore-model",
    "gstore-cuda",
    "gstore-data",
    "gstore-ingest",
    "gstore-train",
    "gstore-generate",
    "gstore-evaluate",
    "gstore-learn",
    "gstore-query",
    "gstore-functions",
    "gstore-sql",
    "gstore",
    "gstore-server",
];

/// The same without the server, which is for the command line alone.
const LIBRARIES: &[&str] = FRONT_ENDS.split_last().unwrap().1;

/// What is no part of the product may use all of it.
const AROUND: &[&str] =
    &["gstore-tests", "gstore-faults", "gstore-fuzz", "gstore-benches", "gstore-reference"];

/// The folders of a crate, the lowest layer first. A folder uses those of its own layer and of lower ones.
struct Folders {
    krate: &'static str,
    layers: &'static [&'static [&'static str]],
    /// Arrows that still go up: a new one is refused, and one that is gone has to leave this list.
    up: &'static [(&'static str, &'static str)],
}

const FOLDERS: &[Folders] = &[STORE, MODEL, INGEST, QUERY, SQL];

const INGEST: Folders = Folders {
    krate: "ingest",
    layers: &[&["projection"], &["gradient"], &["curvature"], &["pipeline"]],
    up: &[],
};

const QUERY: Folders = Folders {
    krate: "query",
    layers: &[
        &["error", "hint", "indexes", "kernel", "measured", "size", "term", "topk"],
        &["values", "daunce", "eigen", "gram"],
        &["sketch"],
        &["influence"],
        &["evaluate"],
        &["ann", "matrix"],
    ],
    up: &[],
};

const SQL: Folders = Folders {
    krate: "sql",
    layers: &[
        &["arity", "distinct", "error", "formats", "names", "notes", "plans", "positions", "walk", "wording"],
        &[
            "at_once",
            "blocking",
            "branches",
            "candidates",
            "caught",
            "cooperative",
            "copies",
            "equal_nulls",
            "live",
            "memory",
            "passing",
            "shares",
            "spill",
            "tokens",
        ],
        &[
            "best_groups",
            "bounds",
            "correlated",
            "exists",
            "expanded",
            "full_sorts",
            "guard",
            "join_filters",
            "key_names",
            "lateral",
            "limited",
            "no_keys",
            "no_row",
            "not_in",
            "one_row",
            "ordinals",
            "outer_types",
            "projections",
            "pull_up",
            "push_down",
            "semi_keys",
            "set_keys",
            "sorted_inputs",
            "stable",
            "unordered",
        ],
        &["common_types"],
        &["elements", "types"],
        &["measured", "mixed", "output", "virtuals"],
        &["translate"],
        &["args", "dialect", "filter", "literals", "window"],
        &["calls", "cases", "leaf", "parameters", "quotes"],
        &["own", "samples", "scan", "views"],
        &["options", "union"],
        &["engine", "influence", "system"],
        &["catalog", "embedded", "predicted", "vectors"],
        &["conditions", "lasting", "shown", "shows", "table_functions"],
        &["function", "planning"],
        &["describe", "prepared"],
        &["session"],
        &["runner"],
    ],
    up: &[],
};

const MODEL: Folders = Folders {
    krate: "model",
    layers: &[
        &["params", "files"],
        &["oom_backoff"],
        &["backend"],
        &["cpu", "candle"],
        &["device"],
        &["architectures"],
        &["weights"],
        &["passes"],
        &["gradients"],
        &["hub"],
    ],
    up: &[],
};

const STORE: Folders = Folders {
    krate: "store",
    layers: &[
        &["error", "panics", "buffer"],
        &["map"],
        &["vfs"],
        &["layout", "ahead"],
        &["manifest"],
        &["table", "segment", "samples", "encodings", "tombstones", "ledger", "index", "lease", "encoded"],
        &["store"],
        &["append", "job", "shard", "ensemble"],
        &["artifacts", "life", "rewrite", "compact", "gc", "backup", "verify", "repair", "tags", "views"],
        &["fuzzing"],
    ],
    up: &[],
};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of a crate of the product.
pub(crate) fn folder_of(krate: &str) -> &str {
    if krate == "gstore" { "app" } else { krate.trim_start_matches("gstore-") }
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).expect("a file of the workspace")
}

/// The lines of a section of a `Cargo.toml`.
fn section<'a>(manifest: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("[{name}]");
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn crates_use_only_those_below_them() {
    let workspace = read(&root().join("Cargo.toml"));
    let members =
        section(&workspace, "workspace").into_iter().find(|line| line.starts_with("members")).unwrap();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.contains(&"store"), "{members:?}");
    for member in members {
        let manifest = read(&root().join(member).join("Cargo.toml"));
        let name = section(&manifest, "package")[0].trim_start_matches("name = ").trim_matches('"');
        if AROUND.contains(&name) {
            continue;
        }
        let (_, below) = CRATES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| {
            panic!(
                "crate {name} has no place among the layers; give it one in this test and in ARCHITECTURE.md"
            )
        });
        let dependencies = section(&manifest, "dependencies");
        let used = dependencies.iter().filter_map(|line| line.split([' ', '.']).next());
        for used in used.filter(|used| *used == "gstore" || used.starts_with("gstore-")) {
            assert!(below.contains(&used), "{name} uses {used}, which is not below it");
        }
    }
}

/// A test file that neither its crate's `tests/main.rs` nor its manifest names would never run.
#[test]
fn every_test_file_is_part_of_a_program() {
    for entry in fs_err::read_dir(root()).expect("the workspace") {
        let tests = entry.expect("an entry").path().join("tests");
        let Ok(main) = fs_err::read_to_string(tests.join("main.rs")) else { continue };
        let manifest = read(&tests.with_file_name("Cargo.toml"));
        for file in fs_err::read_dir(&tests).expect("a folder of tests") {
            let file = file.expect("an entry").path();
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let module = file.extension().is_some_and(|e| e == "rs") || file.join("mod.rs").exists();
            let declared = main.lines().any(|line| line == format!("mod {name};"));
            let program = manifest.lines().any(|line| line == format!("path = \"tests/{name}.rs\""));
            assert!(!module || declared || program, "tests/main.rs leaves out {}", file.display());
        }
    }
}

#[test]
fn folders_use_only_those_below_them() {
    for Folders { krate, layers, up } in FOLDERS {
        let layer_of: BTreeMap<&str, usize> = layers
            .iter()
            .enumerate()
            .flat_map(|(i, layer)| layer.iter().map(move |folder| (*folder, i)))
            .collect();
        let layer = |folder: &str| {
            *layer_of
                .get(folder)
                .unwrap_or_else(|| panic!("{folder} of {krate} has no place among its layers"))
        };
        let going_up: BTreeMap<(String, String), String> = arrows(&root().join(krate).join("src"))
            .into_iter()
            .filter(|((from, to), _)| layer(to) > layer(from))
            .collect();
        let known: BTreeSet<(String, String)> = up.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        for ((from, to), file) in &going_up {
            assert!(
                known.contains(&(from.clone(), to.clone())),
                "{krate}/src/{file}: {from} uses {to}, which is above it"
            );
        }
        for (from, to) in &known {
            let gone = !going_up.contains_key(&(from.clone(), to.clone()));
            assert!(!gone, "{krate}: {from} no longer uses {to}; strike it from the list in this test");
        }
    }
}

/// What a crate shows is read in `lib.rs`: names, and public modules whose own files are private.
#[test]
fn public_modules_are_declared_at_the_top_of_a_crate() {
    for krate in FRONT_ENDS {
        let folder = folder_of(krate);
        for (name, source) in sources(&root().join(folder).join("src")) {
            for line in code(&source).into_iter().filter(|line| line.trim_start().starts_with("pub mod ")) {
                assert!(
                    name == "lib.rs",
                    "{folder}/src/{name} has `{line}`; make it private and name what is used in `pub use`"
                );
            }
        }
    }
}

/// Which folders (or files) at the top of a crate use which others, with one file that does.
fn arrows(src: &Path) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    let sources = sources(src);
    let top = |name: &str| name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let tops: BTreeSet<String> = sources.iter().map(|(name, _)| top(name)).collect();
    for (name, source) in sources.iter().filter(|(name, _)| name != "lib.rs") {
        let from = top(name);
        let mut names = used(source, "crate::");
        // In files at the top, and in the `mod.rs` of a folder, `super` is the crate.
        if !name.contains('/') || *name == format!("{from}/mod.rs") {
            names.extend(used(source, "super::").into_iter().filter(|to| tops.contains(to)));
        }
        for to in names.into_iter().filter(|to| *to != from) {
            found.insert((from.clone(), to), name.clone());
        }
    }
    assert!(!found.is_empty(), "{} has no arrows", src.display());
    found
}

/// Names and texts of the sources in a folder; files of tests are left out.
pub(crate) fn sources(src: &Path) -> Vec<(String, String)> {
    let (mut found, mut waiting) = (Vec::new(), vec![src.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(src).expect("inside").display().to_string();
            if path.is_dir() {
                waiting.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") {
                found.push((name, read(&path)));
            }
        }
    }
    found
}

/// The lines of a source that are neither comments nor its own tests.
pub(crate) fn code(source: &str) -> Vec<&str> {
    let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let product = product.split("#[cfg(test)]\npub(super) mod tests {").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect()
}

/// The word that a text begins with.
pub(crate) fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The modules that a source names behind `root`, which is `crate::` or `super::`, its own tests left out.
fn used(source: &str, root: &str) -> BTreeSet<String> {
    let code = code(source).join("\n");
    let mut names = BTreeSet::new();
    for place in code.match_indices(root).filter(|(at, _)| !code[..*at].ends_with(['$', '_'])) {
        let rest = &code[place.0 + place.1.len()..];
        assert!(!rest.starts_with('{'), "write a `use {root}` for each module, so that this test reads it");
        names.insert(word(rest));
    }
    names
}

#[test]
fn the_reader_of_sources_sees_every_form() {
    let source = "use crate::a::{B, c::D};\n// crate::not\nfn f(x: crate::e::F) { crate::g() }\n#[cfg(test)]\nmod tests {\nuse crate::h;\n}\n";
    assert_eq!(used(source, "crate::").into_iter().collect::<Vec<_>>(), ["a", "e", "g"]);
    assert_eq!(used("use super::a::B;\nmod c;", "super::").into_iter().collect::<Vec<_>>(), ["a"]);
}

/// A mention of the command line: a flag, or one of the commands behind the program's name.
fn of_the_command_line<'a>(line: &'a str, commands: &[String]) -> Option<&'a str> {
    let flag = line.match_indices("--").find(|(at, _)| {
        let begins = *at == 0 || line[..*at].ends_with([' ', '`', '"', '(', '\'']);
        begins && line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    });
    let command = line.match_indices("gstore ").find(|(at, name)| {
        let word = line[at + name.len()..].split(|c: char| !c.is_ascii_lowercase()).next();
        commands.iter().any(|command| Some(command.as_str()) == word)
    });
    flag.or(command).map(|(at, _)| &line[at..])
}

#[test]
fn libraries_name_no_commands_and_no_flags() {
    let commands = fs_err::read_dir(root().join("cli/src/commands")).expect("the commands");
    let commands = commands.map(|entry| entry.expect("an entry").path());
    let commands: Vec<String> = commands
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .filter(|name| name != "mod")
        .collect();
    assert!(commands.contains(&"verify".to_owned()), "{commands:?}");
    for krate in LIBRARIES {
        let folder = folder_of(krate);
        for (name, source) in sources(&root().join(folder).join("src")) {
            for line in code(&source) {
                let said = of_the_command_line(line, &commands);
                assert_eq!(said, None, "{folder}/src/{name} speaks of the command line; give a `Remedy`");
            }
        }
    }
    for says in ["(\"use --force\")", "`--force` does", "run `gstore verify --repair`", "a gstore index is"] {
        assert!(of_the_command_line(says, &commands).is_some(), "{says}");
    }
    for silent in ["models--org--name", "a newer gstore wrote it", "x -- y", "i--"] {
        assert!(of_the_command_line(silent, &commands).is_none(), "{silent}");
    }
}
