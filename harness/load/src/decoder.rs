//! Takes HTTP/1.1 answers apart, in whatever pieces they arrive (RFC 9112). Knows no connection.

use std::mem::{self, MaybeUninit};

use httparse::{Header, ParserConfig, Response, Status};

use crate::progress::{Headers, Progress};

mod chunks;
#[cfg(test)]
mod tests;

use chunks::Chunks;

/// Longest head of an answer that is read, status line and all headers, in bytes. The trailers and
/// chunk extensions of a body may be as long together.
const HEAD_LIMIT: usize = 64 * 1024;
/// Most headers of an answer that are read.
const HEADERS_LIMIT: usize = 100;

/// Why bytes are no HTTP/1.1 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the answer is not HTTP/1.1: {0}")]
    Head(httparse::Error),
    #[error("the answer's headers are longer than {HEAD_LIMIT} bytes")]
    HeadTooLong,
    #[error("the answer has more than {HEADERS_LIMIT} headers")]
    TooManyHeaders,
    #[error("the answer's content-length is not a number")]
    Length,
    #[error("a chunk's size is not a hexadecimal number")]
    ChunkSize,
    #[error("a chunk does not end with CR LF")]
    ChunkEnd,
    #[error("trailers and chunk extensions are longer than {HEAD_LIMIT} bytes")]
    TrailersTooLong,
}

/// What the bytes so far have led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// The answer goes on.
    Partly,
    /// The answer is complete.
    Whole(Afterwards),
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It takes another request.
    Open,
    /// It does not.
    Closed,
}

/// Where an answer was cut off by the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truncated {
    Head,
    Body,
}

/// Decodes one answer after another.
#[derive(Debug)]
pub(crate) struct Decoder {
    request: RequestKind,
    state: State,
    afterwards: Afterwards,
    /// The beginning of a head that did not arrive at once. Its memory is used again.
    head: Vec<u8>,
}

/// What an answer's meaning depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// `HEAD`, whose answers have no body.
    Head,
    Other,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// A body of known length, of which so many bytes are missing.
    Length(u64),
    Chunks(Chunks),
    UntilClose,
    Whole,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            request: RequestKind::Other,
            state: State::Whole,
            afterwards: Afterwards::Open,
            head: Vec::new(),
        }
    }

    /// Gets ready for the answer to a request.
    pub(crate) fn begin(&mut self, request: RequestKind) {
        self.request = request;
        self.state = State::Head;
        self.head.clear();
    }

    /// Takes what has arrived and tells `progress`.
    pub(crate) fn decode(
        &mut self,
        data: &[u8],
        progress: &mut Progress<'_>,
    ) -> Result<Decoded, Malformed> {
        let mut rest = data;
        loop {
            match &mut self.state {
                State::Head if rest.is_empty() => return Ok(Decoded::Partly),
                State::Head => rest = self.decode_head(rest, progress)?,
                State::Length(0) => self.state = State::Whole,
                State::Length(missing) => {
                    let here = rest
                        .len()
                        .min(usize::try_from(*missing).unwrap_or(usize::MAX));
                    let (body, after) = rest.split_at(here);
                    progress.read(body);
                    *missing -= here as u64;
                    rest = after;
                    if *missing > 0 {
                        return Ok(Decoded::Partly);
                    }
                }
                State::Chunks(chunks) => match chunks.decode(rest, progress)? {
                    Some(after) => {
                        rest = after;
                        self.state = State::Whole;
                    }
                    None => return Ok(Decoded::Partly),
                },
                State::UntilClose => {
                    progress.read(rest);
                    return Ok(Decoded::Partly);
                }
                // What nobody asked for follows: the next answer could not be told from it.
                State::Whole if !rest.is_empty() => return Ok(Decoded::Whole(Afterwards::Closed)),
                State::Whole => return Ok(Decoded::Whole(self.afterwards)),
            }
        }
    }

    /// The connection has ended: whether the answer has, too.
    pub(crate) fn end(&self) -> Result<(), Truncated> {
        match self.state {
            State::Head => Err(Truncated::Head),
            State::Length(_) | State::Chunks(_) => Err(Truncated::Body),
            State::UntilClose | State::Whole => Ok(()),
        }
    }

    /// Takes a head, or the beginning of one; returns what follows it.
    fn decode_head<'a>(
        &mut self,
        data: &'a [u8],
        progress: &mut Progress<'_>,
    ) -> Result<&'a [u8], Malformed> {
        if self.head.is_empty() {
            let Some(length) = self.parse_head(data, progress)? else {
                self.head.extend_from_slice(data);
                return Ok(&[]);
            };
            return Ok(&data[length..]);
        }
        let known = self.head.len();
        let mut head = mem::take(&mut self.head);
        head.extend_from_slice(data);
        let parsed = self.parse_head(&head, progress)?;
        self.head = head;
        let Some(length) = parsed else {
            return Ok(&[]);
        };
        self.head.clear();
        // It ends in what is new: what was known before was no whole head.
        Ok(&data[length - known..])
    }

    /// The length of the head at the beginning of `bytes`, when it is whole.
    fn parse_head(
        &mut self,
        bytes: &[u8],
        progress: &mut Progress<'_>,
    ) -> Result<Option<usize>, Malformed> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_LIMIT];
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut headers,
        );
        let length = match parsed {
            Ok(Status::Complete(length)) if length <= HEAD_LIMIT => length,
            Ok(Status::Partial) if bytes.len() <= HEAD_LIMIT => return Ok(None),
            Ok(Status::Complete(_) | Status::Partial) => return Err(Malformed::HeadTooLong),
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyHeaders),
            Err(error) => return Err(Malformed::Head(error)),
        };
        let status = response.code.unwrap_or_default();
        // 1xx other than a change of protocols announces the answer, which is still to come.
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some(length));
        }
        let version = response.version.unwrap_or_default();
        let framing = Framing::of(response.headers)?;
        self.state = framing.state(status, self.request);
        self.afterwards = framing.afterwards(status, version, self.state);
        progress.begin(status, Headers::Parsed(response.headers));
        Ok(Some(length))
    }
}

/// What the headers say about where the body ends, and about the connection.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    /// The last transfer coding: whether it is `chunked`.
    chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    fn of(headers: &[Header<'_>]) -> Result<Self, Malformed> {
        let mut framing = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                14 if is("content-length") => framing.add_length(header.value)?,
                17 if is("transfer-encoding") => {
                    let last = items(header.value).next_back();
                    framing.chunked = last.map(|coding| coding.eq_ignore_ascii_case(b"chunked"));
                }
                10 if is("connection") => {
                    for option in items(header.value) {
                        framing.close |= option.eq_ignore_ascii_case(b"close");
                        framing.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                _ => {}
            }
        }
        Ok(framing)
    }

    /// The same length may be said several times, another one may not.
    fn add_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for length in items(value) {
            let text = std::str::from_utf8(length).ok();
            let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok());
            let length = length.ok_or(Malformed::Length)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Malformed::Length);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// RFC 9112, section 6.3.
    fn state(&self, status: u16, request: RequestKind) -> State {
        if request == RequestKind::Head || matches!(status, 101 | 204 | 304) {
            return State::Whole;
        }
        match (self.chunked, self.length) {
            (Some(true), _) => State::Chunks(Chunks::default()),
            (Some(false), _) | (None, None) => State::UntilClose,
            (None, Some(length)) => State::Length(length),
        }
    }

    fn afterwards(&self, status: u16, version: u8, body: State) -> Afterwards {
        let persists = if version == 0 { self.keep_alive } else { true };
        if persists && !self.close && status != 101 && !matches!(body, State::UntilClose) {
            Afterwards::Open
        } else {
            Afterwards::Closed
        }
    }
}

/// The items of a header's list.
fn items(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
