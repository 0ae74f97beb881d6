//! Measurements of this machine, kept in the user's cache folder.
//!
//! `GSTORE_COSTS` names another file, or says `off`: then nothing is read or written. A file that cannot be
//! read or written, or is of another machine or version, is no error.

use std::ffi::OsString;
use std::path::PathBuf;

use gstore_store::vfs::write_whole;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;

/// Names the file of costs, or says `off`.
const VARIABLE: &str = "GSTORE_COSTS";

/// A kind of measurement: each has its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeasurementKind {
    /// Costs of reading and multiplying rows.
    Costs,
    /// Rates of disks.
    Disks,
}

/// Where measurements are kept.
#[derive(Debug)]
pub(crate) enum MeasurementsLocation {
    /// The user wants none.
    Off,
    /// There is no folder for them.
    Nowhere,
    /// In this file.
    File(KeptFile),
}

/// A file of measurements.
#[derive(Debug)]
pub(crate) struct KeptFile {
    pub(crate) path: PathBuf,
    /// The machine: measurements of others are not taken.
    pub(crate) machine: String,
}

/// The content of such a file.
#[derive(Serialize, Deserialize)]
struct Content<T> {
    version: String,
    machine: String,
    measured: T,
}

impl MeasurementsLocation {
    /// Where measurements of a kind are kept.
    pub(crate) fn of(kind: MeasurementKind) -> Self {
        Self::named(std::env::var_os(VARIABLE), kind)
    }

    /// As the variable says; an empty one says nothing.
    fn named(value: Option<OsString>, kind: MeasurementKind) -> Self {
        let machine = machine();
        let path = match value.filter(|value| !value.is_empty()) {
            Some(off) if off == "off" => return Self::Off,
            Some(file) => Some(beside(PathBuf::from(file), kind)),
            None => cache_folder().map(|folder| folder.join(file_name(&machine, kind))),
        };
        path.map_or(Self::Nowhere, |path| Self::File(KeptFile { path, machine }))
    }

    /// The file, if there is one.
    pub(crate) fn file(self) -> Option<KeptFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Off | Self::Nowhere => None,
        }
    }
}

impl KeptFile {
    /// The measurements of this machine and version, if the file has them.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let text = fs_err::read_to_string(&self.path).ok()?;
        let content: Content<T> = serde_json::from_str(&text).ok()?;
        let same = content.version == env!("CARGO_PKG_VERSION") && content.machine == self.machine;
        same.then_some(content.measured)
    }

    /// Writes the file, in the place of the one that is there.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub(crate) fn write<T: Serialize>(&self, measured: T) -> std::io::Result<()> {
        let machine = self.machine.clone();
        let content = Content { version: env!("CARGO_PKG_VERSION").into(), machine, measured };
        if let Some(folder) = self.path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        // A reader meanwhile finds the old file or the new one, whole.
        write_whole(&self.path, &serde_json::to_vec_pretty(&content)?)
    }
}

/// `$XDG_CACHE_HOME/gstore`, or `~/.cache/gstore`.
fn cache_folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(cache.join("gstore"))
}

/// The processor, its cores and the instructions that are used.
fn machine() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores, {}", model.unwrap_or(std::env::consts::ARCH), Kernel::detect().name())
}

fn file_name(machine: &str, kind: MeasurementKind) -> String {
    let plain: String = machine.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let kind = match kind {
        MeasurementKind::Costs => "costs",
        MeasurementKind::Disks => "disks",
    };
    format!("{kind}-{plain}.json")
}

/// The file of a kind where the user named that of costs.
fn beside(costs: PathBuf, kind: MeasurementKind) -> PathBuf {
    match kind {
        MeasurementKind::Costs => costs,
        MeasurementKind::Disks => {
            let mut name = costs.into_os_string();
            name.push(".disks");
            name.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_machine_or_of_nonsense_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/costs.json");
        let of = |machine: &str| KeptFile { path: path.clone(), machine: machine.into() };
        assert_eq!(of("here").read::<u32>(), None);
        of("here").write(5u32).unwrap();
        assert_eq!((of("here").read::<u32>(), of("there").read::<u32>()), (Some(5), None));
        assert_eq!(of("here").read::<String>(), None);
        fs_err::write(&path, "{").unwrap();
        assert_eq!(of("here").read::<u32>(), None);
        // Where a folder is, no file can be.
        let folder_itself = KeptFile { path: folder.path().join("deep"), machine: "here".into() };
        assert!(folder_itself.write(5u32).is_err());
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn each_kind_has_its_file() {
        assert_eq!(file_name("A B, 2 cores", MeasurementKind::Costs), "costs-A-B--2-cores.json");
        assert_eq!(file_name("A B, 2 cores", MeasurementKind::Disks), "disks-A-B--2-cores.json");
        let named = PathBuf::from("folder/own.json");
        assert_eq!(beside(named.clone(), MeasurementKind::Costs), named);
        assert_eq!(beside(named, MeasurementKind::Disks), PathBuf::from("folder/own.json.disks"));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let path = |value: Option<&str>| {
            let found = MeasurementsLocation::named(value.map(Into::into), MeasurementKind::Disks);
            found.file().map(|file| file.path)
        };
        assert_eq!(path(Some("own.json")), Some("own.json.disks".into()));
        assert_eq!((path(Some("off")), path(Some(""))), (None, path(None)));
    }
}
