//! The wire format of protobuf: numbered fields, one behind the other.

/// A message that breaks off or does not keep to the format.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub(in crate::api) enum WireError {
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    LongNumber,
    #[error("wire type {0} is not in use")]
    UnknownWireType(u64),
    #[error("0 is no field number")]
    FieldZero,
}

/// The value of a field, as far as the wire tells.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum WireValue<'a> {
    Number(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl WireValue<'_> {
    /// Whether it is what a field has that nobody set.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Number(number) => number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// The fields of a message with their numbers, in the order of the wire.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of this message.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, WireValue<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, WireValue<'a>), WireError> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => WireValue::Number(self.number()?),
            1 => WireValue::Number(little_endian(self.take(8)?)),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| WireError::Truncated)?;
                WireValue::Bytes(self.take(length)?)
            }
            5 => WireValue::Number(little_endian(self.take(4)?)),
            other => return Err(WireError::UnknownWireType(other)),
        };
        match key >> 3 {
            0 => Err(WireError::FieldZero),
            number => Ok((number, value)),
        }
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let (number, length) = number(self.rest)?;
        self.take(length)?;
        Ok(number)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The numbers of a packed list.
pub(super) fn packed(mut bytes: &[u8]) -> Result<Vec<u64>, WireError> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        let (number, length) = number(bytes)?;
        numbers.push(number);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(numbers)
}

/// The number (seven bits a byte, the lowest first) at the beginning, and its length.
fn number(bytes: &[u8]) -> Result<(u64, usize), WireError> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index;
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err(WireError::LongNumber);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((number, index + 1));
        }
    }
    Err(WireError::Truncated)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<(u64, WireValue<'_>)>, WireError> {
        fields(message).collect()
    }

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let message = [
            8, 0xac, 2, 18, 2, b'h', b'i', 0x1d, 1, 1, 0, 0, 33, 2, 0, 0, 0, 0, 0, 0, 0,
        ];
        let expected = [
            (1, WireValue::Number(300)),
            (2, WireValue::Bytes(b"hi")),
            (3, WireValue::Number(257)),
            (4, WireValue::Number(2)),
        ];
        assert_eq!(all(&message).unwrap(), expected);
        assert_eq!(packed(&[1, 0xac, 2]), Ok(vec![1, 300]));
        let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(packed(&minus_one), Ok(vec![u64::MAX]));
    }

    #[test]
    fn what_is_no_message_is_told() {
        assert_eq!(all(&[8]), Err(WireError::Truncated));
        assert_eq!(all(&[18, 5, b'h']), Err(WireError::Truncated));
        assert_eq!(all(&[11]), Err(WireError::UnknownWireType(3)));
        assert_eq!(all(&[0, 1]), Err(WireError::FieldZero));
        assert_eq!(packed(&[0xff; 11]), Err(WireError::LongNumber));
    }
}
