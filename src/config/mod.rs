//! Settings: what the user wrote, checked and turned into what the program means by it.

mod valid;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::Deserialize;

use crate::model::quota::{Measure, Rates};

/// Every setting with its default; compiled in, and the documentation of the settings.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub tls: Tls,
    pub database: Database,
    pub auth: Auth,
    pub ingest: Ingest,
    pub spool: Spool,
    pub limits: Limits,
    pub quota: Quota,
    pub runs: Runs,
    pub prices: Prices,
    pub logs: Logs,
    pub log: Log,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub unix: String,
    pub path_prefix: String,
    pub connections: usize,
    pub connections_per_address: u32,
    #[serde(with = "humantime_serde")]
    pub connection_age: Duration,
    pub trusted_proxies: Vec<IpNet>,
    pub cors_origins: Vec<String>,
    pub reflection: bool,
    #[serde(with = "humantime_serde")]
    pub shutdown_delay: Duration,
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

/// Paths of PEM files; empty where there is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert: String,
    pub key: String,
    pub client_ca: String,
}

impl Tls {
    pub fn is_on(&self) -> bool {
        !self.cert.is_empty()
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub write_connections: usize,
    pub read_connections: u32,
    pub sqlite_log_bytes: ByteSize,
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.url.split("://").next().unwrap_or_default();
        write!(f, "Database {{ {scheme}, {} + {} connections }}", self.write_connections, self.read_connections)
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub api_key: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.api_key.is_empty() { "Auth { no API_KEY }" } else { "Auth { API_KEY set }" })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    pub queue_bytes: ByteSize,
    pub batch_steps: usize,
    pub batch_bytes: ByteSize,
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    pub throttle_status: u16,
    pub warnings: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    pub path: String,
    pub max_bytes: ByteSize,
}

impl Spool {
    pub fn is_on(&self) -> bool {
        !self.path.is_empty()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub body_bytes: ByteSize,
    pub request_spans: usize,
    pub span_items: usize,
    pub value_depth: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub requests: Rates,
    pub steps: Rates,
    pub bytes: Rates,
}

impl Quota {
    pub fn of(&self, measure: Measure) -> &Rates {
        match measure {
            Measure::Requests => &self.requests,
            Measure::Steps => &self.steps,
            Measure::Bytes => &self.bytes,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    #[serde(with = "humantime_serde")]
    pub orphan_idle: Duration,
    #[serde(with = "humantime_serde")]
    pub idle_limit: Duration,
    #[serde(with = "humantime_serde")]
    pub max_duration: Duration,
    pub scope: RunScope,
    pub genai_root_services: Vec<String>,
    pub inline_steps: u32,
    pub max_steps_shown: u32,
    pub max_steps_assembled: u32,
}

/// What one run is: a whole trace, or each of its outermost GenAI steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunScope {
    #[default]
    Trace,
    GenaiRoot,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub file: String,
    pub prefer: Prefer,
}

/// Which cost of a call counts when its sender reported one and the prices tell another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    #[default]
    Reported,
    Computed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    #[serde(with = "humantime_serde")]
    pub unmatched_retention: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// A setting is wrong; one line that names it and says what is accepted. The program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// A setting whose value is known to be wrong only when it is used: a file, say.
    pub fn new(setting: &str, wrong: impl std::fmt::Display) -> ConfigError {
        ConfigError(format!("{setting}: {wrong}"))
    }
}

/// What flags of the command line set, above everything else. `None` where a flag is absent.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// sqlite://PATH or postgres://USER:PASSWORD@HOST[,HOST…]/DATABASE
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Address of OTLP/HTTP and the API, such as 127.0.0.1:4318
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Address of OTLP/gRPC, such as 127.0.0.1:4317
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub grpc: Option<String>,
}

impl Flags {
    fn settings(&self) -> [(&'static str, Option<String>); 3] {
        [
            ("database.url", self.database_url.clone()),
            ("server.http", self.http.clone()),
            ("server.grpc", self.grpc.clone()),
        ]
    }
}

impl Config {
    /// Default < `file` < environment < `flags`. A key that does not exist is an error that names it.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config, ConfigError> {
        let mut layers = Figment::from(Toml::string(DEFAULT_TOML));
        if let Some(path) = file {
            // A file that was asked for and is missing must not be passed over in silence.
            layers = layers.merge(Toml::file_exact(path));
        }
        layers = layers.merge(Env::prefixed("VECTOROS_").filter(|name| !is_not_a_setting(name.as_str())).split("__"));
        // As text: a key that consists of digits is still no number.
        let named =
            [("database.url", std::env::var("DATABASE_URL").ok()), ("auth.api_key", std::env::var("API_KEY").ok())];
        for (key, value) in named.into_iter().chain(flags.settings()) {
            if let Some(value) = value {
                layers = layers.merge(Serialized::default(key, value));
            }
        }
        let config: Config = layers.extract().map_err(|error| ConfigError(one_line(error)))?;
        config.validate()?;
        Ok(config)
    }
}

/// `VECTOROS_CONFIG` names the file; `VECTOROS_API_KEY` and `VECTOROS_URL` are left to clients of the collector;
/// `VECTOROS_TEST_…` and `VECTOROS_BENCH_…` belong to the tests and the benchmarks.
fn is_not_a_setting(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["CONFIG", "API_KEY", "URL"].contains(&name.as_str())
        || ["TEST_", "BENCH_", "KILL_"].iter().any(|p| name.starts_with(p))
}

fn one_line(error: figment::Error) -> String {
    let lines: Vec<String> = error.into_iter().map(|e| e.to_string().replace('\n', " ")).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` with the environment and files that `prepare` made, apart from the real ones.
    fn load(prepare: impl FnOnce(&mut figment::Jail)) -> Result<Config, String> {
        let mut result = None;
        #[expect(clippy::result_large_err, reason = "the signature is figment's")]
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            prepare(jail);
            let file = Path::new("my.toml").exists().then_some(Path::new("my.toml"));
            result = Some(Config::load(file, &Flags::default()).map_err(|e| e.to_string()));
            Ok(())
        });
        result.expect("the closure ran")
    }

    #[test]
    fn the_default_file_is_a_whole_configuration() {
        let config = load(|_| ()).unwrap();
        assert_eq!(config.server.http.to_string(), "127.0.0.1:4318");
        assert_eq!(config.runs.idle_limit, Duration::from_secs(900));
        assert_eq!(config.limits.body_bytes, ByteSize::mib(64));
        assert_eq!(config.quota.requests, "6000/min".parse().unwrap());
    }

    #[test]
    fn environment_beats_file_beats_default() {
        let config = load(|jail| {
            jail.create_file("my.toml", "[runs]\nsettle = \"1s\"\norphan_idle = \"2s\"").unwrap();
            jail.set_env("VECTOROS_RUNS__SETTLE", "200ms");
            jail.set_env("DATABASE_URL", "sqlite://other.db");
            jail.set_env("API_KEY", "12345");
        })
        .unwrap();
        assert_eq!(config.runs.settle, Duration::from_millis(200));
        assert_eq!(config.runs.orphan_idle, Duration::from_secs(2));
        assert_eq!(config.database.url, "sqlite://other.db");
        assert_eq!(config.auth.api_key, "12345");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load(|jail| jail.set_env("VECTOROS_RUNS__SETTEL", "1s")).unwrap_err();
        assert!(error.contains("settel"), "{error}");
        let error = load(|jail| jail.set_env("VECTOROS_COLOUR", "red")).unwrap_err();
        assert!(error.contains("colour"), "{error}");
        let error = load(|jail| drop(jail.create_file("my.toml", "[server]\nport = 1").unwrap())).unwrap_err();
        assert!(error.contains("port"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_setting() {
        for (name, value, setting) in [
            ("VECTOROS_INGEST__THROTTLE_STATUS", "500", "ingest.throttle_status"),
            ("VECTOROS_RUNS__SETTLE", "soon", "runs.settle"),
            ("VECTOROS_QUOTA__STEPS", "lots", "quota.steps"),
            ("VECTOROS_INGEST__QUEUE_BYTES", "1MiB", "ingest.queue_bytes"),
            ("VECTOROS_LIMITS__VALUE_DEPTH", "65", "limits.value_depth"),
            ("VECTOROS_LOG__LEVEL", "vectoros=lout", "log.level"),
            ("VECTOROS_RUNS__SCOPE", "session", "runs.scope"),
            ("VECTOROS_RUNS__GENAI_ROOT_SERVICES", "[\"a*b\"]", "runs.genai_root_services"),
            ("VECTOROS_PRICES__PREFER", "cheapest", "prices.prefer"),
            ("VECTOROS_DATABASE__WRITE_CONNECTIONS", "0", "database.write_connections"),
            ("VECTOROS_DATABASE__SQLITE_LOG_BYTES", "63MiB", "database.sqlite_log_bytes"),
            ("VECTOROS_SERVER__PATH_PREFIX", "collector", "server.path_prefix"),
            ("VECTOROS_SERVER__CONNECTIONS", "0", "server.connections"),
            ("VECTOROS_SERVER__CORS_ORIGINS", "[\"*\"]", "server.cors_origins"),
            ("VECTOROS_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/40\"]", "server.trusted_proxies"),
            ("VECTOROS_SPOOL__PATH", "spool.db", "spool.path"),
            ("VECTOROS_TLS__CERT", "cert.pem", "tls.cert"),
            ("VECTOROS_TLS__CLIENT_CA", "ca.pem", "tls.client_ca"),
            ("DATABASE_URL", "mysql://x", "database.url"),
        ] {
            let error = load(|jail| jail.set_env(name, value)).unwrap_err();
            assert!(error.to_lowercase().contains(setting), "{name}: {error}");
        }
    }

    #[test]
    fn nothing_secret_shows_in_debug_output() {
        let config = load(|jail| {
            jail.set_env("DATABASE_URL", "postgres://me:s3cret@host/db");
            jail.set_env("API_KEY", "s3cret");
        });
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
