//! The path of data on one screen: authenticate → admit → decode → map → queue → COMMIT → outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::request::Parts;
use tokio::sync::oneshot;

use crate::auth::credentials::{key_in, user_agent};
use crate::auth::{AuthError, Authenticator};
use crate::mapping::{map_logs, map_traces};
use crate::model::batch::{Batch, Native, NativeOutcome, Rejections};
use crate::model::id::ProjectId;
use crate::model::key::{ApiKey, Scope};
use crate::model::step::Step;
use crate::otlp::{DecodeLimits, Group, LogGroup, Malformed, Request, SpanGroup, json, protobuf};
use crate::prices::Prices;
use crate::queue::{Answer, Budget, Job, Overdue, Queue, Reservation};
use crate::quota::{OverQuota, Quotas};
use crate::telemetry::{ByTransport, Counters, Transport};
use crate::view::Reader;

/// Bodies above this are decoded off the threads that serve sockets.
const INLINE_DECODE_BYTES_MAX: usize = 64 * 1024;

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

/// A request that was taken.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Items stored, copies included.
    pub accepted: u64,
    pub rejections: Rejections,
    pub native: Option<NativeOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
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
    pub quotas: Quotas,
    pub budget: Budget,
    pub queue: Arc<Queue>,
    pub reader: Arc<Reader>,
    pub counters: Arc<Counters>,
    pub prices: Arc<Prices>,
    pub decode_limits: DecodeLimits,
    pub body_bytes_max: u64,
    pub hold: Duration,
    /// 503 or 429, for limits that pass by themselves.
    pub throttle_status: u16,
    /// Nothing is taken before the schema stands.
    pub open: AtomicBool,
}

impl Pipeline {
    /// The key of a request; decided from its headers, before the body is read.
    pub async fn authenticate(&self, head: &Parts, scope: Scope) -> Result<Arc<ApiKey>, Refusal> {
        if !self.open.load(Ordering::Acquire) {
            return Err(Refusal::Busy);
        }
        let presented = key_in(&head.headers, head.uri.query())?;
        Ok(self.auth.authenticate(presented.as_deref(), scope, user_agent(&head.headers)).await?)
    }

    pub async fn consume_otlp(
        &self,
        key: &ApiKey,
        signal: Signal,
        encoding: Encoding,
        body: Body,
        transport: Transport,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
        self.quotas.admit_request(key, body.sent_bytes).map_err(Refusal::OverQuota)?;
        let Body { bytes, reservation, .. } = body;
        let body_bytes = bytes.len() as u64;
        let limits = self.decode_limits;
        let received = off_thread_when_large(bytes.len(), move || decode(signal, encoding, &bytes, limits))
            .await?
            .map_err(|malformed| Refusal::Malformed(malformed.to_string()))?;
        let mut outcome = Outcome { accepted: received.items, rejections: received.rejections, ..Outcome::default() };
        if signal != Signal::Metrics {
            self.quotas.admit_steps(key, received.items).map_err(Refusal::OverQuota)?;
        }
        if let Some(content) = received.content.filter(|_| received.items > 0) {
            let (project, received_at) = (key.project, Utc::now());
            let prices = self.prices.clone();
            let map = move || content.into_batch(project, received_at, &prices);
            let batch = off_thread_when_large(body_bytes as usize, map).await?;
            let answer = self.store(batch, body_bytes, reservation, deadline).await?;
            outcome.accepted -= answer.rejections.count;
            outcome.rejections.append(answer.rejections);
        }
        self.count(signal, transport, &outcome);
        Ok(outcome)
    }

    /// A native run, or steps for one: already validated.
    pub async fn consume_native(
        &self,
        key: &ApiKey,
        native: Native,
        steps: Vec<Step>,
        bytes: u64,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
        self.quotas.admit_steps(key, steps.len() as u64).map_err(Refusal::OverQuota)?;
        let reservation = self.budget.reserve(bytes, deadline).await.map_err(|_| Refusal::Busy)?;
        let sent = steps.len() as u64;
        let batch = Batch { steps, native: Some(native), ..empty_batch(key.project, Utc::now()) };
        let answer = self.store(batch, bytes, reservation, deadline).await?;
        let outcome = Outcome {
            accepted: sent.saturating_sub(answer.rejections.count),
            rejections: answer.rejections,
            native: answer.written.native,
        };
        self.count(Signal::Traces, Transport::Native, &outcome);
        Ok(outcome)
    }

    /// Hands the batch to the writers and waits for COMMIT. Leaving early (the sender is gone) does not stop the write.
    async fn store(
        &self,
        batch: Batch,
        bytes: u64,
        reservation: Reservation,
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let job = Job { batch, bytes, deadline, reply, reservation };
        self.queue.offer(job).map_err(|_| Refusal::Stopping)?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            // Not in time, or the writer went away with the job: the sender must try again, copies are harmless.
            Ok(Ok(Err(Overdue))) | Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }

    fn count(&self, signal: Signal, transport: Transport, outcome: &Outcome) {
        let accepted = match signal {
            Signal::Traces => &self.counters.accepted,
            Signal::Logs => &self.counters.accepted_logs,
            Signal::Metrics => &self.counters.accepted_points,
        };
        accepted.get_or_create(&ByTransport { transport }).inc_by(outcome.accepted);
        if !outcome.rejections.is_empty() {
            self.counters.rejected.get_or_create(&ByTransport { transport }).inc_by(outcome.rejections.count);
        }
    }
}

/// A request after decoding.
struct Received {
    /// Spans, log records or data points that can be taken.
    items: u64,
    rejections: Rejections,
    /// What of it is stored.
    content: Option<Content>,
}

enum Content {
    Traces(Vec<SpanGroup>),
    Logs(Vec<LogGroup>),
}

impl Content {
    fn into_batch(self, project: ProjectId, received_at: DateTime<Utc>, prices: &Prices) -> Batch {
        let empty = empty_batch(project, received_at);
        match self {
            Content::Traces(groups) => {
                let (steps, origins) = map_traces(project, groups, received_at, prices);
                Batch { steps, origins, ..empty }
            }
            Content::Logs(groups) => {
                let (logs, origins) = map_logs(project, groups, received_at);
                Batch { logs, origins, ..empty }
            }
        }
    }
}

fn empty_batch(project: ProjectId, received_at: DateTime<Utc>) -> Batch {
    Batch { project, received_at, origins: Vec::new(), steps: Vec::new(), logs: Vec::new(), native: None }
}

fn decode(signal: Signal, encoding: Encoding, bytes: &[u8], limits: DecodeLimits) -> Result<Received, Malformed> {
    let is_json = encoding == Encoding::Json;
    Ok(match signal {
        Signal::Traces => {
            let read = if is_json { json::decode_traces } else { protobuf::decode_traces };
            Received::stored(read(bytes, limits)?, Content::Traces)
        }
        Signal::Logs => {
            let read = if is_json { json::decode_logs } else { protobuf::decode_logs };
            Received::stored(read(bytes, limits)?, Content::Logs)
        }
        Signal::Metrics => {
            let read = if is_json { json::decode_metrics } else { protobuf::decode_metrics };
            let Request { groups, rejections } = read(bytes, limits)?;
            let items = groups.iter().flat_map(|group| &group.items).map(|metric| metric.points).sum();
            Received { items, rejections, content: None }
        }
    })
}

impl Received {
    fn stored<T>(request: Request<T>, content: impl FnOnce(Vec<Group<T>>) -> Content) -> Received {
        let items = request.items();
        Received { items, rejections: request.rejections, content: Some(content(request.groups)) }
    }
}

/// A panic in `work` costs its own request only; the sender is told to try again.
async fn off_thread_when_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes <= INLINE_DECODE_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Busy)
}
