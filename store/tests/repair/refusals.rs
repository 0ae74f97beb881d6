//! Refused repairs: a store at work, a folder of something else, a newer format.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use std::process::Command;

#[test]
fn a_repair_waits_for_nobody_and_refuses_what_is_no_store() {
    let f = features()[0].clone();
    let (dir, path, store) = placed(|path| filled(path, 10, &f, 10));
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
fn what_is_no_file_in_the_place_of_one_has_to_be_moved_away() {
    let kinds = ["CURRENT", "manifests/root-", "manifests/dataset-", "tombstones/", "samples/", "segments/"];
    let (folder, pipe) = ("a folder", "a named pipe or a device");
    for (kind, found) in kinds.into_iter().flat_map(|kind| [(kind, folder), (kind, pipe)]) {
        let (dir, path) = place();
        drop(original(&path));
        let names = damageable(&path).into_iter().map(|file| file.to_str().unwrap().to_owned());
        let number = |name: &String| name.split('-').find_map(|part| part.parse::<u64>().ok());
        let name = names.filter(|name| name.starts_with(kind)).max_by_key(number).unwrap();
        let (file, aside) = (path.join(&name), dir.path().join("aside"));
        fs_err::rename(&file, &aside).unwrap();
        match found == folder {
            true => fs_err::create_dir(&file).unwrap(),
            false => assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()),
        }
        let way = "move what is in its place away; then put the file back, or run a repair or a restore";
        match check_all(&path) {
            Ok(report) => {
                let found = format!("{found}; move it away before a repair");
                assert!(report.problems.iter().any(|p| p.file == name && p.found == found), "{report:#?}");
            }
            Err(e) => assert!(e.is_damage() && e.to_string().contains(way), "{name}: {e}"),
        }
        let refused = try_repair(&path, RepairOptions::default()).unwrap_err().to_string();
        assert!(refused.contains(&name) && refused.contains(way), "{refused}");
        fs_err::remove_dir(&file).or_else(|_| fs_err::remove_file(&file)).unwrap();
        fs_err::rename(&aside, &file).unwrap();
        assert!(is_sound(&path), "{name}");
    }
}

#[test]
fn a_folder_that_may_not_be_listed_ends_the_repair_and_loses_nothing() {
    let (_dir, path, store) = placed(|path| filled(path, 10, &features()[0].clone(), 10));
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
