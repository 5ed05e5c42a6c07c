#!/usr/bin/env python3
"""Post one small agent run to POST /runs and print the stored run.

Needs nothing but Python's standard library. Address and key come from the lines that the collector prints at its first
start:

    export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
    export OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20vos_…
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

URL = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318").rstrip("/")
TIMEOUT_SECONDS = 30


def weather_run() -> dict:
    """An agent that asks a model, calls a tool, and asks the model again."""
    return {
        # With an id of its own, a run can be sent again after a lost answer: it is stored once.
        "run_id": str(uuid.uuid4()),
        "name": "weather agent",
        "model": "gpt-4o-mini",
        "input": "Do I need an umbrella in Vienna today?",
        "output": "Yes: rain is expected from noon.",
        "status": "success",
        "tokens": 231,
        "cost": 0.00012,
        "latency": 2.9,  # seconds; the latency of a step is in milliseconds
        "session_id": "session-42",
        "tags": ["example"],
        "steps": [
            {
                "type": "agent",
                "name": "weather agent",
                "latency_ms": 2900,
                "children": [
                    {
                        "type": "model_call",
                        "name": "plan",
                        "model": "gpt-4o-mini",
                        "input_tokens": 80,
                        "output_tokens": 21,
                        "latency_ms": 1200,
                        "output": {"tool": "get_weather", "arguments": {"city": "Vienna"}},
                    },
                    {
                        "type": "tool_call",
                        "name": "get_weather",
                        "latency_ms": 300,
                        "input": {"city": "Vienna"},
                        "output": {"sky": "rain", "from": "12:00"},
                        "attempt": 1,  # a field of your own: kept in the step's metadata
                    },
                    {
                        "type": "model_call",
                        "name": "answer",
                        "model": "gpt-4o-mini",
                        "input_tokens": 110,
                        "output_tokens": 20,
                        "latency_ms": 1400,
                        "output": "Yes: rain is expected from noon.",
                    },
                ],
            }
        ],
    }


def otlp_headers() -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value` pairs with commas between them, values percent-encoded."""
    pairs = (pair.split("=", 1) for pair in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in pair)
    return {name.strip(): urllib.parse.unquote(value.strip()) for name, value in pairs}


def post_run(run: dict, headers: dict[str, str]) -> dict:
    """The stored run. Raises HTTPError when the collector refuses it."""
    request = urllib.request.Request(
        f"{URL}/runs",
        data=json.dumps(run).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)


def main() -> int:
    headers = otlp_headers()
    if not headers:
        print("OTEL_EXPORTER_OTLP_HEADERS is not set: paste the lines that the collector printed", file=sys.stderr)
        return 2
    try:
        stored = post_run(weather_run(), headers)
    except urllib.error.HTTPError as refusal:
        print(f"{URL}/runs answered {refusal.code}: {refusal.read().decode(errors='replace')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{URL} cannot be reached: {error}. Is the collector running?", file=sys.stderr)
        return 1
    print(json.dumps(stored, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
