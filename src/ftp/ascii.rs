//! TYPE A: lines end with CR LF on the wire and with LF in files.

/// Turns LF into CR LF; a CR LF that is there already stays one.
#[derive(Default)]
pub struct ToNet {
    last: u8,
}

impl ToNet {
    /// Appends the wire's form of `data` to `out`.
    pub fn convert(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.reserve(data.len() + data.len() / 16);
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    let before = text.last().copied().unwrap_or(self.last);
                    out.extend_from_slice(text);
                    out.extend_from_slice(if before == b'\r' { b"\n" } else { b"\r\n" });
                }
                None => out.extend_from_slice(line),
            }
            self.last = line.last().copied().unwrap_or(self.last);
        }
    }
}

/// Turns CR LF into LF; a CR by itself stays.
#[derive(Default)]
pub struct FromNet {
    held: bool,
}

impl FromNet {
    /// Appends the file's form of `data` to `out`. A CR at the end waits for
    /// what follows it.
    pub fn convert(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.reserve(data.len() + 1);
        let mut rest = data;
        if self.held && !rest.is_empty() {
            self.held = false;
            if rest[0] != b'\n' {
                out.push(b'\r');
            }
        }
        while let Some(at) = rest.iter().position(|byte| *byte == b'\r') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.first() {
                None => self.held = true,
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
            }
        }
        out.extend_from_slice(rest);
    }

    /// What still waited when the data ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_net(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut to_net, mut out) = (ToNet::default(), Vec::new());
        pieces
            .iter()
            .for_each(|piece| to_net.convert(piece, &mut out));
        out
    }

    fn from_net(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut from_net, mut out) = (FromNet::default(), Vec::new());
        pieces
            .iter()
            .for_each(|piece| from_net.convert(piece, &mut out));
        from_net.finish(&mut out);
        out
    }

    #[test]
    fn lines_are_converted_however_they_are_cut() {
        for (file, wire) in [
            (&b"a\nb\n"[..], &b"a\r\nb\r\n"[..]),
            (b"\n\n", b"\r\n\r\n"),
            (b"no end", b"no end"),
            (b"", b""),
            (b"a\rb\n", b"a\rb\r\n"),
        ] {
            for cut in 0..=file.len() {
                assert_eq!(to_net(&[&file[..cut], &file[cut..]]), wire);
            }
            for cut in 0..=wire.len() {
                assert_eq!(from_net(&[&wire[..cut], &wire[cut..]]), file);
            }
        }
        assert_eq!(to_net(&[b"a\r\n"]), b"a\r\n");
        assert_eq!(to_net(&[b"a\r", b"\n"]), b"a\r\n");
        assert_eq!(from_net(&[b"a\r\r\nb\r"]), b"a\r\nb\r");
    }
}
