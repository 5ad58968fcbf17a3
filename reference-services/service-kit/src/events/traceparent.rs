//! W3C's `traceparent`: which trace something belongs to, and below what in it.

use std::fmt;
use std::str::FromStr;

/// The place of a span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// Text that is no `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is 00-<32 hexadecimal digits>-<16>-<2>, and not all zero")]
pub struct InvalidTraceparent;

impl Traceparent {
    /// The first span of a new trace, not sampled.
    pub fn root() -> Self {
        Self {
            trace_id: rand::random_range(1..=u128::MAX),
            parent_id: random_span(),
            flags: 0,
        }
    }

    /// A new span below this one.
    pub fn child(self) -> Self {
        Self {
            parent_id: random_span(),
            ..self
        }
    }
}

fn random_span() -> u64 {
    rand::random_range(1..=u64::MAX)
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            parent_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{flags:02x}")
    }
}

impl FromStr for Traceparent {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut parts = text.split('-');
        if parts.next() != Some("00") {
            return Err(InvalidTraceparent);
        }
        let mut digits = |count| {
            parts
                .next()
                .filter(|part| part.len() == count)
                .filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(|part| u128::from_str_radix(part, 16).ok())
                .ok_or(InvalidTraceparent)
        };
        let (trace_id, parent_id, flags) = (digits(32)?, digits(16)?, digits(2)?);
        if parts.next().is_some() || trace_id == 0 || parent_id == 0 {
            return Err(InvalidTraceparent);
        }
        Ok(Self {
            trace_id,
            parent_id: u64::try_from(parent_id).map_err(|_| InvalidTraceparent)?,
            flags: u8::try_from(flags).map_err(|_| InvalidTraceparent)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_is_written_as_it_was_read() {
        let parsed: Traceparent = EXAMPLE.parse().unwrap();
        assert_eq!(parsed.to_string(), EXAMPLE);
        let root = Traceparent::root();
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let parent: Traceparent = EXAMPLE.parse().unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.flags, parent.flags);
        assert_ne!(child.parent_id, parent.parent_id);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-0101",
        ] {
            assert_eq!(bad.parse::<Traceparent>(), Err(InvalidTraceparent), "{bad}");
        }
    }
}
