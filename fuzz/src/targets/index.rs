//! Index files: derived data of a segment, found by name and verified by their own digests only.

use super::KIB;
use crate::Target;
use crate::one_file::OneFile;
use gstore_store::{BlockBuffer, fuzzing, xxh3_hex};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Sections, footer and end of an index; the footer without its digest, which is recomputed.
pub const INDEX: Target = Target {
    name: "index",
    run,
    // The file is held by the file system, the map and the buffers; its footer is JSON that contains the
    // caller's values.
    per_byte: 300,
    constant: 64 * KIB,
    words: &[
        b"GSINDEX\n",
        b"\"version\":1,\"requires\":[]",
        b"\"sections\":[{\"name\":\"a\",\"offset\":64,\"len\":",
        b"\"chunk\":64,\"digests\":\"",
        b"\"chunk\":67108864",
        b"\"len\":18446744073709551615",
        b"00000000000000000000000000000000",
    ],
};

/// Where the footer begins, if there is one: at its first field, which the caller's header may contain as
/// well.
pub(super) fn footer(data: &[u8]) -> Option<usize> {
    let starts: Vec<usize> =
        data.windows(11).enumerate().filter(|(_, w)| w == b"{\"version\":").map(|(at, _)| at).collect();
    let whole = |at: &&usize| serde_json::from_slice::<Value>(&data[**at..]).is_ok();
    starts.iter().take(4).find(whole).or(starts.last()).copied()
}

/// The same bytes with an end that matches the footer.
fn sealed(data: &[u8]) -> Vec<u8> {
    let text = data.get(footer(data).unwrap_or(data.len())..).unwrap_or_default();
    let digest = u128::from_str_radix(&xxh3_hex(text), 16).unwrap_or_default();
    [data, &(text.len() as u64).to_le_bytes(), &digest.to_le_bytes(), b"GSINDEX\n"].concat()
}

/// The same with matching digests of sections, too, wherever the footer names existing bytes: changes that
/// digests would have caught reach the readers of sections.
pub(super) fn resealed(data: &[u8]) -> Option<Vec<u8>> {
    let at = footer(data)?;
    let mut stored: Value = serde_json::from_slice(&data[at..]).ok()?;
    for section in stored.get_mut("sections")?.as_array_mut()? {
        let number = |key: &str| usize::try_from(section.get(key)?.as_u64()?).ok();
        let (offset, len, chunk) = (number("offset")?, number("len")?, number("chunk")?);
        let bytes = data[..at].get(offset..offset.checked_add(len)?)?;
        let digests: String = bytes.chunks(chunk.max(1)).map(xxh3_hex).collect();
        *section.get_mut("digests")? = digests.into();
    }
    let footer = serde_json::to_vec(&stored).ok()?;
    Some(sealed(&[&data[..at], &footer].concat()))
}

fn run(data: &[u8]) {
    read(data);
    read(&sealed(data));
    if let Some(data) = resealed(data) {
        read(&data);
    }
}

fn read(data: &[u8]) {
    let vfs = Arc::new(OneFile(data.into()));
    let Ok(Some((index, problems))) = fuzzing::index(vfs, Path::new("index")) else { return };
    let mut scratch = BlockBuffer::new();
    let names: Vec<String> = index.sections().map(str::to_owned).collect();
    for name in names {
        let section = index.section(&name).expect("it has the sections that it names");
        let len = section.len();
        for range in [0..len, len / 2..len, len.saturating_sub(1)..len, 0..len.min(65)] {
            let seen = section.view(range.clone()).map(<[u8]>::to_vec);
            let read = section.read(range.clone(), &mut scratch).map(<[u8]>::to_vec);
            assert!(problems > 0 || read.is_ok(), "{range:?} of a sound section: {read:?}");
            if let (Ok(seen), Ok(read)) = (seen, read) {
                assert!(seen == read && read.len() as u64 == range.end - range.start);
            }
        }
        assert!(section.view(0..len + 1).is_err());
    }
}
