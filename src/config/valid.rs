//! What no type says of a setting: bounds that would stop the program from working.

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::{Config, ConfigError};

impl Config {
    /// The first setting that is wrong, and what would be right.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |setting: &str, accepted: &str| Err(ConfigError(format!("{setting}: {accepted}")));
        if !self.database.url.starts_with("sqlite://")
            && !self.database.url.starts_with("postgres://")
            && !self.database.url.starts_with("postgresql://")
        {
            return wrong("database.url", "expected sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE");
        }
        if self.spool.is_on() && self.database.url.starts_with("sqlite://") {
            return wrong(
                "spool.path",
                "expected only with Postgres: a SQLite file is never away, and on its disk a spool would be as full as it",
            );
        }
        if !self.server.path_prefix.is_empty()
            && (!self.server.path_prefix.starts_with('/') || self.server.path_prefix.ends_with('/'))
        {
            return wrong("server.path_prefix", "expected a path such as /collector, or nothing");
        }
        if self.server.connections == 0 {
            return wrong("server.connections", "expected at least 1");
        }
        let is_origin = |origin: &String| {
            origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains(['/', '*']))
        };
        if !self.server.cors_origins.iter().all(is_origin) {
            return wrong(
                "server.cors_origins",
                "expected origins such as https://app.example.com, without a path or a *",
            );
        }
        if self.tls.cert.is_empty() != self.tls.key.is_empty() {
            return wrong("tls.cert", "expected together with tls.key, or neither");
        }
        if self.tls.cert.is_empty() && !self.tls.client_ca.is_empty() {
            return wrong("tls.client_ca", "expected only together with tls.cert and tls.key");
        }
        if !(1..=64).contains(&self.database.write_connections) {
            return wrong("database.write_connections", "expected 1 to 64");
        }
        if !(1..=1000).contains(&self.database.read_connections) {
            return wrong("database.read_connections", "expected 1 to 1000");
        }
        if self.database.sqlite_log_bytes < ByteSize::mib(64) {
            return wrong("database.sqlite_log_bytes", "expected at least 64MiB: one transaction may need as much");
        }
        let is_pattern = |name: &String| !name.is_empty() && !name.strip_suffix('*').unwrap_or(name).contains('*');
        if !self.runs.genai_root_services.iter().all(is_pattern) {
            return wrong("runs.genai_root_services", "expected names of services, a * only at the end");
        }
        if self.runs.max_steps_shown == 0 {
            return wrong("runs.max_steps_shown", "expected at least 1");
        }
        if self.runs.max_steps_assembled == 0 {
            return wrong("runs.max_steps_assembled", "expected at least 1");
        }
        if ![429, 503].contains(&self.ingest.throttle_status) {
            return wrong("ingest.throttle_status", "expected 503 or 429");
        }
        if !(1..=1_000_000).contains(&self.ingest.batch_steps) {
            return wrong("ingest.batch_steps", "expected 1 to 1000000");
        }
        if self.limits.body_bytes.as_u64() == 0 || self.limits.body_bytes > ByteSize::gib(2) {
            return wrong("limits.body_bytes", "expected 1B to 2GiB");
        }
        if self.ingest.queue_bytes < self.limits.body_bytes {
            return wrong(
                "ingest.queue_bytes",
                "expected at least limits.body_bytes, or the largest request never fits",
            );
        }
        if EnvFilter::try_new(&self.log.level).is_err() {
            return wrong(
                "log.level",
                "expected error, warn, info, debug, trace or a filter such as vectoros=debug,sqlx=warn",
            );
        }
        if !(1..=64).contains(&self.limits.value_depth) {
            return wrong("limits.value_depth", "expected 1 to 64");
        }
        Ok(())
    }
}
