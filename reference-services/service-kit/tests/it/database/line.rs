//! A line to a server that can go dead: nothing comes through, and nobody is told.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// Ends with this value for those who come; who has a connection keeps it.
pub(super) struct Line {
    is_dead: watch::Sender<bool>,
    url: String,
    _folder: TempDir,
}

impl Line {
    /// A line to the database that `url` names.
    pub(super) fn to(url: &str) -> Self {
        // PostgreSQL's URLs name the folder of its socket, MariaDB's the socket.
        let (before, socket) = url.rsplit_once('=').unwrap();
        let far_end = match Path::new(socket) {
            folder if folder.is_dir() => folder.join(".s.PGSQL.5432"),
            socket => socket.to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let near_end = folder.path().join(far_end.file_name().unwrap());
        let listener = UnixListener::bind(&near_end).unwrap();
        let named = if far_end == Path::new(socket) {
            near_end
        } else {
            folder.path().to_owned()
        };
        let is_dead = watch::Sender::new(false);
        tokio::spawn(serve(listener, far_end, is_dead.subscribe()));
        Self {
            is_dead,
            url: format!("{before}={}", named.display()),
            _folder: folder,
        }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on nothing comes through.
    pub(super) fn go_dead(&self) {
        self.is_dead.send_replace(true);
    }

    /// New connections live again; those of before stay dead.
    pub(super) fn come_back(&self) {
        self.is_dead.send_replace(false);
    }
}

async fn serve(listener: UnixListener, far_end: PathBuf, is_dead: watch::Receiver<bool>) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (far_end, mut is_dead) = (far_end.clone(), is_dead.clone());
        tokio::spawn(async move {
            let mut far = UnixStream::connect(far_end).await.unwrap();
            tokio::select! {
                biased;
                Ok(_) = is_dead.wait_for(|is_dead| *is_dead) => {}
                _ = copy_bidirectional(&mut near, &mut far) => return,
            }
            // Both ends stay open.
            std::future::pending::<()>().await;
        });
    }
}
