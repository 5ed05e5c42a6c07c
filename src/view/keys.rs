//! A key as JSON, for the command line and for `/keys`: everything but its secret.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::model::key::{ApiKey, KeyState};

pub fn key_json(key: &ApiKey, now: DateTime<Utc>) -> Value {
    let state = key.state(now);
    let rotating_until = match state {
        KeyState::Rotating(until) => Some(until),
        _ => None,
    };
    json!({
        "id": key.id,
        "name": key.name,
        "project": key.project_name,
        "project_id": key.project.0,
        "scopes": key.scopes.words(),
        "quota": key.quota,
        "state": state.word(),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "rotating_until": rotating_until,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_user_agent": key.last_user_agent,
    })
}

/// The same with the key itself, which is shown once.
pub fn new_key_json(key: &ApiKey, text: &str, now: DateTime<Utc>) -> Value {
    let mut shown = key_json(key, now);
    shown["key"] = text.into();
    shown
}
