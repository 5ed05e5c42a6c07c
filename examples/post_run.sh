#!/bin/sh
# Post one run to POST /runs with curl and print the stored run.
#   VECTOROS_URL      where the collector listens (http://127.0.0.1:4318)
#   VECTOROS_API_KEY  the key that the first start of the collector printed
set -eu
: "${VECTOROS_API_KEY:?is not set: use the key that the collector printed}"

curl --silent --show-error --fail-with-body "${VECTOROS_URL:-http://127.0.0.1:4318}/runs" \
  --header "Authorization: Bearer $VECTOROS_API_KEY" \
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
