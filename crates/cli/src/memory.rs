//! How much memory data in flight may have where nobody says it: what the control group of the process lets it.
//!
//! In a container the limit of its group is the one that counts: whoever goes beyond it is killed.

use std::path::{Path, PathBuf};

use armory_resources::job::DEFAULT_MEMORY_BUDGET;

use crate::format::size;

/// However large the group is, more in flight makes nothing faster.
const MOST: u64 = 2 << 30;
/// With less than this hardly anything moves.
const LEAST: u64 = 16 << 20;
/// Version 1 writes a number near 2⁶³ where there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// The bound of the memory for data in flight, in bytes, where `--memory` is not given. Half of the group's limit: the rest is for plugins,
/// connections, and what is compressed.
pub(crate) fn default_budget() -> u64 {
    let Some(limit) = limit(Path::new("/")) else {
        return DEFAULT_MEMORY_BUDGET;
    };
    let budget = (limit / 2).clamp(LEAST, MOST);
    tracing::info!(
        "{} of memory for data in flight, because the control group may have {}; --memory sets another bound",
        size(budget),
        size(limit)
    );
    budget
}

/// The lowest limit, in bytes, of the control groups that this process is in, if any of them has one.
fn limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mount = root.join("sys/fs/cgroup");
    let mut lowest: Option<u64> = None;
    for line in groups.lines() {
        // `hierarchy:controllers:path`; version 2 has no controllers there.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (base, file) = match controllers {
            "" => (mount.clone(), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for folder in folders(&base, path) {
            let found = std::fs::read_to_string(folder.join(file)).ok();
            // Version 2 writes `max` where there is no limit.
            let found = found.and_then(|text| text.trim().parse().ok());
            let found = found.filter(|limit| *limit < UNLIMITED);
            lowest = lowest.into_iter().chain(found).min();
        }
    }
    lowest
}

/// The folder of a group and those of the groups around it. In a container the mount shows its own group at the top, while the
/// path may be the host's: what is not there has no limit.
fn folders(base: &Path, path: &str) -> Vec<PathBuf> {
    let below = base.join(path.trim_start_matches('/'));
    let around = below.ancestors();
    let around = around.take_while(|folder| folder.starts_with(base));
    around.map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(groups: &str, limits: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().expect("a folder");
        let own = [("proc/self/cgroup", groups)];
        for (path, text) in limits.iter().chain(&own) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        assert_eq!(limit(root.path()), expected, "{groups} {limits:?}");
    }

    #[test]
    fn limits_of_both_versions_are_found() {
        check("", &[], None);
        check("0::/\n", &[("sys/fs/cgroup/memory.max", "max\n")], None);
        check(
            "0::/\n",
            &[("sys/fs/cgroup/memory.max", "1073741824\n")],
            Some(1 << 30),
        );
        // A group within a limited one.
        check(
            "0::/kubepods/pod1/a\n",
            &[
                ("sys/fs/cgroup/kubepods/pod1/a/memory.max", "max\n"),
                ("sys/fs/cgroup/kubepods/pod1/memory.max", "536870912\n"),
                ("sys/fs/cgroup/kubepods/memory.max", "1073741824\n"),
            ],
            Some(512 << 20),
        );
        // Of version 1, with the host's path in a container.
        check(
            "12:cpu,cpuacct:/x\n5:memory:/kubepods/pod1/a\n",
            &[
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
                ("sys/fs/cgroup/memory.max", "1\n"),
            ],
            Some(256 << 20),
        );
        check(
            "5:memory:/\n",
            &[(
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            )],
            None,
        );
    }
}
