//! One message of an answer, in parts.

use std::collections::VecDeque;

use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use prost::{encode_length_delimiter, length_delimiter_len};
use tonic::Status;

/// The keys of the fields of `FlightData`: numbers 2, 3 and 1000, each a run of bytes.
const HEADER: &[u8] = &[0x12];
const METADATA: &[u8] = &[0x1a];
const BODY: &[u8] = &[0xc2, 0x3e];
/// Bytes before a message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// Shorter parts are copied together: each part is a frame of its own, and a write.
const SHORT: usize = 16 << 10;

/// What a `FlightData` has, with the body in parts.
#[derive(Debug, Default)]
pub(crate) struct FlightMessage {
    pub(crate) header: Bytes,
    pub(crate) metadata: Bytes,
    pub(crate) body: Vec<Bytes>,
}

impl From<FlightData> for FlightMessage {
    fn from(data: FlightData) -> Self {
        Self { header: data.data_header, metadata: data.app_metadata, body: vec![data.data_body] }
    }
}

impl From<FlightMessage> for FlightData {
    fn from(message: FlightMessage) -> Self {
        let body = match <[Bytes; 1]>::try_from(message.body) {
            Ok([one]) => one,
            Err(parts) => parts.concat().into(),
        };
        FlightData::new()
            .with_data_header(message.header)
            .with_app_metadata(message.metadata)
            .with_data_body(body)
    }
}

impl FlightMessage {
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.body_len()
    }

    fn body_len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Adds its bytes as gRPC has them.
    ///
    /// # Errors
    /// A message of 4 GiB or more.
    pub(crate) fn frames(self, to: &mut VecDeque<Bytes>) -> Result<(), Status> {
        let body_len = self.body_len();
        let fields = [(HEADER, self.header.len()), (METADATA, self.metadata.len()), (BODY, body_len)];
        let field = |(key, len): &(&[u8], usize)| match len {
            0 => 0,
            len => key.len() + length_delimiter_len(*len) + len,
        };
        let length = fields.iter().map(field).sum::<usize>();
        let length = u32::try_from(length).map_err(|_| {
            Status::resource_exhausted(format!("a message of {length} bytes is longer than gRPC has"))
        })?;
        let mut short = BytesMut::with_capacity(PREFIX + 16 + self.header.len() + self.metadata.len());
        short.put_u8(0);
        short.put_u32(length);
        let begin = |key: &[u8], len: usize, short: &mut BytesMut| {
            short.reserve(key.len() + length_delimiter_len(len));
            short.put_slice(key);
            encode_length_delimiter(len, short)
                .map_err(|e| crate::status::internal("a message cannot be sent", &e))
        };
        for (key, bytes) in [(HEADER, &self.header), (METADATA, &self.metadata)] {
            if !bytes.is_empty() {
                begin(key, bytes.len(), &mut short)?;
                short.extend_from_slice(bytes);
            }
        }
        if body_len > 0 {
            begin(BODY, body_len, &mut short)?;
        }
        for part in self.body {
            match part.len() < SHORT {
                true => short.extend_from_slice(&part),
                false => {
                    to.extend([short.split().freeze(), part].into_iter().filter(|bytes| !bytes.is_empty()));
                }
            }
        }
        to.extend((!short.is_empty()).then(|| short.freeze()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_generated_encoding() {
        let long = Bytes::from(vec![7; SHORT + 3]);
        for body in [
            vec![],
            vec![Bytes::from_static(b"abc")],
            vec![Bytes::from_static(b"ab"), long.clone(), Bytes::from_static(b"c"), long.clone()],
        ] {
            for (header, metadata) in
                [(&b"head"[..], &b""[..]), (b"", b"note"), (b"head", b"note"), (b"", b"")]
            {
                let message = || FlightMessage {
                    header: Bytes::copy_from_slice(header),
                    metadata: Bytes::copy_from_slice(metadata),
                    body: body.clone(),
                };
                let mut frames = VecDeque::new();
                message().frames(&mut frames).unwrap();
                assert!(frames.iter().all(|frame| !frame.is_empty()));
                let all = Vec::from(frames).concat();
                let expected = FlightData::from(message()).encode_to_vec();
                assert_eq!(all[..PREFIX], [&[0], &(expected.len() as u32).to_be_bytes()[..]].concat());
                assert_eq!(FlightData::decode(&all[PREFIX..]).unwrap(), FlightData::from(message()));
                assert_eq!(all.len() - PREFIX, expected.len());
            }
        }
    }
}
