//! Connections that are cut at every class of offset, in both directions, in every way.
//!
//! A clean run through the proxy tells where each class begins. Then the first connection of a run is cut there, and
//! all later ones work: a run may reconnect and finish by itself, or stop and leave the rest to the next run. Both are
//! right, and after the next run everything must be there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nas_sync::Party;
use nas_sync::internal::transport::ssh::{HostKeyPin, SshClient};
use nas_sync::{DocumentEvent, DocumentMonitor, Unmonitored};
use nas_sync::{DocumentId, ErrorKind, Selection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ground::{DOCUMENTS, Ground, Patience, Trial};
use crate::support::chaos::{Fault, Pace, Stop, Way};
use crate::support::random::{Random, long};
use crate::support::sshd::collect;
use crate::support::{Chaos, Postgres};

/// Runs side by side: they wait more than they work.
const LANES: usize = 4;

/// What is under way at an offset, in the order of a session.
const CLASSES: [&str; 9] =
    ["version", "key exchange", "login", "command", "handshake", "list", "contents", "receipts", "goodbye"];
/// Both sides begin with a line that is longer than this.
const VERSION_LINE: u64 = 20;

/// Where a connection is to be cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    class: usize,
    way: Way,
    after: u64,
    how: Stop,
}

/// Not even a first byte comes.
const REFUSED: Cut = Cut { class: 0, way: Way::ToServer, after: 0, how: Stop::Reset };
/// The first class before whose end documents can be stored.
const LIST: usize = 5;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, way, after, how } = self;
        write!(f, "{how:?} after {after} bytes {way:?} ({})", CLASSES[*class])
    }
}

/// The offsets at which the classes begin, and where the last one ends.
struct Borders {
    offsets: Vec<(u64, u64)>,
    turns: Vec<(u64, u64)>,
}

impl Borders {
    /// Learns them from a login that is broken off, one that runs a command, and a whole sync.
    async fn learn(ground: &Arc<Ground>) -> Self {
        let mut offsets = vec![(0, 0), (VERSION_LINE, VERSION_LINE)];
        let site = &ground.site;
        let trial = ground.trial("clean", 0);
        let mut config = site.sshd.config();
        config.port = trial.chaos.port();
        config.known_hosts = vec![site.path("known_hosts")];
        let mut stranger = config.clone();
        stranger.host_key = Some(HostKeyPin::parse(&format!("SHA256:{}", "A".repeat(43))).expect("a fingerprint"));
        SshClient::connect(&stranger).await.expect_err("the host key is another one");
        offsets.push(passed(&trial.chaos));
        let client = SshClient::connect(&config).await.expect("the login works");
        offsets.push(passed(&trial.chaos));
        let exec = client.exec(b"true").await.expect("the command starts");
        offsets.push(passed(&trial.chaos));
        collect(exec).await;

        let stages = Arc::new(Stages { chaos: Arc::clone(&trial.chaos), seen: Mutex::default() });
        let summary = trial.sync(Patience::Usual, Selection::all(), Arc::clone(&stages) as _).await;
        trial.check_all(&summary);
        let seen = stages.seen.lock().expect("no listener panics");
        let at = |of: fn(&Stage) -> bool, last: bool| {
            let mut found = seen.iter().filter(|(stage, _)| of(stage)).map(|(_, passed)| *passed);
            if last { found.next_back() } else { found.next() }.expect("such an event")
        };
        offsets.push(at(|stage| *stage == Stage::Listed, false));
        offsets.push(at(|stage| *stage == Stage::Started, false));
        offsets.push(at(|stage| *stage == Stage::Sent, true));
        offsets.push(at(|stage| *stage == Stage::Acknowledged, true));
        let whole = trial.chaos.connections().pop().expect("the connection of the sync");
        offsets.push((whole.to_server, whole.to_client));
        // The far end hears of a moment a little later than it was told here: a border never lies before the last one.
        for next in 1..offsets.len() {
            let (before, this) = (offsets[next - 1], &mut offsets[next]);
            *this = (this.0.max(before.0), this.1.max(before.1));
        }
        Self { offsets, turns: whole.turns }
    }

    /// From where to where a class goes in one direction.
    fn of(&self, class: usize, way: Way) -> (u64, u64) {
        let pick = |(to_server, to_client): (u64, u64)| match way {
            Way::ToServer => to_server,
            Way::ToClient => to_client,
        };
        (pick(self.offsets[class]), pick(self.offsets[class + 1]))
    }

    /// A few offsets of each class and direction, drawn.
    fn some(&self, random: &mut Random) -> Vec<Cut> {
        let mut cuts = vec![REFUSED];
        for class in 0..CLASSES.len() {
            for way in [Way::ToServer, Way::ToClient] {
                let (from, to) = self.of(class, way);
                for how in [Stop::Fin, Stop::Reset] {
                    cuts.push(Cut { class, way, after: from + random.below((to - from).max(1)), how });
                }
            }
            // Silence costs seconds.
            let way = if random.one_in(2) { Way::ToServer } else { Way::ToClient };
            let how = if random.one_in(2) { Stop::Silence } else { Stop::HalfSilence };
            let (from, to) = self.of(class, way);
            cuts.push(Cut { class, way, after: from + random.below((to - from).max(1)), how });
        }
        cuts
    }

    /// The borders and what lies around them, every turn of the conversation, and a stride through all the rest.
    fn many(&self, random: &mut Random) -> Vec<Cut> {
        let mut cuts = vec![REFUSED];
        for class in 0..CLASSES.len() {
            for way in [Way::ToServer, Way::ToClient] {
                let (from, to) = self.of(class, way);
                let stride = ((to - from) / 12).max(1);
                let steps = (0..12).map(|step| from + step * stride + random.below(stride));
                let turns = self.turns.iter().map(|(up, down)| if way == Way::ToServer { *up } else { *down });
                let mut offsets: Vec<u64> = steps
                    .chain([from, from + 1, to.saturating_sub(1)])
                    .chain(if class <= LIST { turns.collect() } else { Vec::new() })
                    .filter(|at| (from..to).contains(at))
                    .collect();
                offsets.sort_unstable();
                offsets.dedup();
                for (position, after) in offsets.into_iter().enumerate() {
                    // Silence costs seconds, so that only some offsets are met with it.
                    let hows: &[Stop] = match position % 4 {
                        0 => &[Stop::Fin, Stop::Reset, Stop::Silence],
                        2 => &[Stop::Fin, Stop::Reset, Stop::HalfSilence],
                        _ => &[Stop::Fin, Stop::Reset],
                    };
                    cuts.extend(hows.iter().map(|&how| Cut { class, way, after, how }));
                }
            }
        }
        cuts
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Listed,
    Started,
    Sent,
    Acknowledged,
}

/// Notes what had passed when a session told of its stages.
struct Stages {
    chaos: Arc<Chaos>,
    seen: Mutex<Vec<(Stage, (u64, u64))>>,
}

impl DocumentMonitor for Stages {
    fn event(&self, event: DocumentEvent<'_>) {
        let stage = match event {
            DocumentEvent::Listed { .. } => Stage::Listed,
            DocumentEvent::Started { .. } => Stage::Started,
            DocumentEvent::Sent { .. } => Stage::Sent,
            DocumentEvent::Acknowledged { .. } => Stage::Acknowledged,
            _ => return,
        };
        self.seen.lock().expect("no listener panics").push((stage, passed(&self.chaos)));
    }
}

/// What has passed on the newest connection.
fn passed(chaos: &Chaos) -> (u64, u64) {
    chaos.connections().last().map_or((0, 0), |traffic| (traffic.to_server, traffic.to_client))
}

/// What a cut run came to.
struct Seen {
    cut: Cut,
    /// Whether the connection lived long enough to be cut.
    reached: bool,
    marked: usize,
    stopped: Option<ErrorKind>,
    /// Connections of the run that was cut.
    connections: usize,
}

async fn run(trial: Trial, cut: Cut) -> Seen {
    trial
        .chaos
        .plan(move |number| if number == 0 { Fault::stop(cut.way, cut.after, cut.how) } else { Fault::default() });
    let patience = match cut.how {
        Stop::Fin | Stop::Reset => Patience::Usual,
        Stop::Silence | Stop::HalfSilence => Patience::Short,
    };
    let summary = trial.sync(patience, Selection::all(), Arc::new(Unmonitored)).await;
    let marked = trial.check(&summary);
    assert_eq!((summary.total, summary.synced), (DOCUMENTS.len(), marked), "{summary:?}");
    if let Some(error) = &summary.stopped {
        // Whatever part of a message was cut off, it is never taken for another trouble.
        assert_eq!(error.kind().party(), Party::Network, "{error:?}");
    }
    let connections = trial.chaos.connections();
    assert!(connections[0].bytes(cut.way) <= cut.after, "{connections:?}");
    // By name, because documents that met a fault may have to wait otherwise.
    let left: Vec<_> = trial.rows().iter().filter(|row| !row.1).map(|row| DocumentId::from(row.0)).collect();
    let next = trial.sync(Patience::Usual, Selection::documents(left), Arc::new(Unmonitored)).await;
    trial.check_all(&next);
    Seen {
        cut,
        reached: connections[0].stopped,
        marked,
        stopped: summary.stopped.map(|error| error.kind()),
        connections: connections.len(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_every_class_of_offset() {
    Box::pin(cut_at_every_class(Ground::new().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_every_class_of_offset_over_postgresql() {
    let Some(server) = Postgres::start() else { return };
    Box::pin(cut_at_every_class(Ground::on(server).await)).await;
}

async fn cut_at_every_class(ground: Ground) {
    let mut random = Random::of_environment("cuts");
    let ground = Arc::new(ground);
    let borders = Box::pin(Borders::learn(&ground)).await;
    let cuts = if long() { borders.many(&mut random) } else { borders.some(&mut random) };
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut runs = JoinSet::new();
    for (number, cut) in cuts.into_iter().enumerate() {
        let (ground, lanes, seed) = (Arc::clone(&ground), Arc::clone(&lanes), random.next());
        runs.spawn(async move {
            let _lane = lanes.acquire_owned().await.expect("lanes stay open");
            // The case is shown when it fails: a panic in it is told without its name.
            let shown = Shown(cut);
            let outcome = run(ground.trial(&format!("run {number}"), seed), cut).await;
            std::mem::forget(shown);
            outcome
        });
    }
    let seen = runs.join_all().await;
    report(&borders, &seen);
    let reached = |of: &dyn Fn(&Seen) -> bool| seen.iter().filter(|seen| seen.reached && of(seen)).count();
    for (class, name) in CLASSES.iter().enumerate() {
        assert!(reached(&|seen| seen.cut.class == class) > 0, "no connection was cut in {name}");
    }
    // Else the offsets are not what they seem.
    for Seen { cut, marked, .. } in seen.iter().filter(|seen| seen.connections == 1 && seen.cut.class < LIST) {
        assert_eq!(*marked, 0, "{cut}");
    }
}

/// Names the case that panics.
struct Shown(Cut);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FAILED: {}", self.0);
        }
    }
}

fn report(borders: &Borders, seen: &[Seen]) {
    let count = |of: fn(&Seen) -> bool| seen.iter().filter(|seen| of(seen)).count();
    println!(
        "{} runs: {} cut as wanted, {} of them connected again by themselves",
        seen.len(),
        count(|seen| seen.reached),
        count(|seen| seen.connections > 1)
    );
    for (class, name) in CLASSES.iter().enumerate() {
        let ((up, up_end), (down, down_end)) = (borders.of(class, Way::ToServer), borders.of(class, Way::ToClient));
        let of_class: Vec<_> = seen.iter().filter(|seen| seen.cut.class == class).collect();
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for seen in &of_class {
            let end = seen.stopped.map_or("finished", |kind| kind.as_str());
            *ends.entry(format!("{end} with {} synced", seen.marked)).or_default() += 1;
        }
        println!("{name}: {} runs, to server {up}..{up_end}, to client {down}..{down_end}: {ends:?}", of_class.len());
    }
}

/// Networks that are only bad: everything arrives in one run.
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_chopped_connections_only_cost_time() {
    let ground = Arc::new(Ground::new().await);
    let mut random = Random::of_environment("paces");
    let paces = [Pace::Slices(1 + random.index(40)), Pace::Delay(Duration::from_millis(10)), Pace::Throttle(400_000)];
    let mut runs = JoinSet::new();
    for (number, pace) in paces.into_iter().enumerate() {
        let trial = ground.trial(&format!("pace {number}"), random.next());
        trial.chaos.plan(move |_| Fault::pace(pace));
        runs.spawn(async move {
            trial.check_all(&trial.sync(Patience::Usual, Selection::all(), Arc::new(Unmonitored)).await);
            assert_eq!(trial.chaos.connections().len(), 1, "{pace:?}");
        });
    }
    runs.join_all().await;
}

/// Each connection is cut a little later than the one before it: the runs get further and further, and nothing is done
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_always_cut_gets_there_in_the_end() {
    let ground = Arc::new(Ground::new().await);
    let mut random = Random::of_environment("always cut");
    let trial = ground.trial("always", random.next());
    let step = 30_000 + random.below(30_000);
    trial.chaos.plan(move |number| Fault::stop(Way::ToServer, (number as u64 + 1) * step, Stop::Reset));
    let mut marked = 0;
    for _ in 0..40 {
        let summary =
            trial.sync(Patience::Usual, Selection::documents(ground.ids.clone()), Arc::new(Unmonitored)).await;
        let now = trial.check(&summary);
        assert!(now >= marked, "{summary:?}");
        marked = now;
        if marked == DOCUMENTS.len() {
            println!("finished with connection {}", trial.chaos.connections().len());
            return;
        }
        assert!(summary.stopped.is_some(), "{summary:?}");
    }
    panic!("{marked} documents after {} connections", trial.chaos.connections().len());
}
