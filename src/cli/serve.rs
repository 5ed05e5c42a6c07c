//! `vectoros serve`: runs the collector until SIGINT or SIGTERM.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Addresses, App, Stop};
use crate::auth::{DEFAULT_PROJECT, hash, secret};
use crate::config::Config;
use crate::model::key::Scopes;
use crate::model::quota::Quota;
use crate::receiver::activation::Activation;
use crate::store::{NewKey, Store};
use crate::telemetry::start_logging;

pub async fn run(config: Config, sockets: Activation) -> anyhow::Result<()> {
    let started = Instant::now();
    let _logging = start_logging(&config.log)?;
    // Systems start programs with few descriptors and let them ask for more. Each connection needs one.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let has_api_key = !config.auth.api_key.is_empty();
    let app = App::bind(config, sockets).await?;
    let addresses = app.addresses();
    let store = app.store();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = async || {
        tokio::select! {
            _ = interrupt.recv() => Stop::Now,
            _ = terminate.recv() => Stop::Announced,
        }
    };
    let ready = async || {
        let scheme = addresses.scheme();
        let (version, ready_s) = (env!("CARGO_PKG_VERSION"), started.elapsed().as_secs_f64());
        show(&format!(
            "vectoros {version} is ready after {ready_s:.2} s\n  OTLP/HTTP and API  {scheme}://{}\n  OTLP/gRPC          {scheme}://{}\n",
            addresses.http, addresses.grpc
        ));
        if !has_api_key {
            print_first_key(&store, addresses).await?;
        }
        Ok(())
    };
    app.run(stopped, ready).await
}

/// Makes a key when the database has none and prints it, this once, with the lines to paste.
async fn print_first_key(store: &Arc<dyn Store>, addresses: Addresses) -> anyhow::Result<()> {
    if !store.keys(None).await?.is_empty() {
        return Ok(());
    }
    let now = Utc::now();
    let (key, id) = secret::generate();
    let new = NewKey {
        id,
        name: Some("first key".into()),
        project: store.project(DEFAULT_PROJECT, now).await?,
        scopes: Scopes::INGEST_AND_READ,
        quota: Quota::default(),
        secret_hash: hash(&key),
        expires_at: None,
    };
    store.add_key(new, now).await?;
    let endpoint = format!("{}://{}", addresses.scheme(), reachable(addresses.http));
    show(&format!(
        r#"
There was no key yet, so one was made for the project "{DEFAULT_PROJECT}". It is shown only now; paste these lines:

export OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{key}

curl {endpoint}/runs -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{{"model":"gpt-4o-mini","input":"Hello","output":"Hi!","status":"success"}}'
"#
    ));
    Ok(())
}

/// Writes on standard output. Whoever reads it may have gone (`| head`): no reason to stop collecting.
fn show(text: &str) {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        tracing::warn!(%error, "standard output cannot be written");
    }
}

/// An address that a client on this machine can use: 0.0.0.0 is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}
