//! A reader of the data types of SSH (RFC 4251, section 5), which can't read
//! past its bytes: SSH, SFTP and what keys are written in share them.

use crate::error::{Error, ErrorKind};

/// Reads fields from the front of a message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// What is wrong with a message.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string: any bytes.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

#[cfg(feature = "sftp")]
impl<'a> Reader<'a> {
    /// RFC 4251: any value but 0 is true.
    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    /// A string that must be UTF-8: names of users, methods and algorithms.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed("a name is not valid UTF-8"))
    }

    /// A multiple precision integer that must not be negative, without the
    /// zero byte that keeps the sign.
    pub(crate) fn mpint(&mut self) -> Result<&'a [u8], Malformed> {
        match self.string()? {
            [0, rest @ ..] => Ok(rest),
            [first, ..] if *first >= 0x80 => Err(Malformed("a number is negative")),
            bytes => Ok(bytes),
        }
    }
}

const CUT_SHORT: Malformed = Malformed("a message is cut short");

impl From<Malformed> for Error {
    fn from(Malformed(what): Malformed) -> Self {
        Error::new(ErrorKind::Protocol, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[][..],
            &[0, 0, 0],
            &[0, 0, 0, 1],
            &[0xff, 0xff, 0xff, 0xff, 1],
            &[0x80, 0, 0, 0],
        ] {
            let error = Error::from(Reader::new(bytes).string().unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Protocol, "{bytes:?}");
        }
    }

    #[cfg(feature = "sftp")]
    #[test]
    fn negative_numbers_and_names_that_are_not_utf8_are_refused() {
        assert!(Reader::new(&[0, 0, 0, 1, 0xff]).mpint().is_err());
        assert!(Reader::new(&[0, 0, 0, 1, 0xff]).text().is_err());
    }
}
