"""The exporters that are tried, each in a program of its own: set up, run, waited for."""

import collections
import json
import os
import select
import subprocess

# An agent's traces: a root and its chats, one trace every so many milliseconds.
TRACES, CHATS, PACE_MS = 100, 19, 60
SPANS = TRACES * (CHATS + 1)
SECONDS = TRACES * PACE_MS / 1000

# Tokens of one trace: 100 + turn and 10 + turn for each of its chats.
TOKENS = sum(110 + 2 * turn for turn in range(CHATS))

# Seconds until a program has set itself up, and those for its last exports, retries included.
READY_S, FLUSH_S = 90, 90

# Language, protocol, and the command in the language's folder of the cache.
AGENTS = [
    ("python", "http/protobuf", ["venv/bin/python", "agent.py"]),
    ("python", "grpc", ["venv/bin/python", "agent.py"]),
    ("javascript", "http/protobuf", ["node", "agent.js"]),
    ("javascript", "http/json", ["node", "agent.js"]),
    ("javascript", "grpc", ["node", "agent.js"]),
    ("go", "http/protobuf", ["./agent"]),
    ("go", "grpc", ["./agent"]),
    ("java", "http/protobuf", ["java", "-XX:TieredStopAtLevel=1", "-cp", "classes:libraries/*", "Agent"]),
    ("java", "grpc", ["java", "-XX:TieredStopAtLevel=1", "-cp", "classes:libraries/*", "Agent"]),
    ("rust", "http/protobuf", ["debug/interop-agent"]),
    ("rust", "grpc", ["debug/interop-agent"]),
]


class Agent:
    """A program that exports an agent's traces; its exporter is as its SDK makes it from the environment."""

    def __init__(self, language, protocol, command, cache, folder):
        self.language = language
        self.name = f"{language} {protocol}"
        self.protocol = protocol
        self.command = command
        self.home = cache / language
        stem = self.name.replace(" ", "-").replace("/", "-")
        self.ledger = folder / f"{stem}.jsonl"
        self.log = folder / f"{stem}.log"
        self.project_id = None
        self.key = None
        self.process = None

    def start(self, program):
        """Starts it with a key of its own and lets it set itself up."""
        made = program.make_key(self.log.stem)
        self.project_id, self.key = made["project_id"], made["key"]
        address = program.grpc if self.protocol == "grpc" else program.http
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{self.key}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": self.log.stem,
            # Many small exports, so that some of them meet the interruption, and room for what waits meanwhile.
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
            "INTEROP_LEDGER": str(self.ledger),
            "INTEROP_TRACES": str(TRACES),
            "INTEROP_CHATS": str(CHATS),
            "INTEROP_PACE_MS": str(PACE_MS),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.home, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    def wait_until_ready(self):
        said, _, _ = select.select([self.process.stdout], [], [], READY_S)
        if not said or self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{self.name} did not get ready, see {self.log}")

    def go(self):
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def finish(self):
        """Waits for the end; returns the exit status, None if there was none in time."""
        try:
            return self.process.wait(SECONDS + FLUSH_S)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def read_back(self, program, delivered):
        """What is wrong with one of the delivered traces as a reader sees it, as a list of faults."""
        spans = collections.Counter(span[:32] for span in delivered)
        whole = next((trace for trace, count in sorted(spans.items()) if count == CHATS + 1), None)
        if whole is None:
            return ["no trace was delivered whole"]
        status, body = program.get(f"/runs/{whole}", self.key)
        if status != 200:
            return [f"GET /runs/{whole}: {status} {body[:200]}"]
        shown = json.loads(body)
        found = (count_steps(shown["tree"]), shown["run"]["tokens"])
        if found != (CHATS + 1, TOKENS):
            return [f"run {whole}: steps and tokens {found}, should be {(CHATS + 1, TOKENS)}"]
        return []

    def last_words(self):
        """The last line that it wrote about its troubles."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "nothing")


def count_steps(tree):
    return sum(1 + count_steps(step["children"]) for step in tree)
