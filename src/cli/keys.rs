//! `vectoros keys …`: works while a server runs on the same database.

use std::sync::Arc;

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use serde_json::json;

use crate::app::open_store;
use crate::auth::{hash, secret};
use crate::config::Config;
use crate::model::key::{ApiKey, Scopes};
use crate::model::quota::Quota;
use crate::prices::Prices;
use crate::store::NewKey;

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it, once
    Create {
        /// The project it belongs to; created if absent
        #[arg(long)]
        project: String,
        #[arg(long)]
        name: Option<String>,
        /// Some of ingest,read,admin
        #[arg(long, default_value = "ingest,read", value_parser = str::parse::<Scopes>)]
        scope: Scopes,
        /// Such as requests=600/min,steps=100000/min,steps=5000000/day,bytes=512MiB/min
        #[arg(long, value_parser = str::parse::<Quota>)]
        quota: Option<Quota>,
        /// Such as 90d or 12h
        #[arg(long, value_parser = humantime::parse_duration)]
        expires: Option<std::time::Duration>,
        #[arg(long)]
        json: bool,
    },
    /// List keys: never the secrets
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a key; every replica refuses it within 5 s
    Revoke { id: String },
    /// Change what a key may send; what is not named stays as it is
    Quota {
        id: String,
        /// Such as requests=600/min,steps=unlimited
        #[arg(value_parser = str::parse::<Quota>)]
        quota: Quota,
    },
}

pub async fn run(config: &Config, command: KeysCommand) -> anyhow::Result<()> {
    let store = open_store(config, Arc::new(Prices::none())).await?;
    store.migrate().await?;
    match command {
        KeysCommand::Create { project, name, scope, quota, expires, json } => {
            let now = Utc::now();
            let expires_at = expires.map(|after| end_of(now, after)).transpose()?;
            let (key, id) = secret::generate();
            let new = NewKey {
                id,
                name,
                project_name: project,
                scopes: scope,
                quota: quota.unwrap_or_default(),
                secret_hash: hash(&key),
                expires_at,
            };
            let made = store.add_key(new, now).await?;
            if json {
                let mut shown = to_json(&made);
                shown["key"] = key.into();
                println!("{shown}");
            } else {
                println!("{key}");
                eprintln!("key {} of project {}: it is shown only now", made.id, made.project_name);
            }
        }
        KeysCommand::List { json } => {
            let keys = store.keys().await?;
            if json {
                println!("{}", json!(keys.iter().map(to_json).collect::<Vec<_>>()));
            } else {
                print_table(&keys);
            }
        }
        KeysCommand::Revoke { id } => {
            if !store.revoke_key(&id, Utc::now()).await? {
                bail!("there is no key {id:?}: `vectoros keys list` shows the ids");
            }
            println!("revoked {id}");
        }
        KeysCommand::Quota { id, quota } => {
            let Some(key) = store.key(&id).await? else {
                bail!("there is no key {id:?}: `vectoros keys list` shows the ids");
            };
            let quota = key.quota.changed_by(quota);
            store.set_quota(&id, &quota).await?;
            println!("changed {id}");
        }
    }
    Ok(())
}

fn end_of(now: DateTime<Utc>, after: std::time::Duration) -> anyhow::Result<DateTime<Utc>> {
    let after = TimeDelta::from_std(after)?;
    now.checked_add_signed(after).ok_or_else(|| anyhow::anyhow!("--expires: that is too far away"))
}

fn to_json(key: &ApiKey) -> serde_json::Value {
    json!({
        "id": key.id,
        "name": key.name,
        "project": key.project_name,
        "project_id": key.project.0,
        "scopes": key.scopes.words(),
        "quota": key.quota,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_user_agent": key.last_user_agent,
    })
}

fn print_table(keys: &[ApiKey]) {
    println!(
        "{:<10} {:<20} {:<18} {:<20} {:<20} {:<16} USED BY",
        "ID", "PROJECT", "SCOPES", "STATE", "LAST USE", "NAME"
    );
    let now = Utc::now();
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => "revoked".to_owned(),
            (_, Some(end)) if end <= now => "expired".to_owned(),
            (_, Some(end)) => format!("until {}", end.format("%Y-%m-%d")),
            _ => "live".to_owned(),
        };
        let used = key.last_used_at.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        let name = key.name.as_deref().unwrap_or_default();
        let agent = key.last_user_agent.as_deref().unwrap_or_default();
        println!(
            "{:<10} {:<20} {:<18} {state:<20} {used:<20} {name:<16} {agent}",
            key.id,
            key.project_name,
            key.scopes.words().join(",")
        );
    }
}
