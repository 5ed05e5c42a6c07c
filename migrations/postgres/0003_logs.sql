-- Log records. Written once and never changed; they are joined with the spans of their run whenever it is read. A record
-- of no trace has the nil run. Partitioned like steps, by the UTC day of the record's own time.
CREATE TABLE logs (
    project_id bigint NOT NULL,
    run_id uuid NOT NULL,
    day date NOT NULL,
    span_id text NOT NULL,
    log_id uuid NOT NULL,
    time_ns bigint NOT NULL,
    position integer NOT NULL,
    origin_id uuid NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, run_id, day, span_id, log_id)
) PARTITION BY RANGE (day);

-- Records of no trace, which age out.
CREATE INDEX logs_loose ON logs (received_at) WHERE run_id = '00000000-0000-0000-0000-000000000000';

DO $$
BEGIN
    ALTER TABLE logs ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    RAISE NOTICE 'no lz4 compression on this server';
END
$$;

CREATE TABLE logs_default PARTITION OF logs DEFAULT;
