//! A file system of a pod alone, filled.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use super::agent::{Agent, in_seconds, run};
use super::pod::{Container, uid};

const SIZE: u64 = 8 << 20;

/// A small file system in memory, mounted as a kubelet would for a pod.
struct Volume {
    path: PathBuf,
    _parent: TempDir,
}

impl Volume {
    /// `None` where nothing may be mounted.
    fn mount(uid: &str) -> Option<Self> {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(uid).join("data");
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&path)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: nothing may be mounted here");
            return None;
        }
        Some(Self {
            path,
            _parent: parent,
        })
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn free(&self) -> u64 {
        let system = statvfs(&self.path).unwrap();
        system.blocks_available() * system.fragment_size()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        assert!(unmounted.unwrap().success());
    }
}

fn words<'a>(uid: &'a str, path: &'a str) -> [&'a str; 7] {
    let pod = ["disk", "--pod-uid", uid, "--pod-name", "app"];
    [pod[0], pod[1], pod[2], pod[3], pod[4], "--path", path]
}

fn names(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_volume_is_filled_and_free_again_even_if_the_agent_is_killed() {
    let uid = uid();
    let Some(volume) = Volume::mount(&uid) else {
        return;
    };
    let container = Container::start(&uid).await;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let words = [&words(&uid, volume.path())[..], &["--leave", "1Mi"]].concat();
        let mut agent = Agent::start(&words).await;
        assert_eq!(volume.free(), 1 << 20);
        assert_eq!(agent.evidence().await["takenBytes"], SIZE - (1 << 20));
        let error = std::fs::write(volume.path.join("log"), vec![7; 2 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        std::fs::remove_file(volume.path.join("log")).unwrap();
        agent.signal(signal);
        agent.exit().await;
        assert_eq!(volume.free(), SIZE);
        assert_eq!(names(&volume.path), 0);
    }
    drop(container);
}

#[tokio::test]
async fn what_becomes_free_is_taken_too() {
    let uid = uid();
    let Some(volume) = Volume::mount(&uid) else {
        return;
    };
    let container = Container::start(&uid).await;
    let file = volume.path.join("old");
    std::fs::write(&file, vec![7; 2 << 20]).unwrap();
    let words = [&words(&uid, volume.path())[..], &["--leave", "0"]].concat();
    let agent = Agent::start(&words).await;
    std::fs::remove_file(file).unwrap();
    agent
        .until_evidence(|evidence| evidence["takenBytes"] == SIZE)
        .await;
    agent.end().await;
    drop(container);
}

#[tokio::test]
async fn a_fixed_amount_is_taken_or_refused() {
    let uid = uid();
    let Some(volume) = Volume::mount(&uid) else {
        return;
    };
    let container = Container::start(&uid).await;
    let words = words(&uid, volume.path());
    let agent = Agent::start(&[&words[..], &["--bytes", "3Mi"]].concat()).await;
    assert_eq!(volume.free(), SIZE - (3 << 20));
    agent.end().await;
    let until = in_seconds(60);
    let output = run(&[&words[..], &["--bytes", "9Mi", "--until", &until]].concat()).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bytes free"), "{said}");
    drop(container);
}

#[tokio::test]
async fn the_machines_own_file_systems_are_refused() {
    let (uid, until) = (uid(), in_seconds(60));
    let container = Container::start(&uid).await;
    let folder = tempfile::tempdir().unwrap();
    for path in ["/", folder.path().to_str().unwrap(), "/dev/shm"] {
        let words = [
            &words(&uid, path)[..],
            &["--leave", "1Mi", "--until", &until],
        ]
        .concat();
        let output = run(&words).await;
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("may not be filled"), "{path}: {said}");
    }
    drop(container);
}
