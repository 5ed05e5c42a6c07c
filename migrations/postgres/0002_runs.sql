-- Runs, their steps, and what thousands of steps share. The project stands first in every key.

-- Resource and scope of spans, once per distinct body; the id is the hash of the body.
CREATE TABLE origins (
    project_id bigint NOT NULL,
    origin_id uuid NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (project_id, origin_id)
);

-- One row a run, made by assembly from its steps.
CREATE TABLE runs (
    project_id bigint NOT NULL,
    run_id uuid NOT NULL,
    source text NOT NULL,
    worthy boolean NOT NULL,
    bare boolean NOT NULL,
    duplicate_of uuid,
    name text NOT NULL,
    model text NOT NULL,
    agent text,
    service text,
    status text NOT NULL,
    input text NOT NULL,
    output text,
    error text,
    tokens bigint,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    cost double precision,
    latency_s double precision,
    session_id text,
    user_id text,
    tags jsonb NOT NULL,
    step_count bigint NOT NULL,
    error_count bigint NOT NULL,
    trace_id text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    final_at timestamptz,
    metadata jsonb NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    declared jsonb,
    PRIMARY KEY (project_id, run_id)
);

CREATE INDEX runs_newest ON runs (project_id, started_at DESC, run_id DESC) WHERE worthy AND duplicate_of IS NULL;
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;

-- One row a step, in a partition for the UTC day of the step's own start: an exporter's retry carries the same start
-- and so meets the first copy. start_ns and end_ns hold the 64 unsigned bits in two's complement.
CREATE TABLE steps (
    project_id bigint NOT NULL,
    run_id uuid NOT NULL,
    step_id text NOT NULL,
    day date NOT NULL,
    parent_id text,
    source text NOT NULL,
    position integer NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    error text,
    start_ns bigint,
    end_ns bigint,
    latency_ms double precision,
    tokens bigint,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    cost double precision,
    model text,
    provider text,
    agent text,
    input text,
    output text,
    facts jsonb NOT NULL,
    detail jsonb NOT NULL,
    origin_id uuid,
    content_hash uuid NOT NULL,
    PRIMARY KEY (project_id, run_id, step_id, day)
) PARTITION BY RANGE (day);

-- For calls that other traces recorded too. Mapping bounds the id well below what an entry of the index may hold.
CREATE INDEX steps_response ON steps (project_id, (facts->>'response_id'), start_ns)
    WHERE facts->>'response_id' IS NOT NULL;

-- lz4 costs a fraction of the default's time. A server older than 14 or built without it keeps its default.
DO $$
DECLARE wide record;
BEGIN
    FOR wide IN
        SELECT * FROM (VALUES
            ('origins', 'body'),
            ('runs', 'input'), ('runs', 'output'), ('runs', 'error'), ('runs', 'metadata'), ('runs', 'declared'),
            ('steps', 'error'), ('steps', 'input'), ('steps', 'output'), ('steps', 'facts'), ('steps', 'detail')
        ) AS columns (table_name, column_name)
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET COMPRESSION lz4', wide.table_name, wide.column_name);
    END LOOP;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    RAISE NOTICE 'no lz4 compression on this server';
END
$$;

-- Takes the days that have no partition of their own: far past, far future.
CREATE TABLE steps_default PARTITION OF steps DEFAULT;
