//! A request as it is kept: what came, and what is needed to send it the rest of its way later.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::model::id::ProjectId;
use crate::otlp::Encoding;
use crate::telemetry::Transport;

/// A request that was read, checked and let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub project: ProjectId,
    /// Of the key that sent it.
    pub key_id: String,
    pub content: Content,
    pub transport: Transport,
    pub received_at: DateTime<Utc>,
    /// As sent, before inflating.
    pub sent_bytes: u64,
    /// After inflating.
    pub body: Bytes,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Traces(Encoding),
    Logs(Encoding),
    /// One native run, with the id that its sender was told.
    Run(Uuid),
}

impl Content {
    /// As it stands in the file.
    pub(super) fn word(self) -> &'static str {
        match self {
            Content::Traces(Encoding::Protobuf) => "traces/protobuf",
            Content::Traces(Encoding::Json) => "traces/json",
            Content::Logs(Encoding::Protobuf) => "logs/protobuf",
            Content::Logs(Encoding::Json) => "logs/json",
            Content::Run(_) => "run",
        }
    }

    pub(super) fn run_id(self) -> Option<Uuid> {
        match self {
            Content::Run(run_id) => Some(run_id),
            Content::Traces(_) | Content::Logs(_) => None,
        }
    }

    pub(super) fn read(word: &str, run_id: Option<Uuid>) -> Option<Content> {
        Some(match (word, run_id) {
            ("traces/protobuf", None) => Content::Traces(Encoding::Protobuf),
            ("traces/json", None) => Content::Traces(Encoding::Json),
            ("logs/protobuf", None) => Content::Logs(Encoding::Protobuf),
            ("logs/json", None) => Content::Logs(Encoding::Json),
            ("run", Some(run_id)) => Content::Run(run_id),
            _ => return None,
        })
    }
}

impl Kept {
    /// What the request takes of the spool's room: its body, and about what a row needs beside it.
    pub fn room_bytes(&self) -> u64 {
        room_bytes(self.body.len() as u64)
    }

    /// The hash over all of it, by which a damaged row is known.
    pub(super) fn hash(&self) -> [u8; 16] {
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&self.project.0.to_le_bytes());
        add(self.key_id.as_bytes());
        add(self.content.word().as_bytes());
        add(self.content.run_id().unwrap_or_default().as_bytes());
        add(self.transport.word().as_bytes());
        add(&self.received_at.timestamp_micros().to_le_bytes());
        add(&self.sent_bytes.to_le_bytes());
        add(&self.body);
        hash.digest128().to_le_bytes()
    }
}

/// Of a row beside its body.
const ROW_BYTES: u64 = 256;

pub(super) fn room_bytes(body_bytes: u64) -> u64 {
    body_bytes.saturating_add(ROW_BYTES)
}

/// The file keeps microseconds.
pub(super) fn to_micros(moment: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(moment.timestamp_micros()).unwrap_or(moment)
}

pub(super) fn transport_of(word: &str) -> Option<Transport> {
    [Transport::Grpc, Transport::Http, Transport::Native].into_iter().find(|transport| transport.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_every_field() {
        let run = Content::Run(Uuid::from_u128(1));
        let kept = Kept {
            project: ProjectId(1),
            key_id: "abc".into(),
            content: run,
            transport: Transport::Native,
            received_at: DateTime::UNIX_EPOCH,
            sent_bytes: 7,
            body: Bytes::from_static(b"{}"),
        };
        let others = [
            Kept { project: ProjectId(2), ..kept.clone() },
            Kept { key_id: "abd".into(), ..kept.clone() },
            Kept { content: Content::Run(Uuid::from_u128(2)), ..kept.clone() },
            Kept { content: Content::Traces(Encoding::Json), ..kept.clone() },
            Kept { transport: Transport::Http, ..kept.clone() },
            Kept { received_at: DateTime::from_timestamp_micros(1).unwrap(), ..kept.clone() },
            Kept { sent_bytes: 8, ..kept.clone() },
            Kept { body: Bytes::from_static(b"[]"), ..kept.clone() },
        ];
        assert_eq!(kept.hash(), kept.clone().hash());
        for other in others {
            assert_ne!(kept.hash(), other.hash(), "{other:?}");
        }
    }

    #[test]
    fn contents_are_read_as_they_were_written() {
        use Encoding::{Json, Protobuf};
        for content in [
            Content::Traces(Protobuf),
            Content::Traces(Json),
            Content::Logs(Protobuf),
            Content::Logs(Json),
            Content::Run(Uuid::from_u128(5)),
        ] {
            assert_eq!(Content::read(content.word(), content.run_id()), Some(content));
        }
        assert_eq!(Content::read("run", None), None);
        assert_eq!(Content::read("metrics/json", None), None);
    }
}
