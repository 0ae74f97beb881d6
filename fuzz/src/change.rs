//! Random changes of inputs, from a seed.

use gstore_core::{MIX_STEP, mix};

/// A small generator of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(MIX_STEP);
        mix(self.0)
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.number() % n as u64) as usize }
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = (len - start).min(1 << self.below(9));
        start..start + self.below(most + 1)
    }
}

/// Integers at which arithmetic goes wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// No input becomes longer than this.
const LONGEST: usize = 64 << 10;

/// A changed copy of `input`, with one to sixteen changes of bits, bytes, blocks, integers or words, or by
/// parts of `other`.
pub fn changed(input: &[u8], other: &[u8], words: &[&[u8]], r: &mut Random) -> Vec<u8> {
    let mut data = input.to_vec();
    for _ in 0..1 << r.below(5) {
        change(&mut data, other, words, r);
        data.truncate(LONGEST);
    }
    data
}

fn change(data: &mut Vec<u8>, other: &[u8], words: &[&[u8]], r: &mut Random) {
    let n = data.len();
    match r.below(12) {
        0 | 1 if n > 0 => data[r.below(n)] ^= 1 << r.below(8),
        2 if n > 0 => data[r.below(n)] = r.number() as u8,
        3 => {
            let part = data[r.range(n)].to_vec();
            let at = r.below(n + 1);
            data.splice(at..at, part);
        }
        4 => drop(data.drain(r.range(n))),
        5 => {
            let part: Vec<u8> = (0..r.below(8)).map(|_| r.number() as u8).collect();
            let at = r.below(n + 1);
            data.splice(at..at, part);
        }
        6 if r.below(4) == 0 => data.truncate(r.below(n + 1)),
        7 | 8 => {
            let width = 1 << r.below(4);
            let edge = EDGES[r.below(EDGES.len())].wrapping_add(r.below(3) as u64).wrapping_sub(1);
            let mut bytes = edge.to_le_bytes()[..width].to_vec();
            if r.below(3) == 0 {
                bytes.reverse();
            }
            if r.below(4) == 0 {
                bytes = edge.to_string().into_bytes();
            }
            let at = r.below(n + 1);
            let end = if r.below(2) == 0 { (at + bytes.len()).min(n) } else { at };
            data.splice(at..end, bytes);
        }
        9 if !words.is_empty() => {
            let at = r.below(n + 1);
            data.splice(at..at, words[r.below(words.len())].iter().copied());
        }
        10 => {
            let part = other[r.range(other.len())].to_vec();
            let at = r.below(n + 1);
            let end = (at + r.below(part.len() + 1)).min(n);
            data.splice(at..end, part);
        }
        11 if r.below(4) == 0 => {
            let (cut, from) = (r.below(n + 1), r.below(other.len() + 1));
            data.truncate(cut);
            data.extend_from_slice(&other[from..]);
        }
        _ => {}
    }
}
