//! Every member of a compressed file, one after another, whatever compressed them.
//!
//! In → compressed bytes; out → the bytes of all members: gzip's (RFC 1952, section 2.2: a file is
//! a sequence of members), zstd's frames (RFC 8878, section 3), bzip2's streams (as `cat` and
//! `pbzip2` make them). Zero bytes that pad a gzip file to a block, as tape and some object stores
//! do, are no member and no damage, as in gzip itself; anything else after a member is damage, and
//! named. Cost: the decoder's, and one more a member.

use std::io::{self, BufRead, Read};

use crate::source::look;

/// A decoder that ends with its member.
pub(super) trait Member<R>: Read + Sized {
    /// What it is called in messages.
    const NAME: &'static str;
    /// Whether zero bytes may pad the end of a file.
    const MAY_BE_PADDED: bool;

    /// Stands at the first byte of a member.
    fn open(input: R) -> io::Result<Self>;
    /// The compressed bytes' reader.
    fn input(&self) -> &R;
    /// The same reader, past the member's end when all of it was read.
    fn into_input(self) -> R;
    /// Whether a member may begin with this byte.
    fn begins_with(byte: u8) -> bool;
}

impl<R: BufRead> Member<R> for flate2::bufread::GzDecoder<R> {
    const NAME: &'static str = "gzip";
    const MAY_BE_PADDED: bool = true;

    fn open(input: R) -> io::Result<Self> {
        Ok(flate2::bufread::GzDecoder::new(input))
    }

    fn input(&self) -> &R {
        self.get_ref()
    }

    fn into_input(self) -> R {
        self.into_inner()
    }

    fn begins_with(byte: u8) -> bool {
        byte == 0x1f
    }
}

impl<R: BufRead> Member<R> for bzip2::bufread::BzDecoder<R> {
    const NAME: &'static str = "bzip2";
    const MAY_BE_PADDED: bool = false;

    fn open(input: R) -> io::Result<Self> {
        Ok(bzip2::bufread::BzDecoder::new(input))
    }

    fn input(&self) -> &R {
        self.get_ref()
    }

    fn into_input(self) -> R {
        self.into_inner()
    }

    fn begins_with(byte: u8) -> bool {
        byte == b'B'
    }
}

/// The largest zstd window that is accepted: 2^31 bytes, what `zstd --long=31` writes.
const WINDOW_LOG_MAX: u32 = 31;

impl<R: BufRead> Member<R> for zstd::stream::read::Decoder<'static, R> {
    const NAME: &'static str = "zstd";
    const MAY_BE_PADDED: bool = false;

    fn open(input: R) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(decoder)
    }

    fn input(&self) -> &R {
        self.get_ref()
    }

    fn into_input(self) -> R {
        self.finish()
    }

    fn begins_with(byte: u8) -> bool {
        // The first byte of a frame, or of a skippable one.
        byte == 0x28 || (0x50..=0x5f).contains(&byte)
    }
}

/// A reader over the members.
pub(super) struct Members<R, M> {
    /// `None` only while one member gives way to the next.
    member: Option<M>,
    input: std::marker::PhantomData<R>,
}

impl<R: BufRead, M: Member<R>> Members<R, M> {
    pub(super) fn new(input: R) -> io::Result<Members<R, M>> {
        Ok(Members { member: Some(M::open(input)?), input: std::marker::PhantomData })
    }

    /// The compressed bytes' reader.
    pub(super) fn input(&self) -> &R {
        self.member.as_ref().expect("between two reads there is a member").input()
    }

    /// Opens the next member; false at the end of the input.
    fn next_member(&mut self) -> io::Result<bool> {
        let mut input = self.member.take().expect("there is a member").into_input();
        let more = pass_padding::<R, M>(&mut input);
        self.member = Some(M::open(input)?);
        more
    }
}

/// Whether another member begins; what pads the end of the input is read past.
fn pass_padding<R: BufRead, M: Member<R>>(input: &mut R) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let buffer = input.fill_buf()?;
        let Some(first) = buffer.first() else { return Ok(false) };
        if !padded && M::begins_with(*first) {
            return Ok(true);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros < buffer.len() || !M::MAY_BE_PADDED {
            let found = match zeros {
                0 => look::excerpt(buffer),
                zeros if zeros == buffer.len() => format!("zero bytes: {}", look::excerpt(buffer)),
                _ => format!("zero bytes, then {}", look::excerpt(&buffer[zeros..])),
            };
            let name = M::NAME;
            let message = format!("something else than {name} data follows {name} data: {found}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        padded = true;
        input.consume(zeros);
    }
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
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

    type Input<'a> = io::BufReader<&'a [u8]>;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(text: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    fn read<'a, M: Member<Input<'a>>>(bytes: &'a [u8]) -> io::Result<Vec<u8>> {
        // One byte at a time: a member, or its padding, may end anywhere in the buffer.
        let mut text = Vec::new();
        let input = io::BufReader::with_capacity(1, bytes);
        Members::<_, M>::new(input)?.read_to_end(&mut text).map(|_| text)
    }

    fn check(
        member: fn(&[u8]) -> Vec<u8>,
        read: fn(&[u8]) -> io::Result<Vec<u8>>,
        may_be_padded: bool,
    ) {
        let two = [member(b"one"), member(b""), member(b" two")].concat();
        assert_eq!(read(&two).unwrap(), b"one two");
        let padded = read(&[two.clone(), vec![0; 700]].concat());
        match may_be_padded {
            true => assert_eq!(padded.unwrap(), b"one two"),
            false => assert!(padded.unwrap_err().to_string().contains("zero bytes")),
        }
        for damaged in [
            [two.clone(), b"note".to_vec()].concat(),
            [two.clone(), vec![0; 9], member(b"x")].concat(),
            two[..two.len() - 3].to_vec(),
        ] {
            assert!(read(&damaged).is_err());
        }
    }

    #[test]
    fn members_follow_each_other_and_zeros_pad_only_gzip() {
        check(gzip, |bytes| read::<flate2::bufread::GzDecoder<_>>(bytes), true);
        check(bzip2, |bytes| read::<bzip2::bufread::BzDecoder<_>>(bytes), false);
        check(zstd, |bytes| read::<zstd::stream::read::Decoder<_>>(bytes), false);
    }
}
