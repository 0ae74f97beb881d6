//! File discovery.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

fn found(paths: &[PathBuf]) -> Result<Vec<String>, DataError> {
    let name = |file: &DataFile| file.path().file_name().unwrap().to_string_lossy().into_owned();
    Ok(find(paths)?.iter().map(name).collect())
}

#[test]
fn order_is_that_of_the_names() {
    let dir = Dir::new();
    for name in [
        "b.jsonl",
        "a.jsonl.gz",
        "sub/c.csv",
        "sub/.hidden.jsonl",
        ".git/d.jsonl",
        "README.md",
        "z.parquet.txt",
    ] {
        dir.put(name, "");
    }
    assert_eq!(found(&[dir.path().to_owned()]).unwrap(), ["a.jsonl.gz", "b.jsonl", "c.csv"]);
    let named = [dir.path().join("sub"), dir.path().join("b.jsonl")];
    assert_eq!(found(&named).unwrap(), ["c.csv", "b.jsonl"]);
    assert_eq!(found(&[dir.path().join("*.jsonl*")]).unwrap(), ["a.jsonl.gz", "b.jsonl"]);
    assert_eq!(found(&[dir.path().join("**/*.csv")]).unwrap(), ["c.csv"]);
    let strange = dir.path().join("sub").join(OsStr::from_bytes(b"\xff.jsonl"));
    fs_err::write(&strange, "").unwrap();
    assert_eq!(found(&[dir.path().join("sub")]).unwrap(), ["c.csv", "\u{fffd}.jsonl"]);
    assert_eq!(found(&[strange]).unwrap(), ["\u{fffd}.jsonl"]);
    dir.put("odd[1].jsonl", "");
    assert_eq!(found(&[dir.path().join("odd[1].jsonl")]).unwrap(), ["odd[1].jsonl"]);
}

/// As in a shell: a wildcard matches no dot at the beginning of a name.
#[test]
fn patterns_take_hidden_files_where_they_write_the_dot() {
    let dir = Dir::new();
    for name in ["a.jsonl", ".b.jsonl", "sub/c.jsonl", "sub/.d.jsonl", ".git/e.jsonl", ".git/.f.jsonl"] {
        dir.put(name, "");
    }
    for (pattern, want) in [
        ("*.jsonl", &["a.jsonl"][..]),
        ("?b.jsonl", &[]),
        (".*.jsonl", &[".b.jsonl"]),
        ("**/*.jsonl", &["a.jsonl", "c.jsonl"]),
        ("*/*.jsonl", &["c.jsonl"]),
        (".git/*.jsonl", &["e.jsonl"]),
        (".g*/.*.jsonl", &[".f.jsonl"]),
        (".*/*.jsonl", &["e.jsonl"]),
        ("./sub/../*/c.jsonl", &["c.jsonl"]),
    ] {
        match found(&[dir.path().join(pattern)]) {
            Ok(names) => assert_eq!(names, want, "{pattern}"),
            Err(error) => {
                assert!(want.is_empty() && error.to_string().contains("nothing matches"), "{error}")
            }
        }
    }
}

#[test]
fn what_names_nothing_is_refused() {
    let dir = Dir::new();
    let message = |path: PathBuf| find(&[path]).unwrap_err().to_string();
    assert!(message(dir.path().join("no.jsonl")).ends_with("there is no such file or folder"));
    assert!(message(dir.path().join("*.jsonl")).ends_with("nothing matches it as a pattern"));
    assert!(message(dir.path().join("***")).contains("not a pattern"));
    let empty = message(dir.path().to_owned());
    assert!(empty.contains("no data files") && empty.contains(".parquet"), "{empty}");
    let unknown = message(dir.put("notes.txt", "hello"));
    assert!(
        unknown.contains("notes.txt: unknown format; supported:") && unknown.contains(".zst"),
        "{unknown}"
    );
    let socket = dir.path().join("socket.jsonl");
    let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let refused = message(socket.clone());
    assert!(refused.contains("socket.jsonl: a pipe or a device can be read only once; write"), "{refused}");
    fs_err::remove_file(socket).unwrap();
    let path = dir.put("a.jsonl", "");
    let twice = find(&[path.clone(), path]).unwrap_err().to_string();
    assert!(twice.ends_with("a.jsonl: named twice"), "{twice}");
    let other_way = dir.path().join("../").join(dir.path().file_name().unwrap()).join("a.jsonl");
    let twice = find(&[dir.path().to_owned(), other_way]).unwrap_err().to_string();
    assert!(twice.ends_with("a.jsonl: named twice"), "{twice}");
}

#[test]
fn a_file_and_links_to_it_are_one() {
    let dir = Dir::new();
    let path = dir.put("a.jsonl", "");
    fs_err::create_dir(dir.path().join("other")).unwrap();
    for (name, target) in [("b.jsonl", "a.jsonl"), ("other/a.jsonl", "../a.jsonl")] {
        let link = dir.path().join(name);
        fs_err::os::unix::fs::symlink(target, &link).unwrap();
        let twice = find(&[path.clone(), link]).unwrap_err().to_string();
        assert!(twice.ends_with(&format!("{name}: named twice")), "{twice}");
    }
}

#[test]
fn parts_of_equal_content_are_files_of_their_own() {
    let dir = Dir::new();
    dir.put("blobs/0a1b", "{\"text\": \"a\"}\n");
    fs_err::create_dir(dir.path().join("data")).unwrap();
    let parts = ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"];
    let links = parts.map(|name| dir.path().join("data").join(name));
    links.iter().for_each(|link| fs_err::os::unix::fs::symlink("../blobs/0a1b", link).unwrap());
    assert_eq!(found(&links).unwrap(), parts);
    assert_eq!(found(&[dir.path().join("data")]).unwrap(), parts);
    let twice = find(&[links[1].clone(), dir.path().join("data")]).unwrap_err().to_string();
    assert!(twice.ends_with("train-00001-of-00002.jsonl: named twice"), "{twice}");
}

#[test]
fn saved_datasets() {
    let dir = Dir::new();
    dir.put("saved/train/dataset_info.json", "{}");
    let state = r#"{"_data_files": [{"filename": "data-00001-of-00002.arrow"}, {"filename": "data-00000-of-00002.arrow"}]}"#;
    let state = dir.put("saved/train/state.json", state);
    let train = dir.path().join("saved/train");
    let message = find(std::slice::from_ref(&train)).unwrap_err().to_string();
    assert!(message.contains("data-00001-of-00002.arrow, which is not there"), "{message}");
    dir.put("saved/train/data-00000-of-00002.arrow", "");
    dir.put("saved/train/data-00001-of-00002.arrow", "");
    dir.put("saved/train/cache-77.arrow", "");
    assert_eq!(found(&[train]).unwrap(), ["data-00001-of-00002.arrow", "data-00000-of-00002.arrow"]);
    dir.put("saved/dataset_dict.json", r#"{"splits": ["train", "test"]}"#);
    let message = find(&[dir.path().join("saved")]).unwrap_err().to_string();
    assert!(
        message.contains("splits train, test; name one") && message.ends_with("saved/train"),
        "{message}"
    );
    dir.put("empty/dataset_info.json", "{}");
    dir.put("empty/state.json", r#"{"_data_files": []}"#);
    let message = find(&[dir.path().join("empty")]).unwrap_err().to_string();
    assert!(message.contains("empty: a saved dataset without rows; save it again"), "{message}");
    fs_err::write(&state, "{").unwrap();
    let message = find(&[dir.path().join("saved/train")]).unwrap_err().to_string();
    assert!(message.contains("state.json: not the description of a saved dataset"), "{message}");
}
