//! The path of data on one screen: authenticate → admit → decode → map → queue → COMMIT → outcome.

mod incoming;
mod kept;
mod quarantine;
mod warnings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use dashmap::DashSet;
use http::request::Parts;
use tokio::sync::{Semaphore, oneshot};

use crate::admission::{Admission, Charge, Denied};
use crate::auth::credentials::{key_in, user_agent};
use crate::auth::{AuthError, Authenticator};
use crate::circuit::Circuit;
use crate::model::batch::{Batch, Native, NativeOutcome, Rejections};
use crate::model::key::{ApiKey, Scope};
use crate::model::quota::Measure;
use crate::model::step::Step;
use crate::otlp::{DecodeLimits, Malformed, Notes, Slices};
use crate::prices::Prices;
use crate::queue::{Answer, Budget, Job, Overdue, Queue, Reservation, Withdrawn};
use crate::quota::OverQuota;
use crate::spool::{Content, Kept, Spool};
use crate::tally::Tally;
use crate::telemetry::{ByTransport, ByWhat, Counters, Transport};
use crate::view::Reader;

use incoming::{Counted, Incoming, Item, Making, Taken};
use warnings::{METRICS_ARE_NOT_STORED, labels, warnings};

pub use crate::otlp::Encoding;
pub use quarantine::{Panicked, Quarantine};

/// Bodies above this are decoded off the threads that serve sockets.
const INLINE_DECODE_BYTES_MAX: usize = 64 * 1024;

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

/// The body that native runs came in: accounted for once, with the first of them that is stored.
pub struct NativeRequest {
    /// As it is held in memory.
    pub body_bytes: u64,
    /// Before inflating.
    pub sent_bytes: u64,
    is_accounted: AtomicBool,
}

impl NativeRequest {
    pub fn new(body_bytes: u64, sent_bytes: u64) -> NativeRequest {
        NativeRequest { body_bytes, sent_bytes, is_accounted: AtomicBool::new(false) }
    }

    /// Requests and bytes that the next batch shall account for.
    fn unaccounted(&self) -> (u64, u64) {
        if self.is_accounted.load(Ordering::Relaxed) { (0, 0) } else { (1, self.sent_bytes) }
    }

    fn account(&self) {
        self.is_accounted.store(true, Ordering::Relaxed);
    }
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
    /// Nothing is taken before the schema stands.
    pub open: AtomicBool,
}

impl Pipeline {
    /// The key of a request; decided from its headers, before the body is read.
    pub async fn authenticate(&self, head: &Parts, scope: Scope) -> Result<Arc<ApiKey>, Refusal> {
        if !self.is_open() {
            return Err(Refusal::Busy);
        }
        let presented = key_in(&head.headers, head.uri.query())?;
        Ok(self.auth.authenticate(presented.as_deref(), scope, user_agent(&head.headers)).await?)
    }

    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
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
        let key_id = charge.key.id.clone();
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
        if self.warnings && signal == Signal::Metrics && sent > 0 && self.told_metrics.insert(key_id) {
            outcome.warnings.push(METRICS_ARE_NOT_STORED.into());
        }
        // What is kept is counted when it is stored.
        if !outcome.is_kept {
            self.count(signal, transport, outcome);
        }
        Ok(done.outcome)
    }

    /// Decodes, maps and stores slice by slice; while one is stored the next is made. Nothing is answered before the last
    /// is committed. What was stored of a request that fails later does no harm: its sender tries all of it again, and
    /// copies change nothing.
    async fn take<T: Item>(
        &self,
        charge: Charge,
        slices: Slices<T>,
        sent_bytes: u64,
        room: Room,
    ) -> Result<Done, Refusal> {
        let hold = room.deadline.saturating_duration_since(Instant::now());
        let (making, items_max) = (self.making(&charge.key), self.decode_limits.spans_max as u64);
        let incoming = Incoming { slices, making, items_max, unaccounted: (1, sent_bytes) };
        let (mut charge, taken) = self.first_slice(incoming, charge, room.deadline).await?;
        let mut stored = 0;
        let done = self.take_slices(taken, &mut stored, room, hold).await;
        charge.note_stored(stored);
        charge.settle();
        done
    }

    /// Decodes and counts, asks whether the key may send so much, then maps.
    async fn first_slice<T: Item>(
        &self,
        incoming: Incoming<T>,
        mut charge: Charge,
        deadline: Instant,
    ) -> Result<(Charge, Taken<T>), Refusal> {
        let body = incoming.body();
        let first = move || {
            let counted = incoming.first()?;
            Ok(match charge.steps_at_once(counted.charged).map_err(Refusal::OverQuota)? {
                true => (charge, First::Taken(Box::new(counted.map()))),
                false => (charge, First::Waits(Box::new(counted))),
            })
        };
        match self.guarded(body, first).await? {
            (charge, First::Taken(taken)) => Ok((charge, *taken)),
            (mut charge, First::Waits(counted)) => {
                charge.steps(counted.charged, quota_hold(deadline)).await?;
                Ok((charge, self.guarded(counted.body(), move || Ok(counted.map())).await?))
            }
        }
    }

    /// Decoding and the quota may have used up the time that the request has: the commit gets half of `hold` in any case.
    /// Adds to `new` the items that were new to the store, or may be: those of a request that is kept. Once that is decided
    /// of a request, its other slices are only decoded.
    async fn take_slices<T: Item>(
        &self,
        first: Taken<T>,
        new: &mut u64,
        room: Room,
        hold: Duration,
    ) -> Result<Done, Refusal> {
        let Room { reservation, deadline, spare } = room;
        let mut deadline = deadline.max(Instant::now() + hold / 2);
        let (mut taken, mut done) = (first, Done::default());
        loop {
            let Taken { part, rest } = taken;
            done.add(part.accepted, part.rejections, part.notes);
            let is_kept = done.outcome.is_kept;
            let stored = async {
                match is_kept {
                    true => Ok(Stored::Kept),
                    false => self.store(part.batch, part.bytes, reservation.clone(), deadline, spare.as_ref()).await,
                }
            };
            let next = async {
                match rest {
                    Some(rest) => self.guarded(rest.body(), move || Ok(rest.next()?)).await.map(Some),
                    None => Ok(None),
                }
            };
            let (stored, next) = tokio::try_join!(stored, next)?;
            match stored {
                Stored::Committed(answer) => {
                    *new += answer.written.inserted;
                    done.outcome.accepted -= answer.rejections.count;
                    done.outcome.rejections.append(answer.rejections);
                }
                Stored::Kept => {
                    *new += part.accepted;
                    done.outcome.is_kept = true;
                }
            }
            match next {
                Some(next) => taken = next,
                None => return Ok(done),
            }
            // A large request lives as long as its commits come in time, and its sender waits.
            deadline = Instant::now() + hold;
        }
    }

    /// Runs `work`, off the threads that serve sockets when the body is large. A panic costs this request alone.
    async fn guarded<R: Send + 'static>(
        &self,
        body: Bytes,
        work: impl FnOnce() -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R, Refusal> {
        let (is_large, quarantine) = (body.len() > INLINE_DECODE_BYTES_MAX, self.quarantine.clone());
        let work = move || quarantine.guard(&body, work);
        let done = match is_large {
            true => {
                // No more at once than there are cores: more would only make each of them, and everybody else, wait.
                let _turn = self.decoders.acquire().await.map_err(|_| Refusal::Stopping)?;
                tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Busy)?
            }
            false => work(),
        };
        match done {
            Ok(done) => done,
            Err(Panicked::Once) => Err(Refusal::Busy),
            Err(Panicked::Again) => Err(Refusal::Malformed(
                "this body made the collector fail twice: it is refused, and a bug of the collector".into(),
            )),
        }
    }

    /// A native run, or steps for one: already validated. `request` is accounted for when they are stored, unless it was
    /// before, with another run of the same request. `spare`: what goes into the spool instead while the database is away.
    pub async fn consume_native(
        &self,
        charge: &mut Charge,
        native: Native,
        steps: Vec<Step>,
        request: &NativeRequest,
        spare: Option<Kept>,
        deadline: Instant,
    ) -> Result<Outcome, Refusal> {
        let items = steps.len() as u64 + u64::from(matches!(native, Native::Submit { .. }));
        charge.steps(items, Instant::now() + NATIVE_QUOTA_HOLD).await?;
        let bytes = request.body_bytes;
        let reservation = self.budget.reserve(bytes, deadline).await.map_err(|_| Refusal::Busy)?;
        let sent = steps.len() as u64;
        let mut batch = Batch { steps, native: Some(native), ..self.making(&charge.key).empty_batch() };
        (batch.receipt.requests, batch.receipt.bytes) = request.unaccounted();
        let answer = match self.store(batch, bytes, Arc::new(reservation), deadline, spare.as_ref()).await? {
            Stored::Committed(answer) => answer,
            Stored::Kept => {
                charge.note_stored(items);
                return Ok(Outcome { accepted: sent, is_kept: true, ..Outcome::default() });
            }
        };
        let is_new = matches!(answer.written.native, Some(NativeOutcome::Created | NativeOutcome::Updated));
        charge.note_stored(answer.written.inserted + u64::from(is_new));
        request.account();
        let outcome = Outcome {
            accepted: sent.saturating_sub(answer.rejections.count),
            rejections: answer.rejections,
            native: answer.written.native,
            ..Outcome::default()
        };
        self.count(Signal::Traces, Transport::Native, &outcome);
        Ok(outcome)
    }

    /// Commits what is left to be accounted for of a native request that is answered OK: runs of a batch that could not be
    /// read, and the request itself when none of its runs was stored.
    pub async fn settle_native(
        &self,
        key: &ApiKey,
        rejections: Rejections,
        request: &NativeRequest,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let mut batch = self.making(key).empty_batch();
        (batch.receipt.requests, batch.receipt.bytes) = request.unaccounted();
        if !rejections.is_empty() {
            let rejected = self.counters.rejected.get_or_create(&ByTransport { transport: Transport::Native }).clone();
            rejected.inc_by(rejections.count);
        }
        batch.receipt.rejections = rejections;
        let reservation = self.budget.reserve(0, deadline).await.map_err(|_| Refusal::Busy)?;
        self.commit(batch, 0, Arc::new(reservation), deadline).await?;
        request.account();
        Ok(())
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

    /// Hands the batch to the writers and waits for COMMIT. Leaving early (the sender is gone) does not stop the write.
    /// When the database is away, or goes away meanwhile, the request is kept in the spool if it has a `spare` for it.
    async fn store(
        &self,
        batch: Batch,
        bytes: u64,
        reservation: Arc<Reservation>,
        deadline: Instant,
        spare: Option<&Kept>,
    ) -> Result<Stored, Refusal> {
        let Some((spool, spare)) = self.spool.as_ref().zip(spare) else {
            return self.commit(batch, bytes, reservation, deadline).await.map(Stored::Committed);
        };
        let keep = async || {
            let kept = tokio::time::timeout_at(deadline.into(), spool.keep(spare.clone())).await;
            matches!(kept, Ok(Ok(())))
        };
        let was_open = self.circuit.is_open();
        if was_open && keep().await {
            return Ok(Stored::Kept);
        }
        let withdrawn = Withdrawn::default();
        let answer = self.offer(batch, bytes, reservation, deadline, withdrawn.clone())?;
        tokio::pin!(answer);
        if !was_open {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map(Stored::Committed),
                () = self.circuit.opened() => {}
            }
            if keep().await {
                withdrawn.set();
                return Ok(Stored::Kept);
            }
        }
        // There is no room, so it waits for the database as it would without a spool.
        answer.await.map(Stored::Committed)
    }

    /// Hands the batch to the writers and waits for COMMIT, whatever is known of the database.
    async fn commit(
        &self,
        batch: Batch,
        bytes: u64,
        reservation: Arc<Reservation>,
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        self.offer(batch, bytes, reservation, deadline, Withdrawn::default())?.await
    }

    /// Puts the batch into the queue at once; what it returns waits for COMMIT.
    fn offer(
        &self,
        batch: Batch,
        bytes: u64,
        reservation: Arc<Reservation>,
        deadline: Instant,
        withdrawn: Withdrawn,
    ) -> Result<impl Future<Output = Result<Answer, Refusal>> + use<>, Refusal> {
        let waiting = match batch.is_empty() {
            true => None,
            false => {
                let (reply, answer) = oneshot::channel();
                let job = Job { batch, bytes, deadline, reply, withdrawn, reservation };
                self.queue.offer(job).map_err(|_| Refusal::Stopping)?;
                Some(answer)
            }
        };
        Ok(async move {
            let Some(answer) = waiting else { return Ok(Answer::default()) };
            match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(Ok(Ok(answer))) => Ok(answer),
                // Not in time, or the writer went away with the job: the sender must try again, copies are harmless.
                Ok(Ok(Err(Overdue))) | Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
            }
        })
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

/// The place of a request in memory, until when its commit is waited for, and what goes into the spool instead.
struct Room {
    reservation: Arc<Reservation>,
    deadline: Instant,
    spare: Option<Kept>,
}

/// Where a batch is now.
enum Stored {
    Committed(Answer),
    Kept,
}

/// The first slice of a request.
enum First<T> {
    Taken(Box<Taken<T>>),
    /// Its steps must be waited for.
    Waits(Box<Counted<T>>),
}

/// What is known of a request so far.
#[derive(Default)]
struct Done {
    outcome: Outcome,
    notes: Notes,
}

impl Done {
    fn add(&mut self, accepted: u64, rejections: Rejections, notes: Notes) {
        self.outcome.accepted += accepted;
        self.outcome.rejections.append(rejections);
        self.notes.append(notes);
    }
}
