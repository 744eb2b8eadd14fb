//! The stepherd program: reads the command line and hands over.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stepherd::cli::{
    self, backup::BackupArgs, bench::BenchArgs, commands::Commands, deliveries::Deliveries, demo::DemoArgs,
    effects::Effects, runs::ListArgs, send::SendArgs, torture::TortureArgs,
};

/// Shepherds long-running operations pipelines from the threads where people already are.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    /// The configuration folder: stepherd.toml, people.toml and pipelines/ in it, commands/ beside it
    #[arg(long, global = true, default_value = "config", env = "STEPHERD_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "Examples:
  stepherd demo                                       see the main job on this machine, in a minute
  stepherd torture --kills 200                        is anything lost when it is killed?
  stepherd check                                      is the configuration right?
  stepherd serve --config config                      run the bot
  stepherd send github comment.json                   try a payload on a running bot
  stepherd runs list --live                           what runs
  stepherd deliveries list --state parked             what could not be dealt with
  stepherd backup stepherd-monday.db                  a copy of the database, while it is served";

#[derive(Debug, Subcommand)]
enum What {
    /// Run the bot until SIGTERM or Ctrl-C
    Serve,
    /// See the main job from end to end: stepherd and stand-ins for everything it talks to, on this machine
    Demo(DemoArgs),
    /// Kill it again and again while it works among stand-ins, and count what was lost or done twice
    Torture(TortureArgs),
    /// Measure this program on this machine, and say which of its aims it meets
    Bench(BenchArgs),
    /// Check the configuration; every error at once, with file, line, column and a hint (exit code 2)
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a payload as its platform would and post it to a running bot
    Send(SendArgs),
    /// Copy the database to a file while it is being served; the copy is checked
    Backup(BackupArgs),
    /// Say that the database was restored from a backup, before serving it: what is to be done is looked for first
    Restored,
    /// What runs, and what ran
    #[command(subcommand)]
    Runs(Runs),
    /// Webhook deliveries: list, show, replay
    #[command(subcommand)]
    Deliveries(Deliveries),
    /// What is to be done outside: list, release what is parked
    #[command(subcommand)]
    Effects(Effects),
    /// What people may say: list it, register it with Discord
    #[command(subcommand)]
    Commands(Commands),
}

#[derive(Debug, Subcommand)]
enum Runs {
    /// List runs, newest first
    List(ListArgs),
    /// Show one run with its history
    Show {
        /// The run, like URMO7YZ2
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    // Exactly one TLS provider, whatever features dependencies switch on.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("stepherd: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(run(cli));
    match cli::unprinted() {
        None => exit.into(),
        Some(why) if why.is_empty() => ExitCode::FAILURE,
        Some(why) => {
            eprintln!("stepherd: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> cli::Exit {
    let config = cli.config.as_path();
    match cli.what {
        What::Serve => cli::serve::run(config).await,
        What::Demo(args) => cli::demo::run(args).await,
        What::Torture(args) => cli::torture::run(args).await,
        What::Bench(args) => cli::bench::run(args).await,
        What::Check { json } => cli::check::run(config, json),
        What::Send(args) => cli::send::run(config, args).await,
        What::Backup(args) => cli::backup::run(config, args).await,
        What::Restored => cli::backup::restored(config).await,
        What::Runs(Runs::List(args)) => cli::runs::list(config, args).await,
        What::Runs(Runs::Show { id, json }) => cli::runs::show(config, &id, json).await,
        What::Deliveries(what) => cli::deliveries::run(config, what).await,
        What::Effects(what) => cli::effects::run(config, what).await,
        What::Commands(what) => cli::commands::run(config, what).await,
    }
}
