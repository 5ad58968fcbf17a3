//! An open connection, whichever version of HTTP it speaks.

use std::sync::Arc;

use crate::decoder::Afterwards;
use crate::failure::Unanswered;
use crate::message::Message;
use crate::progress::Progress;
use crate::target::Target;
use crate::{http1, http2};

/// An open connection on which no request is under way.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) target: Arc<Target>,
    /// The endpoint at its other end, where it is known.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) protocol: Protocol,
}

/// A connection by its version of HTTP.
#[derive(Debug)]
pub(crate) enum Protocol {
    Http1(http1::Connection),
    Http2(Box<http2::Connection>),
}

impl Link {
    /// Whether it still takes a request, as far as this process has been told.
    pub(crate) async fn is_usable(&mut self) -> bool {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.is_usable().await,
            Protocol::Http2(connection) => connection.is_usable().await,
        }
    }

    /// Sends a request and reads its answer to the last byte. Afterwards, and whenever it is given
    /// up, the link must be dropped unless it is said to be open.
    pub(crate) async fn exchange(
        &mut self,
        message: &Message,
        progress: &mut Progress<'_>,
    ) -> Result<Afterwards, Unanswered> {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.exchange(message, progress).await,
            Protocol::Http2(connection) => connection.exchange(message, progress).await,
        }
    }
}
