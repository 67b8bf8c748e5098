//! MODE Z (draft-preston-ftpext-deflate): a zlib stream over each data
//! connection, here what is sent.

use miniz_oxide::MZFlush;
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZError, MZStatus};

use crate::error::{Error, ErrorKind, Result};

/// One listing or download that is deflated: about 300 KiB.
pub struct Deflater {
    state: Box<CompressorOxide>,
    out: Vec<u8>,
}

impl Deflater {
    /// With a level of zlib's, 0 to 9.
    pub fn new(level: u8) -> Self {
        let zlib_format = 15;
        let flags = create_comp_flags_from_zip_params(i32::from(level), zlib_format, 0);
        Deflater {
            state: Box::new(CompressorOxide::new(flags)),
            out: Vec::new(),
        }
    }

    /// What is to be sent for `data`; the rest may come later.
    pub fn deflate(&mut self, data: &[u8]) -> Result<&[u8]> {
        self.step(data, MZFlush::None)
    }

    /// The rest.
    pub fn finish(&mut self) -> Result<&[u8]> {
        self.step(&[], MZFlush::Finish)
    }

    fn step(&mut self, mut data: &[u8], flush: MZFlush) -> Result<&[u8]> {
        self.out.clear();
        let mut piece = [0; 8192];
        loop {
            let done = deflate(&mut self.state, data, &mut piece, flush);
            data = &data[done.bytes_consumed..];
            self.out.extend_from_slice(&piece[..done.bytes_written]);
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(&self.out),
                // It has taken all and has no more to say now.
                Ok(_) | Err(MZError::Buf) if flush == MZFlush::None && data.is_empty() => {
                    if done.bytes_written < piece.len() {
                        return Ok(&self.out);
                    }
                }
                Ok(_) => {}
                Err(_) => return Err(Error::new(ErrorKind::Internal, "deflating")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_is_inflated() {
        let text: Vec<u8> = (0..1_000_000u32).map(|at| (at / 777) as u8).collect();
        for level in 0..=9 {
            let mut deflater = Deflater::new(level);
            let mut sent = Vec::new();
            for part in text.chunks(77_777) {
                sent.extend_from_slice(deflater.deflate(part).unwrap());
            }
            sent.extend_from_slice(deflater.finish().unwrap());
            let back = miniz_oxide::inflate::decompress_to_vec_zlib(&sent).unwrap();
            assert!(back == text, "level {level}");
        }
    }
}
