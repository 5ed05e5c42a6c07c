//! Clients that do not wait for their answers.

use std::time::Duration;

use rand::Rng;

use crate::content::STEPS_OF_TRACE_MAX;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::{Body, Way};

pub async fn f48(context: Context) -> anyhow::Result<Row> {
    const AT_ONCE: usize = 16;
    let count = context.pick(600, 10_000);
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let mut going = tokio::task::JoinSet::new();
    let clients: Vec<_> = [Way::Protobuf, Way::Json, Way::Grpc].map(|way| std::sync::Arc::new(rig.client(way))).into();
    let mut answered = 0;
    for at in 0..count {
        let client = clients[at as usize % clients.len()].clone();
        let numbers = [0, 1, 2].map(|place| ((1 << 24) + at) * STEPS_OF_TRACE_MAX + place);
        let request = client.encode(Body::Spans(rig.ledger.content.export(&numbers)));
        rig.ledger.sent(&numbers, false);
        let patience = Duration::from_millis(rig.random.random_range(0..50));
        going.spawn(async move { tokio::time::timeout(patience, client.attempt(&request)).await.is_ok() });
        if going.len() >= AT_ONCE {
            answered += u64::from(going.join_next().await.is_some_and(|it| it.unwrap_or(false)));
        }
    }
    answered += going.join_all().await.into_iter().filter(|is_answered| *is_answered).count() as u64;
    rig.notes.push(format!("{} of {count} went away before their answer", count - answered));
    rig.flow(20).await?;
    rig.expect_nobody_gave_up_since(before);
    rig.finish().await
}
