//! An ext4 image, mounted as long as this lives.

use crate::Failure;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `FS_IOC_SHUTDOWN`: `_IOR('X', 125, __u32)`.
const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more is written, including the log.
const NO_LOG_FLUSH: u32 = 2;

/// A mounted image. Unmounted and removed when it is dropped.
#[derive(Debug)]
pub struct Mounted {
    folder: tempfile::TempDir,
    device: Option<String>,
    mount: PathBuf,
    mounted: bool,
}

fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
}

impl Mounted {
    /// Creates and mounts an image; an error says why that is not possible here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting an image needs root".into());
        }
        let folder = crate::kill::temporary().map_err(|e| e.to_string())?;
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        let file = fs_err::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(mebibytes << 20).map_err(|e| e.to_string())?;
        fs_err::create_dir(&mount).map_err(|e| e.to_string())?;
        let name = image.display().to_string();
        tool("mkfs.ext4", &["-q", "-F", &name])?;
        let device = tool("losetup", &["-f", "--show", &name])?;
        let mut out = Mounted { folder, device: Some(device), mount, mounted: false };
        out.mount()?;
        // If the call is not supported, nothing can be tested.
        out.lose_power().map_err(|e| format!("the file system cannot be shut down: {e}"))?;
        out.again().map_err(|e| e.to_string())?;
        Ok(out)
    }

    /// The folder with its files.
    pub fn folder(&self) -> &Path {
        &self.mount
    }

    /// Whether it is mounted.
    pub fn is_mounted(&self) -> bool {
        self.mounted
    }

    fn mount(&mut self) -> Result<(), String> {
        let device = self.device.clone().unwrap_or_default();
        tool("mount", &["-t", "ext4", &device, &self.mount.display().to_string()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        if self.mounted {
            let mount = self.mount.display().to_string();
            // A process that still has a file open is about to end.
            let mut last = Ok(String::new());
            for _ in 0..50 {
                last = tool("umount", &[&mount]);
                if last.is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            last?;
            self.mounted = false;
        }
        Ok(())
    }

    /// Cuts the power: no further byte reaches the image, and the log is not written.
    pub fn lose_power(&self) -> Result<(), Failure> {
        let folder = fs_err::File::open(&self.mount)?;
        shutdown(folder.file())?;
        Ok(())
    }

    /// Restarts the machine: the log is replayed.
    pub fn again(&mut self) -> Result<(), Failure> {
        self.unmount()?;
        Ok(self.mount()?)
    }

    /// Unmounts it and releases the loop device.
    pub fn close(&mut self) -> Result<(), Failure> {
        self.unmount()?;
        if let Some(device) = self.device.take() {
            tool("losetup", &["-d", &device])?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            eprintln!("power: {} is left behind: {e}", self.folder.path().display());
        }
    }
}

#[allow(unsafe_code)]
fn shutdown(folder: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: the call reads one u32, which the setter owns for as long as the call runs. A file system that
    // does not know the call refuses it with an error; nothing of this process's memory is written.
    unsafe {
        let call = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        rustix::ioctl::ioctl(folder, call)
    }
}
