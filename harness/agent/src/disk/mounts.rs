//! Whether a file system is mounted for one pod alone.

use nix::sys::stat::{major, minor};

/// The mounts of the machine, as its first process sees them.
pub(super) const OF_THE_MACHINE: &str = "/proc/1/mountinfo";

/// Where a kubelet keeps what storage drivers share with it, besides the pods' own mounts.
const PLUGINS: &str = "/kubelet/plugins/";

/// Refuses a file system that is mounted for anything else than the pod of this uid: a kubelet, and
/// the local cluster, mount what a pod has for itself in a folder named by its uid.
pub(super) fn check(device: u64, mounts: &str, uid: &str) -> Result<(), String> {
    let device = format!("{}:{}", major(device), minor(device));
    let mut is_mounted = false;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(number), Some(place)) = (fields.get(2), fields.get(4)) else {
            continue;
        };
        if *number != device {
            continue;
        }
        let is_of_pod = place.split('/').any(|part| part == uid);
        if !is_of_pod && !place.contains(PLUGINS) {
            return Err(format!("its file system is also at {place} of the machine"));
        }
        is_mounted |= is_of_pod;
    }
    if is_mounted {
        Ok(())
    } else {
        Err("its file system is not mounted for the pod on the machine".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::makedev;

    const MOUNTS: &str = "\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:40 / /tmp rw - tmpfs tmpfs rw
41 22 0:50 / /var/lib/kubelet/pods/uid-a/volumes/kubernetes.io~empty-dir/cache rw - tmpfs tmpfs rw,size=8192k
42 22 259:1 /var/lib/kubelet/x /var/lib/kubelet/pods/uid-a/volume-subpaths/x rw - ext4 /dev/root rw
43 22 8:16 / /var/lib/kubelet/plugins/kubernetes.io/csi/y/globalmount rw - ext4 /dev/sdb rw
44 22 8:16 / /var/lib/kubelet/pods/uid-a/volumes/kubernetes.io~csi/y/mount rw - ext4 /dev/sdb rw
45 22 8:32 / /var/lib/kubelet/pods/uid-a/volumes/kubernetes.io~csi/z/mount rw - ext4 /dev/sdc rw
46 22 8:32 / /var/lib/kubelet/pods/uid-b/volumes/kubernetes.io~csi/z/mount rw - ext4 /dev/sdc rw
47 22 8:48 / /var/lib/kubelet/plugins/kubernetes.io/csi/w/globalmount rw - ext4 /dev/sdd rw
";

    #[test]
    fn only_what_a_pod_has_for_itself_may_be_filled() {
        let check = |major, minor| check(makedev(major, minor), MOUNTS, "uid-a");
        assert_eq!(check(0, 50), Ok(()));
        assert_eq!(check(8, 16), Ok(()));
        for (major, minor, place) in [
            (259, 1, "/ of the machine"),
            (0, 40, "/tmp of the machine"),
            (8, 32, "pods/uid-b/"),
            (8, 48, "not mounted"),
            (0, 99, "not mounted"),
        ] {
            let reason = check(major, minor).unwrap_err();
            assert!(reason.contains(place), "{reason}");
        }
    }
}
