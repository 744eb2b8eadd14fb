//! `stepherd torture`: this very program under faults at random moments (`kill -9`, a stop of the whole process, a
//! database connection that goes dark or slow, a vendor that hangs), while people in the town of stand-ins give
//! commands by signed webhooks and back-ends go on; then everything is counted.
//!
//! The processes that are hit are real, as are their sockets and their database. Only the vendors are stand-ins,
//! which live in the torturer and so outlive every fault.

mod balancer;
pub mod count;
mod errands;
mod faults;
mod look;
mod people;
mod pulse;
mod replica;
mod rounds;
mod siege;
mod wire;
mod world;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::count::Row;
use self::faults::Kind;
use self::siege::{Ended, Findings, Siege};
use super::town::folder::Folder;
use super::town::terminal::Terminal;
use super::{Exit, failed, serve, show};
use crate::clock::{Clock as _, SystemClock};

/// Where everything stands that was found, in the folder.
const FINDINGS: &str = "findings.txt";
/// How many findings of a kind are shown.
const SHOWN: usize = 10;

/// What to do to it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TortureArgs {
    /// How many faults
    #[arg(long, alias = "kills", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which kinds of fault, by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill")]
    faults: Vec<Kind>,
    /// Decides what people and back-ends do and when which fault comes; each seed is another story
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many processes share the database; one is always left in peace. More than one takes PostgreSQL
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    replicas: u32,
    /// An empty database of its own; else a SQLite file that is thrown away
    #[arg(long, value_name = "URL", value_parser = secret)]
    database: Option<SecretString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave the folder with configuration, database, logs and what stood in the town, and say where. What fails is
    /// always left
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "Examples:
  stepherd torture                                    fifty kills on SQLite, in a minute or two
  stepherd torture --rounds 500 --seed 7              another story, and longer
  stepherd torture --faults kill,freeze,hang          processes stand still and vendors hang, too
  stepherd torture --faults kill,freeze,partition,slow,hang --replicas 3 \\
      --database postgres://localhost/torture         everything there is, on three replicas

Exit codes: 0 nothing was lost and nothing was done twice, 1 something was, or it could not be tried, 2 wrong input";

/// The address may hold a password.
fn secret(url: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(url))
}

/// How it went.
struct Verdict {
    rows: Vec<Row>,
    ended: Ended,
    seconds: i64,
}

impl Verdict {
    fn is_good(&self) -> bool {
        self.ended.troubles.is_empty() && self.rows.iter().all(Row::is_good)
    }
}

/// Tries it. Good only if every count is right.
pub async fn run(args: TortureArgs) -> Exit {
    let url = args.database.as_ref().map(ExposeSecret::expose_secret);
    let sqlite = url.is_none_or(|url| url.starts_with("sqlite:"));
    if sqlite && args.replicas > 1 {
        anstream::eprintln!(
            "stepherd: a SQLite file is for one process: --replicas {} takes --database postgres://…",
            args.replicas
        );
        return Exit::BadInput;
    }
    if let Some(kind) = args.faults.iter().find(|kind| sqlite && kind.needs_server()) {
        anstream::eprintln!(
            "stepherd: a SQLite file has no connection to disturb: --faults {} takes --database postgres://…",
            kind.name()
        );
        return Exit::BadInput;
    }
    let stop = CancellationToken::new();
    if let Err(error) = serve::signals(stop.clone()) {
        return failed(format!("cannot wait for signals: {error}"));
    }
    let folder = match Folder::new("torture") {
        Ok(folder) => folder,
        Err(error) => return failed(format!("there is no room for a folder: {error}")),
    };
    let mut terminal = Terminal::new(args.json);
    let tried = tokio::select! {
        tried = attempt(&args, &folder, &mut terminal) => tried,
        () = stop.cancelled() => Err("interrupted".to_owned()),
    };
    terminal.close();
    let good = tried.as_ref().is_ok_and(Verdict::is_good);
    // Before the first start there is nothing to look into.
    let begun = folder.log(&siege::log_name(0)).exists();
    let left = (begun && (args.keep || !good)).then(|| folder.keep());
    match &tried {
        Ok(verdict) if args.json => show::json(&as_json(&args, verdict, left.as_deref())),
        Ok(verdict) => conclude(&mut terminal, &args, verdict),
        Err(_) => {}
    }
    if let Some(path) = left {
        terminal.line(&format!("\nEverything is left in {}", path.display()));
    }
    match tried {
        Ok(_) if good => Exit::Good,
        Ok(_) => failed("something was lost, doubled or out of order"),
        Err(why) => failed(why),
    }
}

async fn attempt(args: &TortureArgs, folder: &Folder, terminal: &mut Terminal) -> Result<Verdict, String> {
    let began = SystemClock.now();
    let mut siege = Siege::lay(args, folder).await?;
    introduce(terminal, args, folder);
    siege.hit(terminal).await?;
    siege.settle(terminal).await?;
    let ended = siege.end().await;
    let found = siege.findings().await?;
    let rows = count::count(&found.given, &found.seen, &found.memory);
    write_findings(folder, &rows, &found).map_err(|e| format!("cannot write {FINDINGS}: {e}"))?;
    Ok(Verdict {
        rows,
        ended,
        seconds: SystemClock.now().duration_since(began).as_secs(),
    })
}

fn introduce(terminal: &mut Terminal, args: &TortureArgs, folder: &Folder) {
    let processes = match args.replicas {
        1 => "stepherd runs as a process of its own".to_owned(),
        n => format!("{n} stepherds share the work"),
    };
    let faults: Vec<&str> = args.faults.iter().map(|kind| kind.name()).collect();
    terminal.line(&format!(
        "{processes} between stand-ins for GitHub,\n\
         Jira, Discord, Argo CD and the cache-rebuild service. While people give\n\
         commands, {} faults come: {}. Seed {}.",
        args.rounds,
        faults.join(", "),
        args.seed
    ));
    terminal.aside(&format!("logs and database: {}", folder.path().display()));
}

fn conclude(terminal: &mut Terminal, args: &TortureArgs, verdict: &Verdict) {
    let Ended {
        completed,
        stopped,
        hits,
        faults,
        longest,
        troubles,
    } = &verdict.ended;
    terminal.stage(&format!(
        "After {} faults and {} s: {completed} runs completed, {stopped} were stopped by people",
        args.rounds, verdict.seconds
    ));
    let faults = faults
        .iter()
        .map(|(kind, times)| vec![(*kind).to_owned(), times.to_string()]);
    show::table(&["FAULT", "TIMES"], faults.collect());
    terminal.line(&format!(
        "\nA replica that nothing was done to took no signed webhook for {:.1} s at most{}.\n",
        longest.refused.as_secs_f64(),
        match args.replicas {
            1 => String::new(),
            _ => format!(
                ", nothing was dealt with for {:.1} s at most, and no run changed for {:.1} s",
                longest.stalled.as_secs_f64(),
                longest.unchanged.as_secs_f64()
            ),
        }
    ));
    let hits = hits.iter().map(|(doing, times)| vec![doing.clone(), times.to_string()]);
    show::table(&["RUNS WERE HIT AT", "TIMES"], hits.collect());
    terminal.line("");
    let row = |row: &Row| {
        vec![
            row.what.to_owned(),
            row.counted.to_string(),
            row.lost.len().to_string(),
            row.doubled.len().to_string(),
        ]
    };
    show::table(
        &["WHAT", "COUNTED", "LOST", "DOUBLED"],
        verdict.rows.iter().map(row).collect(),
    );
    for row in verdict.rows.iter().filter(|row| !row.is_good()) {
        for (how, which) in [("lost", &row.lost), ("doubled", &row.doubled)] {
            for what in which.iter().take(SHOWN) {
                terminal.check(how, Some(what));
            }
            if let Some(more) = which.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                terminal.check(
                    how,
                    Some(&format!("… and {more} more {}, listed in {FINDINGS}", row.what)),
                );
            }
        }
    }
    for trouble in troubles {
        terminal.check("in order", Some(trouble));
    }
}

/// Everything that was found, to look into: first what is wrong, then all that was given, seen and kept.
fn write_findings(folder: &Folder, rows: &[Row], found: &Findings) -> std::io::Result<()> {
    let mut text = String::new();
    for row in rows.iter().filter(|row| !row.is_good()) {
        let lost = row.lost.iter().map(|what| ("lost", what));
        let doubled = row.doubled.iter().map(|what| ("doubled", what));
        for (how, what) in lost.chain(doubled) {
            text.push_str(&format!("{}, {how}: {what}\n", row.what));
        }
    }
    text.push_str(&format!(
        "\n{:#?}\n{:#?}\n{:#?}\n",
        found.given, found.seen, found.memory
    ));
    std::fs::write(folder.path().join(FINDINGS), text)
}

fn as_json(args: &TortureArgs, verdict: &Verdict, left: Option<&std::path::Path>) -> Value {
    let row = |row: &Row| json!({ "what": row.what, "counted": row.counted, "lost": row.lost, "doubled": row.doubled });
    json!({
        "ok": verdict.is_good(),
        "rounds": args.rounds,
        "faults": verdict.ended.faults,
        "seed": args.seed,
        "replicas": args.replicas,
        "seconds": verdict.seconds,
        "runs": { "completed": verdict.ended.completed, "stopped": verdict.ended.stopped },
        "hits": verdict.ended.hits,
        "longest": {
            "refused_s": verdict.ended.longest.refused.as_secs_f64(),
            "stalled_s": verdict.ended.longest.stalled.as_secs_f64(),
            "unchanged_s": verdict.ended.longest.unchanged.as_secs_f64(),
        },
        "counts": verdict.rows.iter().map(row).collect::<Vec<_>>(),
        "troubles": verdict.ended.troubles,
        "folder": left.map(|path| path.display().to_string()),
    })
}
