//! Data that the database refuses, and tables that are not as they should be.

use std::time::{Duration, Instant};

use crate::content::{STEPS_OF_TRACE_MAX, request, step_id, text};
use crate::report::Row;
use crate::rig::{Context, Kind, Rig, Setup};
use crate::sender::{Answer, Body, Client, Request, Target, Way};

/// Traces that no sender of the load makes.
const OWN_TRACES: u64 = 1 << 24;

pub async fn f38(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let long = "x".repeat(20_000);
    let values = ["a\0b", "\u{fffd}", &deep, &long, "1e400", "-1e-400", "{\"a\":\"\\u0000\"}", "{\"a\":\"\\ud800\"}"];
    let mut spans = Vec::new();
    for (at, value) in values.iter().enumerate() {
        for (place, key) in
            ["gen_ai.tool.call.result", "gen_ai.response.id", "a\0key", "gen_ai.usage.input_tokens"].iter().enumerate()
        {
            let number = (OWN_TRACES + (at * 4 + place) as u64) * STEPS_OF_TRACE_MAX;
            let mut span = rig.ledger.content.span(number);
            span.attributes.push(text(key, value));
            span.name = (*value).to_owned();
            rig.foreign.push(step_id(number));
            spans.push(span);
        }
    }
    let sent = spans.len() as i64;
    let client = rig.client(Way::Protobuf);
    let answer = client.attempt(&client.encode(Body::Spans(request(spans)))).await;
    // Text that is no Unicode can come by JSON alone.
    let number = (OWN_TRACES + 999) * STEPS_OF_TRACE_MAX;
    let lone =
        serde_json::to_string(&request(vec![rig.ledger.content.span(number)]))?.replace("ledger", "\\ud800 \\u0000");
    rig.foreign.push(step_id(number));
    let body = Request::Http { path: "/v1/traces", content_type: "application/json", body: lone.into_bytes().into() };
    let second = rig.client(Way::Json).attempt(&body).await;
    rig.expect(matches!(second, Answer::Yes { rejected: 0 }), || format!("lone surrogates: {second:?}"));
    let ids = rig.foreign.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let stored = rig.database.number(&format!("SELECT COUNT(*) FROM steps WHERE step_id IN ({ids})")).await?;
    match answer {
        Answer::Yes { rejected } => {
            rig.notes.push(format!("{stored} of {} such spans stored, {rejected} rejected", sent + 1));
            rig.expect(stored + rejected as i64 == sent + 1, || format!("{stored} stored, {rejected} rejected"));
        }
        other => rig.expect(false, || format!("{other:?}")),
    }
    rig.expect_nobody_gave_up_since(before);
    rig.finish().await
}

pub async fn f39(context: Context) -> anyhow::Result<Row> {
    const GOOD: u64 = 99;
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let trigger = match context.store {
        Kind::Postgres => {
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS \
                'BEGIN RAISE check_violation USING MESSAGE = ''no poison''; END'; \
            CREATE TRIGGER poison BEFORE INSERT ON steps FOR EACH ROW WHEN (NEW.name LIKE '%poison%') \
                EXECUTE FUNCTION poison()"
        }
        Kind::Sqlite => {
            "CREATE TRIGGER poison BEFORE INSERT ON steps WHEN NEW.name LIKE '%poison%' \
                BEGIN SELECT RAISE(ABORT, 'no poison'); END"
        }
    };
    rig.database.execute(trigger).await?;
    let before = rig.ledger.trouble();
    let numbers: Vec<u64> = (0..GOOD).map(|at| (OWN_TRACES + at) * STEPS_OF_TRACE_MAX).collect();
    let mut export = rig.ledger.content.export(&numbers);
    let mut poison = rig.ledger.content.span((OWN_TRACES + GOOD) * STEPS_OF_TRACE_MAX);
    poison.name = "execute_tool poison".to_owned();
    poison.attributes = vec![text("gen_ai.operation.name", "execute_tool"), text("gen_ai.tool.name", "poison")];
    export.resource_spans[0].scope_spans[0].spans.insert(50, poison);
    rig.ledger.sent(&numbers, false);
    let commits = rig.collector.metric("vectoros_commits").await.unwrap_or_default();
    let client = rig.client(Way::Protobuf);
    let begin = Instant::now();
    let request = client.encode(Body::Spans(export));
    let (mut answer, mut tries) = (client.attempt(&request).await, 1);
    // A busy machine may need more than one try: each finds the good ones stored.
    while matches!(answer, Answer::Later { .. }) && begin.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        (answer, tries) = (client.attempt(&request).await, tries + 1);
    }
    rig.expect(matches!(answer, Answer::Yes { rejected: 1 }), || format!("one of a hundred is refused: {answer:?}"));
    if matches!(answer, Answer::Yes { .. }) {
        rig.ledger.acknowledged(&numbers, begin.elapsed());
    }
    let more = rig.collector.metric("vectoros_commits").await.unwrap_or_default() - commits;
    let letters = rig.database.number("SELECT COUNT(*) FROM dead_letters").await?;
    rig.expect((1..=tries).contains(&letters), || format!("{letters} dead letters after {tries} tries"));
    rig.notes.push(format!("answered after {:.2} s, {more} commits meanwhile", begin.elapsed().as_secs_f64()));
    rig.flow(20).await?;
    rig.expect_nobody_gave_up_since(before);
    rig.finish().await
}

pub async fn f40(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    rig.database.execute("ALTER TABLE steps RENAME COLUMN provider TO provider_of_before").await?;
    let is_told = rig.until(Duration::from_secs(15), |trouble| trouble.since(before).refused > 0).await;
    rig.expect(is_told, || "nobody was told to come again".to_owned());
    let begin = Instant::now();
    while rig.collector.is_ready().await && begin.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, told) = rig.collector.get("", "/readyz").await?;
    let code = if context.store == Kind::Postgres { "42703" } else { "1" };
    rig.expect(status == 503 && told.contains(&format!("(code {code})")) && told.contains("vectoros migrate"), || {
        format!("/readyz says {status} {told}")
    });
    rig.notes.push(format!("/readyz says not ready, and code {code}"));
    rig.database.execute("ALTER TABLE steps RENAME COLUMN provider_of_before TO provider").await?;
    rig.recover().await?;
    let letters = rig.database.number("SELECT COUNT(*) FROM dead_letters").await?;
    rig.expect(letters == 0, || format!("{letters} dead letters for a fault of ours"));
    rig.finish().await
}

pub async fn f50(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    // A good key that the collector has not met yet: nothing in its memory says yes or no.
    let unmet = Target { key: rig.collector.make_key("unmet").await?, ..rig.collector.target() };
    rig.database.execute("ALTER TABLE api_keys RENAME TO api_keys_of_before").await?;
    let begin = Instant::now();
    let mut answers = Vec::new();
    while begin.elapsed() < Duration::from_secs(context.pick(3, 10)) {
        for way in [Way::Protobuf, Way::Grpc] {
            let client = Client::new(way, &unmet, Duration::from_secs(10));
            let number = (OWN_TRACES + answers.len() as u64) * STEPS_OF_TRACE_MAX;
            let answer = client.attempt(&client.encode(Body::Spans(rig.ledger.content.export(&[number])))).await;
            answers.push(answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.database.execute("ALTER TABLE api_keys_of_before RENAME TO api_keys").await?;
    if let Some(other) = answers.iter().find(|answer| !matches!(answer, Answer::Later { .. })) {
        let text = format!("a key that cannot be looked up is not told to come again: {other:?}");
        rig.expect(false, || text);
    }
    rig.notes.push(format!("{} requests with a key that was not met before", answers.len()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let client = Client::new(Way::Protobuf, &unmet, Duration::from_secs(10));
    let answer = client.attempt(&client.encode(Body::Spans(request(vec![])))).await;
    rig.expect(matches!(answer, Answer::Yes { .. }), || format!("afterwards it is told {answer:?}"));
    rig.finish().await
}
