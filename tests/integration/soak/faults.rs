//! What goes wrong: on this machine, on the way, on the NAS.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{EndOfAll, Soak, WORKERS, lock};
use crate::support::chaos::{Fault, Pace, Stop, Way};
use crate::support::random::Random;

/// How long somebody is kept from running, or the database or the disk from being used, at most.
const LONGEST: Duration = Duration::from_secs(14);

/// A worker that stands still for so long has lost its lease.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(50);
/// How long a fault waits for somebody whom it can hit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes the network unreliable.
pub fn of_the_network(soak: &Soak, seed: u64) {
    soak.chaos.plan(move |connection| fault_of(&mut Random::new(seed ^ connection as u64)));
}

/// Ends processes, on both sides.
pub fn sudden(soak: &Soak, mut random: Random) {
    let _end = EndOfAll(soak);
    while !soak.is_over() {
        soak.rest(random.time(Duration::from_secs(3)));
        match random.below(8) {
            0..3 => signal_worker(soak, &mut random, Signal::SIGKILL),
            3 => signal_worker(soak, &mut random, Signal::SIGTERM),
            4 | 5 => kill_one(soak, &mut random, connections, "connection of sshd"),
            _ => kill_one(soak, &mut random, receivers, "rsync of the NAS"),
        }
    }
}

/// Keeps processes from running, and the database and the disk from being used, for a while.
pub fn lasting(soak: &Soak, mut random: Random) {
    let _end = EndOfAll(soak);
    while !soak.is_over() {
        soak.rest(random.time(Duration::from_secs(6)));
        match random.below(6) {
            0 | 1 => stop_worker(soak, &mut random),
            2 | 3 => stop_receiver(soak, &mut random),
            4 => hold_database(soak, &mut random),
            _ => fill_disk(soak, &mut random),
        }
    }
}

/// Nothing of what was made before stays, and nothing more comes.
pub fn stop_all(soak: &Soak) {
    let broken = soak.chaos.connections().iter().filter(|traffic| traffic.stopped).count();
    soak.add("connections", soak.chaos.connections().len() as u64);
    soak.add("faults: connections cut or silenced by the network", broken as u64);
    soak.chaos.plan(|_| Fault::default());
    for process in receivers(soak) {
        let _ = kill(process, Signal::SIGCONT);
    }
}

/// Every third connection has one.
fn fault_of(random: &mut Random) -> Fault {
    let way = if random.one_in(2) { Way::ToServer } else { Way::ToClient };
    let how = [Stop::Fin, Stop::Reset, Stop::Silence, Stop::HalfSilence][random.index(4)];
    match random.below(9) {
        0 => Fault::stop(way, random.below(6_000), how),
        1 => Fault::stop(Way::ToServer, random.below(2_000_000), how),
        2 if random.one_in(2) => Fault::refused(),
        3 => Fault::pace(Pace::Slices(1 + random.index(500))),
        4 => Fault::pace(Pace::Delay(random.time(Duration::from_millis(20)))),
        5 => Fault::pace(Pace::Throttle(500_000 + random.below(5_000_000))),
        _ => Fault::default(),
    }
}

fn signal_worker(soak: &Soak, random: &mut Random, signal: Signal) {
    let number = random.index(WORKERS);
    // In the first moments, or somewhere on the way.
    wait_for(soak, || lock(&soak.slots[number]).process);
    soak.rest(random.time(Duration::from_millis(300)));
    // Held, so that the process cannot be waited for and its number not be given to another one.
    let slot = lock(&soak.slots[number]);
    if let Some(process) = slot.process {
        let _ = kill(process, signal);
        soak.note("fault", format!("{signal} to worker {number}"));
        soak.count(format!("faults: {signal} to a worker"));
    }
}

fn stop_worker(soak: &Soak, random: &mut Random) {
    let number = random.index(WORKERS);
    let time = if random.one_in(4) { LONGER_THAN_A_LEASE } else { random.time(LONGEST) };
    wait_for(soak, || lock(&soak.slots[number]).process);
    soak.rest(random.time(Duration::from_millis(300)));
    let process = {
        let mut slot = lock(&soak.slots[number]);
        let Some(process) = slot.process else { return };
        slot.stopped += time;
        let _ = kill(process, Signal::SIGSTOP);
        process
    };
    soak.note("fault", format!("worker {number} stands still for {time:?}"));
    soak.count("faults: worker stopped for a while");
    soak.rest(time);
    let slot = lock(&soak.slots[number]);
    if slot.process == Some(process) {
        let _ = kill(process, Signal::SIGCONT);
    }
    drop(slot);
    soak.note("fault", format!("worker {number} goes on"));
}

/// The first that there is, unless nobody comes.
fn wait_for<T>(soak: &Soak, found: impl Fn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !soak.is_over() {
        let some = found();
        if some.is_some() {
            return some;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// One of several processes.
fn drawn(soak: &Soak, random: &mut Random, all: fn(&Soak) -> Vec<Pid>) -> Option<Pid> {
    let all = wait_for(soak, || Some(all(soak)).filter(|all| !all.is_empty()))?;
    Some(all[random.index(all.len())])
}

fn kill_one(soak: &Soak, random: &mut Random, all: fn(&Soak) -> Vec<Pid>, what: &str) {
    let Some(process) = drawn(soak, random, all) else { return };
    if kill(process, Signal::SIGKILL).is_ok() {
        soak.note("fault", format!("SIGKILL to {what} {process}"));
        soak.count(format!("faults: SIGKILL to {what}"));
    }
}

fn stop_receiver(soak: &Soak, random: &mut Random) {
    let Some(process) = drawn(soak, random, receivers) else { return };
    let time = random.time(LONGEST);
    if kill(process, Signal::SIGSTOP).is_err() {
        return;
    }
    soak.note("fault", format!("rsync of the NAS {process} stands still for {time:?}"));
    soak.count("faults: rsync of the NAS stopped for a while");
    soak.rest(time);
    let _ = kill(process, Signal::SIGCONT);
    soak.note("fault", format!("rsync of the NAS {process} goes on"));
}

fn hold_database(soak: &Soak, random: &mut Random) {
    let time = random.time(LONGEST);
    let database = soak.database();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    soak.note("fault", format!("the database is held for {time:?}"));
    soak.count("faults: database held");
    soak.rest(time);
    database.execute_batch("ROLLBACK").unwrap();
    soak.note("fault", "the database is free");
}

fn fill_disk(soak: &Soak, random: &mut Random) {
    let Some(volume) = &soak.volume else { return };
    let (time, filler) = (random.time(LONGEST), volume.path().join(format!("filler{}", random.next())));
    let file = File::create(&filler).unwrap();
    let began = Instant::now();
    let mut step = 256 << 20;
    let mut length = 0;
    // Ever smaller pieces until nothing fits; others use the disk meanwhile.
    while step >= 4096 && began.elapsed() < time {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, step) {
            Ok(()) => length += step,
            Err(_) => step /= 2,
        }
    }
    soak.note("fault", format!("the disk of the NAS is full for {time:?}"));
    soak.count("faults: disk of the NAS full");
    soak.rest(time.saturating_sub(began.elapsed()));
    drop(file);
    fs::remove_file(filler).unwrap();
    soak.note("fault", "the disk of the NAS has room");
}

/// The processes whose command line or parentage is known from /proc.
fn processes() -> Vec<(Pid, Vec<u8>, i32)> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number: i32| {
            let folder = PathBuf::from(format!("/proc/{number}"));
            let command = fs::read(folder.join("cmdline")).ok()?;
            let stat = fs::read_to_string(folder.join("stat")).ok()?;
            // The name in parentheses may hold anything.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((Pid::from_raw(number), command, parent))
        })
        .collect()
}

/// The rsyncs that write to this NAS folder, also those whose connection is gone.
fn receivers(soak: &Soak) -> Vec<Pid> {
    let nas = soak.nas.to_str().unwrap().as_bytes();
    let ours = |command: &[u8]| command.windows(nas.len()).any(|part| part == nas) && command.starts_with(b"rsync\0");
    processes().into_iter().filter(|(_, command, _)| ours(command)).map(|(process, ..)| process).collect()
}

/// The processes of sshd that serve a connection.
fn connections(soak: &Soak) -> Vec<Pid> {
    let listener = fs::read_to_string(soak.site.sshd.path("pid")).unwrap_or_default();
    let listener: i32 = listener.trim().parse().unwrap_or(-1);
    processes().into_iter().filter(|(.., parent)| *parent == listener).map(|(process, ..)| process).collect()
}
