//! What it costs that documents survive a power cut: on a disk, because in memory a flush costs nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers::{Cost, Peer, Site, run};
use super::{Result, Settings, amount, data, shown};

/// Who sends, and what is proved by it.
const WAYS: [&str; 4] = ["rsync -a", "rsync -a --fsync", "nas-sync, stored", "nas-sync, durable"];

pub fn compare(site: &Site, settings: &Settings) -> Result<()> {
    let shop = tempfile::Builder::new().prefix("vs_rsync").tempdir_in(std::env::temp_dir())?;
    let [source, to] = ["source", "to"].map(|name| shop.path().join(name));
    fs::create_dir(&source)?;
    let count = if settings.quick { 200 } else { 2000 };
    data::tree(&source, count, count * 132_000, count)?;
    let folder = source.join("d0000");
    let mut documents: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    documents.sort();
    let mut costs = [const { Vec::new() }; WAYS.len()];
    for round in 0..settings.runs {
        for (way, costs) in costs.iter_mut().enumerate() {
            fs::create_dir(&to)?;
            let database = shop.path().join(format!("documents-{round}-{way}.db"));
            let command = start(site, way, &folder, &documents, &database, &to)?;
            // What others have left to write is nobody's here.
            flush(&to)?;
            let cost = run(command)?;
            for document in &documents {
                let stored = to.join(document.file_name().ok_or("a document without a name")?);
                if !data::same_content(document, &stored)? {
                    return Err(format!("{} did not arrive", document.display()).into());
                }
            }
            eprintln!("durable, {}: {}", WAYS[way], shown(&cost));
            costs.push(cost);
            fs::remove_dir_all(&to)?;
        }
    }
    let (files, bytes) = data::measure(&source)?;
    print(&amount(files, bytes), &costs.each_ref().map(|costs| Cost::median(costs)));
    Ok(())
}

fn start(site: &Site, way: usize, folder: &Path, documents: &[PathBuf], database: &Path, to: &Path) -> Result<Command> {
    if way < 2 {
        let mut push = site.push(Peer::Rsync, "-a", &folder.join(""), to);
        push.args((way == 1).then_some("--fsync"));
        return Ok(push);
    }
    let mut add = site.service(database, to);
    add.arg("add").args(documents).args(["--user", "1"]);
    run(add)?;
    let mut sync = site.service(database, to);
    sync.arg("sync").env("NAS_DURABILITY", if way == 2 { "stored" } else { "durable" });
    Ok(sync)
}

fn flush(folder: &Path) -> Result<()> {
    let mut sync = Command::new("sync");
    sync.arg("-f").arg(folder);
    run(sync).map(drop)
}

fn print(what: &str, costs: &[Cost; WAYS.len()]) {
    let wall = |way: usize| costs[way].wall.as_secs_f64();
    println!("\n| on a disk: {what} | {} | durable by stored | durable by rsync --fsync |", WAYS.join(" | "));
    println!("| --- |{}", " --- |".repeat(WAYS.len() + 2));
    let shown: Vec<String> = costs.iter().map(shown).collect();
    println!("| | {} | {:.2} × | {:.2} × |", shown.join(" | "), wall(3) / wall(2), wall(3) / wall(1));
}
