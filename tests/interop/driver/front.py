"""An OpenTelemetry Collector in front: a generator pushes as fast as that takes spans, through one pipeline for each
exporter and compression, and what was acknowledged to the generator must be stored."""

import os
import signal
import socket
import subprocess
import time

from ledger import Ledger, Outcome
from program import PATIENCE_S, free_port

# The names of the pipelines in collector/config.yaml, and what each of them stands for.
PIPELINES = {
    "GRPC_GZIP": "Collector otlp_grpc gzip",
    "GRPC_ZSTD": "Collector otlp_grpc zstd",
    "HTTP_GZIP": "Collector otlp_http gzip",
    "HTTP_ZSTD": "Collector otlp_http zstd",
}
UNBOUNDED = ["--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"]

# Seconds for the last requests of the generator, and for the Collector to deliver what it holds.
DRAIN_S = 300


class Front:
    def __init__(self, program, config, cache, folder):
        self.program = program
        self.folder = folder
        self.generator = cache / "go" / "generator"
        self.command = [cache / "collector" / "build" / "otelcol", "--config", config]
        self.ports = {name: free_port() for name in PIPELINES}
        self.projects = {}
        self.process = None

    def start(self):
        environment = {**os.environ, "VECTOROS_HTTP": self.program.http, "VECTOROS_GRPC": self.program.grpc}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        for name, port in self.ports.items():
            made = self.program.make_key(name.lower(), *UNBOUNDED)
            self.projects[name] = made["project_id"]
            environment |= {f"KEY_{name}": made["key"], f"PORT_{name}": str(port)}
        with open(self.folder / "otelcol.log", "wb") as log:
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

    def drain(self):
        """Stops the Collector, which delivers what it holds first; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DRAIN_S)

    def outcomes(self, title, store):
        for name, exporter in PIPELINES.items():
            ledger = Ledger.read(self.ledger(name))
            sent = len(ledger.delivered) + len(ledger.failed)
            yield Outcome.compare(exporter, title, sent, ledger, store.spans(self.projects[name]))

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
