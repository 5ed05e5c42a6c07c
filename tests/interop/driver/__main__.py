"""Exports with real exporters while the collector or its database is interrupted, and compares what the exporters
reported with what is stored. `tests/interop/run` prepares the programs and the database, then calls this."""

import argparse
import pathlib
import sys
import time
import traceback

import exporters
from front import Front
from ledger import Ledger, Outcome, table
from program import Program, Refusals
from stores import Postgres, Sqlite

# Exporters that run at the same time: more than a debug build keeps up with on two cores would show its slowness only.
AT_ONCE = 4

# Seconds that the database is stopped.
AWAY_S = 3

# Seconds for the generator's last requests, which a full Collector lets wait.
LAST_REQUESTS_S = 120


# What hyper's client says of a request that crosses the server's GOAWAY: it neither sends it nor gives it back to be sent
# on another connection, and no server can tell. Rare: it needs a request at the very moment.
CROSSED_GOAWAY = "not a result of an error"


def restart(program, store):
    """SIGTERM, and the same program again on the same ports."""
    with Refusals(program.http) as refusals:
        stopping, starting = program.restart()
    print(f"  SIGTERM: ended after {stopping:.1f} s, ready again {starting:.1f} s later;", end=" ")
    print(f"connections were refused for {refusals.seconds:.1f} s", flush=True)


def stop_database(program, store):
    began = time.monotonic()
    store.stop()
    time.sleep(AWAY_S)
    store.start()
    print(f"  the database was away for {time.monotonic() - began:.1f} s", flush=True)


def run_agents(title, store, interrupt, options, folder, keeps_sockets=False):
    """The exporters, some at a time."""
    program = Program(options.binary, store, folder, keeps_sockets)
    agents = [exporters.Agent(*agent, options.cache, folder) for agent in exporters.AGENTS]
    agents = [agent for agent in agents if agent.language not in options.unprepared]
    try:
        program.start()
        outcomes = []
        for first in range(0, len(agents), AT_ONCE):
            outcomes += run_some(title, store, interrupt, program, agents[first : first + AT_ONCE])
        return outcomes
    finally:
        for agent in agents:
            agent.kill()
        program.kill()


def run_some(title, store, interrupt, program, agents):
    """Exporters that run at the same time; the interruption comes in the middle."""
    for agent in agents:
        agent.start(program)
    for agent in agents:
        agent.wait_until_ready()
    for agent in agents:
        agent.go()
    time.sleep(exporters.SECONDS / 2)
    interrupt(program, store)
    for agent in agents:
        status = agent.finish()
        ledger = Ledger.read(agent.ledger)
        result = Outcome.compare(agent.name, title, exporters.SPANS, ledger, store.spans(agent.project_id))
        if status != 0:
            result.faults.append(f"the program ended with status {status}, see {agent.log}")
        result.faults += agent.read_back(program, ledger.delivered)
        if result.dropped:
            words = agent.last_words()
            result.notes.append(f"{result.dropped} spans dropped; its last words: {words}")
            if program.sockets and CROSSED_GOAWAY not in words:
                result.faults.append("it dropped spans although the sockets were kept")
        yield result


def run_front(title, store, options, folder):
    """A Collector in front, at full speed, through both interruptions."""
    config = pathlib.Path(__file__).resolve().parents[1] / "collector" / "config.yaml"
    program = Program(options.binary, store, folder)
    front = Front(program, config, options.cache, folder)
    generator = None
    try:
        program.start()
        front.start()
        generator = front.push(options.seconds)
        time.sleep(options.seconds / 3)
        restart(program, store)
        time.sleep(options.seconds / 6)
        stop_database(program, store)
        if generator.wait(options.seconds + LAST_REQUESTS_S) != 0:
            raise RuntimeError(f"the generator failed, see {folder}/generator.log")
        pushed = time.monotonic()
        front.wait_until_stored(store)
        print(f"  {time.monotonic() - pushed:.1f} s from the last acknowledgement to the last commit", flush=True)
        status = front.stop()
        if status != 0:
            raise RuntimeError(f"the Collector ended with status {status}, see {folder}/otelcol.log")
        return list(front.outcomes(title, store))
    finally:
        if generator is not None and generator.poll() is None:
            generator.kill()
        front.kill()
        program.kill()


def passes(options):
    """Title and function of every pass; the function is given a folder for its ledgers and logs."""

    def agents(store, interrupt, **how):
        return lambda title, folder: run_agents(title, store(folder), interrupt, options, folder, **how)

    yield "restart, SQLite", agents(Sqlite, restart)
    yield "restart, Postgres", agents(lambda folder: Postgres("restarted"), restart)
    yield "restart, sockets kept, SQLite", agents(Sqlite, restart, keeps_sockets=True)
    yield "restart, sockets kept, Postgres", agents(lambda folder: Postgres("kept"), restart, keeps_sockets=True)
    yield "database stopped", agents(lambda folder: Postgres("stopped"), stop_database)
    if not {"collector", "go"} & set(options.unprepared):
        yield "behind a Collector", lambda title, folder: run_front(title, Postgres("behind"), options, folder)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--binary", required=True, help="the collector")
    arguments.add_argument("--cache", required=True, type=pathlib.Path, help="where the languages are prepared")
    arguments.add_argument("--folder", required=True, type=pathlib.Path, help="for ledgers and logs")
    arguments.add_argument("--seconds", type=float, default=10, help="how long the Collector is pushed")
    arguments.add_argument("--unprepared", default="", help="languages that could not be prepared, each a failure")
    options = arguments.parse_args()
    options.unprepared = options.unprepared.split()

    outcomes = []
    failed = len(options.unprepared)
    for title, run in passes(options):
        print(f"== {title}", flush=True)
        folder = options.folder / title.replace(",", "").replace(" ", "-")
        folder.mkdir()
        began = time.monotonic()
        try:
            outcomes += run(title, folder)
        except Exception:  # a pass that broke off is one failure, and the others are still run
            traceback.print_exc()
            failed += 1
        print(f"  {time.monotonic() - began:.0f} s", flush=True)

    print(table(outcomes))
    for language in options.unprepared:
        print(f"FAILED: {language} could not be prepared")
    passed = sum(outcome.passed for outcome in outcomes)
    failed += len(outcomes) - passed
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
