-- For calls that other traces recorded too and that have no id of a response: by the process and the time.
CREATE INDEX steps_unidentified ON steps (project_id, json_extract(facts, '$.instance'), start_ns)
    WHERE type IN ('model_call', 'embedding', 'rerank') AND json_extract(facts, '$.response_id') IS NULL
        AND json_extract(facts, '$.instance') IS NOT NULL;
