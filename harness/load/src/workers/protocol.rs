//! What coordinator and workers say to each other: one JSON value a line, of bounded length.

use std::fmt;
use std::io;

use holdfast_core::event::Event;
use holdfast_core::plan::LoadPlan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::clock::Reading;
use super::machine::Machine;
use super::routes::Routes;
use crate::share::Share;

/// Both sides speak the same version or part.
pub(crate) const VERSION: u32 = 1;
/// Longest line after the greeting, in bytes: the plan with its bodies is the longest thing said.
pub(crate) const LINE_LIMIT: usize = 16 << 20;
/// Longest line from somebody who has not shown the token yet, in bytes.
pub(crate) const HELLO_LIMIT: usize = 4 << 10;

/// The environment variable in which a worker finds its token: a command line can be read by every
/// user of the machine.
pub const TOKEN_VARIABLE: &str = "HOLDFAST_WORKER_TOKEN";

/// What a worker shows to be let in. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A token that was given from outside.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// One that nobody can guess.
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Report {
    /// The first thing said.
    Hello(Hello),
    /// Ready to send.
    Prepared(Machine),
    /// The share of the load cannot be sent, or not to its end; the last thing said.
    Failed(String),
    /// The answer to a ping.
    Pong(Reading),
    /// What the load tells.
    Event(Event),
}

/// Who reports.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) token: Token,
    pub(crate) index: u32,
}

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Order {
    /// The worker is not wanted, and why; the last thing said.
    Refused(String),
    /// What to send.
    Assign(Box<Assignment>),
    /// What does the worker's clock show?
    Ping,
    /// Begin when the worker's clock shows this.
    Start(Reading),
    /// New connections go there from now on.
    Routes(Routes),
    /// Send nothing more; what is in flight may end.
    Stop,
    /// All is told; the last thing said.
    Bye,
}

/// A share of a load.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Assignment {
    pub(crate) plan: LoadPlan,
    pub(crate) base_url: String,
    pub(crate) share: Share,
    /// `None`: the target's address itself is dialled.
    pub(crate) routes: Option<Routes>,
}

/// Why nothing more can be said or heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    #[error("a message is not of this protocol")]
    NotOfTheProtocol(#[source] serde_json::Error),
    #[error("a message cannot be written")]
    NotWritable(#[source] serde_json::Error),
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Ear {
    stream: BufReader<OwnedReadHalf>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

/// The writing half of a connection.
#[derive(Debug)]
pub(crate) struct Mouth(OwnedWriteHalf);

/// Both halves of a connection.
pub(crate) fn halves(stream: TcpStream) -> io::Result<(Ear, Mouth)> {
    stream.set_nodelay(true)?;
    let (reading, writing) = stream.into_split();
    let ear = Ear {
        stream: BufReader::new(reading),
        line: Vec::new(),
    };
    Ok((ear, Mouth(writing)))
}

impl Ear {
    /// The next message; `None` when the other side has ended the connection. Nothing is lost when
    /// the future is dropped before it is ready.
    pub(crate) async fn hear<T: DeserializeOwned>(
        &mut self,
        limit: usize,
    ) -> Result<Option<T>, LineError> {
        loop {
            let available = self.stream.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if self.line.len() + taken > limit {
                return Err(LineError::TooLong(limit));
            }
            self.line.extend_from_slice(&available[..taken]);
            self.stream.consume(taken);
            if end.is_some() {
                let message = serde_json::from_slice(&self.line);
                self.line.clear();
                return message.map(Some).map_err(LineError::NotOfTheProtocol);
            }
        }
    }
}

impl Mouth {
    pub(crate) async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), LineError> {
        let mut line = serde_json::to_vec(message).map_err(LineError::NotWritable)?;
        line.push(b'\n');
        if line.len() > LINE_LIMIT {
            return Err(LineError::TooLong(LINE_LIMIT));
        }
        Ok(self.0.write_all(&line).await?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::workers::Clock;

    async fn pair() -> (TcpStream, (Ear, Mouth)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (stream, accepted) = tokio::join!(stream, listener.accept());
        (stream.unwrap(), halves(accepted.unwrap().0).unwrap())
    }

    #[tokio::test]
    async fn what_is_said_is_heard_in_pieces_too() {
        let (mut stream, (mut ear, mut mouth)) = pair().await;
        let text = serde_json::to_string(&Order::Start(Clock::of_this_machine().now())).unwrap();
        let (begin, end) = text.split_at(5);
        stream.write_all(begin.as_bytes()).await.unwrap();
        while ear.line.is_empty() {
            // Dropped in the middle of a line.
            tokio::select! {
                biased;
                heard = ear.hear::<Order>(LINE_LIMIT) => panic!("half a line is none: {heard:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        stream
            .write_all(format!("{end}\n\"stop\"\n").as_bytes())
            .await
            .unwrap();
        let heard = ear.hear::<Order>(LINE_LIMIT).await.unwrap();
        assert!(matches!(heard, Some(Order::Start(_))), "{heard:?}");
        let heard = ear.hear::<Order>(LINE_LIMIT).await.unwrap();
        assert!(matches!(heard, Some(Order::Stop)), "{heard:?}");
        drop(stream);
        assert!(ear.hear::<Order>(LINE_LIMIT).await.unwrap().is_none());
        mouth.say(&Order::Bye).await.ok();
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_waited_for() {
        let (mut stream, (mut ear, _mouth)) = pair().await;
        stream.write_all(&[b'x'; HELLO_LIMIT + 1]).await.unwrap();
        let heard = ear.hear::<Report>(HELLO_LIMIT).await;
        assert!(matches!(heard, Err(LineError::TooLong(HELLO_LIMIT))));
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::random();
        assert_eq!(token.secret().len(), 32);
        assert!(!format!("{token:?}").contains(token.secret()));
        assert_ne!(Token::random(), token);
    }
}
