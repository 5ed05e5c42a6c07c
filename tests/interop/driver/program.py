"""The collector under test: the real program on fixed ports, stopped and started again as an operator would."""

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

# Seconds that a start or a stop may take; a stop waits for requests under way.
PATIENCE_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Refusals:
    """How long nobody listened on an address, within a few hundredths of a second, as long as the block runs."""

    def __init__(self, address):
        host, _, port = address.partition(":")
        self.address = (host, int(port))
        self.seconds = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        first = None
        while not self.over.wait(0.02):
            try:
                socket.create_connection(self.address, timeout=1).close()
            except ConnectionRefusedError:
                first = first or time.monotonic()
                self.seconds = time.monotonic() - first
            except OSError:
                pass


def listening(address):
    """A socket whose descriptor is above those that a program is given."""
    host, _, port = address.partition(":")
    with socket.create_server((host, int(port)), backlog=4096) as opened:
        return socket.socket(fileno=fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10))


class Program:
    """With `keeps_sockets`, its sockets are opened here and handed over at each start, as systemd does for socket units."""

    def __init__(self, binary, store, folder, keeps_sockets=False):
        self.binary = binary
        self.folder = folder
        self.http = f"127.0.0.1:{free_port()}"
        self.grpc = f"127.0.0.1:{free_port()}"
        # The program takes any VECTOROS_ name for a setting, and this one is the caller's.
        own = {name: value for name, value in os.environ.items() if name != "VECTOROS_BIN"}
        self.environment = {
            **own,
            "DATABASE_URL": store.url,
            "VECTOROS_SERVER__HTTP": self.http,
            "VECTOROS_SERVER__GRPC": self.grpc,
        }
        self.log = open(folder / "vectoros.log", "ab")
        self.process = None
        self.sockets = [listening(self.http), listening(self.grpc)] if keeps_sockets else []

    def start(self):
        command = [self.binary]
        if self.sockets:
            http, grpc = (kept.fileno() for kept in self.sockets)
            hand_over = f'exec 3<&{http} 4<&{grpc}; LISTEN_PID=$$ LISTEN_FDS=2 exec "$0"'
            command = ["bash", "-c", hand_over, self.binary]
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[kept.fileno() for kept in self.sockets],
        )
        end = time.monotonic() + PATIENCE_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the collector did not become ready, see {self.log.name}")
            time.sleep(0.02)

    def ready(self):
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def restart(self):
        """SIGTERM, and the same program again on the same ports; returns how many seconds the stop took, and how many
        passed from then on until it was ready."""
        began = time.monotonic()
        status = self.stop()
        ended = time.monotonic()
        if status != 0:
            raise RuntimeError(f"the collector ended with status {status} after SIGTERM, see {self.log.name}")
        self.start()
        return ended - began, time.monotonic() - ended

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for kept in self.sockets:
            kept.close()

    def make_key(self, project, *arguments):
        """A key of a project of its own: what `vectoros keys create --json` prints."""
        command = [self.binary, "keys", "create", "--project", project, "--json", *arguments]
        made = subprocess.run(command, env=self.environment, cwd=self.folder, check=True, stdout=subprocess.PIPE)
        return json.loads(made.stdout)

    def get(self, path, key=None):
        """Status and body of a GET."""
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE_S)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
