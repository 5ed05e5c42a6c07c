//! An API key as the store knows it: never the secret, only its hash.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::model::id::ProjectId;
use crate::model::quota::Quota;

#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The eight letters after `vos_`; it may be shown.
    pub id: String,
    pub name: Option<String>,
    pub project: ProjectId,
    pub project_name: String,
    pub scopes: Scopes,
    pub quota: Quota,
    /// SHA-256 of the whole key.
    pub secret_hash: [u8; 32],
    /// The secret before the last rotation.
    pub previous: Option<PreviousSecret>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    /// The `User-Agent` of that use, such as `OTel-OTLP-Exporter-Python/1.44.0`.
    pub last_user_agent: Option<String>,
}

/// A secret that was replaced; it works beside the new one until its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    pub hash: [u8; 32],
    pub until: DateTime<Utc>,
}

/// What becomes of a request with a key. Of an expired and revoked key the revocation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Live,
    /// Live, with two secrets until then.
    Rotating(DateTime<Utc>),
    Expired,
    Revoked,
}

impl KeyState {
    pub fn word(self) -> &'static str {
        match self {
            KeyState::Live => "live",
            KeyState::Rotating(_) => "rotating",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        }
    }
}

impl ApiKey {
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        match self.previous {
            _ if self.revoked_at.is_some() => KeyState::Revoked,
            _ if self.expires_at.is_some_and(|end| end <= now) => KeyState::Expired,
            Some(previous) if now < previous.until => KeyState::Rotating(previous.until),
            _ => KeyState::Live,
        }
    }

    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        matches!(self.state(now), KeyState::Live | KeyState::Rotating(_))
    }
}

/// What is changed of a key that exists; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyChanges {
    pub name: Option<Option<String>>,
    /// The whole of it.
    pub quota: Option<Quota>,
    /// `Some(None)`: never.
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Ingest,
    Read,
    Admin,
}

/// What a key may do. Written as `ingest,read,admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes {
    pub ingest: bool,
    pub read: bool,
    pub admin: bool,
}

impl Scopes {
    /// What a key gets unless told otherwise: it sends and it reads.
    pub const INGEST_AND_READ: Scopes = Scopes { ingest: true, read: true, admin: false };

    pub fn allow(self, scope: Scope) -> bool {
        match scope {
            Scope::Ingest => self.ingest,
            Scope::Read => self.read,
            Scope::Admin => self.admin,
        }
    }

    pub fn words(self) -> Vec<&'static str> {
        [(self.ingest, "ingest"), (self.read, "read"), (self.admin, "admin")]
            .into_iter()
            .filter_map(|(on, word)| on.then_some(word))
            .collect()
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Scopes, String> {
        let mut scopes = Scopes::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "ingest" => scopes.ingest = true,
                "read" => scopes.read = true,
                "admin" => scopes.admin = true,
                other => return Err(format!("unknown scope {other:?}: expected some of ingest, read, admin")),
            }
        }
        Ok(scopes)
    }
}
