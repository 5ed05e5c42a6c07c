//! How the sender can mend what was refused or rejected: a sentence for each reason.

/// For the reason of a refused request or the class of a rejected item.
pub fn mend(reason: &str) -> &'static str {
    match reason {
        "no_key" => "send `Authorization: Bearer vos_…`: set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20vos_…",
        "basic_without_key" => "sent Basic without a key; send `Authorization: Bearer vos_…`",
        "key_in_query" => "take the key out of the address; send `Authorization: Bearer vos_…`",
        "conflicting_keys" => "send one key, as `Authorization: Bearer vos_…`",
        "invalid_key" => {
            "the key is unknown, revoked, expired or copied incompletely; `vectoros keys list` shows those that live"
        }
        "scope" => "use a key with the scope that the request needs: `vectoros keys create --scope …`",
        "key_store_away" => "nothing to mend at the sender: the database was away, and it shall try again",
        "over_quota" => "send more slowly, or raise the quota of the key: `vectoros keys quota`",
        "quota_used_up" => "wait for the next day or month of the quota, or raise it: `vectoros keys quota`",
        "larger_than_quota" => "send smaller requests, or raise the quota of the key: `vectoros keys quota`",
        "malformed" => "check the exporter: the detail says where the body cannot be read",
        "too_large" => "send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or raise limits.body_bytes",
        "unsupported" => {
            "send application/x-protobuf or application/json, compressed with gzip, deflate or zstd or not at all"
        }
        "too_slow" => "send smaller batches, or compress them",
        "busy" => "nothing to mend at the sender, it shall try again; when it lasts, look at the database",
        "stopping" => "nothing to mend: the collector was stopping, and the sender shall try again",
        "invalid_run" => "the detail names the field that is wrong and what is accepted",
        "conflict" => "send a new run_id: only a running run can be changed or take more steps",
        "unknown_run" => "submit the run with POST /runs before its steps, with a key of the same project",
        "undecodable" => "check the exporter and what stands between it and the collector: the bytes are damaged",
        "wrong_type" => "check the exporter: a value has not the type that OTLP/JSON gives it",
        "bad_trace_id" | "bad_span_id" | "bad_id" => {
            "leave the ids to the SDK: a trace id has 16 bytes and a span id 8, and neither is all zeros"
        }
        "too_many_items" => "send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or raise limits.request_spans",
        "too_many_attributes" => {
            "set the SDK's limits of attributes, events and links lower, or raise limits.span_items"
        }
        "too_many_values" => "send smaller batches: they hold more tiny or empty values than their size allows",
        "unknown_metric" => "check the exporter: the metric has no kind of data that OTLP knows",
        "bad_resource" => "check the exporter: the resource of these items cannot be read",
        "bad_scope" => "check the exporter: the scope of these items cannot be read",
        "database" => "the item is kept as a dead letter: GET /receipts/dead-letters, `vectoros receipts dead-letters`",
        _ => "the detail says what is wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that stand behind an arrow, as in `Fault::Scope => "bad_scope"`, or at the end of a verdict.
    fn reasons(code: &str) -> Vec<&str> {
        let words = code.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        let is_reason = |word: &&str| word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        words.filter(is_reason).collect()
    }

    #[test]
    fn every_reason_has_its_sentence() {
        let faults = include_str!("../otlp/fault.rs").split_once("fn class").unwrap().1;
        let verdicts = include_str!("../receiver/status.rs").split_once("pub fn verdict").unwrap().1;
        let verdicts = verdicts.split_once("\n}").unwrap().0;
        let found = [reasons(faults), reasons(verdicts)].concat();
        assert!(found.len() > 20 && found.contains(&"bad_trace_id") && found.contains(&"no_key"), "{found:?}");
        for reason in found.into_iter().chain(["database", "conflict", "unknown_run", "invalid_run", "undecodable"]) {
            assert_ne!(mend(reason), mend(""), "{reason}");
        }
    }

    #[test]
    fn a_sender_of_basic_is_told_what_to_send() {
        assert_eq!(mend("basic_without_key"), "sent Basic without a key; send `Authorization: Bearer vos_…`");
        assert!(mend("no_key").starts_with("send `Authorization: Bearer vos_…`"));
        assert_eq!(mend("a word of a later version"), "the detail says what is wrong");
    }
}
