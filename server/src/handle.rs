//! Handles of statements: a question in the hands of the client, signed so that only what this store's server
//! made is taken back.
//!
//! The server remembers nothing of them: a handle works as long as the store has its key, also after a
//! restart. Who may ask what is settled again whenever one comes back.

use gstore_store::Snapshot;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use tonic::Status;

const SIGNATURE: usize = 32;

/// What a ticket or a prepared statement stands for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QuestionHandle {
    /// The snapshot that answers; the newest where none is named.
    #[prost(message, optional, tag = "1")]
    pub(crate) snapshot: Option<PinnedSnapshot>,
    /// Tells two askings of the same question apart, so that one can be stopped.
    #[prost(fixed64, tag = "2")]
    pub(crate) nonce: u64,
    #[prost(oneof = "Question", tags = "3, 4, 5")]
    pub(crate) question: Option<Question>,
}

/// A snapshot that is named.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PinnedSnapshot {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// Digest of its root, as a restored store gives the number to another; empty where a client has only the
    /// number.
    #[prost(bytes = "vec", tag = "2")]
    root: Vec<u8>,
}

impl PinnedSnapshot {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let root = snapshot.digest().number().to_be_bytes().to_vec();
        Self { number: snapshot.number(), root }
    }

    /// One of a number alone, whatever its root.
    pub(crate) fn numbered(number: u64) -> Self {
        Self { number, root: Vec::new() }
    }

    /// Whether a snapshot of the number is the one that is named.
    pub(crate) fn is(&self, snapshot: &Snapshot) -> bool {
        self.root.is_empty() || *self == Self::of(snapshot)
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Question {
    #[prost(message, tag = "3")]
    Statement(Statement),
    /// Vectors as they are stored.
    #[prost(message, tag = "4")]
    Vectors(Vectors),
    /// Scores of every row with every target sample.
    #[prost(message, tag = "5")]
    Matrix(Matrix),
}

impl Question {
    /// A statement without parameters.
    pub(crate) fn of_sql(sql: String) -> Self {
        Self::Statement(Statement { sql, ..Statement::default() })
    }
}

/// A statement with the values of its parameters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Statement {
    #[prost(string, tag = "1")]
    pub(crate) sql: String,
    /// One row of values as an Arrow IPC stream; empty where there are none.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) values: Vec<u8>,
    /// Whether it was made of a request of plain Flight, so that its client has written no SQL.
    #[prost(bool, tag = "3")]
    pub(crate) made: bool,
}

impl Statement {
    /// The SQL that its client has written.
    pub(crate) fn written(&self) -> Option<&str> {
        (!self.made).then_some(self.sql.as_str())
    }
}

/// Stored vectors of some rows.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Vectors {
    #[prost(string, tag = "1")]
    pub(crate) dataset: String,
    /// Label or number of the feature.
    #[prost(string, tag = "2")]
    pub(crate) feature: String,
    #[prost(uint64, tag = "3")]
    pub(crate) first: u64,
    /// The row after the last.
    #[prost(uint64, tag = "4")]
    pub(crate) end: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Matrix {
    /// The question as JSON.
    #[prost(string, tag = "1")]
    pub(crate) spec: String,
}

impl QuestionHandle {
    pub(crate) fn new(snapshot: Option<PinnedSnapshot>, question: Question) -> Self {
        let nonce = uuid::Uuid::new_v4().as_u64_pair().1;
        Self { snapshot, nonce, question: Some(question) }
    }
}

#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// With a key of any length.
    pub(crate) fn new(key: &[u8]) -> Result<Self, Status> {
        let mac = Hmac::new_from_slice(key)
            .map_err(|_| Status::internal("the key of signatures cannot be used"))?;
        Ok(Self(mac))
    }

    pub(crate) fn sign(&self, handle: &QuestionHandle) -> Vec<u8> {
        let message = handle.encode_to_vec();
        let mut mac = self.0.clone();
        mac.update(&message);
        let mut signed = mac.finalize().into_bytes().to_vec();
        signed.extend(message);
        signed
    }

    pub(crate) fn open(&self, bytes: &[u8]) -> Result<QuestionHandle, Status> {
        let foreign =
            || Status::invalid_argument("the handle was not made by a server of this store; ask again");
        let (signature, message) = bytes.split_at_checked(SIGNATURE).ok_or_else(foreign)?;
        let mut mac = self.0.clone();
        mac.update(message);
        mac.verify_slice(signature).map_err(|_| foreign())?;
        QuestionHandle::decode(message).map_err(|_| foreign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_taken_back() {
        let signer = Signer::new(b"key").unwrap();
        let statement = Statement { sql: "SELECT 1".into(), values: vec![1, 2], made: true };
        let pinned = || Some(PinnedSnapshot { number: 3, root: vec![4] });
        let handle = QuestionHandle::new(pinned(), Question::Statement(statement));
        let signed = signer.sign(&handle);
        assert_eq!(signer.open(&signed).unwrap(), handle);
        assert_ne!(signer.sign(&QuestionHandle::new(pinned(), handle.question.clone().unwrap())), signed);
        for at in [0, 31, 32, signed.len() - 1] {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert!(signer.open(&changed).is_err(), "{at}");
        }
        for short in [&signed[..31], &signed[..32], b""] {
            assert!(signer.open(short).is_err());
        }
        assert!(Signer::new(b"another").unwrap().open(&signed).is_err());
    }
}
