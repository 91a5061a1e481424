//! As much of the protobuf wire format as an action result takes. Reading is bounded by the bytes at hand, skips what
//! it does not know, and refuses what does not hold together.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it ends in the middle of a field")]
    CutOff,
    #[error("a number has too many bytes")]
    LongNumber,
    #[error("a field is of an unknown kind")]
    UnknownKind,
    #[error("a field has the number 0")]
    NoField,
    #[error("a field is not of its kind")]
    WrongKind,
    #[error("a text is not UTF-8")]
    NotUtf8,
}

/// A field's value as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which nothing we read has.
    Fixed,
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> Result<u64, Malformed> {
        if let Self::Number(number) = self { Ok(number) } else { Err(Malformed::WrongKind) }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed::WrongKind) }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::NotUtf8)
    }
}

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // Whatever follows has no meaning.
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed::LongNumber)?;
        if field == 0 {
            return Err(Malformed::NoField);
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| Malformed::CutOff)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed::UnknownKind),
        };
        Ok((field, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::CutOff)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for n in 0..10 {
            let (byte, rest) = self.0.split_first().ok_or(Malformed::CutOff)?;
            self.0 = rest;
            if n == 9 && *byte > 1 {
                return Err(Malformed::LongNumber);
            }
            number |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::LongNumber)
    }
}

/// A message in the making. Values that are the default are left out, as proto3 does.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(number);
        }
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A message inside; written also when it is empty, because that it is there says something.
    pub(super) fn message(&mut self, field: u32, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        Fields(bytes).collect()
    }

    /// The examples of protobuf's own description of its encoding.
    #[test]
    fn the_format_is_that_of_its_description() {
        let mut message = Message::default();
        message.number(1, 150);
        message.text(2, "testing");
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
        let read = [(1, Value::Number(150)), (2, Value::Bytes(b"testing"))];
        assert_eq!(fields(&message.0).as_deref(), Ok(&read[..]));
    }

    #[test]
    fn numbers_of_every_length_come_back() {
        for number in (0..64).map(|bit| 1_u64 << bit).chain([u64::MAX, 127, 128, 300]) {
            let mut message = Message::default();
            message.number(3, number);
            assert_eq!(fields(&message.0).as_deref(), Ok(&[(3, Value::Number(number))][..]));
        }
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        for (bytes, why) in [
            (&b"\x08"[..], Malformed::CutOff),
            (b"\x12\x07test", Malformed::CutOff),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Malformed::CutOff),
            (b"\x09\x00\x00", Malformed::CutOff),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", Malformed::LongNumber),
            (b"\x0b", Malformed::UnknownKind),
            (b"\x00\x00", Malformed::NoField),
        ] {
            assert_eq!(fields(bytes), Err(why), "{bytes:x?}");
        }
        assert_eq!(Value::Fixed.number(), Err(Malformed::WrongKind));
        assert_eq!(Value::Bytes(b"\xff").text(), Err(Malformed::NotUtf8));
    }
}
