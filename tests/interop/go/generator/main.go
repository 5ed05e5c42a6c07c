// Pushes agent-like traces into OpenTelemetry Collectors as fast as they take them and notes in a ledger what became of
// every span: `generator SECONDS ENDPOINT=LEDGER…`, each endpoint a host and port that speaks OTLP/gRPC.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	senders          = 2 // to one endpoint at the same time
	tracesPerRequest = 10
	chatsPerTrace    = 19
	timeout          = time.Minute      // for one request: a Collector whose queue is full lets its sender wait
	pause            = time.Second / 10 // after a refusal
)

type line struct {
	Delivered bool     `json:"delivered"`
	Spans     []string `json:"spans"`
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		log.Fatal(err)
	}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))

	var running sync.WaitGroup
	for _, target := range os.Args[2:] {
		endpoint, ledger, _ := strings.Cut(target, "=")
		running.Go(func() { load(endpoint, ledger, end) })
	}
	running.Wait()
}

// load sends to one endpoint until the end.
func load(endpoint, ledger string, end time.Time) {
	connection, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	file, err := os.Create(ledger)
	if err != nil {
		log.Fatal(err)
	}
	lines := make(chan line)
	var running sync.WaitGroup
	for range senders {
		running.Go(func() { send(ptraceotlp.NewGRPCClient(connection), lines, end) })
	}
	go func() {
		running.Wait()
		close(lines)
	}()

	buffer := bufio.NewWriter(file)
	encoder := json.NewEncoder(buffer)
	for entry := range lines {
		if err := encoder.Encode(entry); err != nil {
			log.Fatal(err)
		}
	}
	if err := buffer.Flush(); err != nil {
		log.Fatal(err)
	}
}

// send makes one request after another; a refused one is not sent again.
func send(client ptraceotlp.GRPCClient, lines chan<- line, end time.Time) {
	for time.Now().Before(end) {
		traces := ptrace.NewTraces()
		resource := traces.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", "generator")
		spans := resource.ScopeSpans().AppendEmpty().Spans()
		for range tracesPerRequest {
			addTrace(spans)
		}
		entry := line{Spans: make([]string, 0, spans.Len())}
		for _, span := range spans.All() {
			entry.Spans = append(entry.Spans, span.TraceID().String()+span.SpanID().String())
		}

		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		response, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(traces))
		cancel()
		entry.Delivered = err == nil && response.PartialSuccess().RejectedSpans() == 0
		lines <- entry
		if err != nil {
			log.Print(err)
			time.Sleep(pause)
		}
	}
}

// addTrace adds the spans of an agent that called a model some times.
func addTrace(spans ptrace.SpanSlice) {
	var trace pcommon.TraceID
	binary.BigEndian.PutUint64(trace[:8], rand.Uint64())
	binary.BigEndian.PutUint64(trace[8:], rand.Uint64())
	start := time.Now()

	root := addSpan(spans, trace, pcommon.SpanID{}, "invoke_agent planner", start)
	root.Attributes().PutStr("gen_ai.operation.name", "invoke_agent")
	root.Attributes().PutStr("gen_ai.agent.name", "planner")
	for turn := range chatsPerTrace {
		chat := addSpan(spans, trace, root.SpanID(), "chat gpt-4o-mini", start)
		chat.Attributes().PutStr("gen_ai.operation.name", "chat")
		chat.Attributes().PutStr("gen_ai.request.model", "gpt-4o-mini")
		chat.Attributes().PutInt("gen_ai.usage.input_tokens", int64(100+turn))
		chat.Attributes().PutInt("gen_ai.usage.output_tokens", int64(10+turn))
	}
}

func addSpan(spans ptrace.SpanSlice, trace pcommon.TraceID, parent pcommon.SpanID, name string, start time.Time) ptrace.Span {
	var id pcommon.SpanID
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	span := spans.AppendEmpty()
	span.SetTraceID(trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetName(name)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Millisecond)))
	return span
}
