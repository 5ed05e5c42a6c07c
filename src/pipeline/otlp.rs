//! An OTLP request on its way: decoded, charged, mapped and stored slice by slice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::admission::Charge;
use crate::model::batch::Rejections;
use crate::otlp::{Notes, Slices};
use crate::queue::Reservation;
use crate::spool::Kept;

use super::commit::Stored;
use super::incoming::{Counted, Incoming, Item, Taken};
use super::{Outcome, Panicked, Pipeline, Refusal, quota_hold};

/// Bodies above this are decoded off the threads that serve sockets.
const INLINE_DECODE_BYTES_MAX: usize = 64 * 1024;

impl Pipeline {
    /// Decodes, maps and stores slice by slice; while one is stored the next is made. Nothing is answered before the last
    /// is committed. What was stored of a request that fails later does no harm: its sender tries all of it again, and
    /// copies change nothing.
    pub(super) async fn take<T: Item>(
        &self,
        charge: Charge,
        slices: Slices<T>,
        sent_bytes: u64,
        room: Room,
    ) -> Result<Done, Refusal> {
        let hold = room.deadline.saturating_duration_since(Instant::now());
        let slices = if self.queue.is_shared() { slices.short() } else { slices };
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
    pub(super) async fn take_slices<T: Item>(
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
    pub(super) async fn guarded<R: Send + 'static>(
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
}

/// The place of a request in memory, until when its commit is waited for, and what goes into the spool instead.
pub(super) struct Room {
    pub reservation: Arc<Reservation>,
    pub deadline: Instant,
    pub spare: Option<Kept>,
}

/// The first slice of a request.
enum First<T> {
    Taken(Box<Taken<T>>),
    /// Its steps must be waited for.
    Waits(Box<Counted<T>>),
}

/// What is known of a request so far.
#[derive(Default)]
pub(super) struct Done {
    pub outcome: Outcome,
    pub notes: Notes,
}

impl Done {
    fn add(&mut self, accepted: u64, rejections: Rejections, notes: Notes) {
        self.outcome.accepted += accepted;
        self.outcome.rejections.append(rejections);
        self.notes.append(notes);
    }
}
