use std::sync::Arc;

use holdfast_core::experiment::{Connections, Redirects};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::message::{Keep, Message};
use crate::target::Target;

/// What became of some bytes.
#[derive(Debug, PartialEq)]
struct Decoding {
    status: Option<u16>,
    body: Option<Vec<u8>>,
    cookies: usize,
    end: Result<Decoded, Malformed>,
    truncated: Result<(), Truncated>,
}

/// Decodes bytes that arrive in pieces, cut at some places.
fn decode(bytes: &[u8], cuts: &[Index], request: RequestKind) -> Decoding {
    let target = Arc::new(Target::parse("http://localhost", None).unwrap());
    let mut message = Message::new(target, Connections::KeepAlive);
    message.keep = Keep::Answer;
    let mut progress = Progress::new(&message, Redirects::Answer);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let mut decoder = Decoder::new();
    decoder.begin(request);
    let mut end = Ok(Decoded::Partly);
    for piece in cuts.windows(2) {
        let piece = &bytes[piece[0]..piece[1]];
        if !piece.is_empty() && end.is_ok() {
            end = decoder.decode(piece, &mut progress);
        }
    }
    let answer = progress.answer.take();
    Decoding {
        status: progress.status,
        cookies: answer.as_ref().map_or(0, |answer| {
            answer.headers.get_all("set-cookie").iter().count()
        }),
        body: answer.map(|answer| answer.body),
        end,
        truncated: decoder.end(),
    }
}

fn whole(text: &str) -> Decoding {
    decode(text.as_bytes(), &[], RequestKind::Other)
}

/// A valid answer and what it says.
#[derive(Debug)]
struct Valid {
    bytes: Vec<u8>,
    request: RequestKind,
    expected: Decoding,
}

#[derive(Clone, Debug)]
enum Shape {
    Length,
    Chunks(Vec<Index>),
    UntilClose,
    Bodiless(u16),
    ToHead,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Length),
        vec(any::<Index>(), 0..5).prop_map(Shape::Chunks),
        Just(Shape::UntilClose),
        select(vec![204, 304]).prop_map(Shape::Bodiless),
        Just(Shape::ToHead),
    ]
}

fn valid() -> impl Strategy<Value = Valid> {
    let connection = select(vec![
        "",
        "Connection: close\r\n",
        "connection: x, Keep-Alive\r\n",
    ]);
    let beside = (0..3_usize, 0..3_usize, select(vec!["", ";a=\"b\"", " "]));
    (
        shape(),
        vec(any::<u8>(), 0..300),
        0..2_u8,
        connection,
        beside,
    )
        .prop_map(
            |(shape, body, version, connection, (interim, cookies, extension))| {
                let mut bytes = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
                    .repeat(interim)
                    .into_bytes();
                let status = match shape {
                    Shape::Bodiless(status) => status,
                    _ => 418,
                };
                let head = format!("HTTP/1.{version} {status} I am one\r\n{connection}");
                bytes.extend(head.into_bytes());
                bytes.extend("Set-Cookie: a=1\r\n".repeat(cookies).into_bytes());
                let length = format!("content-length: {}\r\n\r\n", body.len()).into_bytes();
                let mut expected_body = body.clone();
                match &shape {
                    Shape::Length => bytes.extend([length, body].concat()),
                    Shape::Chunks(cuts) => {
                        bytes.extend(b"Transfer-Encoding: gzip, Chunked\r\n\r\n");
                        bytes.extend(chunked(&body, cuts, extension));
                    }
                    Shape::UntilClose => bytes.extend([b"\r\n", &body[..]].concat()),
                    Shape::Bodiless(_) | Shape::ToHead => {
                        bytes.extend(length);
                        expected_body.clear();
                    }
                }
                let persists = match version {
                    0 => connection.contains("Keep-Alive"),
                    _ => !connection.contains("close"),
                };
                let until_close = matches!(shape, Shape::UntilClose);
                Valid {
                    bytes,
                    request: match shape {
                        Shape::ToHead => RequestKind::Head,
                        _ => RequestKind::Other,
                    },
                    expected: Decoding {
                        status: Some(status),
                        body: Some(expected_body),
                        cookies,
                        end: Ok(match (until_close, persists) {
                            (true, _) => Decoded::Partly,
                            (false, true) => Decoded::Whole(Afterwards::Open),
                            (false, false) => Decoded::Whole(Afterwards::Closed),
                        }),
                        truncated: Ok(()),
                    },
                }
            },
        )
}

fn chunked(body: &[u8], cuts: &[Index], extension: &str) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut bytes = Vec::new();
    for chunk in cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]) {
        bytes.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
        bytes.extend([chunk, b"\r\n"].concat());
    }
    bytes.extend(b"00\r\nx-sum: 1\r\nx-other:\r\n\r\n");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_answer_says_the_same_in_any_pieces(
        valid in valid(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        prop_assert_eq!(decode(&valid.bytes, &cuts, valid.request), valid.expected);
    }

    #[test]
    fn no_part_of_an_answer_is_taken_for_the_whole(valid in valid(), cut in any::<Index>()) {
        let part = &valid.bytes[..cut.index(valid.bytes.len())];
        let decoding = decode(part, &[], valid.request);
        prop_assert_eq!(decoding.end, Ok(Decoded::Partly));
    }

    #[test]
    fn any_bytes_are_survived(
        valid in valid(),
        changes in vec((any::<Index>(), any::<u8>()), 0..20),
        cuts in vec(any::<Index>(), 0..10),
    ) {
        let mut bytes = valid.bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let at_once = decode(&bytes, &[], valid.request);
        let in_pieces = decode(&bytes, &cuts, valid.request);
        // Pieces after the end of an answer change what becomes of its connection, nothing else.
        prop_assert_eq!(at_once.status, in_pieces.status);
        prop_assert_eq!(at_once.end.is_err(), in_pieces.end.is_err());
    }
}

#[test]
fn what_no_answer_can_begin_with_is_refused() {
    for garbage in ["this is not HTTP\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "\0"] {
        assert!(
            matches!(whole(garbage).end, Err(Malformed::Head(_))),
            "{garbage}"
        );
    }
    let answer = |headers: &str| whole(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).end;
    for length in ["x", "-1", "+1", "1, 2", "99999999999999999999", ""] {
        let length = format!("content-length: {length}\r\n");
        assert_eq!(answer(&length), Err(Malformed::Length), "{length}");
    }
    assert_eq!(
        answer("content-length: 1, 1\r\n"),
        Ok(Decoded::Partly),
        "the same length twice is one length"
    );
    assert_eq!(
        answer(&"a: b\r\n".repeat(101)),
        Err(Malformed::TooManyHeaders)
    );
    let long = format!("a: {}\r\n", "b".repeat(HEAD_LIMIT));
    assert_eq!(answer(&long), Err(Malformed::HeadTooLong));
    let endless = "HTTP/1.1 200 OK\r\na: ".to_owned() + &"b".repeat(HEAD_LIMIT);
    assert_eq!(whole(&endless).end, Err(Malformed::HeadTooLong));
}

#[test]
fn chunks_that_are_none_are_refused() {
    let chunks = |body: &str| {
        whole(&format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        ))
        .end
    };
    for size in [
        "no number\r\n",
        "\r\n",
        ";a\r\n",
        "-1\r\n",
        "11111111111111111\r\n",
        "1\n",
    ] {
        assert_eq!(chunks(size), Err(Malformed::ChunkSize), "{size}");
    }
    for end in [
        "1\r\nab",
        "1\r\na\rb",
        "1\r\r",
        "1;a\n",
        "0\r\n\n",
        "0\r\n\r\r",
        "0\r\na\n",
    ] {
        assert_eq!(chunks(end), Err(Malformed::ChunkEnd), "{end}");
    }
    let long = "x".repeat(HEAD_LIMIT + 1);
    for beside in [format!("1;{long}"), format!("0\r\n{long}")] {
        assert_eq!(chunks(&beside), Err(Malformed::TrailersTooLong));
    }
}

#[test]
fn a_change_of_protocols_ends_the_connection() {
    let changed = whole("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
    assert_eq!(changed.end, Ok(Decoded::Whole(Afterwards::Closed)));
    assert_eq!(changed.status, Some(101));
}

#[test]
fn what_nobody_asked_for_ends_the_connection() {
    let two = whole("HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 x\r\n");
    assert_eq!(two.end, Ok(Decoded::Whole(Afterwards::Closed)));
    assert_eq!(two.status, Some(204));
}

#[test]
fn an_end_in_the_middle_is_told() {
    let end = |text: &str| whole(text).truncated;
    assert_eq!(end(""), Err(Truncated::Head));
    assert_eq!(end("HTTP/1.1 200 OK\r\n"), Err(Truncated::Head));
    assert_eq!(
        end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"),
        Err(Truncated::Body)
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(end(&format!("{chunked}1\r\na\r\n")), Err(Truncated::Body));
    assert_eq!(end("HTTP/1.1 200 OK\r\n\r\na"), Ok(()));
}
