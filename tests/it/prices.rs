//! Costs through the real program: `vectoros prices`, a file of own prices, and the runs of the query API.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::collector::{Collector, OWN_FILE, program};
use crate::spans::{agent_trace, encoded, run_id};

fn prices(arguments: &[&str], file: Option<&Path>) -> Output {
    let mut command = program();
    command.arg("prices").args(arguments);
    if let Some(file) = file {
        command.env("VECTOROS_PRICES__FILE", file);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_price_is_explained_and_computed() {
    let asked = ["openai/gpt-4o-mini-2024-07-18", "--provider", "openai", "--input", "1200", "--cache-read", "1024"];
    let done = prices(&[&asked[..], &["--output", "300"]].concat(), None);
    let shown = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    // 176 x 0.15 + 1024 x 0.075 + 300 x 0.6, by the million.
    for part in ["gpt-4o-mini of openai", "without route", "genai-prices", "0.075", "0.0002832 USD"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let day = |day: &str| {
        let done = prices(&["o3", "--at", day, "--output", "1000000", "--json"], None);
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["cost_usd"].clone()
    };
    assert_eq!((day("2025-06-09"), day("2025-06-10T00:00:00Z")), (json!(40.0), json!(8.0)));
    let tiers = text(&prices(&["claude-sonnet-4-5"], None).stdout);
    assert!(tiers.contains("above 200000 input tokens: input 6"), "{tiers}");
}

#[test]
fn a_model_without_a_price_ends_with_code_1() {
    for arguments in [&["acme-large"][..], &["llama3", "--provider", "ollama"], &["", "--input", "1"]] {
        let done = prices(arguments, None);
        let error = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        assert!(error.contains("no price is known") && error.trim().lines().count() == 1, "{error}");
        assert!(done.stdout.is_empty());
    }
    for wrong in [["gpt-4o", "--at", "soon"], ["gpt-4o", "--input", "-1"], ["gpt-4o", "--service-tier", "slow"]] {
        assert_eq!(prices(&wrong, None).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_wrong_file_of_prices_ends_with_code_2_and_names_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("own.toml");
    for (content, named) in [(Some("[[models]]\nmodel = \"a\"\ninput = -1"), "input"), (None, "own.toml")] {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        for command in ["check", "serve", "prices"] {
            let mut run = program();
            run.arg(command).args((command == "prices").then_some("gpt-4o"));
            let done = run.env("VECTOROS_PRICES__FILE", &file).current_dir(folder.path()).output().unwrap();
            let error = text(&done.stderr);
            assert_eq!(done.status.code(), Some(2), "{command}: {error}");
            assert!(error.contains("prices.file") && error.contains(named), "{command}: {error}");
            assert_eq!(error.trim().lines().count(), 1, "{command}: {error}");
        }
    }
    std::fs::write(&file, "[[models]]\nmodel = \"acme\"\ninput = 1").unwrap();
    let done = prices(&["acme", "--input", "1000000"], Some(&file));
    assert!(text(&done.stdout).contains("1 USD") && text(&done.stdout).contains("own.toml"), "{}", text(&done.stdout));
}

#[tokio::test]
async fn runs_show_what_they_cost_and_why() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("own.toml");
    std::fs::write(&file, "[[models]]\nmodel = \"gpt-4o-mini-*\"\nprovider = \"openai\"\ninput = 2\noutput = 10")
        .unwrap();
    // 12 x 0.15 + 3 x 0.6, by the million; with own prices 12 x 2 + 3 x 10.
    for (own, cost, model) in [(None, 0.000_003_6, "gpt-4o-mini"), (file.to_str(), 0.000_054, "gpt-4o-mini-*")] {
        let settings: Vec<(&str, &str)> = own.map(|file| ("VECTOROS_PRICES__FILE", file)).into_iter().collect();
        let mut collector = Collector::start(OWN_FILE, &settings).await;
        collector.post_otlp("application/x-protobuf", encoded(agent_trace(0))).await;
        let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
        let call = &run["tree"][0]["children"][0];
        assert_eq!(
            (&run["run"]["cost"], &run["tree"][0]["cost"], &call["cost"]),
            (&json!(cost), &json!(cost), &json!(cost))
        );
        assert_eq!(
            (&call["metadata"]["cost_source"], &call["metadata"]["prices"]["model"]),
            (&json!("computed"), &json!(model))
        );
        let (_, listed) = collector.get("/runs").await;
        assert_eq!(listed["items"][0]["cost"], json!(cost));
        assert!(collector.stop().success());
    }
}
