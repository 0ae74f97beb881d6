//! Refused repairs: a store at work, a folder of something else, a newer format.

use super::support::*;
use crate::common::*;
use gstore_store::*;

#[test]
fn a_repair_waits_for_nobody_and_refuses_what_is_no_store() {
    let (dir, path) = place();
    let f = features()[0].clone();
    let store = filled(&path, 10, &f, 10);
    assert!(repair(&path).is_sound());
    let append = store.append(&dataset(), columns(), options("add")).unwrap();
    assert!(matches!(try_repair(&path, RepairOptions::default()), Err(VerifyError::Busy(_))));
    drop(append);
    let job = store.start_job(plan(vec![features()[1].clone()])).unwrap();
    let e = try_repair(&path, RepairOptions::default()).unwrap_err().to_string();
    assert!(e.contains(job.id()), "{e}");
    drop(job);
    assert!(repair(&path).is_sound());
    for name in ["missing", "other"] {
        let other = dir.path().join(name);
        if name == "other" {
            fs_err::create_dir_all(&other).unwrap();
            fs_err::write(other.join("notes.txt"), "x").unwrap();
        }
        assert!(try_repair(&other, RepairOptions::default()).is_err());
        assert!(!other.join("tmp").exists(), "{name}");
    }
    let current = fs_err::read_to_string(path.join("CURRENT")).unwrap();
    fs_err::write(path.join("CURRENT"), current.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let before = bytes(&path);
    assert!(try_repair(&path, RepairOptions::default()).unwrap_err().to_string().contains("newer gstore"));
    assert!(bytes(&path) == before);
}

#[test]
fn a_folder_that_may_not_be_listed_ends_the_repair_and_loses_nothing() {
    let (_dir, path) = place();
    let store = filled(&path, 10, &features()[0].clone(), 10);
    drop(store);
    fs_err::remove_file(path.join("CURRENT")).unwrap();
    let before = bytes(&path);
    for folder in ["samples", "segments", "encodings", "manifests"] {
        let refused = path.join(folder);
        let vfs =
            hook::HookVfs::new(move |operation, p| match operation == "list" && p.starts_with(&refused) {
                true => Err(std::io::ErrorKind::PermissionDenied.into()),
                false => Ok(()),
            });
        let options = RepairOptions { dry_run: true, ..RepairOptions::default() };
        let e = Store::repair_folder_on(vfs, &path, options, &mut |_| {}).unwrap_err();
        assert!(matches!(e, VerifyError::Store(_)), "{folder}: {e}");
    }
    assert!(bytes(&path) == before);
    assert!(repair(&path).unrepaired.is_empty());
    assert_eq!(Store::open(&path).unwrap().snapshot().unwrap().features().len(), 1);
}
