//! Native runs on their way: validated before, charged and stored whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::admission::Charge;
use crate::model::batch::{Batch, Native, NativeOutcome, Rejections};
use crate::model::key::ApiKey;
use crate::model::step::Step;
use crate::spool::Kept;
use crate::telemetry::{ByTransport, Transport};

use super::commit::Stored;
use super::{NATIVE_QUOTA_HOLD, Outcome, Pipeline, Refusal, Signal};

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

impl Pipeline {
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
        let reservation = self.budget.reserve(bytes, deadline.into()).await.map_err(|_| Refusal::Busy)?;
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
        let reservation = self.budget.reserve(0, deadline.into()).await.map_err(|_| Refusal::Busy)?;
        self.commit(batch, 0, Arc::new(reservation), deadline).await?;
        request.account();
        Ok(())
    }
}
