//! What auditor needs from the outside world.

use async_trait::async_trait;

use crate::books::Books;

/// Why a service's book could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{service} did not show its {book}")]
pub struct ReadError {
    pub service: &'static str,
    pub book: &'static str,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The services, each of which shows its own book.
#[async_trait]
pub trait Services: Send + Sync {
    /// Reads all books, in the order that [`Books`] asks for, because of what stands at `traceparent`.
    async fn read(&self, traceparent: Option<&str>) -> Result<Books, ReadError>;
}
