//! Full disks. They want a file system of their own, which root alone may mount.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::collector::signal;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::Load;

fn calm() -> Load {
    Load { pause: Duration::from_millis(40), ..Load::default() }
}

pub async fn f27(context: Context) -> anyhow::Result<Row> {
    let postgres = vec!["max_wal_size=64MB", "min_wal_size=32MB"];
    let mut rig =
        Rig::start(&context, Setup { disk_mib: Some(320), postgres, load: calm(), ..Setup::default() }).await?;
    let before = rig.ledger.trouble();
    let filler = fill(&rig.disk()?)?;
    let is_full = rig.until(Duration::from_secs(60), |trouble| trouble.since(before).refused > 0).await;
    rig.expect(is_full, || "the disk did not become full".to_owned());
    tokio::time::sleep(Duration::from_secs(3)).await;
    std::fs::remove_file(filler)?;
    // Without room for its log the server crashes, and may not come back by itself.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let is_alive = match rig.cluster()?.processes() {
        Ok((first, _)) => signal("0", &[first]).await.is_ok(),
        Err(_) => false,
    };
    if !is_alive {
        rig.notes.push("the server ended and was started again".to_owned());
        rig.cluster()?.begin().await?;
    }
    rig.cluster()?.wait().await?;
    rig.finish().await
}

pub async fn f28(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup { disk_mib: Some(64), load: calm(), ..Setup::default() }).await?;
    let before = rig.ledger.trouble();
    let filler = fill(&rig.disk()?)?;
    let is_full = rig.until(Duration::from_secs(30), |trouble| trouble.since(before).refused > 0).await;
    rig.expect(is_full, || "the disk did not become full".to_owned());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, _) = rig.collector.get(&rig.collector.key, "/runs?limit=5").await?;
    rig.expect(status == 200, || format!("reading answers {status} while the disk is full"));
    std::fs::remove_file(filler)?;
    rig.recover().await?;
    let broken =
        rig.database.number("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'").await?;
    rig.expect(broken == 0, || "the file is damaged".to_owned());
    rig.finish().await
}

/// A file that leaves no room beside it.
fn fill(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let path = folder.join("filler");
    let mut file = File::create(&path)?;
    for piece in [vec![0_u8; 1 << 20], vec![0_u8; 4 << 10]] {
        while file.write_all(&piece).is_ok() {}
    }
    Ok(path)
}
