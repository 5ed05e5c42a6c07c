//! Exports agent-like traces with the stock Rust exporter and notes in a ledger what became of every span.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use opentelemetry::trace::{Span, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

/// The stock exporter; each of its results is a line of the ledger.
#[derive(Debug)]
struct Ledger {
    exporter: opentelemetry_otlp::SpanExporter,
    file: Mutex<File>,
}

impl SpanExporter for Ledger {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let ids: Vec<String> = batch
            .iter()
            .map(|span| format!("\"{}{}\"", span.span_context.trace_id(), span.span_context.span_id()))
            .collect();
        let result = self.exporter.export(batch).await;
        let mut file = self.file.lock().expect("nothing panics while it holds the file");
        writeln!(file, "{{\"delivered\":{},\"spans\":[{}]}}", result.is_ok(), ids.join(","))
            .expect("the ledger can be written");
        result.inspect_err(|error| eprintln!("{error}"))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = Mutex::new(File::create(std::env::var("INTEROP_LEDGER")?)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let inside = runtime.enter(); // for gRPC; the exporter over HTTP must not be made inside a runtime
    let exporter = opentelemetry_otlp::SpanExporter::builder();
    let exporter = if std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL")? == "grpc" {
        exporter.with_tonic().build()?
    } else {
        exporter.with_http().build()?
    };
    let provider = SdkTracerProvider::builder().with_batch_exporter(Ledger { exporter, file }).build();
    drop(inside);
    let tracer = provider.tracer("interop");

    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;

    for _ in 0..number("INTEROP_TRACES")? {
        run_agent(&tracer, number("INTEROP_CHATS")?);
        std::thread::sleep(Duration::from_millis(number("INTEROP_PACE_MS")?));
    }

    if let Err(error) = provider.shutdown_with_timeout(Duration::from_secs(60)) {
        eprintln!("{error}");
    }
    Ok(())
}

fn run_agent(tracer: &SdkTracer, chats: u64) {
    let root = tracer
        .span_builder("invoke_agent planner")
        .with_attributes([
            KeyValue::new("gen_ai.operation.name", "invoke_agent"),
            KeyValue::new("gen_ai.agent.name", "planner"),
        ])
        .start(tracer);
    let inside = Context::new().with_span(root);
    for turn in 0..i64::try_from(chats).unwrap_or(0) {
        let chat = tracer.span_builder("chat gpt-4o-mini").with_attributes([
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.request.model", "gpt-4o-mini"),
            KeyValue::new("gen_ai.usage.input_tokens", 100 + turn),
            KeyValue::new("gen_ai.usage.output_tokens", 10 + turn),
        ]);
        chat.start_with_context(tracer, &inside).end();
    }
    inside.span().end();
}

fn number(name: &str) -> Result<u64, Box<dyn Error>> {
    Ok(std::env::var(name)?.parse()?)
}
