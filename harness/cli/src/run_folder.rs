//! The folder of one run: `reports/<experiment>/<utc>-<id>/`.
//!
//! The journal is written while the run goes on, so that even a killed run leaves its evidence;
//! everything else is written at the end, each file whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use holdfast_core::event::Stamped;

use crate::failure::Failure;
use crate::terminal;

/// What a run needs at the least: its journal and reports are a few hundred kilobytes.
const SPACE_NEEDED: usize = 8 << 20;

/// A run's folder with its open journal.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    journal: BufWriter<File>,
    /// The first failure to write the journal; later ones are its consequence.
    journal_error: Option<io::Error>,
}

impl RunFolder {
    /// Creates the folder and makes sure, before anything is run, that it can take a report.
    pub(crate) fn create(root: &Path, experiment: &str, run_id: &str) -> Result<Self, Failure> {
        let path = root.join(experiment).join(run_id);
        let attempt = || -> io::Result<BufWriter<File>> {
            fs::create_dir_all(&path)?;
            check_space(&path)?;
            Ok(BufWriter::new(File::create(path.join("events.jsonl"))?))
        };
        let journal = attempt().map_err(|error| {
            remove(&path);
            Failure::input(format!(
                "cannot write reports to {}: {error}",
                path.display()
            ))
            .hint("free some space, or give another folder with --out DIR")
        })?;
        Ok(Self {
            path,
            journal,
            journal_error: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event to the journal. A failure is kept for [`Self::finish`]: the run goes on,
    /// because what it broke must be put back.
    pub(crate) fn append(&mut self, stamped: &Stamped) {
        if self.journal_error.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.journal, stamped)
            .map_err(io::Error::from)
            .and_then(|()| self.journal.write_all(b"\n"))
            .and_then(|()| self.journal.flush());
        self.journal_error = written.err();
    }

    /// Writes the files, falling back to the system's temporary folder so that no result is lost,
    /// and lets `latest` point to the run. Returns the folder that has the files.
    pub(crate) fn finish(self, files: &[(&str, Vec<u8>)]) -> Result<PathBuf, Failure> {
        let written = match self.journal_error {
            Some(error) => Err((self.path.join("events.jsonl"), error)),
            None => write_all(&self.path, files),
        };
        let Err((file, error)) = written else {
            if let Err(error) = point_latest(&self.path) {
                terminal::say(&format!(
                    "warning: `latest` cannot point to this run: {error}"
                ));
            }
            return Ok(self.path);
        };
        let run = self.path.file_name().unwrap_or_default();
        let refuge = std::env::temp_dir().join("holdfast").join(run);
        let rescued = fs::create_dir_all(&refuge).is_ok() && write_all(&refuge, files).is_ok();
        let failure = Failure::carrying_out(format!("cannot write {}: {error}", file.display()));
        Err(if rescued {
            failure.hint(format!("the report was saved to {}", refuge.display()))
        } else {
            failure.hint("free some space, or give another folder with --out DIR")
        })
    }

    /// Removes the folder of a run that never began.
    pub(crate) fn discard(self) {
        remove(&self.path);
    }
}

/// Removes a run's folder, and the experiment's if that is all there was. What cannot be removed
/// was never made, or is somebody else's.
fn remove(run: &Path) {
    drop(fs::remove_dir_all(run));
    if let Some(experiment) = run.parent() {
        drop(fs::remove_dir(experiment));
    }
}

fn check_space(folder: &Path) -> io::Result<()> {
    let probe = folder.join(".space");
    let written = fs::write(&probe, vec![0_u8; SPACE_NEEDED]);
    // A probe that could not be created cannot be removed; the first error is the one to tell.
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

fn write_all(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), (PathBuf, io::Error)> {
    for (name, content) in files {
        let target = folder.join(name);
        let partial = folder.join(format!(".{name}.partial"));
        let written = fs::write(&partial, content).and_then(|()| fs::rename(&partial, &target));
        if let Err(error) = written {
            drop(fs::remove_file(&partial));
            return Err((target, error));
        }
    }
    Ok(())
}

/// Replaces the `latest` link beside the run's folder in one step.
fn point_latest(run: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (run.parent(), run.file_name()) else {
        return Ok(());
    };
    let fresh = parent.join(format!(".latest-{}", name.display()));
    std::os::unix::fs::symlink(name, &fresh)?;
    fs::rename(&fresh, parent.join("latest")).inspect_err(|_| {
        // The first error is the one to tell.
        drop(fs::remove_file(&fresh));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::event::Event;
    use std::time::Duration;

    #[test]
    fn files_journal_and_latest() {
        let root = tempfile::tempdir().unwrap();
        for run in ["one", "two"] {
            let mut folder = RunFolder::create(root.path(), "x", run).unwrap();
            folder.append(&Stamped {
                at: Duration::from_secs(1),
                event: Event::LoadStarted,
            });
            let path = folder.finish(&[("a.txt", b"hello".to_vec())]).unwrap();
            assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "hello");
        }
        let latest = root.path().join("x/latest");
        assert_eq!(fs::read_link(&latest).unwrap(), Path::new("two"));
        let journal = fs::read_to_string(latest.join("events.jsonl")).unwrap();
        assert_eq!(journal, "{\"at\":1.0,\"event\":\"loadStarted\"}\n");
        let names: Vec<_> = fs::read_dir(latest)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(
            names.len(),
            2,
            "no probe or partial file is left: {names:?}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_its_way_out() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunFolder::create(&file, "x", "one").unwrap_err();
        assert_eq!(error.code, 2);
        let text = error.to_string();
        assert!(
            text.contains("file/x/one") && text.contains("--out"),
            "{text}"
        );
    }

    #[test]
    fn a_report_that_cannot_be_written_at_the_end_is_saved_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let run = format!("rescue-{}", std::process::id());
        let folder = RunFolder::create(root.path(), "x", &run).unwrap();
        fs::remove_dir_all(root.path()).unwrap();
        let error = folder.finish(&[("a.txt", b"hello".to_vec())]).unwrap_err();
        assert_eq!(error.code, 3);
        let refuge = std::env::temp_dir().join("holdfast").join(&run);
        assert!(error.to_string().contains(&refuge.display().to_string()));
        assert_eq!(fs::read_to_string(refuge.join("a.txt")).unwrap(), "hello");
        fs::remove_dir_all(refuge).unwrap();
    }
}
