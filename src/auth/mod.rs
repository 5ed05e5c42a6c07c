//! Who is asking: the key in the headers, checked against the store through a bounded cache.

pub mod credentials;
pub mod secret;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;

use crate::model::key::{ApiKey, Scope, Scopes};
use crate::model::quota::Quota;
use crate::store::{Store, StoreError};

/// A key that was found is believed this long; a revocation takes effect on every replica within it.
const FRESH: Duration = Duration::from_secs(4);
/// An id that was not found is believed this long, so that a key works soon after it is made.
const FRESH_ABSENT: Duration = Duration::from_secs(1);
/// While the store is away, a key that was good is good this much longer.
const STALE_GRACE: Duration = Duration::from_secs(60);
/// How long a request with such a key waits for the store's word: a store that is away is waited for by the commit, whose
/// time is measured so that the sender's own patience lasts for a second try.
const STALE_WAIT: Duration = Duration::from_millis(250);
/// Ids in the cache; made-up ones cannot grow it further.
const CACHED_KEYS_MAX: u64 = 50_000;

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
    Unavailable(StoreError),
}

pub struct Authenticator {
    store: Arc<dyn Store>,
    cache: Cache<String, Looked>,
    /// The hash of `auth.api_key`, and its key once its project is known.
    fixed: Option<([u8; 32], OnceCell<Arc<ApiKey>>)>,
    used: Mutex<HashMap<String, String>>,
}

#[derive(Clone)]
struct Looked {
    key: Option<Arc<ApiKey>>,
    at: Instant,
}

impl Authenticator {
    /// `api_key` is the setting `auth.api_key`; empty means none.
    pub fn new(store: Arc<dyn Store>, api_key: &str) -> Authenticator {
        Authenticator {
            store,
            cache: Cache::new(CACHED_KEYS_MAX),
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
        let presented_hash = hash(presented);
        let key = match &self.fixed {
            Some((fixed_hash, cell)) if bool::from(fixed_hash.ct_eq(&presented_hash)) => self.fixed_key(cell).await?,
            _ => self.stored_key(presented, &presented_hash, user_agent).await?,
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
        let key = self.cache.get(secret::id_of(presented)?)?.key?;
        bool::from(key.secret_hash.ct_eq(&presented_hash)).then_some(key)
    }

    /// The keys that were used since the last call, by id, each with the user agent that used it last.
    pub fn take_used(&self) -> HashMap<String, String> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn stored_key(
        &self,
        presented: &str,
        presented_hash: &[u8; 32],
        user_agent: &str,
    ) -> Result<Arc<ApiKey>, AuthError> {
        let id = secret::id_of(presented).ok_or(AuthError::Invalid)?;
        let key = self.look_up(id).await?.ok_or(AuthError::Invalid)?;
        let equal = bool::from(key.secret_hash.ct_eq(presented_hash));
        if !equal || !key.is_live(Utc::now()) {
            return Err(AuthError::Invalid);
        }
        self.note_use(&key.id, user_agent);
        Ok(key)
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

    async fn look_up(&self, id: &str) -> Result<Option<Arc<ApiKey>>, AuthError> {
        let cached = self.cache.get(id);
        if let Some(looked) = &cached {
            let fresh = if looked.key.is_some() { FRESH } else { FRESH_ABSENT };
            if looked.at.elapsed() < fresh {
                return Ok(looked.key.clone());
            }
        }
        match cached {
            Some(Looked { key: Some(key), at }) if at.elapsed() < STALE_GRACE => {
                // A task, so that an answer which comes after this request went on still counts for the next one.
                let asked = tokio::spawn(ask(self.store.clone(), self.cache.clone(), id.to_owned()));
                match tokio::time::timeout(STALE_WAIT, asked).await {
                    Ok(Ok(Ok(found))) => Ok(found),
                    _ => Ok(Some(key)),
                }
            }
            _ => ask(self.store.clone(), self.cache.clone(), id.to_owned()).await.map_err(AuthError::Unavailable),
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
                created_at: now,
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
                last_user_agent: None,
            }))
        });
        made.await.cloned().map_err(AuthError::Unavailable)
    }
}

/// Looks a key up in the store and keeps what it finds.
async fn ask(
    store: Arc<dyn Store>,
    cache: Cache<String, Looked>,
    id: String,
) -> Result<Option<Arc<ApiKey>>, StoreError> {
    let key = store.key(&id).await?.map(Arc::new);
    cache.insert(id, Looked { key: key.clone(), at: Instant::now() });
    Ok(key)
}

/// The project of the first key and of `API_KEY`.
pub const DEFAULT_PROJECT: &str = "default";

/// SHA-256 of a whole key: what the store keeps. The secret has 190 bits of chance, so a slow hash would add nothing.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
