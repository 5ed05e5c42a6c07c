//! Token counts as instrumentations report them, settled into one meaning: cache tokens are part of the input,
//! reasoning tokens are part of the output, and unknown is not zero.

use crate::mapping::draft::{Count, Draft};
use crate::model::step::Usage;

/// What was reported, before it is known whether the parts are inside.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    input: Option<i64>,
    output: Option<i64>,
    total: Option<i64>,
    cache: i64,
    reasoning: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Outside {
    cache: bool,
    reasoning: bool,
}

/// The usage of a step. The arithmetic of an explicit total decides first; a part larger than the whole cannot be
/// inside it; else the shape that reported the counts says (`cache_is_outside`).
pub(super) fn usage(draft: &Draft<'_>) -> Usage {
    let cache_read = draft.count(Count::CacheRead);
    let cache_write = draft.count(Count::CacheWrite).max(draft.count(Count::CacheWrite1h));
    let reasoning = draft.count(Count::Reasoning);
    let reported = Reported {
        input: draft.count(Count::Input),
        output: draft.count(Count::Output),
        total: draft.count(Count::Total),
        cache: cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0)),
        reasoning: reasoning.unwrap_or(0),
    };
    let outside = placement(reported, draft.cache_is_outside);
    let input = reported.input.map(|n| if outside.cache { n.saturating_add(reported.cache) } else { n });
    let output = reported.output.map(|n| if outside.reasoning { n.saturating_add(reported.reasoning) } else { n });
    let parts = match (input, output) {
        (Some(input), Some(output)) => Some(input.saturating_add(output)),
        (one, other) => one.or(other),
    };
    Usage { total: reported.total.max(parts), input, output, cache_read, cache_write, reasoning }
}

fn placement(reported: Reported, by_shape: bool) -> Outside {
    let Reported { input, output, total, cache, reasoning } = reported;
    if let (Some(input), Some(output), Some(total)) = (input, output, total) {
        let plain = input.saturating_add(output);
        // A total that somebody added up of the two cannot hold a cache larger than the input.
        if total == plain && cache <= input {
            return Outside::default();
        }
        if cache > 0 && total == plain.saturating_add(cache) {
            return Outside { cache: true, reasoning: false };
        }
        if reasoning > 0 && total == plain.saturating_add(reasoning) {
            return Outside { cache: false, reasoning: true };
        }
        if total == plain.saturating_add(cache).saturating_add(reasoning) {
            return Outside { cache: true, reasoning: true };
        }
    }
    Outside {
        cache: cache > 0 && (by_shape || input.is_some_and(|input| cache > input)),
        reasoning: output.is_some_and(|output| reasoning > output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::step::StepType;

    /// input, output, total, cache read, cache write, reasoning; -1 for unknown.
    fn settle(counts: [i64; 6], cache_is_outside: bool) -> Usage {
        let mut draft = Draft::new(&StepType::ModelCall);
        draft.cache_is_outside = cache_is_outside;
        let names = [Count::Input, Count::Output, Count::Total, Count::CacheRead, Count::CacheWrite, Count::Reasoning];
        for (count, n) in names.into_iter().zip(counts).filter(|(_, n)| *n >= 0) {
            draft.offer_count(count, 1, "key", n);
        }
        usage(&draft)
    }

    #[test]
    fn inclusion_table() {
        // reported counts, cache outside by shape → input, output, total
        let cases = [
            ([120, 18, 138, 0, 0, 0], false, (120, 18, 138)),
            // The total says that the cache is inside …
            ([1200, 300, 1500, 1024, 0, 0], true, (1200, 300, 1500)),
            // … or beside the input,
            ([176, 300, 1500, 1024, 0, 0], false, (1200, 300, 1500)),
            ([100, 300, 1500, 1000, 100, -1], false, (1200, 300, 1500)),
            // that reasoning is beside the output,
            ([10, 20, 80, -1, -1, 50], false, (10, 70, 80)),
            // or both.
            ([10, 20, 180, 100, -1, 50], false, (110, 70, 180)),
            // More cache than input cannot be inside.
            ([176, 300, -1, 1024, 0, -1], false, (1200, 300, 1500)),
            // A sum of input and output says nothing of a cache that is larger than the input.
            ([176, 300, 476, 1024, 0, -1], false, (1200, 300, 1500)),
            // Without a total the shape decides.
            ([1200, 300, -1, 1024, 0, -1], false, (1200, 300, 1500)),
            ([1200, 300, -1, 1024, 0, -1], true, (2224, 300, 2524)),
            // More reasoning than output cannot be inside.
            ([10, 20, -1, -1, -1, 50], false, (10, 70, 80)),
            // A total above the parts is believed, one below is not.
            ([10, 20, 99, -1, -1, -1], false, (10, 20, 99)),
            ([10, 20, 5, -1, -1, -1], false, (10, 20, 30)),
        ];
        for (counts, by_shape, (input, output, total)) in cases {
            let usage = settle(counts, by_shape);
            assert_eq!(
                (usage.input, usage.output, usage.total),
                (Some(input), Some(output), Some(total)),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn one_known_side_is_the_total_and_nothing_stays_nothing() {
        let embedding = settle([18, -1, -1, -1, -1, -1], false);
        assert_eq!((embedding.total, embedding.output), (Some(18), None));
        let only_total = settle([-1, -1, 30, -1, -1, -1], false);
        assert_eq!((only_total.total, only_total.input, only_total.output), (Some(30), None, None));
        assert!(settle([-1; 6], true).is_empty());
        assert_eq!(settle([0, 0, -1, -1, -1, -1], false).total, Some(0));
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        assert_eq!(settle([i64::MAX, i64::MAX, -1, i64::MAX, i64::MAX, i64::MAX], true).total, Some(i64::MAX));
    }
}
