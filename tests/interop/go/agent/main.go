// Exports agent-like traces with the stock Go exporter and notes in a ledger what became of every span.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// ledger is the stock exporter; each of its results is a line of the file.
type ledger struct {
	sdktrace.SpanExporter
	lines *json.Encoder
}

type line struct {
	Delivered bool     `json:"delivered"`
	Spans     []string `json:"spans"`
}

func (l ledger) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := l.SpanExporter.ExportSpans(ctx, spans)
	entry := line{Delivered: err == nil}
	for _, span := range spans {
		at := span.SpanContext()
		entry.Spans = append(entry.Spans, at.TraceID().String()+at.SpanID().String())
	}
	if failed := l.lines.Encode(entry); failed != nil {
		log.Fatal(failed)
	}
	return err
}

func main() {
	ctx := context.Background()
	file, err := os.Create(os.Getenv("INTEROP_LEDGER"))
	if err != nil {
		log.Fatal(err)
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		log.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(ledger{exporter, json.NewEncoder(file)}))

	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		log.Fatal(err)
	}

	tracer := provider.Tracer("interop")
	for range number("INTEROP_TRACES") {
		runAgent(ctx, tracer)
		time.Sleep(time.Duration(number("INTEROP_PACE_MS")) * time.Millisecond)
	}

	if err := provider.ForceFlush(ctx); err != nil {
		log.Print(err)
	}
	if err := provider.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}

func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

func runAgent(ctx context.Context, tracer trace.Tracer) {
	ctx, root := tracer.Start(ctx, "invoke_agent planner", trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "invoke_agent"),
		attribute.String("gen_ai.agent.name", "planner"),
	))
	defer root.End()
	for turn := range number("INTEROP_CHATS") {
		_, chat := tracer.Start(ctx, "chat gpt-4o-mini", trace.WithAttributes(
			attribute.String("gen_ai.operation.name", "chat"),
			attribute.String("gen_ai.request.model", "gpt-4o-mini"),
			attribute.Int("gen_ai.usage.input_tokens", 100+turn),
			attribute.Int("gen_ai.usage.output_tokens", 10+turn),
		))
		chat.End()
	}
}

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return value
}
