//! Writers over a store in memory, on a clock that stands still while anybody works.

mod model;
mod simulation;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::model::Model;
use super::{BatchBounds, Writer};
use crate::assembly::{LifeCycle, Scopes};
use crate::circuit::{Circuit, STALL_MAX};
use crate::model::id::ProjectId;
use crate::queue::{Answer, Budget, Job, Overdue, Queue, Withdrawn};
use crate::telemetry::Counters;

const HOLD: Duration = Duration::from_secs(4);
const BUDGET_BYTES: u64 = 64 << 10;
const REQUEST_BYTES: u64 = 2 << 10;

const LIFE: LifeCycle = LifeCycle {
    settle: Duration::from_secs(5),
    orphan_idle: Duration::from_secs(120),
    idle_limit: Duration::from_secs(900),
    max_duration: Duration::from_secs(86_400),
    unmatched_logs: Duration::from_secs(3_600),
    scopes: Scopes { genai_root: false, genai_root_services: Vec::new() },
};

/// How a job ended.
struct End {
    job: u64,
    at: Instant,
    /// Nobody answered it.
    is_dropped: bool,
}

/// Everything between a receiver and a database.
struct Site {
    model: Arc<Model>,
    queue: Arc<Queue>,
    budget: Budget,
    circuit: Arc<Circuit>,
    counters: Arc<Counters>,
    writers: Vec<JoinHandle<()>>,
    prober: JoinHandle<()>,
    /// Until when each job that was offered is waited for; the first one has the number 1.
    deadlines: Mutex<Vec<Instant>>,
    ends: Arc<Mutex<Vec<End>>>,
}

impl Site {
    fn start(model: Arc<Model>, writers: usize) -> Site {
        let counters = Arc::new(Counters::default());
        let (queue, circuit) = (Arc::new(Queue::new(writers)), Arc::new(Circuit::new(STALL_MAX)));
        let writer = Writer {
            queue: queue.clone(),
            store: Arc::new(model.clone()),
            counters: counters.clone(),
            circuit: circuit.clone(),
            guard: Arc::default(),
            life: LIFE,
            bounds: BatchBounds { steps_max: 64, bytes_max: 1 << 20 },
        };
        Site {
            queue,
            budget: Budget::new(BUDGET_BYTES, counters.clone()),
            counters,
            writers: (0..writers).map(|_| tokio::spawn(writer.clone().keep_writing())).collect(),
            prober: tokio::spawn(circuit.clone().keep_probing(Arc::new(model.clone()))),
            circuit,
            model,
            deadlines: Mutex::default(),
            ends: Arc::default(),
        }
    }

    /// One try to send these steps: as the pipeline does it, but that answers and dropped jobs are counted.
    async fn send(&self, project: ProjectId, numbers: &[u64]) -> Result<Answer, Overdue> {
        let deadline = Instant::now() + HOLD;
        let reservation = self.budget.reserve(REQUEST_BYTES, deadline).await.map_err(|_| Overdue)?;
        let (reply, answer) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let job = {
            let mut deadlines = self.deadlines.lock().unwrap();
            deadlines.push(deadline);
            deadlines.len() as u64
        };
        let ends = self.ends.clone();
        tokio::spawn(async move {
            let answer = answer.await;
            ends.lock().unwrap().push(End { job, at: Instant::now(), is_dropped: answer.is_err() });
            if let Ok(answer) = answer {
                // The sender may have gone away.
                let _ = tell.send(answer);
            }
        });
        let batch = model::batch(project, job, numbers);
        let (bytes, withdrawn, reservation) = (REQUEST_BYTES, Withdrawn::default(), Arc::new(reservation));
        let job = Job { batch, bytes, deadline, reply, withdrawn, reservation };
        self.queue.offer(job).map_err(|_| Overdue)?;
        let answer = self.queue.wait(told, deadline).await;
        assert!(Instant::now() <= deadline + Duration::from_millis(2), "told too late");
        answer
    }

    /// No more jobs; waits until writers have ended.
    async fn end(&mut self) {
        self.queue.close();
        for writer in self.writers.drain(..) {
            writer.await.unwrap();
        }
        self.prober.abort();
    }

    fn dropped(&self) -> usize {
        self.ends.lock().unwrap().iter().filter(|end| end.is_dropped).count()
    }
}

#[test]
fn batches_shrink_with_the_room_for_requests() {
    let bounds = |steps_max, bytes_max| BatchBounds { steps_max, bytes_max };
    let shown = |bounds: BatchBounds| (bounds.steps_max, bounds.bytes_max);
    let configured = bounds(4000, 32 << 20);
    assert_eq!(shown(configured.within(256 << 20)), (4000, 32 << 20));
    assert_eq!(shown(configured.within(64 << 20)), (1000, 8 << 20));
    assert_eq!(shown(configured.within(1 << 40)), (4000, 32 << 20), "never more than was configured");
    assert_eq!(shown(bounds(1, 1).within(1)), (1, 1), "one always goes through");
}
