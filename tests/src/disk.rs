//! A disk that can be full: a small file system in memory.

use std::path::PathBuf;
use std::process::Command;

/// A small file system of its own, unmounted at the end.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one, or says why the test is skipped: mounting takes rights that not every machine gives.
    pub fn mount(kib: u32) -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().expect("a folder") };
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(disk.folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: a full disk needs the right to mount a tmpfs");
            std::mem::forget(disk);
            return None;
        }
        Some(disk)
    }

    /// Gives it another size.
    pub fn resize(&self, kib: u32) {
        self.remount(&format!("size={kib}k"));
    }

    /// Lets nothing be written to it from here on.
    pub fn only_read(&self) {
        self.remount("ro");
    }

    fn remount(&self, option: &str) {
        let output = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(self.folder.path())
            .output()
            .expect("mount runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A place on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What cannot be unmounted now goes with the machine's next start.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}
