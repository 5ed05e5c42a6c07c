"""Exports agent-like traces with the stock Python exporter and notes in a ledger what became of every span."""

import json
import os
import sys
import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


class Ledger(SpanExporter):
    """The stock exporter; each of its results is a line of the ledger."""

    def __init__(self, exporter, path):
        self.exporter = exporter
        self.file = open(path, "w", encoding="utf-8")

    def export(self, spans):
        delivered = False
        try:
            result = self.exporter.export(spans)
            delivered = result is SpanExportResult.SUCCESS
            return result
        finally:
            ids = [f"{span.context.trace_id:032x}{span.context.span_id:016x}" for span in spans]
            print(json.dumps({"delivered": delivered, "spans": ids}), file=self.file, flush=True)

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30000):
        return self.exporter.force_flush(timeout_millis)


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Ledger(OTLPSpanExporter(), os.environ["INTEROP_LEDGER"])))
tracer = provider.get_tracer("interop")

print("ready", flush=True)
sys.stdin.readline()

for number in range(int(os.environ["INTEROP_TRACES"])):
    root = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    with tracer.start_as_current_span("invoke_agent planner", attributes=root):
        for turn in range(int(os.environ["INTEROP_CHATS"])):
            chat = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.usage.input_tokens": 100 + turn,
                "gen_ai.usage.output_tokens": 10 + turn,
            }
            tracer.start_span("chat gpt-4o-mini", attributes=chat).end()
    time.sleep(float(os.environ["INTEROP_PACE_MS"]) / 1000)

provider.force_flush()
provider.shutdown()
