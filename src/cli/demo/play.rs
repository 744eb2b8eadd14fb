//! `--stay`: the town is somebody's to play with, by lines that say who does what.

use std::io::BufRead as _;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::show::Show;
use crate::catalog;
use crate::domain::command::Command;
use crate::domain::grammar::{self, Found};
use crate::domain::pipeline::ParamKind;
use crate::domain::signal::Text;
use crate::sandbox::town::{CHANNEL, GUILD, TENANT, Town};

const HELP: &str = "  ada on acme/deployment#1: /dcr status   in a pull request; ada, grace, eve
  ada on SREPROV-3073: /dcr help          in a ticket; ada, eve
  ada on discord: /dcr list               a slash command; ada, eve
  ada moves SREPROV-3073 to Approved      another rebuild of the same tenant
  farmers 2                               so many farmers are ready
  progress 30                             how far the rebuild is, in %
  fail REASON                             the rebuild fails
  restart                                 … and is restarted by itself
  complete                                the rebuild is done
  threads                                 every thread in full
  help, quit
  (ada and grace are operators, eve may do nothing)";

/// A line, understood.
#[derive(Debug, PartialEq)]
enum Line {
    Say { who: String, place: String, text: String },
    Move { who: String, ticket: String, to: String },
    Farmers(u32),
    Progress(f64),
    Fail(String),
    Restart,
    Complete,
    Threads,
    Help,
    Quit,
    Nothing,
}

impl Line {
    fn read(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let (word, rest) = line
            .split_once(' ')
            .map_or((line, ""), |(word, rest)| (word, rest.trim()));
        let number = |what: &str| {
            rest.trim_end_matches(['%', ' '])
                .parse()
                .map_err(|_| format!("{what}: how many?"))
        };
        Ok(match word {
            "" => Self::Nothing,
            "help" | "?" => Self::Help,
            "quit" | "exit" => Self::Quit,
            "threads" => Self::Threads,
            "restart" => Self::Restart,
            "complete" => Self::Complete,
            "farmers" => Self::Farmers(number("farmers")?),
            "progress" => Self::Progress(f64::from(number("progress")?)),
            "fail" if rest.is_empty() => return Err("fail: for what reason?".to_owned()),
            "fail" => Self::Fail(rest.to_owned()),
            who => {
                let said = rest.strip_prefix("on ").and_then(|rest| rest.split_once(':'));
                let moved = rest.strip_prefix("moves ").and_then(|rest| rest.split_once(" to "));
                let who = who.to_owned();
                match (said, moved) {
                    (Some((place, text)), _) => Self::Say {
                        who,
                        place: place.trim().to_owned(),
                        text: text.trim().to_owned(),
                    },
                    (None, Some((ticket, to))) => Self::Move {
                        who,
                        ticket: ticket.trim().to_owned(),
                        to: to.trim().to_owned(),
                    },
                    (None, None) => return Err(format!("“{line}” is not understood; `help` says what is")),
                }
            }
        })
    }
}

/// Says what can be tried and lets people try it, until they quit or the program is asked to end.
pub(super) async fn play(show: &mut Show) {
    show.screen.stop_rewriting();
    invite(show);
    let commands = catalog::load(&show.folder.config(), &std::collections::BTreeMap::new())
        .map(|catalog| catalog.commands)
        .unwrap_or_default();
    let mut lines = typed();
    let mut open = true;
    loop {
        let line = tokio::select! {
            line = lines.recv(), if open => line,
            more = show.moment() => {
                if !more {
                    return;
                }
                show.look();
                continue;
            }
        };
        // Without a keyboard (`< /dev/null`) it stays until it is asked to end.
        let Some(line) = line else {
            open = false;
            continue;
        };
        match Line::read(&line) {
            Ok(Line::Quit) => return,
            Ok(line) => {
                if let Err(why) = act(show, &commands, line).await {
                    show.screen.line(&format!("  ✘ {why}"));
                }
            }
            Err(why) => show.screen.line(&format!("  ✘ {why}")),
        }
    }
}

async fn act(show: &mut Show, commands: &[Command], line: Line) -> Result<(), String> {
    let dcr = &show.town.dcr;
    match line {
        Line::Say { who, place, text } => say(show, commands, &who, &place, &text).await?,
        Line::Move { who, ticket, to } => {
            let person = format!("557058:{who}");
            let moved = show.town.jira.transition(&ticket, &person, &to).await;
            moved.map_err(|e| e.to_string())?;
        }
        Line::Farmers(ready) => dcr.set_farmers(TENANT, ready),
        Line::Progress(percent) => dcr.advance(TENANT, percent),
        Line::Fail(reason) => dcr.fail(TENANT, &reason),
        Line::Restart => dcr.auto_restart(TENANT),
        Line::Complete => dcr.complete(TENANT),
        Line::Threads => show.screen.threads(&show.scene),
        Line::Help => show.screen.line(HELP),
        Line::Quit | Line::Nothing => {}
    }
    Ok(())
}

async fn say(show: &Show, commands: &[Command], who: &str, place: &str, text: &str) -> Result<(), String> {
    if place.eq_ignore_ascii_case("discord") {
        return slash(show, commands, who, text).await;
    }
    if let Some((repo, number)) = place.split_once('#') {
        let number = number.parse().map_err(|_| format!("“{place}” is no pull request"))?;
        let said = show.town.github.comment(repo, number, who, text);
        return said.map(|_| ()).map_err(|e| e.to_string());
    }
    let said = show.town.jira.comment(place, &format!("557058:{who}"), text).await;
    said.map(|_| ()).map_err(|e| e.to_string())
}

/// Discord's client turns what is typed into a command with options; so does this.
async fn slash(show: &Show, commands: &[Command], who: &str, text: &str) -> Result<(), String> {
    let member = match who {
        "ada" => Town::ada(),
        "eve" => Town::eve(),
        other => return Err(format!("{other} is not in this Discord; ada and eve are")),
    };
    let place = "discord".parse().map_err(|e| format!("{e}"))?;
    let found = grammar::find(&Text::Lines(vec![text.to_owned()]), commands, &place);
    let invocation = match found.into_iter().next() {
        Some(Found::Invocation(invocation)) => invocation,
        Some(Found::Misread(misread)) => return Err(format!("Discord does not offer that: {}", misread.problem)),
        None => return Err("in Discord only slash commands are heard, like /dcr status".to_owned()),
    };
    let verb = commands
        .iter()
        .find(|command| command.name == invocation.command)
        .and_then(|command| command.verbs.iter().find(|verb| verb.name == invocation.verb));
    let option = |name: &str, given: &str| {
        let kind = verb.and_then(|verb| verb.args.iter().find(|arg| arg.name.as_str() == name));
        match (kind.map(|arg| &arg.kind), given.parse::<i64>()) {
            (Some(ParamKind::Int { .. }), Ok(number)) => json!(number),
            (Some(ParamKind::Bool), _) => json!(given == "true"),
            _ => json!(given),
        }
    };
    let options: Vec<(&str, Value)> = invocation
        .args
        .iter()
        .map(|(name, given)| (name.as_str(), option(name.as_str(), given)))
        .collect();
    let (command, verb) = (invocation.command.as_str(), invocation.verb.as_str());
    let discord = &show.town.discord;
    let asked = discord.slash(&member, GUILD, CHANNEL, command, verb, &options).await;
    match asked.map_err(|e| e.to_string())?.problem {
        Some(problem) => Err(format!("This interaction failed: {problem}")),
        None => Ok(()),
    }
}

/// Lines from the keyboard. The thread ends with the program.
fn typed() -> mpsc::Receiver<String> {
    let (to, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if to.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn invite(show: &mut Show) {
    let program = std::env::current_exe().map_or_else(|_| "stepherd".to_owned(), |path| path.display().to_string());
    let folder = show.folder.path().display().to_string();
    show.screen.stage("It stays. Type what people do, or what happens:");
    show.screen.line(HELP);
    show.screen.stage("Or, in another terminal:");
    let mut tries = vec![
        format!("cd {folder}; export STEPHERD_CONFIG=config; alias stepherd={program}"),
        "stepherd runs list".to_owned(),
        "stepherd deliveries list --limit 5".to_owned(),
        "stepherd send discord payloads/discord-ping.json --key-file secrets/discord-signing-key".to_owned(),
    ];
    let sent = payloads(show).into_iter();
    tries.extend(sent.map(|(platform, file)| format!("stepherd send {platform} payloads/{file}")));
    tries.push(format!(
        "curl -H 'authorization: Bearer {}' {}/api/v1/runs",
        Town::api_token(),
        show.url
    ));
    for line in tries {
        show.screen.line(&format!("  {line}"));
    }
    show.screen.aside(
        "  The payloads for GitHub and Jira are those of the retry and the approval:\n  \
         signed and sent again, they are accepted and take effect no second time.",
    );
    let town = &show.town;
    let addresses = [
        ("GitHub", town.github.url()),
        ("Jira", &town.jira.url),
        ("Discord", &town.discord.url),
        ("Argo CD", &town.argocd.url),
        ("rebuilds", &town.dcr.url),
    ];
    let addresses = addresses.map(|(name, url)| format!("  {name:8} {url}")).join("\n");
    show.screen.aside(&addresses);
}

/// What GitHub and Jira have sent, and what Discord asks to see whether there is somebody, as files.
fn payloads(show: &Show) -> Vec<(&'static str, &'static str)> {
    let ping = json!({ "type": 1, "id": "1", "application_id": "900", "token": "none", "version": 1 });
    let _ = show.folder.payload("discord-ping.json", &ping.to_string());
    let retry = show.town.github.deliveries().into_iter().find(|sent| {
        sent.event == "issue_comment" && sent.action == "created" && sent.payload["comment"]["body"] == "/dcr retry"
    });
    let approval = show.town.jira.deliveries().into_iter().next();
    let files = [
        (
            "github",
            "github-retry.json",
            retry.map(|sent| sent.payload.to_string()),
        ),
        ("jira", "jira-approval.json", approval.map(|sent| sent.body)),
    ];
    let written = files.into_iter().filter_map(|(platform, name, body)| {
        show.folder.payload(name, &body?).ok()?;
        Some((platform, name))
    });
    written.collect()
}
