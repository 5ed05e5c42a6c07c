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
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    /// The `User-Agent` of that use, such as `OTel-OTLP-Exporter-Python/1.44.0`.
    pub last_user_agent: Option<String>,
}

impl ApiKey {
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
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
