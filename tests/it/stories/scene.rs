//! What stories on pull requests share: a person's pull request, what people say there, and the way to each stage
//! of a rebuild.

use std::time::Duration;

use serde_json::Value;
use stepherd::domain::run::{Run, RunState};
use stepherd::sandbox::github::{NewPr, SandboxMessage, SandboxPull};
use stepherd::sandbox::town::{REPO, TICKET};

use crate::world::World;

/// What a person changes in a pull request of their own.
const WISH: [(&str, Option<&str>); 1] = [("WISH.md", Some("Please rebuild.\n"))];

impl World {
    /// A person opens a pull request; its number. stepherd does not hear of it before the webhooks go out.
    pub(super) fn open_pull(&self, branch: &str) -> u64 {
        let pr = NewPr {
            branch,
            base: "main",
            title: "A wish",
            body: "",
            files: &WISH,
            fork: None,
        };
        self.town.github.open_pr_by_person(REPO, "ada", pr).unwrap()
    }

    /// A pull request that stepherd has heard of, two seconds ago: its number and its head.
    pub(super) async fn pull_request(&self) -> (u64, String) {
        let number = self.open_pull("wish");
        self.settle().await;
        self.clock.advance(Duration::from_secs(2));
        (number, self.pull(number).head)
    }

    /// This pull request as it is now.
    pub(super) fn pull(&self, number: u64) -> SandboxPull {
        let all = self.town.github.pulls(REPO).unwrap();
        all.into_iter()
            .find(|pull| pull.number == number)
            .expect("the pull request is there")
    }

    /// Somebody comments; nothing follows before the webhooks go out. The comment's id.
    pub(super) fn write(&self, number: u64, login: &str, text: &str) -> u64 {
        self.town.github.comment(REPO, number, login, text).unwrap()
    }

    /// Somebody comments, and everything that follows at once has followed. The comment's id.
    pub(super) async fn say(&self, number: u64, login: &str, text: &str) -> u64 {
        let id = self.write(number, login, text);
        self.settle().await;
        id
    }

    /// The messages of a pull request, oldest first.
    pub(super) fn messages(&self, number: u64) -> Vec<SandboxMessage> {
        self.town.github.thread(REPO, number).unwrap()
    }

    /// The newest message of stepherd's on a pull request, readable.
    pub(super) async fn last_reply(&self, number: u64) -> String {
        let said = self.messages(number);
        let ours = said.iter().rev().find(|message| message.author == "stepherd[bot]");
        self.as_told(&ours.expect("stepherd said something").body).await
    }

    /// A pull request's thread as people read it, with what differs from day to day replaced.
    pub(super) async fn thread(&self, number: u64) -> String {
        let mut text = Vec::new();
        for message in self.messages(number) {
            let seen = if message.reactions.iter().any(|r| r == "stepherd[bot]:eyes") {
                " 👀"
            } else {
                ""
            };
            let body = self.as_told(&message.body).await;
            text.push(format!("[{}{seen}]\n{body}", message.author));
        }
        text.join("\n\n")
    }

    /// Text with run ids counted, commits and addresses named, and marks that nobody sees left out.
    pub(super) async fn as_told(&self, text: &str) -> String {
        let mut text = text.replace('\u{2060}', "");
        let town = &self.town;
        for (address, name) in [
            (town.github.url(), "https://github"),
            (&town.argocd.url, "https://argocd"),
            (&town.dcr.url, "https://dcr"),
        ] {
            text = text.replace(address, name);
        }
        for (place, run) in self.runs().await.iter().rev().enumerate() {
            text = text.replace(run.id.as_str(), &format!("RUN{}", place + 1));
        }
        let lines = text.lines().filter(|line| !line.starts_with("<!-- stepherd:"));
        let lines: Vec<String> = lines.map(|line| without_commits(line).trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned()
    }

    /// Posts bytes to the GitHub door: the status answered.
    pub(super) async fn post_github(&self, event: &str, id: &str, body: &str, proof: (&str, &str)) -> u16 {
        let request = self.http.post(format!("{}/webhooks/github", self.url));
        let request = request
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .header(proof.0, proof.1)
            .body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    }

    /// The newest delivery of this event that GitHub made: its id and payload.
    pub(super) fn last_delivery(&self, event: &str) -> (String, Value) {
        let all = self.town.github.deliveries();
        let newest = all.into_iter().rev().find(|delivery| delivery.event == event);
        newest
            .map(|delivery| (delivery.id, delivery.payload))
            .expect("there was one")
    }

    /// The ticket is approved without stepherd's hearing of it, so that a run can close it that was asked for
    /// elsewhere.
    pub(super) async fn approved_unheard(&self) {
        self.town
            .jira
            .transition(TICKET, "557058:ada", "Approved")
            .await
            .unwrap();
        self.town.jira.lose_pending();
    }

    /// A run for the tenant, started on a new pull request, whose changes are merged and whose sync is asked for.
    pub(super) async fn started(&self) -> u64 {
        self.approved_unheard().await;
        let (number, _) = self.pull_request().await;
        self.say(number, "ada", "/dcr start comcast ticket=SREPROV-3072").await;
        number
    }

    /// Argo CD ends the tenant's sync well, the farmers are there, and the rebuild has come to 42 %.
    pub(super) async fn sync_and_rebuild(&self, tenant: &str) {
        let app = format!("dcr-{tenant}");
        let title = format!("{tenant}: start farmers");
        let pulls = self.town.github.pulls(REPO).unwrap();
        let farm = pulls.iter().rev().find(|pull| pull.title.starts_with(&title));
        let merged = farm
            .and_then(|pull| pull.merged.clone())
            .expect("the farm's start is merged");
        self.town.argocd.git_moved(&app, &merged);
        self.town.argocd.finish(&app);
        self.pass(Duration::from_secs(60)).await;
        self.town.dcr.advance(tenant, 42.0);
        self.pass(Duration::from_secs(30)).await;
    }

    /// A run whose rebuild is at 42 %: the pull request where it was asked for.
    pub(super) async fn rebuilding(&self) -> u64 {
        let number = self.started().await;
        self.sync_and_rebuild("comcast").await;
        number
    }

    /// A run whose rebuild failed at 42 %: the pull request where it was asked for.
    pub(super) async fn failed(&self) -> u64 {
        let number = self.rebuilding().await;
        self.town.dcr.fail("comcast", "farmer-3 lost");
        self.pass(Duration::from_secs(30)).await;
        number
    }

    /// The kinds and texts of a run's history, oldest first.
    pub(super) async fn told(&self, run: &Run) -> Vec<String> {
        let history = self.store.history(&run.id).await.unwrap();
        let lines = history
            .iter()
            .map(|entry| stepherd::domain::card::happened(&entry.what));
        let mut told = Vec::new();
        for line in lines {
            told.push(self.as_told(&line).await);
        }
        told
    }
}

/// The step under way and its attempt, or how the run stands instead.
pub(super) fn at(run: &Run) -> String {
    match &run.state {
        RunState::Queued { ahead } => format!("queued behind {}", ahead.len()),
        RunState::Active(attempt) => format!("{} {}", run.plan.steps[attempt.step].name, attempt.number),
        RunState::Stopped { why, .. } => format!("stopped at {}", why.step),
        RunState::Finished { verdict, .. } => match verdict {
            stepherd::domain::run::Verdict::Completed => "completed".to_owned(),
            stepherd::domain::run::Verdict::Canceled { .. } => "canceled".to_owned(),
        },
    }
}

/// Words of 7 or 40 hexadecimal digits are commits.
fn without_commits(line: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    for letter in line.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let hex = word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        match word.len() {
            7 if hex => text.push_str("COMMIT"),
            40 if hex => text.push_str("FULL-COMMIT"),
            _ => text.push_str(&word),
        }
        word.clear();
        text.push(letter);
    }
    text.trim_end_matches('\n').to_owned()
}
