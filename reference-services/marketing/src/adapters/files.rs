//! The ledger in plain files: `deliveries.jsonl` says who has earned a coupon, `coupons.jsonl` who has
//! got one, and `published` how many of these others have been told of.
//!
//! Both journals are only ever added to, and what they say is also kept in memory. Adding waits for
//! the disk, so deliveries that are heard of at the same time share one such wait.

pub mod journal;
mod stored;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use service_kit::batch::Batches;
use service_kit::detached;
use service_kit::folder::{Folder, FolderConfig, FolderError, replace};

use self::journal::{Journal, JournalError};
use self::stored::{StoredCoupon, StoredDelivery};
use crate::domain::{Coupon, Delivered, OrderId};
use crate::ports::{Heard, Ledger, StorageError};

/// How many deliveries share one wait for the disk at most.
const DELIVERIES_AT_ONCE: usize = 200;

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot read {path}")]
    Published { path: PathBuf, source: io::Error },
    #[error("{path} says {text:?}, and there are {coupons} coupons")]
    Contradiction {
        path: PathBuf,
        text: String,
        coupons: usize,
    },
}

/// The ledger in files.
#[derive(Debug)]
pub struct FileLedger {
    books: Arc<Mutex<Books>>,
    hearing: Batches<Delivered, Result<Heard, Arc<JournalError>>>,
    folder: Folder,
}

impl FileLedger {
    /// Opens the ledger in a folder, or makes an empty one.
    pub fn open(config: &FolderConfig) -> Result<Self, OpenError> {
        let folder = Folder::open(config)?;
        let books = Arc::new(Mutex::new(Books::open(folder.path())?));
        let writer = Arc::clone(&books);
        let hearing = Batches::start(DELIVERIES_AT_ONCE, move |deliveries| {
            lock(&writer).hear(deliveries)
        });
        Ok(Self {
            books,
            hearing,
            folder,
        })
    }

    /// What this ledger is called, from its making on; another ledger is called otherwise.
    pub fn identity(&self) -> &str {
        self.folder.identity()
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> T {
        let books = Arc::clone(&self.books);
        detached::result(tokio::task::spawn_blocking(move || work(&mut lock(&books)))).await
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().expect("no holder of this lock can panic")
}

#[async_trait]
impl Ledger for FileLedger {
    async fn hear(&self, delivered: Delivered) -> Result<Heard, StorageError> {
        match self.hearing.submit(delivered).await {
            Ok(heard) => heard.map_err(|error| StorageError(Box::new(error))),
            Err(broken) => Err(StorageError(Box::new(broken))),
        }
    }

    async fn owed(&self, limit: usize) -> Result<Vec<Delivered>, StorageError> {
        let owed = move |books: &mut Books| books.owed.iter().take(limit).cloned().collect();
        Ok(self.with(owed).await)
    }

    async fn issue(&self, coupons: Vec<Coupon>) -> Result<usize, StorageError> {
        let issued = self.with(|books| books.issue(coupons)).await;
        issued.map_err(|error| StorageError(Box::new(error)))
    }

    async fn unpublished(&self, limit: usize) -> Result<Vec<Coupon>, StorageError> {
        let unpublished = move |books: &mut Books| {
            let coupons = books.coupons.iter().skip(books.published);
            coupons.take(limit).cloned().collect()
        };
        Ok(self.with(unpublished).await)
    }

    async fn published(&self, count: usize) -> Result<(), StorageError> {
        let published = self.with(move |books| books.publish(count)).await;
        published.map_err(|error| StorageError(Box::new(error)))
    }

    async fn list(&self) -> Result<Vec<Coupon>, StorageError> {
        Ok(self.with(|books| books.coupons.clone()).await)
    }
}

/// The files, and what they say.
#[derive(Debug)]
struct Books {
    deliveries: Journal,
    issues: Journal,
    cursor: PathBuf,
    /// Every order that was delivered or got a coupon.
    known: HashSet<OrderId>,
    owed: VecDeque<Delivered>,
    coupons: Vec<Coupon>,
    rewarded: HashSet<OrderId>,
    published: usize,
}

impl Books {
    fn open(folder: &Path) -> Result<Self, OpenError> {
        let (deliveries, heard) = Journal::open(&folder.join("deliveries.jsonl"))?;
        let (issues, coupons) = Journal::open(&folder.join("coupons.jsonl"))?;
        let heard: Vec<StoredDelivery> = heard;
        let coupons: Vec<StoredCoupon> = coupons;
        let cursor = folder.join("published");
        let published = published(&cursor, coupons.len())?;

        let coupons: Vec<Coupon> = coupons.into_iter().map(Into::into).collect();
        let order_of = |coupon: &Coupon| coupon.delivered.order_id.clone();
        let rewarded: HashSet<OrderId> = coupons.iter().map(order_of).collect();
        let mut known = rewarded.clone();
        let owed = heard
            .into_iter()
            .map(Delivered::from)
            .filter(|delivered| known.insert(delivered.order_id.clone()))
            .collect();
        Ok(Self {
            deliveries,
            issues,
            cursor,
            known,
            owed,
            coupons,
            rewarded,
            published,
        })
    }

    fn hear(&mut self, deliveries: Vec<Delivered>) -> Vec<Result<Heard, Arc<JournalError>>> {
        let mut new = Vec::new();
        let mut among_new = HashSet::new();
        let mut outcomes = Vec::new();
        for delivered in deliveries {
            let is_new = !self.known.contains(&delivered.order_id)
                && among_new.insert(delivered.order_id.clone());
            if is_new {
                new.push(delivered);
                outcomes.push(Heard::New);
            } else {
                outcomes.push(Heard::Repeated);
            }
        }
        let lines: Vec<StoredDelivery> = new.iter().cloned().map(Into::into).collect();
        if !lines.is_empty()
            && let Err(error) = self.deliveries.append(&lines)
        {
            let error = Arc::new(error);
            return outcomes.iter().map(|_| Err(Arc::clone(&error))).collect();
        }
        self.known.extend(among_new);
        self.owed.extend(new);
        outcomes.into_iter().map(Ok).collect()
    }

    fn issue(&mut self, mut coupons: Vec<Coupon>) -> Result<usize, JournalError> {
        let mut new = HashSet::new();
        coupons.retain(|coupon| {
            let order_id = &coupon.delivered.order_id;
            !self.rewarded.contains(order_id) && new.insert(order_id.clone())
        });
        let lines: Vec<StoredCoupon> = coupons.iter().cloned().map(Into::into).collect();
        self.issues.append(&lines)?;
        self.owed.retain(|owed| !new.contains(&owed.order_id));
        self.known.extend(new.iter().cloned());
        self.rewarded.extend(new);
        let count = coupons.len();
        self.coupons.append(&mut coupons);
        Ok(count)
    }

    fn publish(&mut self, count: usize) -> io::Result<()> {
        let published = self.coupons.len().min(self.published + count);
        replace(&self.cursor, &published.to_string())?;
        self.published = published;
        Ok(())
    }
}

/// How many of the `coupons` have been published.
fn published(path: &Path, coupons: usize) -> Result<usize, OpenError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => "0".to_owned(),
        Err(source) => {
            let path = path.to_owned();
            return Err(OpenError::Published { path, source });
        }
    };
    match text.parse() {
        Ok(published) if published <= coupons => Ok(published),
        Ok(_) | Err(_) => Err(OpenError::Contradiction {
            path: path.to_owned(),
            text,
            coupons,
        }),
    }
}
