//! A change, cut short or failing at every operation.

use super::crash::CrashVfs;
use super::{assert_sound, copy, place};
use gstore_store::Store;
use std::fmt::{Debug, Display};
use std::path::Path;
use std::sync::Arc;

/// Runs a change on a copy of a store: once for each number of operations after which the process dies, and
/// once for each operation that fails, until it succeeds. `check` gets the store after it, and after the same
/// call again on a sound medium, and whether the change must be there. Where only one operation failed,
/// nothing may be left but manifests.
///
/// Every third number of operations, beginning with another one for operations that fail; all of them with
/// GSTORE_EXHAUSTIVE.
pub fn at_every_operation<E: Debug + Display>(
    prepared: &Path,
    change: impl Fn(&Store) -> Result<(), E>,
    check: impl Fn(&Store, bool),
) {
    let step = if std::env::var_os("GSTORE_EXHAUSTIVE").is_some() { 1 } else { 3 };
    for once in [false, true] {
        let mut failures = 0;
        for n in (i64::from(once && step > 1)..).step_by(step) {
            let (_dir, path) = place();
            copy(prepared, &path);
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let Ok(store) = Store::open_on(Arc::new(vfs.clone()), &path) else { continue };
            let result = change(&store);
            if if once { vfs.left() >= 0 } else { vfs.left() > 0 } {
                result.unwrap();
                break;
            }
            drop(store);
            failures += usize::from(result.is_err());
            let store = Store::open(&path).unwrap();
            assert_sound(&store, format_args!("operation {n}"));
            check(&store, result.is_ok());
            change(&store).unwrap_or_else(|e| panic!("after operation {n}: {e}"));
            let report = assert_sound(&store, format_args!("operation {n}, done again"));
            check(&store, true);
            if once {
                // A file under a temporary name is replaced by the next writer of that file.
                let ours = |f: &&String| !f.starts_with("manifests/") && !f.ends_with(".new");
                let mut left = report.unreferenced.iter().filter(ours);
                assert!(left.next().is_none(), "operation {n}: {:?}", report.unreferenced);
            }
        }
        assert!(failures > if step == 1 { 8 } else { 1 }, "{failures}");
    }
}
