//! The path of data: authenticate → admit → decode → map → queue → COMMIT → outcome. What OTLP requests and native runs do by
//! themselves stands in `otlp` and `native`, what both end with in `commit`.

mod commit;
mod gate;
mod incoming;
mod kept;
mod native;
mod otlp;
mod quarantine;
mod warnings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use dashmap::DashSet;
use http::request::Parts;
use tokio::sync::Semaphore;

use crate::admission::{Admission, Charge, Denied};
use crate::auth::credentials::{key_in, user_agent};
use crate::auth::{AuthError, Authenticator};
use crate::circuit::Circuit;
use crate::model::batch::{NativeOutcome, Rejections};
use crate::model::key::{ApiKey, Scope};
use crate::model::quota::Measure;
use crate::otlp::{DecodeLimits, Malformed, Slices};
use crate::prices::Prices;
use crate::queue::{Budget, Queue, Reservation};
use crate::quota::OverQuota;
use crate::spool::{Content, Kept, Spool};
use crate::tally::Tally;
use crate::telemetry::{ByTransport, ByWhat, Counters, Transport};
use crate::view::Reader;

use incoming::Making;
use otlp::Room;
use warnings::{METRICS_ARE_NOT_STORED, labels, warnings};

pub use crate::otlp::Encoding;
pub use gate::Gate;
pub use native::NativeRequest;
pub use quarantine::{Panicked, Quarantine};

/// How long `POST /runs` waits for its quota: no longer than a question to the store takes.
pub const NATIVE_QUOTA_HOLD: Duration = Duration::from_millis(250);

/// Why a request was refused as a whole. `receiver::status` turns it into HTTP and gRPC answers.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("{}", .0.message())]
    OverQuota(OverQuota),
    #[error("{0}")]
    Malformed(String),
    #[error("the body is larger than {limit_bytes} bytes: send smaller batches")]
    TooLarge { limit_bytes: u64 },
    #[error("{0}")]
    Unsupported(String),
    #[error("the body comes too slowly: send smaller batches, or compress them")]
    TooSlow,
    /// No room or no commit within the hold: try again.
    #[error("the collector cannot store this right now: try again")]
    Busy,
    #[error("the collector is stopping: try again")]
    Stopping,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        match denied {
            Denied::OverQuota(over) => Refusal::OverQuota(over),
            Denied::Busy => Refusal::Busy,
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Refusal {
        Refusal::Malformed(malformed.to_string())
    }
}

/// A request that was taken.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Items stored, copies included.
    pub accepted: u64,
    pub rejections: Rejections,
    pub native: Option<NativeOutcome>,
    /// What the sender should know although it was taken.
    pub warnings: Vec<String>,
    /// It is in the spool, and not yet in the database.
    pub is_kept: bool,
}

/// What an OTLP request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    /// Walked, counted and not stored.
    Metrics,
}

/// A body after inflating, with the room it takes.
pub struct Body {
    pub bytes: Bytes,
    /// As sent, before inflating: what the quota counts.
    pub sent_bytes: u64,
    pub reservation: Reservation,
}

pub struct Pipeline {
    pub auth: Arc<Authenticator>,
    pub admission: Arc<Admission>,
    pub budget: Budget,
    pub queue: Arc<Queue>,
    pub circuit: Arc<Circuit>,
    /// Where requests go while the database is away.
    pub spool: Option<Spool>,
    pub reader: Arc<Reader>,
    pub counters: Arc<Counters>,
    pub prices: Arc<Prices>,
    pub decode_limits: DecodeLimits,
    pub body_bytes_max: u64,
    /// `ingest.warnings`.
    pub warnings: bool,
    /// Keys that were told that metrics are not stored. No more than there are keys.
    pub told_metrics: DashSet<String>,
    pub quarantine: Arc<Quarantine>,
    /// Turns at decoding large bodies.
    pub decoders: Semaphore,
    /// Requests that were refused, on their way to the store.
    pub tally: Arc<Tally>,
    pub hold: Duration,
    /// 503 or 429, for limits that pass by themselves.
    pub throttle_status: u16,
    pub gate: Gate,
}

impl Pipeline {
    /// The key of a request; decided from its headers, before the body is read.
    pub async fn authenticate(&self, head: &Parts, scope: Scope) -> Result<Arc<ApiKey>, Refusal> {
        if !self.gate.pass(self.hold).await {
            return Err(Refusal::Busy);
        }
        let presented = key_in(&head.headers, head.uri.query())?;
        Ok(self.auth.authenticate(presented.as_deref(), scope, user_agent(&head.headers)).await?)
    }

    /// Whose key the headers hold, although the request was refused: one whose secret is right, alive or not, as far as
    /// it was seen before. Asks no store.
    pub fn owner(&self, head: &Parts) -> Option<Arc<ApiKey>> {
        let presented = key_in(&head.headers, head.uri.query()).ok()??;
        self.auth.owner(&presented)
    }

    /// Whether the key may send one more request, asked before its body is read. Exporters that would be told to come again
    /// wait a little instead, so that a small excess is spread and not sent twice.
    pub async fn admit_otlp(&self, key: Arc<ApiKey>, signal: Signal, deadline: Instant) -> Result<Charge, Refusal> {
        let scarce: &[Measure] = match signal {
            Signal::Traces | Signal::Logs => &[Measure::Bytes, Measure::Steps],
            Signal::Metrics => &[Measure::Bytes],
        };
        Ok(self.admission.request(key, scarce, quota_hold(deadline)).await?)
    }

    /// The same for `POST /runs`, whose senders are told at once.
    pub async fn admit_native(&self, key: Arc<ApiKey>) -> Result<Charge, Refusal> {
        let scarce = [Measure::Bytes, Measure::Steps];
        Ok(self.admission.request(key, &scarce, Instant::now() + NATIVE_QUOTA_HOLD).await?)
    }

    pub async fn consume_otlp(
        &self,
        mut charge: Charge,
        signal: Signal,
        encoding: Encoding,
        body: Body,
        transport: Transport,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
        let key = charge.key.clone();
        charge.bytes(body.sent_bytes, quota_hold(deadline)).await?;
        let Body { bytes, sent_bytes, reservation } = body;
        let limits = self.decode_limits;
        let content = match signal {
            Signal::Traces => Some(Content::Traces(encoding)),
            Signal::Logs => Some(Content::Logs(encoding)),
            Signal::Metrics => None,
        };
        let spare = content.and_then(|content| self.spare(&charge.key, content, transport, sent_bytes, bytes.clone()));
        let room = Room { reservation: Arc::new(reservation), deadline, spare };
        let mut done = match signal {
            Signal::Traces => self.take(charge, Slices::of_traces(bytes, encoding, limits), sent_bytes, room).await,
            Signal::Logs => self.take(charge, Slices::of_logs(bytes, encoding, limits), sent_bytes, room).await,
            Signal::Metrics => self.take(charge, Slices::of_metrics(bytes, encoding, limits), sent_bytes, room).await,
        }?;
        let outcome = &mut done.outcome;
        let sent = outcome.accepted + outcome.rejections.count;
        outcome.warnings = warnings(signal, &done.notes, sent, self.warnings);
        for what in labels(&done.notes) {
            self.counters.warnings.get_or_create(&ByWhat { what }).inc();
        }
        if self.warnings && signal == Signal::Metrics && sent > 0 && self.told_metrics.insert(key.id.clone()) {
            outcome.warnings.push(METRICS_ARE_NOT_STORED.into());
        }
        // What is kept is counted when it is stored.
        if !outcome.is_kept {
            self.count(signal, transport, outcome);
        }
        Ok(done.outcome)
    }

    /// What the batches of a request of `key` that comes now have in common.
    fn making(&self, key: &ApiKey) -> Making {
        let (project, key_id) = (key.project, key.id.clone());
        Making { project, key_id, received_at: Utc::now(), prices: self.prices.clone() }
    }

    /// What goes into the spool instead of a request that comes now, if there is a spool.
    pub fn spare(
        &self,
        key: &ApiKey,
        content: Content,
        transport: Transport,
        sent_bytes: u64,
        body: Bytes,
    ) -> Option<Kept> {
        self.spool.as_ref()?;
        let (project, key_id, received_at) = (key.project, key.id.clone(), Utc::now());
        Some(Kept { project, key_id, content, transport, received_at, sent_bytes, body })
    }

    fn count(&self, signal: Signal, transport: Transport, outcome: &Outcome) {
        let counters = &self.counters;
        let (accepted, rejected) = match signal {
            Signal::Traces => (&counters.accepted, &counters.rejected),
            Signal::Logs => (&counters.accepted_logs, &counters.rejected_logs),
            Signal::Metrics => (&counters.accepted_points, &counters.rejected_points),
        };
        accepted.get_or_create(&ByTransport { transport }).inc_by(outcome.accepted);
        if !outcome.rejections.is_empty() {
            rejected.get_or_create(&ByTransport { transport }).inc_by(outcome.rejections.count);
        }
    }
}

/// Until when an OTLP request waits for its quota: the other half of the time it has is for the commit.
fn quota_hold(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
