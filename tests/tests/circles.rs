//! Promise: modules in one folder use each other in one direction.
//!
//! A knot is a set of files and folders, side by side, each of which uses all others directly or indirectly.
//! Uses between a module and the folder around it form none. The scan works on text: a module is used where a
//! path that begins with `crate`, `self` or `super` names it.

use std::collections::{BTreeMap, BTreeSet};

use crate::layers::{FRONT_ENDS, code, folder_of, root, sources, word};

/// Which modules of a folder use which others, each with one file that does.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn modules_of_a_folder_use_each_other_in_one_direction() {
    let mut found = Vec::new();
    for krate in FRONT_ENDS.iter().chain(&["gstore-cli"]) {
        for (place, uses) in uses(&sources(&root().join(folder_of(krate)).join("src"))) {
            let place = [vec![folder_of(krate).to_owned()], place].concat().join("::");
            for knot in knots(&uses) {
                let among = shown(&uses, &knot);
                found.push(format!("in {place} {} use each other in a circle:\n{among}", knot.join(" ")));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The modules of a crate, by the folder around them.
fn uses(sources: &[(String, String)]) -> BTreeMap<Vec<String>, Uses> {
    let modules: Vec<Vec<String>> = sources.iter().map(|(name, _)| module_of(name)).collect();
    let known: BTreeSet<&[String]> =
        modules.iter().flat_map(|module| (0..=module.len()).map(move |n| &module[..n])).collect();
    let mut found: BTreeMap<Vec<String>, Uses> = BTreeMap::new();
    for (module, (name, source)) in modules.iter().zip(sources) {
        for mut path in paths(source, module) {
            while !known.contains(&path[..]) {
                path.pop();
            }
            if let Some(at) = module.iter().zip(&path).position(|(a, b)| a != b) {
                let of_folder = found.entry(path[..at].to_vec()).or_default();
                let to = of_folder.entry(module[at].clone()).or_default();
                to.entry(path[at].clone()).or_insert_with(|| name.clone());
            }
        }
    }
    found
}

/// The path of the module that a file is.
fn module_of(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    path.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
    path
}

/// The paths that a source names, from the top of its crate on. `module`: its own.
fn paths(source: &str, module: &[String]) -> Vec<Vec<String>> {
    let code = code(source).join("\n");
    let top: &[String] = &[];
    let mut found = Vec::new();
    for (first, from) in [("crate::", top), ("self::", module), ("super::", module)] {
        for (at, _) in code.match_indices(first) {
            let is_first =
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || ['_', ':', '$'].contains(&c));
            if is_first {
                tree(&code[at..], from.to_vec(), &mut found);
            }
        }
    }
    found
}

/// Adds the paths of a tree of `use` behind a path, and gives the text after it.
fn tree<'a>(mut text: &'a str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        if let Some(group) = text.strip_prefix('{') {
            text = group.trim_start();
            while !text.is_empty() && !text.starts_with('}') {
                let behind = tree(text, path.clone(), found);
                // What stands before the comma is another name.
                let behind = behind.trim_start_matches(|c: char| c != ',' && c != '}');
                text = behind.trim_start_matches(',').trim_start();
            }
            return text.strip_prefix('}').unwrap_or_default();
        }
        let name = word(text);
        text = &text[name.len()..];
        match name.as_str() {
            "super" => drop(path.pop()),
            "crate" | "self" | "" => {}
            _ => path.push(name),
        }
        match text.strip_prefix("::") {
            Some(more) => text = more,
            None => break,
        }
    }
    found.push(path);
    text
}

/// Sets of modules that use each other, be it through others.
fn knots(uses: &Uses) -> BTreeSet<Vec<String>> {
    let all: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|from| (from.as_str(), reached(uses, from))).collect();
    let mut found = BTreeSet::new();
    for (from, reached) in &all {
        let knot = reached.iter().filter(|to| all.get(**to).is_some_and(|back| back.contains(from)));
        let knot: Vec<String> = knot.map(|module| (*module).to_owned()).collect();
        if !knot.is_empty() {
            found.insert(knot);
        }
    }
    found
}

/// The modules that one uses, be it through others.
fn reached<'a>(uses: &'a Uses, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(module) = waiting.pop() {
        let used = uses.get(module).into_iter().flat_map(BTreeMap::keys);
        waiting.extend(used.map(String::as_str).filter(|to| seen.insert(*to)));
    }
    seen
}

/// The uses within a knot.
fn shown(uses: &Uses, knot: &[String]) -> String {
    let mut lines = Vec::new();
    for (from, to) in uses.iter().filter(|(from, _)| knot.contains(from)) {
        for (to, file) in to.iter().filter(|(to, _)| knot.contains(to)) {
            lines.push(format!("  {from} uses {to} in {file}"));
        }
    }
    lines.join("\n")
}

#[test]
fn the_scan_sees_every_form_of_a_path() {
    let source = "use crate::a::{B, c::{self, D as E}, f};\nuse super::{around::i, h::*};\n// crate::no\n\
                  fn x(y: self::z::Z) { $crate::no(super::super::a::w::<u8>()) }\n";
    let mut found: Vec<String> =
        paths(source, &["m".into(), "n".into()]).iter().map(|path| path.join("::")).collect();
    found.sort();
    assert_eq!(found, ["a::B", "a::c", "a::c::D", "a::f", "a::w", "m::around::i", "m::h", "m::n::z::Z"]);
    let file = |name: &str, source: &str| (name.to_owned(), source.to_owned());
    let sources = [
        file("lib.rs", "mod a;"),
        file("a/mod.rs", "use crate::b::X;\nuse self::c::Y;"),
        file("a/c.rs", "use super::Z;\nuse super::d::V;"),
        file("a/d.rs", "use crate::a::c;"),
        file("b.rs", "use crate::e;"),
        file("e/f.rs", "use crate::a;"),
        file("g.rs", "use crate::a;"),
    ];
    let uses = uses(&sources);
    let found: Vec<(String, Vec<String>)> = uses
        .iter()
        .flat_map(|(place, uses)| knots(uses).into_iter().map(move |knot| (place.join("::"), knot)))
        .collect();
    let of = |place: &str, knot: &[&str]| {
        (place.to_owned(), knot.iter().map(|module| (*module).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(found, [of("", &["a", "b", "e"]), of("a", &["c", "d"])]);
}
