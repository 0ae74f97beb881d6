//! Paths of data files, relative to the store.

use super::names::ARTIFACTS;
use uuid::Uuid;

pub(crate) fn sample_folder(dataset: u32) -> String {
    format!("samples/{dataset}")
}

pub(crate) fn sample_file(dataset: u32, uuid: Uuid) -> String {
    format!("samples/{dataset}/{uuid}.parquet")
}

pub(crate) fn tombstone_folder(dataset: u32) -> String {
    format!("tombstones/{dataset}")
}

pub(crate) fn tombstone_file(dataset: u32, uuid: Uuid) -> String {
    format!("tombstones/{dataset}/{uuid}.roaring")
}

pub(crate) fn deleted_ids_folder(dataset: u32) -> String {
    format!("deleted/{dataset}")
}

pub(crate) fn deleted_ids_file(dataset: u32, uuid: Uuid) -> String {
    format!("deleted/{dataset}/{uuid}.ids")
}

pub(crate) fn encoding_file(encoding: u32, uuid: Uuid) -> String {
    format!("encodings/{encoding}/{uuid}.parquet")
}

pub(crate) fn segment_file(feature: u32, uuid: Uuid) -> String {
    format!("segments/{feature}/{uuid}.arrow")
}

/// A file of an artifact by its name in the folder.
pub(crate) fn artifact_file(file: &str) -> String {
    format!("{ARTIFACTS}/{file}")
}
