//! The wiring: bind, start, wait for the database, serve, and stop in the direction of flow.

mod end;

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Semaphore, watch};

use crate::admission::Admission;
use crate::api::{self, Api};
use crate::assembly::{LifeCycle, Scopes};
use crate::auth::{Authenticator, STALE_GRACE, STALE_GRACE_WITH_SPOOL};
use crate::circuit::{Circuit, STALL_MAX};
use crate::config::{self, Config, ConfigError, RunScope};
use crate::otlp::DecodeLimits;
use crate::pipeline::{Gate, Pipeline};
use crate::prices::Prices;
use crate::queue::{Budget, Queue, memory};
use crate::receiver::activation::Activation;
use crate::receiver::connection::{Phase, Terms};
use crate::receiver::grpc_services::{self, Health};
use crate::receiver::listen::{self, Bounds, Door, Listener};
use crate::receiver::{self, otlp_http, tls};
use crate::replayer::Replayer;
use crate::spool::Spool;
use crate::store::{self, Store, StoreError, Tuning};
use crate::sweeper::Sweeper;
use crate::telemetry::{Counters, Sparse};
use crate::view::Reader;
use crate::writer::{BatchBounds, Guard, Writer};

use end::{LAST_COMMIT_MAX, Tasks};

/// gRPC health looks at the database this often.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Pause between tries to reach the database at start.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// A collector with its sockets open. A connection made now waits in the socket until [`App::run`] serves it.
pub struct App {
    config: Config,
    prices: Arc<Prices>,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    spool: Option<Spool>,
    listeners: Vec<Listener>,
    addresses: Addresses,
    tls: Option<tls::Current>,
}

/// Where a collector listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub has_tls: bool,
}

impl Addresses {
    /// As it stands in a URL.
    pub fn scheme(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }
}

/// Why the program stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody waits for it: no delay for balancers.
    Now,
    Announced,
}

impl App {
    /// Opens all sockets that were not handed over; port 0 takes a free one.
    pub async fn bind(config: Config, mut sockets: Activation) -> anyhow::Result<App> {
        let prices = Arc::new(load_prices(&config.prices)?);
        let store = open_store(&config, prices.clone()).await?;
        store.claim()?;
        let tls = config.tls.is_on().then(|| tls::watch_files(config.tls.clone())).transpose();
        let tls = tls.map_err(|error| ConfigError::new("tls", format_args!("{error:#}")))?;
        let counters = Arc::new(Counters::default());
        let spool = open_spool(&config, counters.clone()).await?;
        let http = sockets.tcp(config.server.http).context("server.http")?;
        let grpc = sockets.tcp(config.server.grpc).context("server.grpc")?;
        let addresses = Addresses { http: http.tcp_address()?, grpc: grpc.tcp_address()?, has_tls: tls.is_some() };
        let mut listeners = vec![http, grpc];
        if !config.server.unix.is_empty() {
            listeners.push(sockets.unix(Path::new(&config.server.unix)).context("server.unix")?);
        }
        sockets.all_taken()?;
        Ok(App { config, prices, store, counters, spool, listeners, addresses, tls })
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Serves until `stopped` completes, then drains: not ready any more, no new connections, requests under way finish,
    /// the queue is written, writers end. After `server.shutdown_grace`, or when `stopped` completes again, whoever still
    /// waits is told to come again, and a moment later it ends whatever the database does. `ready` runs once, when the
    /// schema stands and before data is taken.
    pub async fn run<R>(self, mut stopped: impl AsyncFnMut() -> Stop, ready: impl FnOnce() -> R) -> anyhow::Result<()>
    where
        R: Future<Output = anyhow::Result<()>>,
    {
        let App { config, prices, store, counters, spool, listeners, tls, .. } = self;
        let health = Health::new().await;
        let parts = Parts::new(&config, prices, store.clone(), counters, spool, health);
        let terms = Arc::new(parts.terms(tls)?);
        let bounds = Arc::new(Bounds::new(config.server.connections, config.server.connections_per_address));
        let door = Door { terms, bounds };
        let (phase, phases) = watch::channel(Phase::Serving);
        let mut grace = config.server.shutdown_grace;
        let next_is_waited_for = listeners.iter().all(Listener::is_handed_over);
        let serve = |socket| tokio::spawn(listen::serve(socket, door.clone(), phases.clone(), grace + LAST_COMMIT_MAX));
        let listeners: Vec<_> = listeners.into_iter().map(serve).collect();
        let guard = Arc::new(Guard::default());
        let writer = |_| tokio::spawn(parts.writer(guard.clone()).keep_writing());
        let writers: Vec<_> = (0..config.database.write_connections).map(writer).collect();
        let prober = tokio::spawn(parts.pipeline.circuit.clone().keep_probing(store.clone()));
        let (stop_replaying, replaying) = watch::channel(false);
        let replayer = parts.replayer().map(|replayer| tokio::spawn(replayer.run(replaying)));
        let (stop_sweeping, sweeping) = watch::channel(false);

        let started = tokio::select! {
            started = start(&parts, ready) => started,
            _ = stopped() => Ok(Started::Stopped),
        };
        let mut sweeper = None;
        if matches!(started, Ok(Started::Ready)) {
            sweeper = Some(tokio::spawn(parts.sweeper().run(sweeping)));
            let probe = tokio::spawn(parts.clone().keep_health());
            let stop = stopped().await;
            probe.abort();
            parts.api.stop();
            parts.counters.ready.set(0);
            parts.health.set(false).await;
            if stop == Stop::Announced {
                tracing::info!("stopping: not ready any more, data is still taken");
                phase.send_replace(Phase::Leaving);
                tokio::select! {
                    () = tokio::time::sleep(config.server.shutdown_delay) => {}
                    _ = stopped() => grace = Duration::ZERO,
                }
            }
        }
        tracing::info!("stopping: finishing what is under way");
        // Where nobody new connects, what still comes is taken: clients go when they are told to, and find the next process.
        if sweeper.is_none() || !next_is_waited_for {
            parts.pipeline.gate.shut();
        }
        phase.send_replace(Phase::Ending);
        let tasks = Tasks { listeners, replayer, stop_replaying, writers, sweeper, stop_sweeping };
        let drained = tasks.end(&parts.pipeline.queue, grace, stopped()).await;
        prober.abort();
        if let Some(spool) = &parts.pipeline.spool {
            spool.close().await;
        }
        drained?;
        tracing::info!("stopped");
        started.map(|_| ())
    }
}

/// The store that the configuration names. Postgres may be away; it is looked for on first use.
pub async fn open_store(config: &Config, prices: Arc<Prices>) -> anyhow::Result<Arc<dyn Store>> {
    let tuning = Tuning {
        inline_steps_max: config.runs.inline_steps,
        readers_max: config.database.read_connections,
        shown_steps_max: config.runs.max_steps_shown,
        sqlite_log_bytes_max: config.database.sqlite_log_bytes.as_u64(),
        assembled_steps_max: config.runs.max_steps_assembled,
        whole_bytes_max: Tuning::WHOLE_BYTES_MAX,
    };
    store::open(&config.database.url, tuning, prices).await
}

/// The spool that the configuration names.
async fn open_spool(config: &Config, counters: Arc<Counters>) -> anyhow::Result<Option<Spool>> {
    if !config.spool.is_on() {
        return Ok(None);
    }
    let (path, bytes_max) = (Path::new(&config.spool.path), config.spool.max_bytes.as_u64());
    Spool::open(path, bytes_max, counters).await.map(Some)
}

/// The shipped prices, with those of the user's file over them.
pub fn load_prices(settings: &config::Prices) -> Result<Prices, ConfigError> {
    let shipped = Prices::shipped().preferring(settings.prefer);
    if settings.file.is_empty() {
        return Ok(shipped);
    }
    let wrong = |wrong: &dyn Display| ConfigError::new("prices.file", format_args!("{}: {wrong}", settings.file));
    let text = std::fs::read_to_string(&settings.file).map_err(|error| wrong(&error))?;
    shipped.with_own(&settings.file, &text).map_err(|error| wrong(&error))
}

/// The limits of runs that the configuration names.
pub fn life_cycle(config: &Config) -> LifeCycle {
    let runs = &config.runs;
    LifeCycle {
        settle: runs.settle,
        orphan_idle: runs.orphan_idle,
        idle_limit: runs.idle_limit,
        max_duration: runs.max_duration,
        unmatched_logs: config.logs.unmatched_retention,
        scopes: Scopes {
            genai_root: runs.scope == RunScope::GenaiRoot,
            genai_root_services: runs.genai_root_services.clone(),
        },
    }
}

/// What requests may take of the memory, told when it is less than was configured.
fn request_bytes_max(config: &Config) -> u64 {
    let (configured, limit) = (config.ingest.queue_bytes.as_u64(), memory::process_limit_bytes());
    let bytes = memory::request_bytes_max(configured, limit);
    if bytes < configured {
        tracing::warn!(
            "this process may have {} MiB of memory: {} MiB of requests wait in it at most, and not {} (ingest.queue_bytes)",
            limit.unwrap_or_default() >> 20,
            bytes >> 20,
            configured >> 20
        );
    }
    bytes
}

fn decode_limits(limits: &config::Limits) -> DecodeLimits {
    DecodeLimits { spans_max: limits.request_spans, span_items_max: limits.span_items, depth_max: limits.value_depth }
}

enum Started {
    Ready,
    Stopped,
}

/// Waits for the database as long as it takes, and says so.
async fn start<R>(parts: &Parts, ready: impl FnOnce() -> R) -> anyhow::Result<Started>
where
    R: Future<Output = anyhow::Result<()>>,
{
    while let Err(error) = parts.store.migrate().await {
        if !matches!(error.downcast_ref(), Some(StoreError::Unavailable(_))) {
            return Err(error.context("the database cannot be used"));
        }
        tracing::warn!(error = format!("{error:#}"), "waiting for the database");
        parts.pipeline.gate.shut();
        parts.api.blame(format!("the database is away: {error:#}"));
        tokio::time::sleep(DATABASE_RETRY).await;
    }
    ready().await?;
    parts.api.blame(String::new());
    parts.pipeline.gate.open();
    parts.counters.ready.set(1);
    Ok(Started::Ready)
}

/// Everything that lives as long as the program, made once.
#[derive(Clone)]
struct Parts {
    store: Arc<dyn Store>,
    auth: Arc<Authenticator>,
    counters: Arc<Counters>,
    pipeline: Arc<Pipeline>,
    api: Arc<Api>,
    health: Health,
    batch_bounds: BatchBounds,
    config: Arc<Config>,
}

impl Parts {
    fn new(
        config: &Config,
        prices: Arc<Prices>,
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
        spool: Option<Spool>,
        health: Health,
    ) -> Parts {
        let ingest = &config.ingest;
        let request_bytes_max = request_bytes_max(config);
        let batch_bounds = BatchBounds { steps_max: ingest.batch_steps, bytes_max: ingest.batch_bytes.as_u64() }
            .within(request_bytes_max);
        let stale_grace = if spool.is_some() { STALE_GRACE_WITH_SPOOL } else { STALE_GRACE };
        // With a spool before any request has waited in vain, so that it can still be kept.
        let stall_max = if spool.is_some() { STALL_MAX.min(ingest.hold / 2) } else { STALL_MAX };
        let circuit = Arc::new(Circuit::new(stall_max));
        let api_key = &config.auth.api_key;
        let auth = Arc::new(Authenticator::new(store.clone(), circuit.clone(), api_key, stale_grace));
        let reader = Arc::new(Reader::new(store.clone(), life_cycle(config)));
        let pipeline = Arc::new(Pipeline {
            auth: auth.clone(),
            admission: Arc::new(Admission::new(store.clone(), counters.clone(), circuit.clone(), config.quota.clone())),
            budget: Budget::new(request_bytes_max, counters.clone()),
            queue: Arc::new(Queue::new(config.database.write_connections)),
            circuit: circuit.clone(),
            spool,
            reader: reader.clone(),
            counters: counters.clone(),
            prices,
            decode_limits: decode_limits(&config.limits),
            body_bytes_max: config.limits.body_bytes.as_u64(),
            warnings: ingest.warnings,
            told_metrics: Default::default(),
            quarantine: Default::default(),
            decoders: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            tally: Default::default(),
            hold: ingest.hold,
            throttle_status: ingest.throttle_status,
            gate: Gate::default(),
        });
        let api = Arc::new(Api::new(pipeline.clone(), store.clone(), reader));
        let config = Arc::new(config.clone());
        Parts { store, auth, counters, pipeline, api, health, batch_bounds, config }
    }

    /// Everything that can be asked for, and how.
    fn terms(&self, tls: Option<tls::Current>) -> anyhow::Result<Terms> {
        let server = &self.config.server;
        let mut router = receiver::router(self.pipeline.clone())
            .merge(api::router(self.api.clone()))
            .merge(self.health.router())
            .method_not_allowed_fallback(api::wrong_method)
            .fallback(otlp_http::unknown_path);
        if server.reflection {
            router = router.merge(grpc_services::reflection()?);
        }
        if !server.cors_origins.is_empty() {
            router = router.layer(receiver::cors(&server.cors_origins));
        }
        Ok(Terms {
            router,
            tls,
            path_prefix: server.path_prefix.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            age_max: server.connection_age,
            complaints: Sparse::default(),
        })
    }

    /// Tells gRPC probes and `/metrics` what `/readyz` tells others, as long as the program takes data.
    async fn keep_health(self) {
        loop {
            let is_ready = self.api.standing().await.is_ok();
            self.counters.ready.set(i64::from(is_ready));
            self.health.set(is_ready).await;
            tokio::time::sleep(HEALTH_EVERY).await;
        }
    }

    fn writer(&self, guard: Arc<Guard>) -> Writer {
        Writer {
            queue: self.pipeline.queue.clone(),
            store: self.store.clone(),
            counters: self.counters.clone(),
            circuit: self.pipeline.circuit.clone(),
            guard,
            life: life_cycle(&self.config),
            bounds: self.batch_bounds,
        }
    }

    fn replayer(&self) -> Option<Replayer> {
        let spool = self.pipeline.spool.clone()?;
        Some(Replayer { pipeline: self.pipeline.clone(), spool })
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper {
            store: self.store.clone(),
            auth: self.auth.clone(),
            tally: self.pipeline.tally.clone(),
            counters: self.counters.clone(),
            life: life_cycle(&self.config),
        }
    }
}
