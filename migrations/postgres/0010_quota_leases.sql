-- What collectors together took of each rate of a key: a sliding window. Times are those of this server.
CREATE TABLE quota_leases (
    project_id bigint NOT NULL,
    key_id text NOT NULL,
    measure text NOT NULL,
    span text NOT NULL,
    opened_at timestamptz NOT NULL,
    taken bigint NOT NULL,
    taken_before bigint NOT NULL,
    PRIMARY KEY (project_id, key_id, measure, span)
) WITH (fillfactor = 50);
