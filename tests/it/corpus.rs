//! Every input that fuzzing found worth keeping, through the same checks: what was once found stays mended.

#[path = "../../fuzz/checks.rs"]
mod checks;

use std::fs;

/// How many inputs there were.
fn each(target: &str, check: fn(&[u8])) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(format!("fuzz/corpus/{target}")).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn the_corpus_of_every_fuzz_target_still_holds() {
    for (target, count) in [
        ("protobuf", each("protobuf", checks::protobuf)),
        ("json", each("json", checks::json)),
        ("inflate", each("inflate", checks::inflate)),
        ("headers", each("headers", checks::headers)),
    ] {
        assert!(count >= 20, "{target}: {count}");
    }
}
