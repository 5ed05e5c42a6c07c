"""The databases that the collector keeps its steps in, and what is in them."""

import os
import pathlib
import shutil
import sqlite3
import subprocess

# A step of a span: the run is the trace id, and the first 16 digits of the step's id are the span id.
SQLITE_STEPS = "SELECT lower(hex(run_id)) || substr(step_id, 1, 16) FROM steps WHERE project_id = ?"
POSTGRES_STEPS = "SELECT replace(run_id::text, '-', '') || left(step_id, 16) FROM steps WHERE project_id = {}"

POSTGRES_SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "postgres.sh"


class Sqlite:
    name = "SQLite"

    def __init__(self, folder):
        self.path = folder / "vectoros.db"
        self.url = f"sqlite://{self.path}"

    def spans(self, project_id):
        """Trace id and span id, as 48 hexadecimal digits, of every step of a project; a span stored twice is there twice."""
        connection = sqlite3.connect(self.path)
        try:
            return [row[0] for row in connection.execute(SQLITE_STEPS, (project_id,))]
        finally:
            connection.close()


class Postgres:
    """A database of its own in the cluster that tests/postgres.sh made."""

    name = "Postgres"

    def __init__(self, database):
        self.database = database
        self.url = f"postgres://vectoros@127.0.0.1:{os.environ['POSTGRES_PORT']}/{database}"
        self.query("postgres", f"CREATE DATABASE {database}")

    def spans(self, project_id):
        return self.query(self.database, POSTGRES_STEPS.format(int(project_id))).split()

    def count(self, project_id):
        return int(self.query(self.database, f"SELECT count(*) FROM steps WHERE project_id = {int(project_id)}"))

    def query(self, database, statement):
        # Debian keeps the client in PATH, others beside the server.
        psql = shutil.which("psql", path=f"{os.environ['PATH']}:{os.environ['POSTGRES_BIN']}")
        command = [psql, "-h", "127.0.0.1"]
        command += ["-p", os.environ["POSTGRES_PORT"], "-U", "vectoros", "-d", database]
        command += ["-X", "-A", "-t", "-q", "-c", statement]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def stop(self):
        self.control("stop_postgres fast")

    def start(self):
        self.control("start_postgres")

    def control(self, call):
        subprocess.run(["bash", "-euc", f'source "$1"; {call}', "postgres", POSTGRES_SCRIPT], check=True)
