import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.PrintStream;
import java.util.Collection;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** Exports agent-like traces with the stock Java exporter and notes in a ledger what became of every span. */
public final class Agent {
  /** The stock exporter; each of its results is a line of the ledger. */
  private record Ledger(SpanExporter exporter, PrintStream file) implements SpanExporter {
    @Override
    public CompletableResultCode export(Collection<SpanData> spans) {
      String ids =
          spans.stream()
              .map(span -> '"' + span.getTraceId() + span.getSpanId() + '"')
              .collect(Collectors.joining(","));
      CompletableResultCode result = exporter.export(spans);
      return result.whenComplete(
          () -> file.println("{\"delivered\":" + result.isSuccess() + ",\"spans\":[" + ids + "]}"));
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }

  public static void main(String[] arguments) throws Exception {
    PrintStream file = new PrintStream(System.getenv("INTEROP_LEDGER"));
    OpenTelemetrySdk telemetry =
        AutoConfiguredOpenTelemetrySdk.builder()
            .disableShutdownHook()
            .addSpanExporterCustomizer((exporter, config) -> new Ledger(exporter, file))
            .build()
            .getOpenTelemetrySdk();
    Tracer tracer = telemetry.getTracer("interop");

    System.out.println("ready");
    System.in.read();

    for (int number = 0; number < number("INTEROP_TRACES"); number++) {
      runAgent(tracer);
      Thread.sleep(number("INTEROP_PACE_MS"));
    }

    telemetry.getSdkTracerProvider().forceFlush().join(60, TimeUnit.SECONDS);
    telemetry.getSdkTracerProvider().shutdown().join(60, TimeUnit.SECONDS);
  }

  private static void runAgent(Tracer tracer) {
    Span root =
        tracer
            .spanBuilder("invoke_agent planner")
            .setAttribute("gen_ai.operation.name", "invoke_agent")
            .setAttribute("gen_ai.agent.name", "planner")
            .startSpan();
    for (int turn = 0; turn < number("INTEROP_CHATS"); turn++) {
      tracer
          .spanBuilder("chat gpt-4o-mini")
          .setParent(Context.root().with(root))
          .setAttribute("gen_ai.operation.name", "chat")
          .setAttribute("gen_ai.request.model", "gpt-4o-mini")
          .setAttribute("gen_ai.usage.input_tokens", 100 + turn)
          .setAttribute("gen_ai.usage.output_tokens", 10 + turn)
          .startSpan()
          .end();
    }
    root.end();
  }

  private static int number(String name) {
    return Integer.parseInt(System.getenv(name));
  }
}
