//! Every member of a gzip file, one after another, and zero bytes behind the last.
//!
//! In → compressed bytes; out → the bytes of all members (RFC 1952, section 2.2: a file is a
//! sequence of members). Zero bytes that pad the file to a block, as tape and some object stores
//! do, are no member and no damage, as in gzip itself; anything else behind a member is.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// A reader over the members.
pub(super) struct Members<R> {
    /// `None` only while one member gives way to the next.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Members<R> {
        Members { member: Some(GzDecoder::new(input)) }
    }

    /// The compressed bytes' reader.
    pub(super) fn get_ref(&self) -> &R {
        self.member.as_ref().expect("between two reads there is a member").get_ref()
    }

    /// Opens the next member; false at the end of the input.
    fn next_member(&mut self) -> io::Result<bool> {
        let mut input = self.member.take().expect("there is a member").into_inner();
        let more = pass_padding(&mut input);
        self.member = Some(GzDecoder::new(input));
        more
    }
}

/// Whether another member begins; what pads the end of the input is read past.
fn pass_padding(input: &mut impl BufRead) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros < buffer.len() && (padded || zeros > 0 || buffer[0] != 0x1f) {
            let message = "something else than gzip data follows a gzip member";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if zeros == 0 {
            return Ok(true);
        }
        padded = true;
        input.consume(zeros);
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let member = self.member.as_mut().expect("between two reads there is a member");
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() || !self.next_member()? {
                return Ok(read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        // One byte at a time: a member, or its padding, may end anywhere in the buffer.
        let mut text = Vec::new();
        Members::new(io::BufReader::with_capacity(1, bytes)).read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn members_follow_each_other_and_zeros_may_pad_the_end() {
        let two = [member(b"one"), member(b""), member(b" two")].concat();
        assert_eq!(read(&two).unwrap(), b"one two");
        assert_eq!(read(&[two.clone(), vec![0; 700]].concat()).unwrap(), b"one two");
        for damaged in [
            [two.clone(), b"note".to_vec()].concat(),
            [two.clone(), vec![0; 9], member(b"x")].concat(),
            two[..two.len() - 3].to_vec(),
        ] {
            assert!(read(&damaged).is_err());
        }
    }
}
