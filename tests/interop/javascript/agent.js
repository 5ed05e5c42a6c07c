// Exports agent-like traces with the stock JavaScript exporter and notes in a ledger what became of every span.

import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { context, trace } from '@opentelemetry/api';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const packages = { 'http/protobuf': 'proto', 'http/json': 'http', grpc: 'grpc' };
const { OTEL_EXPORTER_OTLP_PROTOCOL: protocol, INTEROP_LEDGER: path } = process.env;
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${packages[protocol]}`);

// The stock exporter; each of its results is a line of the ledger.
class Ledger {
  constructor(exporter, path) {
    this.exporter = exporter;
    this.file = openSync(path, 'w');
  }

  export(spans, done) {
    const ids = spans.map((span) => span.spanContext()).map(({ traceId, spanId }) => traceId + spanId);
    this.exporter.export(spans, (result) => {
      const delivered = result.code === 0;
      writeSync(this.file, JSON.stringify({ delivered, spans: ids }) + '\n');
      if (!delivered) console.error(String(result.error));
      done(result);
    });
  }

  forceFlush() {
    return this.exporter.forceFlush();
  }

  shutdown() {
    return this.exporter.shutdown();
  }
}

const provider = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new Ledger(new OTLPTraceExporter(), path))],
});
const tracer = provider.getTracer('interop');

console.log('ready');
await once(process.stdin, 'data');
process.stdin.destroy();

for (let number = 0; number < Number(process.env.INTEROP_TRACES); number += 1) {
  const root = tracer.startSpan('invoke_agent planner', {
    attributes: { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.name': 'planner' },
  });
  for (let turn = 0; turn < Number(process.env.INTEROP_CHATS); turn += 1) {
    const attributes = {
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.usage.input_tokens': 100 + turn,
      'gen_ai.usage.output_tokens': 10 + turn,
    };
    tracer.startSpan('chat gpt-4o-mini', { attributes }, trace.setSpan(context.active(), root)).end();
  }
  root.end();
  await pause(Number(process.env.INTEROP_PACE_MS));
}

await provider.forceFlush().catch((error) => console.error(error.message ?? error));
await provider.shutdown().catch((error) => console.error(error.message ?? error));
