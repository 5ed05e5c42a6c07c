-- What became of everything that was sent. Written in the transaction of the data itself, one row a key and hour; the
-- shard is for stores in which writers work side by side. Summed when read.
CREATE TABLE receipts (
    project_id INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    hour TEXT NOT NULL,
    shard INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    received INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    metric_points INTEGER NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, shard),
    CHECK (received = stored + duplicate + rejected)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_newest ON receipts (project_id, hour);

-- Rejected items by the class of what was wrong, with the last few.
CREATE TABLE receipt_rejections (
    project_id INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    hour TEXT NOT NULL,
    reason TEXT NOT NULL,
    shard INTEGER NOT NULL,
    count INTEGER NOT NULL,
    examples TEXT NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, reason, shard)
) STRICT, WITHOUT ROWID;

-- Requests that were refused as a whole; project 0 and an empty key where nothing tells whose they were.
CREATE TABLE refusals (
    project_id INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    hour TEXT NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    count INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    last_transport TEXT NOT NULL,
    last_detail TEXT NOT NULL,
    PRIMARY KEY (project_id, key_id, hour, status, reason, user_agent)
) STRICT, WITHOUT ROWID;

CREATE INDEX refusals_newest ON refusals (project_id, hour);

-- Items that the database refused for their data. The content goes into a column that takes anything.
CREATE TABLE dead_letters (
    project_id INTEGER NOT NULL,
    letter_id BLOB NOT NULL,
    key_id TEXT NOT NULL,
    received_at TEXT NOT NULL,
    signal TEXT NOT NULL,
    place TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    run_id BLOB,
    step_id TEXT,
    content BLOB NOT NULL,
    PRIMARY KEY (project_id, letter_id)
) STRICT;
