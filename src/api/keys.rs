//! `/keys`: the keys of the project of the key that asks, which needs the scope admin.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use crate::api::{Api, key_bodies, store_failed};
use crate::auth::{hash, secret};
use crate::model::key::{ApiKey, Scope};
use crate::native::Fault;
use crate::pipeline::Refusal;
use crate::receiver::body::{Incoming, compression_of, json_of};
use crate::receiver::inflate::Compression;
use crate::receiver::status::json_refusal;
use crate::store::{NewKey, StoreError};
use crate::view::keys::{key_json, new_key_json};

/// Longest body; what is asked for takes a few hundred bytes.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// A request that was not done.
pub enum Failure {
    Refused(Refusal),
    Faults(Vec<Fault>),
    /// No such key, or one of another project: nobody can tell which.
    NotFound,
    /// The key is not live, in this word.
    Ended(&'static str),
    Store(StoreError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Failure {
        Failure::Faults(faults)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Failure::Refused(refusal) => return json_refusal(&refusal),
            Failure::Store(error) => return store_failed(&error),
            Failure::Faults(faults) => (StatusCode::UNPROCESSABLE_ENTITY, json!(faults)),
            Failure::NotFound => (StatusCode::NOT_FOUND, json!("Key not found")),
            Failure::Ended(state) => {
                let why = format!("the key is {state}: only a live key can be rotated, create another");
                (StatusCode::CONFLICT, json!(why))
            }
        };
        (status, axum::Json(json!({"detail": detail}))).into_response()
    }
}

type Answer = Result<Response, Failure>;

pub async fn list(State(api): State<Arc<Api>>, head: Parts) -> Answer {
    let admin = api.pipeline.authenticate(&head, Scope::Admin).await?;
    let (keys, now) = (api.store.keys(Some(admin.project)).await?, Utc::now());
    let items = Value::from_iter(keys.iter().map(|key| key_json(key, now)));
    Ok(axum::Json(json!({"items": items})).into_response())
}

pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let (admin, body) = asked(&api, request).await?;
    let now = Utc::now();
    let wanted = key_bodies::wanted(&body, now)?;
    let (text, id) = secret::generate();
    let new = NewKey {
        id,
        name: wanted.name,
        project: admin.project,
        scopes: wanted.scopes,
        quota: wanted.quota,
        secret_hash: hash(&text),
        expires_at: wanted.expires_at,
    };
    let made = api.store.add_key(new, now).await?;
    Ok((StatusCode::CREATED, axum::Json(new_key_json(&made, &text, now))).into_response())
}

pub async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>, head: Parts) -> Answer {
    let admin = api.pipeline.authenticate(&head, Scope::Admin).await?;
    shown(&api, &admin, &id).await
}

pub async fn change(State(api): State<Arc<Api>>, Path(id): Path<String>, request: Request) -> Answer {
    let (admin, body) = asked(&api, request).await?;
    let key = api.store.project_key(admin.project, &id).await?.ok_or(Failure::NotFound)?;
    let changes = key_bodies::changes(&body, &key.quota)?;
    match api.store.change_key(admin.project, &id, &changes).await? {
        true => shown(&api, &admin, &id).await,
        false => Err(Failure::NotFound),
    }
}

pub async fn rotate(State(api): State<Arc<Api>>, Path(id): Path<String>, request: Request) -> Answer {
    let (admin, body) = asked(&api, request).await?;
    let now = Utc::now();
    let until = key_bodies::overlap(&body, now)?;
    let text = secret::generate_for(&id);
    let is_rotated = api.store.rotate_key(admin.project, &id, hash(&text), until, now).await?;
    let key = api.store.project_key(admin.project, &id).await?.ok_or(Failure::NotFound)?;
    match is_rotated {
        true => Ok(axum::Json(new_key_json(&key, &text, now)).into_response()),
        false => Err(Failure::Ended(key.state(now).word())),
    }
}

pub async fn revoke(State(api): State<Arc<Api>>, Path(id): Path<String>, head: Parts) -> Answer {
    let admin = api.pipeline.authenticate(&head, Scope::Admin).await?;
    match api.store.revoke_key(admin.project, &id, Utc::now()).await? {
        true => shown(&api, &admin, &id).await,
        false => Err(Failure::NotFound),
    }
}

async fn shown(api: &Api, admin: &ApiKey, id: &str) -> Answer {
    let key = api.store.project_key(admin.project, id).await?.ok_or(Failure::NotFound)?;
    Ok(axum::Json(key_json(&key, Utc::now())).into_response())
}

/// Who asks, and for what. No body asks for the usual.
async fn asked(api: &Api, request: Request) -> Result<(Arc<ApiKey>, Value), Failure> {
    let (head, body) = request.into_parts();
    let admin = api.pipeline.authenticate(&head, Scope::Admin).await?;
    if compression_of(&head.headers)? != Compression::None {
        return Err(Refusal::Unsupported("this body is short: send it without Content-Encoding".into()).into());
    }
    Ok((admin, json_in(api, body).await?))
}

async fn json_in(api: &Api, body: Body) -> Result<Value, Refusal> {
    let deadline = Instant::now() + api.pipeline.hold;
    let mut incoming = Incoming::new(&api.pipeline, body, BODY_BYTES_MAX, deadline).await?;
    loop {
        match incoming.more().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(Refusal::TooLarge { .. }) => return Err(Refusal::TooLarge { limit_bytes: BODY_BYTES_MAX }),
            Err(other) => return Err(other),
        }
    }
    let (bytes, _room) = incoming.finish();
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    json_of(&bytes)
}
