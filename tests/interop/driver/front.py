"""An OpenTelemetry Collector in front: a generator pushes as fast as that takes spans, through one pipeline for each
exporter and compression, and what was acknowledged to the generator must be stored."""

import os
import signal
import socket
import subprocess
import time

from ledger import Ledger, Outcome
from program import PATIENCE_S, free_port

# The pipelines of collector/config.yaml: the name in its environment, and the exporter.
PIPELINES = {
    "GRPC_GZIP": "otlp_grpc/gzip",
    "GRPC_ZSTD": "otlp_grpc/zstd",
    "HTTP_GZIP": "otlp_http/gzip",
    "HTTP_ZSTD": "otlp_http/zstd",
}
UNBOUNDED = ["--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"]

# Seconds without a new span in the store after which the Collector must have delivered all: longer than its longest
# pause between two tries.
SILENCE_S = 40


class Front:
    def __init__(self, program, config, cache, folder):
        self.program = program
        self.folder = folder
        self.generator = cache / "go" / "generator"
        self.command = [cache / "collector" / "build" / "otelcol", "--config", config]
        self.ports = {name: free_port() for name in PIPELINES}
        self.projects = {}
        self.log = folder / "otelcol.log"
        self.process = None

    def start(self):
        environment = {**os.environ, "VECTOROS_HTTP": self.program.http, "VECTOROS_GRPC": self.program.grpc}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        for name, port in self.ports.items():
            made = self.program.make_key(name.lower(), *UNBOUNDED)
            self.projects[name] = made["project_id"]
            environment |= {f"KEY_{name}": made["key"], f"PORT_{name}": str(port)}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        for port in self.ports.values():
            wait_until_open(port)

    def push(self, seconds):
        """Starts the generator, which ends by itself after so many seconds."""
        targets = [f"127.0.0.1:{port}={self.ledger(name)}" for name, port in self.ports.items()]
        with open(self.folder / "generator.log", "wb") as log:
            return subprocess.Popen([self.generator, str(seconds), *targets], stdout=log, stderr=log)

    def ledger(self, name):
        return self.folder / f"{name.lower()}.jsonl"

    def wait_until_stored(self, store):
        """Until as many spans are stored as were acknowledged, or no more come."""
        wanted = sum(len(Ledger.read(self.ledger(name)).delivered) for name in PIPELINES)
        stored, grown = 0, time.monotonic()
        while stored < wanted and time.monotonic() < grown + SILENCE_S:
            time.sleep(0.5)
            found = sum(store.count(project_id) for project_id in self.projects.values())
            if found > stored:
                stored, grown = found, time.monotonic()

    def stop(self):
        """SIGTERM; returns the exit status. What it still holds then, it tries once more and drops."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def outcomes(self, title, store):
        for name, exporter in PIPELINES.items():
            ledger = Ledger.read(self.ledger(name))
            sent = len(ledger.delivered) + len(ledger.failed)
            rows = store.spans(self.projects[name])
            outcome = Outcome.compare(f"Collector {exporter}", title, sent, ledger, rows)
            if outcome.missing:
                outcome.notes += self.drops(exporter)
            yield outcome

    def drops(self, exporter):
        """Why the Collector threw spans away that it had taken: the first line of its log about it, if there is one."""
        for line in self.log.read_text(errors="replace").split("\n"):
            if "Dropping data" in line and f'"{exporter}"' in line:
                reason = line.partition('"error": ')[2][:200]
                return [f"the Collector threw spans away: {reason}"]
        return []

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_until_open(port):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
