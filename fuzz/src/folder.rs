//! A folder for parsers that open files: one per thread, reused for every input.

use std::path::{Path, PathBuf};

struct Folder(tempfile::TempDir);

thread_local! {
    static FOLDER: Folder = Folder(make());
}

fn make() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// A subfolder of the thread's own, with these files in it.
pub fn with(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    FOLDER.with(|folder| {
        let path = folder.0.path().join(name);
        fs_err::create_dir_all(&path).expect("a folder");
        for (file, bytes) in files {
            fs_err::write(path.join(file), bytes).expect("a file");
        }
        path
    })
}
