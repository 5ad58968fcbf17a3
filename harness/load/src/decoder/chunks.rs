//! The chunked transfer coding (RFC 9112, section 7.1). Extensions and trailers are read over.

use super::{HEAD_LIMIT, Malformed};
use crate::progress::Progress;

/// Where in a chunked body the next byte is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// Bytes of extensions and trailers so far.
    beside: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a chunk's size, of which so many digits are known.
    Size { size: u64, digits: u32 },
    /// Between a chunk's size and the end of its line.
    Extension { size: u64 },
    /// Before the line feed that ends the size's line.
    SizeEnd { size: u64 },
    /// In a chunk of which so many bytes are missing.
    Data { missing: u64 },
    /// Before the carriage return after a chunk.
    DataReturn,
    /// Before the line feed after a chunk.
    DataEnd,
    /// At the beginning of a trailer, or of the empty line that ends them.
    TrailerStart,
    /// In a trailer.
    Trailer,
    /// Before the line feed that ends a trailer.
    TrailerEnd,
    /// Before the very last line feed.
    LastEnd,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Takes what has arrived; what follows the body, once it is complete.
    pub(super) fn decode<'a>(
        &mut self,
        data: &'a [u8],
        progress: &mut Progress<'_>,
    ) -> Result<Option<&'a [u8]>, Malformed> {
        let mut rest = data;
        while let Some((byte, after)) = rest.split_first() {
            if let Place::Data { missing } = &mut self.place {
                let here = rest
                    .len()
                    .min(usize::try_from(*missing).unwrap_or(usize::MAX));
                let (body, after) = rest.split_at(here);
                progress.read(body);
                *missing -= here as u64;
                rest = after;
                if *missing == 0 {
                    self.place = Place::DataReturn;
                }
                continue;
            }
            rest = after;
            match self.step(*byte)? {
                Some(next) => self.place = next,
                None => return Ok(Some(rest)),
            }
        }
        Ok(None)
    }

    /// The place after one byte that is no data; `None` after the last one.
    fn step(&mut self, byte: u8) -> Result<Option<Place>, Malformed> {
        let next = match (self.place, byte) {
            (Place::Size { size, digits: 1.. }, b'\r') => Place::SizeEnd { size },
            (Place::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Place::Extension { size },
            (Place::Size { size, digits }, _) => Place::Size {
                size: with_digit(size, byte).ok_or(Malformed::ChunkSize)?,
                digits: digits.saturating_add(1),
            },
            (Place::Extension { size }, b'\r') => Place::SizeEnd { size },
            (Place::SizeEnd { size: 0 }, b'\n') => Place::TrailerStart,
            (Place::SizeEnd { size }, b'\n') => Place::Data { missing: size },
            (Place::DataReturn, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => Place::default(),
            (Place::TrailerStart, b'\r') => Place::LastEnd,
            (Place::Trailer, b'\r') => Place::TrailerEnd,
            (Place::TrailerEnd, b'\n') => Place::TrailerStart,
            (Place::LastEnd, b'\n') => return Ok(None),
            (Place::Extension { .. } | Place::TrailerStart | Place::Trailer, b'\n')
            | (
                Place::SizeEnd { .. }
                | Place::DataReturn
                | Place::DataEnd
                | Place::TrailerEnd
                | Place::LastEnd,
                _,
            ) => return Err(Malformed::ChunkEnd),
            (place @ Place::Extension { .. }, _) => self.pass(place)?,
            (Place::TrailerStart | Place::Trailer, _) => self.pass(Place::Trailer)?,
            (place @ Place::Data { .. }, _) => place,
        };
        Ok(Some(next))
    }

    /// One more byte that says nothing to us.
    fn pass(&mut self, place: Place) -> Result<Place, Malformed> {
        self.beside += 1;
        if self.beside > HEAD_LIMIT {
            return Err(Malformed::TrailersTooLong);
        }
        Ok(place)
    }
}

fn with_digit(size: u64, byte: u8) -> Option<u64> {
    let digit = char::from(byte).to_digit(16)?;
    size.checked_mul(16)?.checked_add(u64::from(digit))
}
