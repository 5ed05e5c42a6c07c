//! What came out of a fault: a line on the screen, a row of docs/reliability.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::join::Joined;
use crate::ledger::Trouble;
use crate::plan::{FAULTS, Tier};
use crate::rig::Kind;

const BEGIN: &str = "<!-- rows: written by tests/faults/run -->";
const END: &str = "<!-- end of rows -->";
const LIST_BEGIN: &str = "<!-- faults: written by tests/faults/run -->";
const LIST_END: &str = "<!-- end of faults -->";
const HEAD: &str = "\
| fault | store | acknowledged | stored | lost | duplicates | refused / broken / given up | peak MiB | ready s | \
first yes s | seed | day, build | seen |
| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |
";

pub struct Row {
    pub fault: &'static str,
    pub store: Kind,
    pub seed: u64,
    pub joined: Joined,
    pub trouble: Trouble,
    pub peak_mib: f64,
    pub ready: Option<Duration>,
    pub acknowledged: Option<Duration>,
    pub took: Duration,
    pub notes: Vec<String>,
    /// Empty: it passed.
    pub problems: Vec<String>,
}

impl Row {
    pub fn line(&self) -> String {
        let Joined { sent, acknowledged, rejected, failed, stored, lost, duplicates, .. } = &self.joined;
        let Trouble { refused, broken, given_up, .. } = self.trouble;
        format!(
            "sent {sent}, acknowledged {acknowledged}, rejected {rejected}, failed {failed}, stored {stored}, lost {lost}, \
             duplicates {duplicates}; refused {refused}, broken {broken}, given up {given_up}; peak {:.0} MiB, ready {} s, \
             first yes {} s, took {:.0} s, seed {}{}",
            self.peak_mib,
            seconds(self.ready),
            seconds(self.acknowledged),
            self.took.as_secs_f64(),
            self.seed,
            self.notes.iter().map(|note| format!("; {note}")).collect::<String>(),
        )
    }

    fn cells(&self, day: &str) -> String {
        let Joined { acknowledged, stored, lost, duplicates, .. } = &self.joined;
        let Trouble { refused, broken, given_up, .. } = self.trouble;
        let result =
            if self.problems.is_empty() { String::new() } else { format!("**fails**: {}", self.problems.join("; ")) };
        let seen: Vec<String> = self.notes.iter().cloned().chain(Some(result).filter(|it| !it.is_empty())).collect();
        format!(
            "| {} | {} | {acknowledged} | {stored} | {lost} | {duplicates} | {refused} / {broken} / {given_up} | {:.0} | {} | {} | {} | {day} | {} |",
            self.fault,
            store(self.store),
            self.peak_mib,
            seconds(self.ready),
            seconds(self.acknowledged),
            self.seed,
            seen.join("; ").replace('|', "/").replace('\n', " "),
        )
    }
}

pub fn store(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "sqlite",
        Kind::Postgres => "postgres",
    }
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "–".to_owned(), |it| format!("{:.2}", it.as_secs_f64()))
}

/// Puts the rows of this run in the place of the older ones of the same fault and store.
pub fn write_docs(page: &Path, rows: &[Row], build: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, table, after) = parted(&text, BEGIN, END)?;
    let key = |line: &str| -> Option<(String, String)> {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        let fault = cells.next().filter(|id| id.starts_with('F') || *id == "soak")?;
        Some((fault.to_owned(), cells.next()?.to_owned()))
    };
    let mut lines: BTreeMap<(String, String), String> =
        table.lines().filter_map(|line| Some((key(line)?, line.to_owned()))).collect();
    let day = format!("{}, {build}", chrono::Utc::now().format("%Y-%m-%d"));
    for row in rows {
        lines.insert((row.fault.to_owned(), store(row.store).to_owned()), row.cells(&day));
    }
    let lines: Vec<String> = lines.into_values().collect();
    let text = format!("{before}{BEGIN}\n\n{HEAD}{}\n\n{END}{after}", lines.join("\n"));
    let (before, _, after) = parted(&text, LIST_BEGIN, LIST_END)?;
    std::fs::write(page, format!("{before}{LIST_BEGIN}\n\n{}\n{LIST_END}{after}", list()))?;
    Ok(())
}

/// What stands before, between and after two marks.
fn parted<'a>(text: &'a str, begin: &str, end: &str) -> anyhow::Result<(&'a str, &'a str, &'a str)> {
    let (before, rest) = text.split_once(begin).with_context(|| format!("the page has no {begin}"))?;
    let (between, after) = rest.split_once(end).with_context(|| format!("the page has no {end}"))?;
    Ok((before, between, after))
}

fn list() -> String {
    let mut list = "| fault | what is done | with every `cargo test` |\n| --- | --- | --- |\n".to_owned();
    for fault in FAULTS {
        let tier = if fault.tier == Tier::Short { "yes" } else { "" };
        list.push_str(&format!("| {} | {} | {tier} |\n", fault.id, fault.what));
    }
    list
}
