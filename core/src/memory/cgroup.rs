//! Memory limits of control groups (version 2 and 1), as containers and services have them.
//!
//! A limit of a group counts for all groups below it, so each from the process's own up to the one that is
//! mounted may be the smallest.

use std::path::{Component, Path, PathBuf};

/// What a group's files are called.
struct Files {
    limits: &'static [&'static str],
    used: &'static str,
    /// Lines of `memory.stat`: pages of files, which the system takes away where memory is needed.
    cached: [&'static str; 2],
}

const V2: Files = Files {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cached: ["active_file", "inactive_file"],
};

const V1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};

/// A group with a limit, in bytes.
struct Group {
    limit: u64,
    /// None where the system does not say.
    used: Option<u64>,
}

/// The smallest limit; `None` where there is none. `system` is the root of the file system.
pub(super) fn limit(system: &Path) -> Option<u64> {
    groups(system).map(|group| group.limit).min()
}

/// Bytes that programs of this process's groups can still have.
pub(super) fn room(system: &Path) -> Option<u64> {
    groups(system).filter_map(|group| Some(group.limit.saturating_sub(group.used?))).min()
}

/// The groups with a limit that this process is in.
fn groups(system: &Path) -> impl Iterator<Item = Group> {
    // What anything is mounted at need not be UTF-8.
    let text = |name: &str| {
        let bytes = fs_err::read(system.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (own, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
    let mounts: Vec<(Mount<'_>, &str)> = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter_map(|mount| mount.path(&own).map(|path| (mount, path)))
        .collect();
    // Where a mount has the process's group, others are of groups that it is not in.
    let is_known =
        |files: &Files| mounts.iter().any(|(other, path)| other.files.used == files.used && other.has(path));
    let folders: Vec<(&'static Files, Vec<PathBuf>)> = mounts
        .iter()
        .filter(|(mount, path)| mount.has(path) || !is_known(mount.files))
        .map(|(mount, path)| (mount.files, mount.folders(system, path)))
        .collect();
    folders
        .into_iter()
        .flat_map(|(files, folders)| folders.into_iter().filter_map(move |f| Group::read(&f, files)))
}

/// A mounted tree of groups that limits memory.
struct Mount<'a> {
    files: &'static Files,
    /// The group that is mounted.
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// From a line of `/proc/self/mountinfo`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let files = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => &V2,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => &V1,
            _ => return None,
        };
        Some(Self { files, root, point })
    }

    /// The process's group in this tree, from the text of `/proc/self/cgroup`.
    fn path<'b>(&self, own: &'b str) -> Option<&'b str> {
        own.lines().find_map(|line| {
            let (_, group) = line.split_once(':')?;
            let (controllers, path) = group.split_once(':')?;
            let is_here = match self.files.limits == V2.limits {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|name| name == "memory"),
            };
            is_here.then_some(path)
        })
    }

    /// Whether this tree has a group by the path that the process is told.
    fn has(&self, path: &str) -> bool {
        Path::new(path).starts_with(self.root)
    }

    /// The folders of a group and of those above it. A container may see its own group alone, under another
    /// path than it is told.
    fn folders(&self, system: &Path, path: &str) -> Vec<PathBuf> {
        let below = Path::new(path).strip_prefix(self.root).unwrap_or(Path::new(""));
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let point = system.join(self.point.trim_start_matches('/'));
        let own = if is_plain { point.join(below) } else { point.clone() };
        own.ancestors().take_while(|folder| folder.starts_with(&point)).map(Path::to_owned).collect()
    }
}

impl Group {
    fn read(folder: &Path, files: &Files) -> Option<Self> {
        let text = |name: &str| fs_err::read_to_string(folder.join(name)).ok();
        // Without a limit it says `max`.
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        let limit = files.limits.iter().copied().filter_map(&number).min()?;
        let stat = text("memory.stat").unwrap_or_default();
        let cached = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            files.cached.contains(&name).then(|| bytes.parse::<u64>().ok())?
        });
        let cached = cached.fold(0, u64::saturating_add);
        Some(Self { limit, used: number(files.used).map(|used| used.saturating_sub(cached)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder
    }

    fn found(files: &[(&str, &str)]) -> (Option<u64>, Option<u64>) {
        let system = system(files);
        (limit(system.path()), room(system.path()))
    }

    const MOUNT_V2: &str = "25 30 0:23 / /sys rw - sysfs sysfs rw\n31 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it_counts() {
        let mut files = vec![
            ("proc/self/cgroup", "0::/machine/job/step\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/machine/memory.max", "8000\n"),
            ("sys/fs/cgroup/machine/memory.high", "max\n"),
            ("sys/fs/cgroup/machine/memory.current", "7500\n"),
            (
                "sys/fs/cgroup/machine/memory.stat",
                "anon 500\nfile 7000\nactive_file 3000\ninactive_file 4000\n",
            ),
            ("sys/fs/cgroup/machine/job/memory.max", "max\n"),
            ("sys/fs/cgroup/machine/job/memory.high", "max\n"),
            ("sys/fs/cgroup/machine/job/step/memory.max", "9000\n"),
            ("sys/fs/cgroup/machine/job/step/memory.high", "8500\n"),
            ("sys/fs/cgroup/machine/job/step/memory.current", "400\n"),
            // Another group, and what is above the mounted one.
            ("sys/fs/cgroup/machine/other/memory.max", "1\n"),
            ("sys/fs/memory.max", "1\n"),
        ];
        // Of 8,000 bytes 500 are in use that are no pages of files.
        assert_eq!(found(&files), (Some(8000), Some(7500)));
        // What is in use of a limit is not known, and then is.
        files.push(("sys/fs/cgroup/machine/job/memory.high", "6000\n"));
        assert_eq!(found(&files), (Some(6000), Some(7500)));
        files.push(("sys/fs/cgroup/machine/job/memory.current", "1000\n"));
        assert_eq!(found(&files), (Some(6000), Some(5000)));
        // More in use than is allowed now.
        files.push(("sys/fs/cgroup/machine/job/step/memory.max", "300\n"));
        assert_eq!(found(&files), (Some(300), Some(0)));
    }

    #[test]
    fn a_container_that_sees_its_own_group_alone_has_its_limit() {
        // With a name space of its own, without one, and with a path that leads out of what it sees.
        for (root, path) in [("/", "/"), ("/docker/1a2b", "/docker/1a2b"), ("/", "/../other"), ("/x", "/y")] {
            let mounts = format!("31 25 0:26 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
            let groups = format!("0::{path}\n");
            let files = [
                ("proc/self/cgroup", groups.as_str()),
                ("proc/self/mountinfo", mounts.as_str()),
                ("sys/fs/cgroup/memory.max", "4096"),
                ("sys/fs/cgroup/memory.current", "96"),
            ];
            assert_eq!(found(&files), (Some(4096), Some(4000)), "{root} {path}");
        }
    }

    #[test]
    fn a_group_of_others_that_is_mounted_has_no_limit_of_ours() {
        let mounts = format!("{MOUNT_V2}40 25 0:26 /other /mnt/other ro - cgroup2 cgroup rw\n");
        let files = [
            ("proc/self/cgroup", "0::/own\n"),
            ("proc/self/mountinfo", mounts.as_str()),
            ("sys/fs/cgroup/own/memory.max", "4096"),
            ("sys/fs/cgroup/own/memory.current", "96"),
            ("mnt/other/memory.max", "1"),
            ("mnt/other/memory.current", "0"),
        ];
        assert_eq!(found(&files), (Some(4096), Some(4000)));
        // A name that is not UTF-8 elsewhere in the table changes nothing.
        let system = system(&files);
        let odd = [&b"50 25 0:40 / /mnt/\xff rw - ext4 /dev/sda rw\n"[..], mounts.as_bytes()].concat();
        fs_err::write(system.path().join("proc/self/mountinfo"), odd).unwrap();
        assert_eq!(limit(system.path()), Some(4096));
    }

    #[test]
    fn version_1_has_a_tree_for_memory() {
        let mounts = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n";
        let files = [
            ("proc/self/cgroup", "4:memory:/service\n1:cpu:/\n0::/\n"),
            ("proc/self/mountinfo", mounts),
            ("cg/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cg/memory/service/memory.limit_in_bytes", "5000\n"),
            ("cg/memory/service/memory.usage_in_bytes", "3000\n"),
            (
                "cg/memory/service/memory.stat",
                "active_file 9\ntotal_active_file 600\ntotal_inactive_file 400\n",
            ),
            ("cg/cpu/memory.limit_in_bytes", "1\n"),
        ];
        assert_eq!(found(&files), (Some(5000), Some(3000)));
    }

    #[test]
    fn without_groups_or_limits_there_is_none() {
        assert_eq!(found(&[]), (None, None));
        let unlimited = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.high", "what is no number\n"),
        ];
        assert_eq!(found(&unlimited), (None, None));
    }
}
