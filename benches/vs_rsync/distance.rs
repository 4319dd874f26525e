//! The same over a link of some length: what each round trip costs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nas_sync::{
    Client, ClientConfig, OutgoingDocument, RemoteName, SendDocuments, Settings as NasSettings, Unmonitored,
};

use super::link::{Distance, Link};
use super::peers::{Peer, Site, run};
use super::sshd::user;
use super::{Result, Settings, amount, data, source_is_copy_of, workshop};

/// Round trips, in milliseconds.
const ROUND_TRIPS: [u64; 3] = [5, 50, 200];
/// Rates, in Mbit a second; what is limited by them goes over the middle round trip.
const RATES: [u64; 2] = [100, 10];

/// How something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rsync,
    Push,
    Sync,
    /// Over a login that is there already.
    Warm,
}

/// What one way cost: medians.
struct Cost {
    way: Way,
    wall: Duration,
    waits: usize,
}

/// Compares all workloads at all distances.
pub fn compare(site: &mut Site, settings: &Settings) -> Result<()> {
    println!("| over a link | rsync + ssh: time · waits | push | sync | warm | push | sync | warm |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for milliseconds in ROUND_TRIPS {
        let distance = Distance { round_trip: Duration::from_millis(milliseconds), rate: None };
        let (few, many) = (documents(1)?, documents(if settings.quick { 20 } else { 150 })?);
        workload(site, settings, distance, "one document", &few, Before::Nothing)?;
        workload(site, settings, distance, "documents", &many, Before::Nothing)?;
        workload(site, settings, distance, "the documents again", &many, Before::Everything)?;
    }
    for rate in RATES {
        let distance = Distance { round_trip: Duration::from_millis(50), rate: Some(rate * 1_000_000 / 8) };
        let shop = workshop()?;
        fs::create_dir(shop.path().join("source"))?;
        data::noise(&shop.path().join("source/image.bin"), if settings.quick { 4 << 20 } else { 64_000_000 }, 1)?;
        workload(site, settings, distance, "one file", &shop, Before::Nothing)?;
        workload(site, settings, distance, "one file with scattered edits", &shop, Before::OldCopy)?;
    }
    Ok(())
}

/// What lies at the destination before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    OldCopy,
    Everything,
}

/// A workshop whose `source` holds documents of 100 KiB.
fn documents(count: usize) -> Result<tempfile::TempDir> {
    let shop = workshop()?;
    let source = shop.path().join("source");
    fs::create_dir(&source)?;
    for number in 0..count {
        data::noise(&source.join(format!("document{number:03}.pdf")), 100 * 1024, number as u64 + 1)?;
    }
    Ok(shop)
}

fn workload(
    site: &mut Site,
    settings: &Settings,
    distance: Distance,
    what: &str,
    shop: &tempfile::TempDir,
    before: Before,
) -> Result<()> {
    let link = Link::open(site.server_port(), distance)?;
    site.through(link.port());
    let [source, old, to] = ["source", "old", "to"].map(|name| shop.path().join(name));
    if before == Before::OldCopy {
        source_is_copy_of(&source, &old)?;
        for entry in fs::read_dir(&source)? {
            let file = entry?.path();
            data::edit(&file, 400)?;
            let earlier = SystemTime::now() - Duration::from_secs(86_400);
            File::options().write(true).open(&file)?.set_modified(earlier)?;
        }
    }
    // A queue has nothing to do where everything is marked, and then nobody logs in.
    let ways: &[Way] = match before {
        Before::Everything => &[Way::Rsync, Way::Push],
        _ => &[Way::Rsync, Way::Push, Way::Sync, Way::Warm],
    };
    let mut costs: Vec<Vec<(Duration, usize)>> = vec![Vec::new(); ways.len()];
    for round in 0..settings.runs {
        for (way, costs) in ways.iter().zip(&mut costs) {
            let _ = fs::remove_dir_all(&to);
            fs::create_dir(&to)?;
            match before {
                Before::Nothing => {}
                Before::OldCopy => source_is_copy_of(&old, &to)?,
                Before::Everything => {
                    site.through(site.server_port());
                    run(site.push(Peer::Rsync, "-a", &source.join(""), &to))?;
                    site.through(link.port());
                }
            }
            let files = files(&source)?;
            let wall = match way {
                Way::Rsync => timed(&link, || Ok(run(site.push(Peer::Rsync, "-a", &source.join(""), &to))?.wall))?,
                Way::Push => timed(&link, || Ok(run(site.push(Peer::NasSync, "-a", &source.join(""), &to))?.wall))?,
                Way::Sync => {
                    let database = shop.path().join(format!("{}-{round}.db", link.port()));
                    let mut add = site.service(&database, &to);
                    add.arg("add").args(&files).args(["--user", "1"]);
                    run(add)?;
                    let mut sync = site.service(&database, &to);
                    // Each database is new, and the edits replace a file that an earlier one sent.
                    sync.args(["sync", "--overwrite"]);
                    timed(&link, || Ok(run(sync)?.wall))?
                }
                Way::Warm => warm(site, &link, &files, &to)?,
            };
            eprintln!("{what} {way:?}: {:.3} s · {} waits", wall.0.as_secs_f64(), wall.1);
            for file in &files {
                if !data::same_content(file, &to.join(file.file_name().unwrap_or_default()))? {
                    return Err(format!("{} did not arrive", file.display()).into());
                }
            }
            costs.push(wall);
        }
    }
    site.through(site.server_port());
    let (count, bytes) = data::measure(&source)?;
    let costs: Vec<Cost> = ways.iter().zip(costs).map(|(way, costs)| median(*way, costs)).collect();
    report(&format!("{}: {what}, {}", shown(distance), amount(count, bytes)), &costs);
    Ok(())
}

fn timed(link: &Link, work: impl FnOnce() -> Result<Duration>) -> Result<(Duration, usize)> {
    link.take_waits();
    let wall = work()?;
    Ok((wall, link.take_waits()))
}

/// Documents over a login that has sent one before, in this process.
fn warm(site: &Site, link: &Link, files: &[PathBuf], to: &Path) -> Result<(Duration, usize)> {
    let folder = to.to_str().ok_or("a folder that is no UTF-8")?;
    let settings = NasSettings::new("127.0.0.1", user(), folder)
        .port(link.port())
        .key_file(site.key())
        .known_hosts_file(site.known_hosts());
    let named = |number: usize, file: &Path, name: &[u8]| {
        Ok(OutgoingDocument::new(i64::try_from(number)?, file, RemoteName::new(name)?))
    };
    let documents = files
        .iter()
        .enumerate()
        .map(|(number, file)| named(number, file, file.file_name().unwrap_or_default().as_encoded_bytes()))
        .collect::<Result<Vec<_>>>()?;
    let first = vec![named(0, &files[0], b"first")?];
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = Client::connect(&ClientConfig::of(&settings)?).await?;
        client.send_documents(SendDocuments::new(folder, first), Arc::new(Unmonitored)).await?;
        link.take_waits();
        let start = Instant::now();
        let outcomes = client.send_documents(SendDocuments::new(folder, documents), Arc::new(Unmonitored)).await?;
        let cost = (start.elapsed(), link.take_waits());
        client.disconnect().await;
        match outcomes.into_iter().find_map(|outcome| outcome.result.err()) {
            Some(error) => Err(error.into()),
            None => Ok(cost),
        }
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

fn median(way: Way, mut costs: Vec<(Duration, usize)>) -> Cost {
    let middle = costs.len() / 2;
    costs.sort();
    let wall = costs[middle].0;
    costs.sort_by_key(|cost| cost.1);
    Cost { way, wall, waits: costs[middle].1 }
}

fn report(what: &str, costs: &[Cost]) {
    let of = |way| costs.iter().find(|cost| cost.way == way);
    let cell = |way| {
        of(way).map_or_else(String::new, |cost: &Cost| format!("{:.3} s · {}", cost.wall.as_secs_f64(), cost.waits))
    };
    let ratio = |way| match (of(way), of(Way::Rsync)) {
        (Some(ours), Some(theirs)) => format!("{:.2} ×", ours.wall.as_secs_f64() / theirs.wall.as_secs_f64()),
        _ => String::new(),
    };
    let ours = [Way::Push, Way::Sync, Way::Warm];
    let (costs, ratios) = (ours.map(cell).join(" | "), ours.map(ratio).join(" | "));
    println!("| {what} | {} | {costs} | {ratios} |", cell(Way::Rsync));
}

fn shown(distance: Distance) -> String {
    let round_trip = distance.round_trip.as_millis();
    match distance.rate {
        Some(rate) => format!("{round_trip} ms, {} Mbit/s", rate * 8 / 1_000_000),
        None => format!("{round_trip} ms"),
    }
}
