//! The end of the way in: a batch goes to the writers, or its request into the spool while the database is away.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::model::batch::Batch;
use crate::queue::{Answer, Job, Overdue, Reservation, Withdrawn};
use crate::spool::Kept;

use super::{Pipeline, Refusal};

/// Where a batch is now.
pub(super) enum Stored {
    Committed(Answer),
    Kept,
}

impl Pipeline {
    /// Hands the batch to the writers and waits for COMMIT. Leaving early (the sender is gone) does not stop the write.
    /// When the database is away, or goes away meanwhile, the request is kept in the spool if it has a `spare` for it.
    pub(super) async fn store(
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
                answer = &mut answer => match answer {
                    // Refused before its time, for what ails the database: the next try would be too.
                    Err(Refusal::Busy) if Instant::now() < deadline && !self.circuit.is_closed() && keep().await => {
                        return Ok(Stored::Kept);
                    }
                    answer => return answer.map(Stored::Committed),
                },
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
    pub(super) async fn commit(
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
        let (queue, deadline) = (self.queue.clone(), deadline.into());
        let waiting = match batch.is_empty() {
            true => None,
            false => {
                let (reply, answer) = oneshot::channel();
                let job = Job { batch, bytes, deadline, reply, withdrawn, reservation };
                queue.offer(job).map_err(|_| Refusal::Stopping)?;
                Some(answer)
            }
        };
        Ok(async move {
            let Some(answer) = waiting else { return Ok(Answer::default()) };
            // The sender must try again; copies are harmless.
            queue.wait(answer, deadline).await.map_err(|Overdue| Refusal::Busy)
        })
    }
}
