//! Digests of stored bytes.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// An XXH3-128 digest, written as 32 lower-case hex digits. Finds damage, not forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl Digest {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// That of everything that was hashed.
    pub fn of_hashed(hash: &Xxh3) -> Self {
        Self(hash.digest128())
    }

    /// That of all that a reader gives.
    ///
    /// # Errors
    /// What the reader fails with.
    pub fn of_read(mut from: impl io::Read) -> io::Result<Self> {
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match from.read(&mut buffer)? {
                0 => return Ok(Self::of_hashed(&hash)),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    /// The digest with this number.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u128 {
        self.0
    }
}

/// A writer that takes the digest of what it writes.
pub struct DigestWriter<W> {
    to: W,
    hash: Xxh3,
}

impl<W: io::Write> DigestWriter<W> {
    /// One that has written nothing yet.
    pub fn new(to: W) -> Self {
        Self { to, hash: Xxh3::new() }
    }

    /// What it wrote to, and the digest of all that it wrote.
    pub fn finish(self) -> (W, Digest) {
        (self.to, Digest::of_hashed(&self.hash))
    }
}

impl<W: io::Write> io::Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The digest of some bytes as text.
pub fn xxh3_hex(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 lower-case hex digits, found {0:?}")]
pub struct DigestError(pub String);

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let is_digit = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        let digits = (text.len() == 32 && text.as_bytes().iter().all(is_digit)).then_some(text);
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| DigestError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_writer_takes_in_pieces_has_the_digest_of_the_whole() {
        let mut out = [0u8; 5];
        let mut writer = DigestWriter::new(&mut out[..]);
        writer.write_all(b"by").unwrap();
        // Only what there was room for counts.
        assert_eq!(writer.write(b"tes and more").unwrap(), 3);
        assert_eq!(writer.finish().1, Digest::of(b"bytes"));
        assert_eq!(&out, b"bytes");
    }

    #[test]
    fn digests_are_written_and_read() {
        let digest = Digest::of(b"bytes");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::of_read(&b"bytes"[..]).unwrap(), digest);
        assert_eq!(Digest::new(0xab).to_string(), format!("{:0>32}", "ab"));
        for bad in
            ["", "ab", &"g".repeat(32), &"A".repeat(32), &format!("+{}", "1".repeat(31)), &"é".repeat(16)]
        {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError(bad.to_owned())));
        }
    }
}
