//! How much memory the process may have, and how much of it may be requests.

use std::path::{Path, PathBuf};

/// A request takes up to three times its bytes while it is decoded, mapped and written, and the program itself some tens of
/// megabytes: with a quarter for requests the process stays below its limit (F08 of docs/reliability.md).
const SHARE: u64 = 4;

/// What may be waiting in memory: what was configured, but no more than a share of what the process may have.
pub fn request_bytes_max(configured: u64, limit: Option<u64>) -> u64 {
    configured.min(limit.map_or(u64::MAX, |limit| limit / SHARE))
}

/// The limit in bytes that Linux, or a container, sets for this process. `None`: there is none, or it is no Linux.
pub fn process_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    files(&groups).iter().filter_map(|file| limit(&std::fs::read_to_string(file).ok()?)).min()
}

/// Where a limit may stand: of the process's own group, and of the root that a container sees. The groups of
/// `/proc/self/cgroup` are `id:controllers:path`, without controllers in version 2.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = Path::new(base).join(path.trim_start_matches('/'));
        found.extend([own.join(file), Path::new(base).join(file)]);
    }
    found
}

/// Version 2 says `max` where there is none, version 1 a number near the largest.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_holds_fewer_requests() {
        let mib = |mib: u64| mib << 20;
        assert_eq!(request_bytes_max(mib(256), None), mib(256));
        assert_eq!(request_bytes_max(mib(256), Some(mib(1024))), mib(256));
        assert_eq!(request_bytes_max(mib(256), Some(mib(1020))), mib(255));
        assert_eq!(request_bytes_max(mib(256), Some(mib(512))), mib(128));
    }

    #[test]
    fn limits_are_found_in_both_versions() {
        let text = |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let second = text(files("0::/system.slice/vectoros.service\n"));
        assert_eq!(second, ["/sys/fs/cgroup/system.slice/vectoros.service/memory.max", "/sys/fs/cgroup/memory.max"]);
        let first = text(files("12:cpu,cpuacct:/a\n4:memory:/docker/a:b\n"));
        let base = "/sys/fs/cgroup/memory";
        assert_eq!(
            first,
            [format!("{base}/docker/a:b/memory.limit_in_bytes"), format!("{base}/memory.limit_in_bytes")]
        );
        assert!(files("nonsense").is_empty());
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!((limit("max\n"), limit("9223372036854771712\n")), (None, None));
    }
}
