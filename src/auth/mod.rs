//! Who is asking: the key in the headers, checked against the store through what is known of keys (`known`).

pub mod credentials;
mod known;
pub mod secret;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::model::key::{ApiKey, Scope, Scopes};
use crate::model::quota::Quota;
use crate::store::Store;

use known::{KnownKeys, Stored};

pub use known::NoWord;

/// A refused key is answered no earlier than this after it was looked at: whether its id is known or not, whatever is wrong
/// with it, the answer takes the same time. It also slows down who guesses.
pub const REFUSED_AFTER: Duration = Duration::from_millis(50);

/// While the key store is away, a key that was good is good until this age; the longer one where requests are kept in a
/// spool meanwhile.
pub const STALE_GRACE: Duration = Duration::from_secs(60);
pub const STALE_GRACE_WITH_SPOOL: Duration = Duration::from_secs(600);

/// Why a request is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(
        "no API key: send `Authorization: Bearer vos_…`, or set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20vos_…"
    )]
    Missing,
    #[error("sent Basic without a key; send `Authorization: Bearer vos_…`")]
    BasicWithoutKey,
    #[error("two different API keys in the headers: send one, as `Authorization: Bearer vos_…`")]
    Conflicting,
    #[error(
        "an API key does not belong into the address, where it gets into logs: send the header `Authorization: Bearer vos_…`"
    )]
    InQuery,
    /// Unknown, wrong, revoked and expired look the same from outside.
    #[error("invalid API key: it is unknown, revoked or expired, or was copied incompletely")]
    Invalid,
    #[error("this API key may not do that: it lacks the scope {0}")]
    Scope(&'static str),
    /// The key may be good, but nothing can tell now. Never answered as 401, which makes exporters drop data.
    #[error("keys cannot be checked right now, the key store is away")]
    Unavailable(NoWord),
}

pub struct Authenticator {
    store: Arc<dyn Store>,
    known: Arc<KnownKeys<Stored>>,
    /// The hash of `auth.api_key`, and its key once its project is known.
    fixed: Option<([u8; 32], OnceCell<Arc<ApiKey>>)>,
    used: Mutex<HashMap<String, String>>,
}

impl Authenticator {
    /// `api_key` is the setting `auth.api_key`; empty means none. `stale_grace` is one of the two above.
    pub fn new(store: Arc<dyn Store>, api_key: &str, stale_grace: Duration) -> Authenticator {
        Authenticator {
            known: Arc::new(KnownKeys::new(Stored(store.clone()), stale_grace)),
            store,
            fixed: (!api_key.is_empty()).then(|| (hash(api_key), OnceCell::new())),
            used: Mutex::default(),
        }
    }

    /// The key that `presented` is (the text from the headers), if it is alive and has the scope. The last `user_agent`
    /// that used a key is kept with it, so that its owner can tell who still does.
    pub async fn authenticate(
        &self,
        presented: Option<&str>,
        scope: Scope,
        user_agent: &str,
    ) -> Result<Arc<ApiKey>, AuthError> {
        let presented = presented.ok_or(AuthError::Missing)?;
        let looked_at = Instant::now();
        let presented_hash = hash(presented);
        let key = match &self.fixed {
            Some((fixed_hash, cell)) if bool::from(fixed_hash.ct_eq(&presented_hash)) => self.fixed_key(cell).await?,
            _ => match self.stored_key(presented, &presented_hash).await? {
                Some(key) => {
                    self.note_use(&key.id, user_agent);
                    key
                }
                None => {
                    tokio::time::sleep_until(looked_at + REFUSED_AFTER).await;
                    return Err(AuthError::Invalid);
                }
            },
        };
        if !key.scopes.allow(scope) {
            return Err(AuthError::Scope(match scope {
                Scope::Ingest => "ingest",
                Scope::Read => "read",
                Scope::Admin => "admin",
            }));
        }
        Ok(key)
    }

    /// The key that `presented` is, revoked and expired ones too, as far as the cache or the configuration tell: for the
    /// accounts of requests that were refused, and never to let one in.
    pub fn owner(&self, presented: &str) -> Option<Arc<ApiKey>> {
        let presented_hash = hash(presented);
        if let Some((fixed_hash, cell)) = &self.fixed
            && bool::from(fixed_hash.ct_eq(&presented_hash))
        {
            return cell.get().cloned();
        }
        self.known.owner(secret::id_of(presented)?, &presented_hash)
    }

    /// The keys that were used since the last call, by id, each with the user agent that used it last.
    pub fn take_used(&self) -> HashMap<String, String> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` whatever is wrong with it: cut, unknown, another secret, revoked or expired.
    async fn stored_key(&self, presented: &str, presented_hash: &[u8; 32]) -> Result<Option<Arc<ApiKey>>, AuthError> {
        match secret::id_of(presented) {
            Some(id) => self.known.admitted(id, presented_hash).await.map_err(AuthError::Unavailable),
            None => Ok(None),
        }
    }

    fn note_use(&self, id: &str, user_agent: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get_mut(id) {
            Some(last) if last == user_agent => {}
            Some(last) => user_agent.clone_into(last),
            None => {
                used.insert(id.to_owned(), user_agent.to_owned());
            }
        }
    }

    async fn fixed_key(&self, cell: &OnceCell<Arc<ApiKey>>) -> Result<Arc<ApiKey>, AuthError> {
        let made = cell.get_or_try_init(|| async {
            let now = Utc::now();
            let project = self.store.project(DEFAULT_PROJECT, now).await?;
            Ok(Arc::new(ApiKey {
                id: "API_KEY".into(),
                name: Some("API_KEY".into()),
                project,
                project_name: DEFAULT_PROJECT.into(),
                scopes: Scopes { ingest: true, read: true, admin: true },
                quota: Quota::default(),
                secret_hash: [0; 32],
                previous: None,
                created_at: now,
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
                last_user_agent: None,
            }))
        });
        made.await.cloned().map_err(|error| AuthError::Unavailable(NoWord::Store(Arc::new(error))))
    }
}

/// The project of the first key and of `API_KEY`.
pub const DEFAULT_PROJECT: &str = "default";

/// SHA-256 of a whole key: what the store keeps. The secret has 190 bits of chance, so a slow hash would add nothing.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
