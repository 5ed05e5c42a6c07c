#!/usr/bin/env bash
# A trace by OTLP/JSON and a run by POST /runs, both with curl, then the list of runs.
#
# Address and key come from the lines that the collector prints at its first start:
#
#   export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
#   export OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20vos_…
set -euo pipefail

: "${OTEL_EXPORTER_OTLP_HEADERS:?is not set: paste the lines that the collector printed at its first start}"
url=${OTEL_EXPORTER_OTLP_ENDPOINT:-http://127.0.0.1:4318}
header=${OTEL_EXPORTER_OTLP_HEADERS/=/: } # name=value to name: value

call() { # method path [body]
    local body=()
    if [ $# -gt 2 ]; then body=(-H 'Content-Type: application/json' --data-binary "$3"); fi
    curl -sS --fail-with-body -X "$1" "$url$2" -H "$header" "${body[@]}"
    echo
}

hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

trace_id=$(hex 16) agent_id=$(hex 8) model_id=$(hex 8)
now=$(date +%s)000000000 # nanoseconds, as text: JSON numbers are too short for them
ended=$(($(date +%s) + 1))000000000

text() { printf '{"key":"%s","value":{"stringValue":"%s"}}' "$1" "$2"; }
count() { printf '{"key":"%s","value":{"intValue":"%s"}}' "$1" "$2"; }
message() { printf '[{\\"role\\":\\"%s\\",\\"parts\\":[{\\"type\\":\\"text\\",\\"content\\":\\"%s\\"}]}]' "$1" "$2"; }

echo "# POST /v1/traces: an agent that asks a model once; an empty object says that all of it is stored"
call POST /v1/traces "{
  \"resourceSpans\": [{
    \"resource\": {\"attributes\": [$(text service.name curl)]},
    \"scopeSpans\": [{\"spans\": [
      {\"traceId\": \"$trace_id\", \"spanId\": \"$agent_id\", \"name\": \"invoke_agent greeter\", \"kind\": 1,
       \"startTimeUnixNano\": \"$now\", \"endTimeUnixNano\": \"$ended\",
       \"attributes\": [
         $(text gen_ai.operation.name invoke_agent), $(text gen_ai.agent.name greeter),
         $(text gen_ai.input.messages "$(message user 'Say hello')"),
         $(text gen_ai.output.messages "$(message assistant 'Hello!')")]},
      {\"traceId\": \"$trace_id\", \"spanId\": \"$model_id\", \"parentSpanId\": \"$agent_id\",
       \"name\": \"chat gpt-4o-mini\", \"kind\": 3,
       \"startTimeUnixNano\": \"$now\", \"endTimeUnixNano\": \"$ended\",
       \"attributes\": [
         $(text gen_ai.operation.name chat), $(text gen_ai.provider.name openai),
         $(text gen_ai.request.model gpt-4o-mini),
         $(count gen_ai.usage.input_tokens 12), $(count gen_ai.usage.output_tokens 3),
         $(text gen_ai.input.messages "$(message user 'Say hello')"),
         $(text gen_ai.output.messages "$(message assistant 'Hello!')")]}
    ]}]
  }]
}"

echo "# POST /runs: the same as one native run; the answer is the run as it is stored"
call POST /runs '{
  "model": "gpt-4o-mini", "input": "Say hello", "output": "Hello!", "status": "success",
  "tokens": 15, "cost": 0.00001, "latency": 1.0,
  "steps": [{"type": "model_call", "name": "chat", "tokens": 15, "latency_ms": 1000}]
}'

echo "# GET /runs: both"
call GET '/runs?limit=2'

echo "# GET /runs/{run_id}: the run of a trace has the trace id as its id"
call GET "/runs/${trace_id:0:8}-${trace_id:8:4}-${trace_id:12:4}-${trace_id:16:4}-${trace_id:20}"
