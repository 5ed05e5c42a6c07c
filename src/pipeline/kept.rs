//! Requests that were kept in the spool, on the rest of their way: decoded and mapped again, with the time at which they
//! came. Their senders were told OK, so whatever cannot be stored of them becomes a dead letter.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::batch::{Batch, Native, NativeOutcome};
use crate::model::receipt::DeadLetter;
use crate::native;
use crate::otlp::Slices;
use crate::spool::{Content, Kept};

use super::incoming::{Incoming, Item, Making};
use super::otlp::Room;
use super::{Outcome, Pipeline, Refusal, Signal};

/// Stands in a dead letter where the database's code stands otherwise.
const NO_CODE: &str = "spool";

impl Pipeline {
    /// Whether what goes to the writers now can be committed, as far as anybody knows.
    pub fn can_commit(&self) -> bool {
        self.gate.is_open() && !self.circuit.is_open()
    }

    /// Commits a kept request. Its quota was charged when it came; it is accounted for now. An error: not now, try again.
    pub async fn replay(&self, kept: &Kept) -> Result<(), Refusal> {
        let limits = self.decode_limits;
        match kept.content {
            Content::Traces(encoding) => {
                self.replay_slices(Signal::Traces, Slices::of_traces(kept.body.clone(), encoding, limits), kept).await
            }
            Content::Logs(encoding) => {
                self.replay_slices(Signal::Logs, Slices::of_logs(kept.body.clone(), encoding, limits), kept).await
            }
            Content::Run(run_id) => self.replay_run(run_id, kept).await,
        }
    }

    async fn replay_slices<T: Item>(&self, signal: Signal, slices: Slices<T>, kept: &Kept) -> Result<(), Refusal> {
        let (making, items_max) = (self.making_of(kept), self.decode_limits.spans_max as u64);
        let incoming = Incoming { slices, making, items_max, unaccounted: (1, kept.sent_bytes) };
        let room = self.room_of(kept).await?;
        let first = self.guarded(kept.body.clone(), move || Ok(incoming.first()?.map())).await;
        let done = match first {
            Ok(first) => self.take_slices(first, &mut 0, room, self.hold).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(done) => {
                self.count(signal, kept.transport, &done.outcome);
                Ok(())
            }
            // It could be read when it came: another version with another opinion, or lower limits.
            Err(Refusal::Malformed(why)) => self.bury(kept, "malformed", why, true).await,
            Err(refusal) => Err(refusal),
        }
    }

    async fn replay_run(&self, run_id: Uuid, kept: &Kept) -> Result<(), Refusal> {
        let room = self.room_of(kept).await?;
        let making = self.making_of(kept);
        let (body, project, received_at) = (kept.body.clone(), kept.project, kept.received_at);
        let read = self.guarded(kept.body.clone(), move || {
            let body: Value = serde_json::from_slice(&body).map_err(|_| not_readable("it is not JSON"))?;
            native::submission(project, &body, run_id, received_at)
                .map_err(|faults| not_readable(faults.first().map_or("", |fault| fault.msg.as_str())))
        });
        let submission = match read.await {
            Ok(submission) => submission,
            Err(Refusal::Malformed(why)) => return self.bury(kept, "invalid_run", why, true).await,
            Err(refusal) => return Err(refusal),
        };
        let (steps, run_id) = (submission.steps, submission.run_id);
        let sent = steps.len() as u64;
        let native = Some(Native::Submit { run_id, declared: Box::new(submission.declared) });
        let mut batch = Batch { steps, native, ..making.empty_batch() };
        (batch.receipt.requests, batch.receipt.bytes) = (1, kept.sent_bytes);
        let answer = self.commit(batch, kept.body.len() as u64, room.reservation, room.deadline).await?;
        if answer.written.native == Some(NativeOutcome::Conflict) {
            let why = "the run was stored with other content while this one was kept in the spool";
            self.bury(kept, "conflict", why.to_owned(), false).await?;
        }
        let accepted = sent.saturating_sub(answer.rejections.count);
        self.count(
            Signal::Traces,
            kept.transport,
            &Outcome { accepted, rejections: answer.rejections, ..Outcome::default() },
        );
        Ok(())
    }

    /// Keeps the body as a dead letter; `is_counted` when nothing of the request is accounted for yet.
    async fn bury(&self, kept: &Kept, class: &'static str, why: String, is_counted: bool) -> Result<(), Refusal> {
        let (signal, run_id) = match kept.content {
            Content::Traces(_) => ("traces", None),
            Content::Logs(_) => ("logs", None),
            Content::Run(run_id) => ("runs", Some(run_id)),
        };
        tracing::warn!(key_id = kept.key_id, signal, why, "a request of the spool became a dead letter");
        let place = run_id.map_or_else(|| "the request".to_owned(), |run_id| format!("run {run_id}"));
        let mut batch = self.making_of(kept).empty_batch();
        if is_counted {
            (batch.receipt.requests, batch.receipt.bytes) = (1, kept.sent_bytes);
            batch.receipt.rejections.add(class, || (place.clone(), why.clone()));
        }
        let (id, received_at, code) = (Uuid::now_v7(), kept.received_at, NO_CODE.to_owned());
        let content = content(&kept.body);
        let letter = DeadLetter { id, received_at, signal, place, reason: why, code, run_id, step_id: None, content };
        batch.receipt.dead_letters = vec![letter];
        let room = self.room_of(kept).await?;
        self.commit(batch, kept.body.len() as u64, room.reservation, room.deadline).await?;
        self.counters.dead_letters.inc();
        Ok(())
    }

    fn making_of(&self, kept: &Kept) -> Making {
        let (project, key_id, received_at) = (kept.project, kept.key_id.clone(), kept.received_at);
        Making { project, key_id, received_at, prices: self.prices.clone() }
    }

    async fn room_of(&self, kept: &Kept) -> Result<Room, Refusal> {
        let deadline = Instant::now() + self.hold;
        let reservation =
            self.budget.reserve(kept.body.len() as u64, deadline.into()).await.map_err(|_| Refusal::Busy)?;
        Ok(Room { reservation: Arc::new(reservation), deadline, spare: None })
    }
}

fn not_readable(why: &str) -> Refusal {
    Refusal::Malformed(format!("the run cannot be read any more: {why}"))
}

/// A JSON object that holds the body: as it is when it is one itself.
fn content(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(_)) => body.to_vec(),
        _ => json!({"body_base64": STANDARD.encode(body)}).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_holds_the_body_whatever_it_is() {
        assert_eq!(content(b"{\"a\": 1}"), b"{\"a\": 1}");
        let read = |body: &[u8]| -> Value { serde_json::from_slice(&content(body)).unwrap() };
        assert_eq!(read(b"\x0a\xff"), json!({"body_base64": "Cv8="}));
        assert_eq!(read(b"[1]"), json!({"body_base64": "WzFd"}));
    }
}
