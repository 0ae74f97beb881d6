//! Promise: a command that waits for another process changes what it was told to, or says that it cannot; and
//! Ctrl-C stops all of it or nothing.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;

/// Ten samples, s0 to s9.
fn filled() -> Place {
    let place = Place::of(&[("pool", 10)]);
    place.add("pool");
    place
}

/// Starts a command and waits until it waits for the writer lock.
fn waiting(place: &Place, args: &[&str]) -> Child {
    started(&mut place.gstore(args))
}

/// The same of any command that becomes `gstore`.
fn started(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let folder = format!("/proc/{}/fd", child.id());
    until("the command opens the lock", || {
        let opened = fs_err::read_dir(&folder).into_iter().flatten().flatten();
        opened.filter_map(|fd| fs_err::read_link(fd.path()).ok()).any(|file| file.ends_with("LOCK"))
    });
    child
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command that has found what it is to change, and gets the writer lock when another
/// process has done `others`.
fn after(place: &Place, args: &[&str], others: &[&[&str]]) -> Finished {
    let (store, future) = (place.path("store"), place.path("future"));
    let lock = fs_err::OpenOptions::new().write(true).open(store.join("LOCK")).expect("a lock");
    lock.file().lock().expect("locked");
    let child = waiting(place, args);
    // The other process had the lock before, and its work is in the store by now.
    mirror(&store, &future);
    for args in others {
        binary::ok(binary::gstore(&future).args(*args).current_dir(place.path("")));
    }
    mirror(&future, &store);
    drop(lock);
    child.wait_with_output().expect("ends").into()
}

/// Makes the files of a folder those of another one, locks and leases aside.
fn mirror(from: &Path, to: &Path) {
    let names = |folder: &Path| -> Vec<(String, bool)> {
        let entries = fs_err::read_dir(folder).into_iter().flatten();
        entries
            .map(|e| e.expect("readable"))
            .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path().is_dir()))
            .filter(|(name, _)| !["LOCK", "tmp", "leases"].contains(&name.as_str()))
            .collect()
    };
    fs_err::create_dir_all(to).expect("a folder");
    for (name, is_folder) in names(to) {
        if !is_folder && !from.join(&name).exists() {
            fs_err::remove_file(to.join(&name)).expect("removed");
        }
    }
    for (name, is_folder) in names(from) {
        match is_folder {
            true => mirror(&from.join(&name), &to.join(&name)),
            false => {
                fs_err::copy(from.join(&name), to.join(&name)).expect("copied");
            }
        }
    }
}

fn ids(place: &Place) -> Vec<String> {
    let text = place.csv("SELECT id FROM pool ORDER BY id");
    text.lines().skip(1).map(str::to_owned).collect()
}

const PURGE: &[&str] = &["--purge", "--yes"];

#[test]
fn rows_of_a_dataset_that_got_the_name_are_not_touched() {
    for more in [&[][..], PURGE] {
        let place = filled();
        let text = place.read("pool.jsonl");
        let reversed: String = text.lines().rev().map(|line| format!("{line}\n")).collect();
        place.write("reversed.jsonl", reversed);
        let others =
            [&["drop", "dataset", "pool"][..], &["add", "--dataset", "pool", "--data", "reversed.jsonl"]];
        let delete = [&["delete", "--dataset", "pool", "--id", "s0", "--id", "s1"], more].concat();
        let finished = after(&place, &delete, &others);
        let words = ["dataset pool was dropped", "its name belongs to another one", "nothing was changed"];
        finished.says(1, &words);
        assert_eq!(finished.stdout, "");
        assert_eq!(ids(&place).len(), 10);
        let refused = after(&place, &["add", "--dataset", "pool", "--data", "pool.jsonl"], &others);
        refused.says(1, &["dataset pool was dropped"]);
        after(&place, &["drop", "dataset", "pool"], &others).says(1, &[]);
        assert_eq!(ids(&place).len(), 10);
    }
}

#[test]
fn an_id_goes_whatever_row_has_it() {
    for more in [&[][..], PURGE] {
        let place = filled();
        let text = place.read("pool.jsonl");
        place.write("new.jsonl", text.replace("Is 3 odd?", "Is three odd?"));
        let others = [&["add", "--dataset", "pool", "--data", "new.jsonl", "--if-changed", "replace"][..]];
        let finished =
            after(&place, &[&["delete", "--dataset", "pool", "--id", "s3"], more].concat(), &others);
        finished.says(0, &["looking again"]);
        assert!(!ids(&place).contains(&"s3".to_owned()), "{}", finished.stdout);
    }
}

#[test]
fn a_condition_is_asked_of_what_is_there_at_the_commit() {
    let place = filled();
    place.samples("more", 16);
    let others = [&["add", "--dataset", "pool", "--data", "more.jsonl"][..]];
    let finished = after(&place, &["delete", "--dataset", "pool", "--where", "source = 'a'"], &others);
    finished.says(0, &[]);
    assert!(finished.stdout.contains("6 rows deleted"), "{}", finished.stdout);
    assert_eq!(place.value("SELECT count(*) FROM pool WHERE source = 'a'"), "0");
    assert_eq!(ids(&place).len(), 10);
}

#[test]
fn a_tag_is_on_the_snapshot_that_was_current_when_it_was_asked_for() {
    let place = filled();
    let now = place.value("SELECT max(number) FROM gstore.snapshots");
    place.samples("more", 16);
    let others = [&["add", "--dataset", "pool", "--data", "more.jsonl"][..]];
    let finished = after(&place, &["tag", "v1"], &others);
    assert_eq!(finished.stdout, format!("v1: tagged snapshot {now}\n"), "{}", finished.stderr);
    assert_eq!(place.value_at(Some("v1"), "SELECT count(*) FROM pool"), "10");
}

#[test]
fn a_view_is_planned_with_the_views_that_are_there_when_it_is_saved() {
    let place = filled();
    for name in ["a", "b"] {
        place.ok(&["view", "create", name, "SELECT 1 AS x"]);
    }
    let other = ["view", "create", "b", "SELECT x FROM a", "--force"];
    let finished = after(&place, &["view", "create", "a", "SELECT x FROM b", "--force"], &[&other]);
    finished.says(2, &["the view a would name itself"]);
    assert_eq!(place.value("SELECT x FROM b"), "1");
    place.ok(&["view", "create", "b", "SELECT 1 AS x", "--force"]);
    let other = ["view", "drop", "b"];
    after(&place, &["view", "create", "a", "SELECT x + 1 AS x FROM b", "--force"], &[&other]).fails(&["b"]);
    assert_eq!(place.value("SELECT x FROM a"), "1");
    let other = ["view", "create", "c", "SELECT 2 AS x"];
    after(&place, &["view", "create", "a", "SELECT 3 AS x", "--force"], &[&other]).says(0, &[]);
    assert_eq!(place.value("SELECT a.x + c.x FROM a, c"), "5");
}

#[test]
fn a_revert_names_the_state_that_it_replaced() {
    let place = filled();
    let finished = after(&place, &["revert", "--to", "0"], &[&["delete", "--dataset", "pool", "--id", "s0"]]);
    let undo = format!("`gstore revert --to 2{}` undoes this", place.at_store());
    finished.told(0, &["snapshot 3 has the content of snapshot 0", &undo]);
}

#[test]
fn what_ctrl_c_says_of_a_delete_is_so() {
    for more in [&[][..], PURGE] {
        let place = filled();
        let lock = fs_err::OpenOptions::new().write(true).open(place.path("store/LOCK")).expect("a lock");
        lock.file().lock().expect("locked");
        let child = waiting(&place, &[&["delete", "--dataset", "pool", "--id", "s3"], more].concat());
        binary::interrupt(&child);
        // The handler runs in a separate thread.
        std::thread::sleep(Duration::from_millis(300));
        drop(lock);
        let finished = Finished::from(child.wait_with_output().expect("ends"));
        finished.says(130, &["stopping, if nothing is deleted yet"]);
        assert!(finished.stderr.ends_with("stopped; nothing was changed\n"), "{}", finished.stderr);
        assert_eq!(ids(&place).len(), 10);
    }
}

#[test]
fn a_command_that_only_commits_ends_at_once() {
    let place = filled();
    let lock = fs_err::OpenOptions::new().write(true).open(place.path("store/LOCK")).expect("a lock");
    lock.file().lock().expect("locked");
    let sends: [fn(&Child); 2] = [binary::interrupt, |child| binary::signal(child, "TERM")];
    for args in [&["drop", "dataset", "pool"][..], &["gc", "--keep", "1", "--keep-within", "0s"]] {
        for send in sends {
            let child = waiting(&place, args);
            send(&child);
            let finished = Finished::from(child.wait_with_output().expect("ends"));
            finished.says(130, &[]).lacks(&["error"]);
        }
    }
    drop(lock);
    assert_eq!(ids(&place).len(), 10);
}

#[test]
fn signals_that_are_ignored_at_the_start_stop_nothing() {
    let place = filled();
    let lock = fs_err::OpenOptions::new().write(true).open(place.path("store/LOCK")).expect("a lock");
    lock.file().lock().expect("locked");
    let delete = place.gstore(&["delete", "--dataset", "pool", "--id", "s3"]);
    // As `nohup` has it, and a script of what runs in its background.
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\""]);
    ignoring.arg(delete.get_program()).args(delete.get_args()).env_remove("GSTORE_CONFIG");
    let child = started(&mut ignoring);
    assert_eq!(binary::ignored_signals(&child) & 0b11, 0b11, "SIGHUP is signal 1, and SIGINT 2");
    for name in ["HUP", "INT"] {
        binary::signal(&child, name);
    }
    drop(lock);
    let finished = Finished::from(child.wait_with_output().expect("ends"));
    finished.says(0, &[]).lacks(&["stopping"]);
    assert!(!ids(&place).contains(&"s3".to_owned()));
}

#[test]
fn a_selection_that_is_stopped_leaves_no_file() {
    let place = Place::of(&[("pool", 12)]);
    let pool = place.path("pool.jsonl");
    place.ingested("pool", Some(&pool), "grad-sgd");
    // The command waits at a pipe that is not read, with the scores written.
    let made = Command::new("mkfifo").arg(place.path("lines.jsonl")).status().expect("mkfifo runs");
    assert!(made.success());
    let mut command = place.gstore(&[]);
    command.args("select --pool pool --target pool --top 4 -o lines.jsonl --scores s.csv".split(' '));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let written = || place.names().iter().any(|name| name.contains("s.csv"));
    until("the scores are written", written);
    std::thread::sleep(Duration::from_millis(300));
    binary::interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    drop(fs_err::read(place.path("lines.jsonl")));
    let finished = Finished::from(child.wait_with_output().expect("ends"));
    finished.says(130, &[]);
    assert!(!written(), "{}", finished.stderr);
}
