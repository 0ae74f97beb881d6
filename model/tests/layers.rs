//! Promise: the layers of this crate use each other in one direction.

use std::path::Path;

/// Folders and files of `src`, each of which may use those before it. The backends come after what they
/// implement and before the models.
const LAYERS: [&str; 9] =
    ["params", "progress", "files", "backend", "cpu", "candle", "device", "architectures", "weights"];

/// Every `crate::x` of a file.
fn used(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

fn check(path: &Path, layer: usize) {
    if path.is_dir() {
        return fs_err::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path(), layer));
    }
    let text = fs_err::read_to_string(path).unwrap();
    for name in used(&text) {
        let of = LAYERS.iter().position(|layer| *layer == name);
        let above = of.is_some_and(|of| of > layer) || name == "passes";
        assert!(!above, "{} uses `{name}`, which is above `{}`", path.display(), LAYERS[layer]);
    }
}

#[test]
fn no_layer_uses_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (layer, name) in LAYERS.iter().enumerate() {
        let folder = src.join(name);
        let file = src.join(format!("{name}.rs"));
        assert!(folder.is_dir() != file.is_file(), "{name} is neither a folder nor a file");
        check(if folder.is_dir() { &folder } else { &file }, layer);
    }
}
