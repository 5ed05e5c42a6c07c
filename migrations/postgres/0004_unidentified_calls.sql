-- For calls that other traces recorded too and that have no id of a response: by the process and the time.
CREATE INDEX steps_unidentified ON steps (project_id, (facts->>'instance'), start_ns)
    WHERE type IN ('model_call', 'embedding', 'rerank') AND facts->>'response_id' IS NULL
        AND facts->>'instance' IS NOT NULL;
