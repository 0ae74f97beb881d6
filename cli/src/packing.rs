//! Compression of files, by the endings of their names.

use std::path::Path;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The packing that a name says.
pub fn packing_of(path: &Path) -> Packing {
    match ending_of(path).as_deref() {
        Some("gz") => Packing::Gzip,
        Some("zst") => Packing::Zstd,
        _ => Packing::None,
    }
}

/// A name without the ending of its packing.
pub fn unpacked_name(path: &Path) -> &Path {
    match packing_of(path) {
        Packing::None => path,
        _ => path.file_stem().map_or(path, Path::new),
    }
}

/// The last ending of a name, in lower case.
pub fn ending_of(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}
