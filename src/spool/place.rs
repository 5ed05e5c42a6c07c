//! Where the file lies: some file systems forget it with the machine or with the container.

use std::path::Path;

/// The kind of file system below `path` when what it holds is lost sooner than on a disk: `tmpfs` is memory, `overlay` ends
/// with its container. `None` where nothing tells.
pub(super) fn fleeting(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().ok()?;
    // Linux alone has it.
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let kind = file_system(&mounts, &folder)?;
    ["tmpfs", "ramfs", "overlay", "overlayfs"].contains(&kind).then(|| kind.to_owned())
}

/// The kind of the file system that holds `folder`: that of the last of the longest mount points above it. The lines of
/// `mounts` are `device point kind options…`, as proc_mounts(5) has them.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (words.next(), words.next()) else { continue };
        let point = unescaped(point);
        if folder.starts_with(&point) && found.is_none_or(|(length, _)| point.len() >= length) {
            found = Some((point.len(), kind));
        }
    }
    found.map(|(_, kind)| kind)
}

/// Spaces and the like are written as three octal digits behind a backslash.
fn unescaped(point: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(point.to_owned(), |point, (escape, letter)| point.replace(escape, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "overlay / overlay rw 0 0\n\
        proc /proc proc rw 0 0\n\
        /dev/sda1 /data ext4 rw 0 0\n\
        tmpfs /data/fast\\040one tmpfs rw 0 0\n\
        broken\n\
        tmpfs /twice tmpfs rw 0 0\n\
        /dev/sdb1 /twice xfs rw 0 0\n";

    #[test]
    fn the_innermost_mount_counts() {
        for (folder, kind) in [
            ("/", "overlay"),
            ("/database", "overlay"),
            ("/data", "ext4"),
            ("/data/deep/er", "ext4"),
            ("/data/fast one/x", "tmpfs"),
            ("/twice/x", "xfs"),
        ] {
            assert_eq!(file_system(MOUNTS, Path::new(folder)), Some(kind), "{folder}");
        }
        assert_eq!(file_system("", Path::new("/")), None);
    }
}
