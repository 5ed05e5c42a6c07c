-- Log records. Written once and never changed; they are joined with the spans of their run whenever it is read. A record
-- of no trace has the nil run. time_ns holds the 64 unsigned bits in two's complement.
CREATE TABLE logs (
    project_id INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    day TEXT NOT NULL,
    span_id TEXT NOT NULL,
    log_id BLOB NOT NULL,
    time_ns INTEGER NOT NULL,
    position INTEGER NOT NULL,
    origin_id BLOB NOT NULL,
    body TEXT NOT NULL,
    received_at TEXT NOT NULL,
    PRIMARY KEY (project_id, run_id, day, span_id, log_id)
) STRICT, WITHOUT ROWID;

-- Records of no trace, which age out.
CREATE INDEX logs_loose ON logs (received_at) WHERE run_id = x'00000000000000000000000000000000';
