//! Sums of rows between passes, in a temporary file without a name: memory does not grow with the rows.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use gstore_store::vfs;

use crate::factors::error::FactorJobError;

/// Sums of rows that wait for later passes.
pub(super) type WaitingSums = Option<BufReader<File>>;

/// Refuses a folder whose disk has no room for temporary files.
pub(super) fn check_room(folder: &Path, needed: u64) -> Result<(), FactorJobError> {
    vfs::check_room(folder, needed).map_err(|no_room| {
        FactorJobError::Refused(format!(
            "temporary files of the sums between passes: {no_room}, score fewer rows or queries, or write to a file on another disk"
        ))
    })
}

/// Adds the next numbers of a file.
pub(super) fn add_to(values: &mut [f64], from: &mut impl Read) -> std::io::Result<()> {
    let mut more = vec![0.0; values.len()];
    read_floats(from, &mut more)?;
    values.iter_mut().zip(more).for_each(|(sum, value)| *sum += value);
    Ok(())
}

/// Takes the next numbers of a file.
pub(super) fn read_floats(from: &mut impl Read, to: &mut [f64]) -> std::io::Result<()> {
    let mut bytes = [0; size_of::<f64>()];
    for value in to {
        from.read_exact(&mut bytes)?;
        *value = f64::from_le_bytes(bytes);
    }
    Ok(())
}

pub(super) fn write_floats(to: &mut impl Write, values: &[f64]) -> std::io::Result<()> {
    values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes()))
}

/// A file that was written, from its beginning.
pub(super) fn reopen(written: BufWriter<File>) -> std::io::Result<BufReader<File>> {
    let mut file = written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back_in_their_order() {
        let mut written = BufWriter::new(tempfile::tempfile().unwrap());
        for row in [&[1.5, -2.0][..], &[], &[0.25]] {
            write_floats(&mut written, row).unwrap();
        }
        let mut sums = reopen(written).unwrap();
        let (mut first, mut second) = ([1.0, 1.0], [0.5]);
        add_to(&mut first, &mut sums).unwrap();
        add_to(&mut second, &mut sums).unwrap();
        assert_eq!((first, second), ([2.5, -1.0], [0.75]));
        assert!(add_to(&mut second, &mut sums).is_err());
    }

    #[test]
    fn a_disk_without_room_is_named() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path(), 1).unwrap();
        let error = check_room(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
