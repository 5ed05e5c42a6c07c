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
    let targets: [(&str, fn(&[u8])); 4] = [
        ("protobuf", checks::protobuf),
        ("json", checks::json),
        ("inflate", checks::inflate),
        ("headers", checks::headers),
    ];
    for (target, check) in targets {
        assert!(each(target, check) >= 20, "{target}");
    }
}
