#!/bin/sh
# Post one run to POST /runs with curl and print the stored run. Address and key come from the lines that the collector
# prints at its first start: OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS.
set -eu
: "${OTEL_EXPORTER_OTLP_HEADERS:?is not set: paste the lines that the collector printed at its first start}"

# The variable holds name=value, a header is name: value.
curl --silent --show-error --fail-with-body "${OTEL_EXPORTER_OTLP_ENDPOINT:-http://127.0.0.1:4318}/runs" \
  --header "${OTEL_EXPORTER_OTLP_HEADERS%%=*}: ${OTEL_EXPORTER_OTLP_HEADERS#*=}" \
  --header "Content-Type: application/json" \
  --data '{
    "model": "gpt-4o-mini",
    "input": "What is the capital of Austria?",
    "output": "Vienna.",
    "status": "success",
    "tokens": 24,
    "cost": 0.00001,
    "latency": 0.8,
    "steps": [
      {"type": "agent", "name": "geography agent", "children": [
        {"type": "model_call", "model": "gpt-4o-mini", "tokens": 24, "latency_ms": 790}
      ]}
    ]
  }'
echo
