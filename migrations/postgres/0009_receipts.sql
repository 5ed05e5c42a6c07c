-- What became of everything that was sent. Written in the transaction of the data itself, one row a key, hour and shard:
-- each writer draws a shard, so that writers seldom wait for each other's row. Summed when read.
CREATE TABLE receipts (
    project_id bigint NOT NULL,
    key_id text NOT NULL,
    hour timestamptz NOT NULL,
    shard smallint NOT NULL,
    requests bigint NOT NULL,
    bytes bigint NOT NULL,
    received bigint NOT NULL,
    stored bigint NOT NULL,
    duplicate bigint NOT NULL,
    rejected bigint NOT NULL,
    metric_points bigint NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, shard),
    CHECK (received = stored + duplicate + rejected)
) WITH (fillfactor = 50);

CREATE INDEX receipts_newest ON receipts (project_id, hour);

-- Rejected items by the class of what was wrong, with the last few.
CREATE TABLE receipt_rejections (
    project_id bigint NOT NULL,
    key_id text NOT NULL,
    hour timestamptz NOT NULL,
    reason text NOT NULL,
    shard smallint NOT NULL,
    count bigint NOT NULL,
    examples jsonb NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, reason, shard)
);

-- Requests that were refused as a whole; project 0 and an empty key where nothing tells whose they were.
CREATE TABLE refusals (
    project_id bigint NOT NULL,
    key_id text NOT NULL,
    hour timestamptz NOT NULL,
    status integer NOT NULL,
    reason text NOT NULL,
    user_agent text NOT NULL,
    count bigint NOT NULL,
    last_at timestamptz NOT NULL,
    last_transport text NOT NULL,
    last_detail text NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, status, reason, user_agent)
);

CREATE INDEX refusals_newest ON refusals (project_id, hour);

-- Items that the database refused for their data. The content goes into a column that takes anything.
CREATE TABLE dead_letters (
    project_id bigint NOT NULL,
    letter_id uuid NOT NULL,
    key_id text NOT NULL,
    received_at timestamptz NOT NULL,
    signal text NOT NULL,
    place text NOT NULL,
    reason text NOT NULL,
    code text NOT NULL,
    run_id uuid,
    step_id text,
    content bytea NOT NULL,
    PRIMARY KEY (project_id, letter_id)
);
