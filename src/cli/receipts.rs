//! `vectoros receipts …`: where is my trace? The operator's view of all projects, while collectors run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{TimeDelta, Utc};
use clap::Subcommand;
use serde_json::json;
use uuid::Uuid;

use crate::app::open_store;
use crate::config::Config;
use crate::model::id::ProjectId;
use crate::prices::Prices;
use crate::store::{Asked, LetterRow, ReceiptRow, RefusedRow, Store};
use crate::view::mend::mend;
use crate::view::receipts::{item, letter, refusal};

#[derive(clap::Args)]
pub struct ReceiptsArguments {
    #[command(subcommand)]
    command: Option<ReceiptsCommand>,
    /// Only of this project
    #[arg(long, global = true, value_name = "NAME")]
    project: Option<String>,
    /// How far back, such as 90m or 7d
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    since: Duration,
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum ReceiptsCommand {
    /// List items that the database refused for their data, or show one whole
    DeadLetters { id: Option<Uuid> },
}

/// Rows read at a time, and shown at most of each kind.
const PAGE: u32 = 1000;
const ROWS_MAX: usize = 100_000;
const REFUSALS_MAX: u32 = 10_000;
const LETTERS_MAX: u32 = 1000;

pub async fn run(config: &Config, arguments: ReceiptsArguments) -> anyhow::Result<()> {
    let store = open_store(config, Arc::new(Prices::none())).await?;
    store.migrate().await?;
    let project = match &arguments.project {
        None => None,
        Some(name) => Some(store.project_named(name).await?.with_context(|| format!("there is no project {name:?}"))?),
    };
    match arguments.command {
        Some(ReceiptsCommand::DeadLetters { id: Some(id) }) => show_letter(&*store, project, id).await,
        Some(ReceiptsCommand::DeadLetters { id: None }) => list_letters(&*store, project, arguments.json).await,
        None => list(&*store, project, arguments.since, arguments.json).await,
    }
}

async fn list(store: &dyn Store, project: Option<ProjectId>, since: Duration, json: bool) -> anyhow::Result<()> {
    let now = Utc::now();
    let since = TimeDelta::from_std(since).ok().and_then(|since| now.checked_sub_signed(since));
    let since = since.context("--since: that is too long ago")?;
    let asked = Asked { project, key_id: None, since, until: now };
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.receipts(&asked, after.as_ref(), PAGE).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() || rows.len() >= ROWS_MAX {
            break;
        }
    }
    let refused = store.refusals(&asked, true, REFUSALS_MAX).await?;
    let totals = store.receipt_totals(&asked).await?;
    if json {
        let items: Vec<_> = rows.iter().map(|row| item(row, true)).collect();
        let refused: Vec<_> = refused.iter().map(|row| refusal(row, true)).collect();
        println!("{}", json!({"items": items, "refused": refused, "totals": totals}));
    } else {
        print_receipts(&rows);
        print_refused(&refused);
    }
    Ok(())
}

fn print_receipts(rows: &[ReceiptRow]) {
    println!(
        "{:<13} {:<20} {:<10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>12}",
        "HOUR (UTC)", "PROJECT", "KEY", "RECEIVED", "STORED", "DUPLICATE", "REJECTED", "REQUESTS", "BYTES"
    );
    for row in rows {
        let (counts, project) = (&row.counts, row.project_name.as_deref().unwrap_or_default());
        println!(
            "{:<13} {project:<20} {:<10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>12}",
            row.hour.format("%Y-%m-%d %H"),
            row.key_id,
            counts.received,
            counts.stored,
            counts.duplicate,
            counts.rejected,
            counts.requests,
            counts.bytes
        );
        for rejected in &row.rejections {
            println!("    rejected {} {}: {}", rejected.count, rejected.reason, mend(&rejected.reason));
            if let Some(example) = rejected.examples.first() {
                println!("        {}: {}", example.place.escape_debug(), example.detail.escape_debug());
            }
        }
    }
}

fn print_refused(rows: &[RefusedRow]) {
    if rows.is_empty() {
        return;
    }
    println!();
    println!(
        "{:<13} {:<20} {:<10} {:>6} {:>8} {:<18} {:<8} CLIENT",
        "HOUR (UTC)", "PROJECT", "KEY", "STATUS", "REFUSED", "REASON", "BY"
    );
    for row in rows {
        println!(
            "{:<13} {:<20} {:<10} {:>6} {:>8} {:<18} {:<8} {}",
            row.hour.format("%Y-%m-%d %H"),
            row.project_name.as_deref().unwrap_or("(unknown)"),
            row.key_id,
            row.status,
            row.count,
            row.reason,
            row.last_transport,
            row.user_agent.escape_debug()
        );
        println!(
            "    {}; last at {}: {}",
            mend(&row.reason),
            row.last_at.format("%H:%M:%S"),
            row.last_detail.escape_debug()
        );
    }
}

async fn list_letters(store: &dyn Store, project: Option<ProjectId>, json: bool) -> anyhow::Result<()> {
    let rows: Vec<LetterRow> = store.dead_letters(project, None, LETTERS_MAX).await?;
    if json {
        println!("{}", json!(rows.iter().map(|row| letter(row, None, true)).collect::<Vec<_>>()));
        return Ok(());
    }
    println!(
        "{:<36} {:<19} {:<20} {:<10} {:<7} {:<6} {:<36} PLACE",
        "ID", "RECEIVED (UTC)", "PROJECT", "KEY", "SIGNAL", "CODE", "RUN"
    );
    for row in &rows {
        println!(
            "{:<36} {:<19} {:<20} {:<10} {:<7} {:<6} {:<36} {}",
            row.letter_id,
            row.received_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            row.project_name.as_deref().unwrap_or_default(),
            row.key_id,
            row.signal,
            row.code,
            row.run_id.map(|run_id| run_id.to_string()).unwrap_or_default(),
            row.place.escape_debug()
        );
    }
    Ok(())
}

/// As JSON: the content is.
async fn show_letter(store: &dyn Store, project: Option<ProjectId>, id: Uuid) -> anyhow::Result<()> {
    let Some((row, content)) = store.dead_letter(project, id).await? else {
        bail!("there is no dead letter {id}: `vectoros receipts dead-letters` lists them");
    };
    println!("{}", serde_json::to_string_pretty(&letter(&row, Some(&content), true))?);
    Ok(())
}
