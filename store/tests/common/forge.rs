//! Changes to a store's catalog with all digests made to agree again, as a newer or a broken
//! gstore would write them.

use gstore_store::xxh3_hex;
use serde_json::Value;
use std::path::Path;

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap()
}

fn text_of(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

/// Changes `CURRENT`.
pub fn current(store: &Path, edit: impl FnOnce(&mut Value)) {
    let file = store.join("CURRENT");
    let mut value = read(&file);
    edit(&mut value);
    fs_err::write(file, text_of(&value)).unwrap();
}

/// Writes a manifest under its new digest and gives the link to it.
fn rewrite(store: &Path, link: &mut Value, edit: impl FnOnce(&mut Value)) {
    let name = link["file"].as_str().unwrap().to_owned();
    let mut value = read(&store.join("manifests").join(&name));
    edit(&mut value);
    let text = text_of(&value);
    let digest = xxh3_hex(text.as_bytes());
    let stem = name.rsplit_once('-').unwrap().0;
    let file = format!("{stem}-{digest}.json");
    fs_err::write(store.join("manifests").join(&file), &text).unwrap();
    link["file"] = file.into();
    link["digest"] = digest.into();
    link["len"] = text.len().into();
}

/// Changes the published root.
pub fn root(store: &Path, edit: impl FnOnce(&mut Value)) {
    current(store, |current| rewrite(store, &mut current["root"], edit));
}

/// Changes a part of the published root: `datasets`, `runs` or `features`, by its place in the list.
pub fn part(store: &Path, list: &str, place: usize, edit: impl FnOnce(&mut Value)) {
    root(store, |root| rewrite(store, &mut root[list][place], edit));
}

/// Changes the tail of a segment, which keeps its length.
pub fn tail(store: &Path, feature: usize, segment: usize, edit: impl FnOnce(&mut [u8])) {
    part(store, "features", feature, |part| {
        let number = part["number"].as_u64().unwrap();
        let entry = &mut part["segments"][segment];
        let file = store.join(format!("segments/{number}/{}.arrow", entry["uuid"].as_str().unwrap()));
        let mut bytes = fs_err::read(&file).unwrap();
        let start = bytes.len() - entry["tail_len"].as_u64().unwrap() as usize;
        edit(&mut bytes[start..]);
        entry["footer_digest"] = xxh3_hex(&bytes[start..]).into();
        fs_err::write(&file, bytes).unwrap();
    });
}
