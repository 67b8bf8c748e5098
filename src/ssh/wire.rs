//! What SSH's messages are written with (RFC 4251, section 5), and their
//! numbers. They are read by [`crate::ssh_data`].

/// Appends SSH types to a message.
pub(super) trait Put {
    fn put_byte(&mut self, byte: u8);
    fn put_bytes(&mut self, bytes: &[u8]);

    fn put_boolean(&mut self, value: bool) {
        self.put_byte(value.into());
    }

    fn put_u32(&mut self, number: u32) {
        self.put_bytes(&number.to_be_bytes());
    }

    /// A string. Ours are never near 4 GiB; longer ones would be cut.
    fn put_string(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put_u32(length);
        self.put_bytes(&bytes[..length as usize]);
    }

    /// A positive number given as big-endian bytes: no leading zeroes but the
    /// one that keeps it positive.
    fn put_mpint(&mut self, number: &[u8]) {
        let zeroes = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeroes..];
        if number.first().is_some_and(|first| *first >= 0x80) {
            self.put_u32(number.len() as u32 + 1);
            self.put_byte(0);
            self.put_bytes(number);
        } else {
            self.put_string(number);
        }
    }

    /// A name-list: names with commas between.
    fn put_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>)
    where
        Self: Sized,
    {
        let mut list = String::new();
        for name in names {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(name);
        }
        self.put_string(list.as_bytes());
    }
}

impl Put for Vec<u8> {
    fn put_byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Message numbers (RFC 4250, section 4.1).
pub(super) mod message {
    /// Each as a constant, and all as a list.
    macro_rules! messages {
        ($($name:ident $number:literal,)*) => {
            $(pub(in crate::ssh) const $name: u8 = $number;)*

            #[cfg(test)]
            pub(in crate::ssh) const ALL: &[(&str, u8)] = &[$((stringify!($name), $number)),*];
        };
    }

    messages! {
        DISCONNECT 1,
        IGNORE 2,
        UNIMPLEMENTED 3,
        DEBUG 4,
        SERVICE_REQUEST 5,
        SERVICE_ACCEPT 6,
        EXT_INFO 7,
        KEXINIT 20,
        NEWKEYS 21,
        KEX_ECDH_INIT 30,
        KEX_ECDH_REPLY 31,
        USERAUTH_REQUEST 50,
        USERAUTH_FAILURE 51,
        USERAUTH_SUCCESS 52,
        USERAUTH_BANNER 53,
        USERAUTH_PK_OK 60,
        USERAUTH_INFO_REQUEST 60,
        USERAUTH_INFO_RESPONSE 61,
        GLOBAL_REQUEST 80,
        REQUEST_SUCCESS 81,
        REQUEST_FAILURE 82,
        CHANNEL_OPEN 90,
        CHANNEL_OPEN_CONFIRMATION 91,
        CHANNEL_OPEN_FAILURE 92,
        CHANNEL_WINDOW_ADJUST 93,
        CHANNEL_DATA 94,
        CHANNEL_EXTENDED_DATA 95,
        CHANNEL_EOF 96,
        CHANNEL_CLOSE 97,
        CHANNEL_REQUEST 98,
        CHANNEL_SUCCESS 99,
        CHANNEL_FAILURE 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_data::Reader;

    /// The examples of RFC 4251, section 5.
    #[test]
    fn mpints_are_written_as_the_rfc_shows() {
        for (number, want) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0, 0, 0x7f], &[0, 0, 0, 1, 0x7f]),
        ] {
            let mut out = Vec::new();
            out.put_mpint(number);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        out.put_byte(7);
        out.put_boolean(true);
        out.put_u32(0xfffe_0001);
        out.put_string(b"abc");
        out.put_mpint(&[0xff, 1]);
        out.put_names(["a", "b@c"]);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.byte().unwrap(), 7);
        assert!(reader.boolean().unwrap());
        assert_eq!(reader.u32().unwrap(), 0xfffe_0001);
        assert_eq!(reader.string().unwrap(), b"abc");
        assert_eq!(reader.mpint().unwrap(), [0xff, 1]);
        assert_eq!(reader.text().unwrap(), "a,b@c");
        assert!(reader.rest().is_empty());
    }
}
