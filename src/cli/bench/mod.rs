//! `stepherd bench`: measures this program on this machine and says which of its aims it meets.
//!
//! What is measured runs as a process of its own, as it would in production; the load and the stand-ins run here.
//! Nothing is asserted about speed. What was accepted and is lost, or was done twice, is a failure.

mod answer;
mod bare;
mod child;
mod copy;
mod growth;
mod hand;
mod idle;
mod ingest;
mod life;
mod outside;
mod payload;
mod place;
mod report;
mod restart;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::mpsc::UnboundedReceiver;

use self::outside::{Outside, Reply};
use self::place::Place;
use self::report::Report;
use super::{Exit, failed};

/// What to measure, and how.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What to measure; everything if not given
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// A PostgreSQL server on which databases may be created, as `postgres://…/postgres`; SQLite if not given
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How long each load lasts
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// How often ingest is measured, in turns with the bare handler; the middle one counts
    #[arg(long, value_name = "N")]
    runs: Option<u32>,
    /// How many active runs are watched and started again with, at the most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    active: Option<u32>,
    /// How many finished runs make the history
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=5_000_000))]
    finished: Option<u32>,
    /// Small and short: shows that everything can be measured, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the table of BENCHMARKS.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Be the bare handler at this address
    #[arg(long, hide = true, value_name = "ADDRESS")]
    bare: Option<String>,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Section {
    /// Deliveries a second, durable, against a handler that keeps nothing
    Ingest,
    /// From a command to its reply
    Answer,
    /// Looking at many active runs
    Watch,
    /// After `kill -9` with many active runs
    Restart,
    /// Start, memory and processor without work
    Idle,
    /// With a long history against an empty one
    Growth,
}

/// How much of everything.
struct Sizes {
    load: Duration,
    rounds: u32,
    connections: usize,
    /// Deliveries signed beforehand for each second of load: more than can be stored.
    signed_per_s: u64,
    /// Deliveries that warm connections and caches up before it counts.
    warm_up: u64,
    idle_commands: u64,
    commands_per_s: u64,
    /// Active runs, fewest first.
    active: Vec<u32>,
    every_s: u64,
    watched_for: Duration,
    starts: usize,
    idle_for: Duration,
    finished: u32,
    reads: usize,
}

impl Sizes {
    fn of(args: &BenchArgs) -> Self {
        let (full, seconds) = (!args.quick, Duration::from_secs);
        let most = args.active.unwrap_or(if full { 100_000 } else { 150 });
        let mut active: Vec<u32> = [most / 100, most / 10, most]
            .into_iter()
            .filter(|n| *n >= 100)
            .collect();
        if args.quick || active.is_empty() {
            active = vec![most];
        }
        Self {
            load: seconds(args.seconds.unwrap_or(if full { 10 } else { 1 })),
            rounds: args.runs.unwrap_or(if full { 3 } else { 1 }).max(1),
            connections: 32,
            signed_per_s: if full { 30_000 } else { 500 },
            warm_up: if full { 4_000 } else { 100 },
            idle_commands: if full { 300 } else { 5 },
            commands_per_s: if full { 200 } else { 10 },
            active,
            every_s: if full { 30 } else { 2 },
            watched_for: seconds(if full { 65 } else { 4 }),
            starts: if full { 9 } else { 2 },
            idle_for: seconds(if full { 10 } else { 1 }),
            finished: args.finished.unwrap_or(if full { 1_000_000 } else { 300 }),
            reads: if full { 1000 } else { 10 },
        }
    }
}

/// What every measurement works with.
struct Bench {
    sizes: Sizes,
    server: Option<String>,
    outside: Arc<Outside>,
    replies: UnboundedReceiver<Reply>,
    report: Report,
}

impl Bench {
    async fn place(&self) -> Result<Place, String> {
        Place::new(self.server.as_deref(), self.outside.address, self.sizes.every_s).await
    }

    /// Says on standard error what is going on: some of it takes minutes.
    fn say(&self, what: &str) {
        anstream::eprintln!("bench: {what}");
    }

    fn on_sqlite(&self) -> bool {
        self.server.is_none()
    }
}

/// Measures, prints the table, and fails only if something was lost, done twice or could not be measured.
pub async fn run(args: BenchArgs) -> Exit {
    if let Some(address) = &args.bare {
        return bare::serve(address).await.map_or_else(failed, |()| Exit::Good);
    }
    let (outside, replies) = match Outside::open().await {
        Ok(opened) => opened,
        Err(why) => return failed(format!("no address for the stand-ins: {why}")),
    };
    let mut bench = Bench {
        sizes: Sizes::of(&args),
        server: args.database.clone(),
        outside,
        replies,
        report: Report::default(),
    };
    let mut sections = args.sections.clone();
    if sections.is_empty() {
        sections = Section::value_variants().to_vec();
    }
    sections.sort_unstable();
    sections.dedup();
    match engine(&bench).await {
        Ok(engine) => bench.report.machine = report::machine(&engine),
        Err(why) => return failed(why),
    }
    measure(&mut bench, &sections).await;
    let strange = bench.outside.strange();
    bench.report.must(strange.is_empty(), || {
        format!(
            "the stand-in was asked what it does not know, {} times, first: {}",
            strange.len(),
            strange[0]
        )
    });
    match () {
        () if args.json => super::show::json(&bench.report.json()),
        () if args.markdown => bench.report.print_markdown(),
        () => bench.report.print_table(),
    }
    match bench.report.wrong.len() {
        0 => Exit::Good,
        wrong => failed(format!("{wrong} of what must hold did not")),
    }
}

async fn engine(bench: &Bench) -> Result<String, String> {
    let place = bench.place().await?;
    let store = place.store().await?;
    let engine = store.engine_version().await.map_err(|e| e.to_string());
    store.close().await;
    place.close().await?;
    engine
}

async fn measure(bench: &mut Bench, sections: &[Section]) {
    // What was watched is what is started again with.
    let mut watched = None;
    for section in sections {
        let measured = match section {
            Section::Ingest => ingest::measure(bench).await,
            Section::Answer => answer::measure(bench).await,
            Section::Watch => watch::measure(bench).await.map(|place| watched = Some(place)),
            Section::Restart => restart::measure(bench, watched.take()).await,
            Section::Idle => idle::measure(bench).await,
            Section::Growth => growth::measure(bench).await,
        };
        if let Err(why) = measured {
            bench
                .report
                .wrong
                .push(format!("{section:?} could not be measured: {why}"));
        }
    }
    if let Some(place) = watched
        && let Err(why) = place.close().await
    {
        bench.say(&why);
    }
}
