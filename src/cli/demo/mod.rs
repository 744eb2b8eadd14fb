//! `stepherd demo`: the main job from end to end on one machine, in about a minute.
//!
//! Stand-ins and stepherd run in this process, on real sockets and a real database file; what people do reaches
//! stepherd as signed webhooks. The demo repairs nothing: what does not end as it should, it says.

mod play;
mod scene;
mod screen;
mod show;
mod tale;
mod verdict;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::screen::Screen;
use self::show::{Show, Trouble};
use self::verdict::Verdict;
use super::{Exit, failed, serve};
use crate::clock::{Clock as _, SystemClock};

/// How to show it.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave everything running afterwards, to play with
    #[arg(long, conflicts_with = "json")]
    stay: bool,
    /// Print the final threads as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

/// Shows it. Good only if every thread ended as it should.
pub async fn run(args: DemoArgs) -> Exit {
    let stop = CancellationToken::new();
    if let Err(error) = serve::signals(stop.clone()) {
        return failed(format!("cannot wait for signals: {error}"));
    }
    let mut show = match Show::open(Screen::new(args.json), stop).await {
        Ok(show) => show,
        Err(why) => return failed(format!("the demo cannot start: {why}")),
    };
    introduce(&mut show);
    let told = tale::tell(&mut show).await;
    if let Err(Trouble::Interrupted) = told {
        show.close(false).await;
        return failed("interrupted before the end");
    }
    let verdict = verdict::judge(&show).await;
    let good = told.is_ok() && verdict.is_good();
    if args.json {
        super::show::json(&as_json(&show, &verdict, told.as_ref().err()));
    }
    conclude(&mut show, &verdict, told.as_ref().err());
    if args.stay {
        play::play(&mut show).await;
    }
    show.close(!good).await;
    match (good, told) {
        (true, _) => Exit::Good,
        (false, Err(trouble)) => failed(format!("the demo did not get to its end: {trouble}")),
        (false, Ok(())) => failed("the demo ended, but not as it should"),
    }
}

fn introduce(show: &mut Show) {
    let (url, log) = (show.url.clone(), show.folder.log(show::LOG));
    show.screen.line(&format!(
        "stepherd listens at {url}, between stand-ins for GitHub, Jira,\n\
         Discord, Argo CD and the cache-rebuild service, all on this machine. Webhooks\n\
         are signed, calls go over sockets, and the threads are what people would see.\n\
         To fit a minute, cards may be edited every second instead of every 5, and\n\
         jobs are looked at every second instead of every 30."
    ));
    show.screen.aside(&format!("stepherd's log: {}", log.display()));
}

fn conclude(show: &mut Show, verdict: &Verdict, trouble: Option<&Trouble>) {
    show.screen.stage("The threads, as they stand now:");
    show.screen.threads(&show.scene);
    let took = SystemClock.now().duration_since(show.began).as_secs();
    show.screen.stage(&format!("After {took} s:"));
    for check in &verdict.checks {
        show.screen.check(&check.what, check.differs.as_deref());
    }
    if let Some(trouble) = trouble {
        show.screen
            .check("the tale was told to its end", Some(&trouble.to_string()));
    }
}

fn as_json(show: &Show, verdict: &Verdict, trouble: Option<&Trouble>) -> Value {
    let mut body = json!({
        "ok": trouble.is_none() && verdict.is_good(),
        "run": verdict::run_id(&show.scene),
        "trouble": trouble.map(ToString::to_string),
        "checks": verdict.json(),
    });
    if let (Some(body), Value::Object(scene)) = (body.as_object_mut(), show.scene.json()) {
        body.extend(scene);
    }
    body
}
