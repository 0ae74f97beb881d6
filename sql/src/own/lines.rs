//! Lines of the records of delimited text, which its reader does not say.

use std::io::BufRead;

/// The line on which a record begins: lines from 1, records from 0, the header among them.
pub(super) fn line_of(text: impl BufRead, delimiter: u8, record: usize) -> std::io::Result<u64> {
    let is_break = |byte: u8| matches!(byte, b'\n' | b'\r');
    let (mut line, mut left) = (1, record);
    let (mut before, mut quoted, mut closed) = (b'\n', false, false);
    for byte in text.bytes() {
        let byte = byte?;
        if !quoted && is_break(before) && !is_break(byte) {
            match left.checked_sub(1) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        let is_quote = byte == b'"';
        // A quote that is doubled closes and opens again.
        let opens = is_quote && !quoted && (closed || before == delimiter || is_break(before));
        closed = is_quote && quoted;
        quoted = opens || quoted && !is_quote;
        line += u64::from(byte == b'\n');
        before = byte;
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_editor() {
        for end in ["\n", "\r\n"] {
            let text = "a,b|\"x|\"\"|y\",1|||5\" disk,\"\"|z,2|".replace('|', end);
            let lines: Vec<u64> =
                (0..4).map(|record| line_of(text.as_bytes(), b',', record).unwrap()).collect();
            assert_eq!(lines, [1, 2, 7, 8], "{text:?}");
        }
    }
}
