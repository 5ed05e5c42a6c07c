-- Runs, their steps, and what thousands of steps share. The project stands first in every key.

-- Resource and scope of spans, once per distinct body; the id is the hash of the body.
CREATE TABLE origins (
    project_id INTEGER NOT NULL,
    origin_id BLOB NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (project_id, origin_id)
) STRICT, WITHOUT ROWID;

-- One row a run, made by assembly from its steps.
CREATE TABLE runs (
    project_id INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    source TEXT NOT NULL,
    worthy INTEGER NOT NULL,
    bare INTEGER NOT NULL,
    duplicate_of BLOB,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    agent TEXT,
    service TEXT,
    status TEXT NOT NULL,
    input TEXT NOT NULL,
    output TEXT,
    error TEXT,
    tokens INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens INTEGER,
    cost REAL,
    latency_s REAL,
    session_id TEXT,
    user_id TEXT,
    tags TEXT NOT NULL,
    step_count INTEGER NOT NULL,
    error_count INTEGER NOT NULL,
    trace_id TEXT,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    final_at TEXT,
    metadata TEXT NOT NULL,
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    due_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    received_at TEXT NOT NULL,
    declared TEXT,
    PRIMARY KEY (project_id, run_id)
) STRICT;

CREATE INDEX runs_newest ON runs (project_id, started_at DESC, run_id DESC) WHERE worthy AND duplicate_of IS NULL;
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;

-- One row a step. The key holds the day as on Postgres, so that both stores tell the same copies apart.
-- start_ns and end_ns hold the 64 unsigned bits in two's complement.
CREATE TABLE steps (
    project_id INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    step_id TEXT NOT NULL,
    day TEXT NOT NULL,
    parent_id TEXT,
    source TEXT NOT NULL,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    start_ns INTEGER,
    end_ns INTEGER,
    latency_ms REAL,
    tokens INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens INTEGER,
    cost REAL,
    model TEXT,
    provider TEXT,
    agent TEXT,
    input TEXT,
    output TEXT,
    facts TEXT NOT NULL,
    detail TEXT NOT NULL,
    origin_id BLOB,
    content_hash BLOB NOT NULL,
    PRIMARY KEY (project_id, run_id, step_id, day)
) STRICT;

-- For calls that other traces recorded too.
CREATE INDEX steps_response ON steps (project_id, json_extract(facts, '$.response_id'), start_ns)
    WHERE json_extract(facts, '$.response_id') IS NOT NULL;
