//! Whether everything ended as it should, looked up where people and programs would look.

use serde_json::{Value, json};

use super::scene::{Message, ROOM, Scene};
use super::show::Show;
use super::tale::{FAILS_AT, REASON, RETRY_ON};
use crate::sandbox::town::{APP, REPO, TENANT, TICKET, Town};

/// One thing that was checked.
pub(super) struct Check {
    pub(super) what: String,
    /// How it differs from what it should be.
    pub(super) differs: Option<String>,
}

/// Everything that was checked.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) checks: Vec<Check>,
}

impl Verdict {
    fn expect(&mut self, what: impl Into<String>, is: Result<(), String>) {
        self.checks.push(Check {
            what: what.into(),
            differs: is.err(),
        });
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: impl Into<String>, is: &T, should: &T) {
        let differs = (is != should).then(|| format!("it is {is:?}, and should be {should:?}"));
        self.expect(what, differs.map_or(Ok(()), Err));
    }

    pub(super) fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.differs.is_none())
    }

    pub(super) fn json(&self) -> Value {
        let check =
            |check: &Check| json!({ "what": check.what, "ok": check.differs.is_none(), "differs": check.differs });
        self.checks.iter().map(check).collect()
    }
}

/// The run's id, from the branch of its first change.
pub(super) fn run_id(scene: &Scene) -> Option<String> {
    let branch = &scene.pulls.first()?.branch;
    let run = branch.strip_prefix(TICKET)?.strip_prefix('_')?;
    Some(run.split('_').next()?.to_owned())
}

/// Checks everything.
pub(super) async fn judge(show: &Show) -> Verdict {
    let (scene, town) = (&show.scene, &show.town);
    let run = run_id(scene).unwrap_or_default();
    let mut verdict = Verdict::default();
    verdict.equal(
        format!("{TICKET} is done"),
        &town.jira.status(TICKET).unwrap_or_default().as_str(),
        &"Done",
    );
    changes(&mut verdict, scene, town, &run);
    verdict.equal("Argo CD was asked for one sync", &town.argocd.syncs(APP), &1);
    verdict.equal(
        "the rebuild began once and was restarted once, and nobody called for either",
        &(
            town.dcr.begun(TENANT),
            town.dcr.restarts(TENANT),
            town.dcr.changing_calls(),
        ),
        &(1, 1, 0),
    );
    threads(&mut verdict, scene);
    memory(&mut verdict, show, &run).await;
    verdict
}

/// Two pull requests, from a branch of each step, both merged; and what they did to the file.
fn changes(verdict: &mut Verdict, scene: &Scene, town: &Town, run: &str) {
    let branches: Vec<&str> = scene.pulls.iter().map(|pull| pull.branch.as_str()).collect();
    let should = ["HistoryUpdate", "StartFarm"].map(|step| format!("{TICKET}_{run}_Step{step}"));
    verdict.equal(
        "each change has a branch of its own",
        &branches,
        &should.each_ref().map(String::as_str).to_vec(),
    );
    let merged: Vec<&str> = scene
        .pulls
        .iter()
        .filter_map(|pull| pull.merged_by.as_deref())
        .collect();
    verdict.equal(
        "stepherd has merged both pull requests",
        &merged,
        &vec!["stepherd[bot]"; 2],
    );
    let file = town.github.file(REPO, "main", "tenants/comcast/farm.yaml");
    let file = file.ok().flatten().unwrap_or_default();
    let is = if file.contains("enabled: true # switched on by the rebuild") && file.contains(run) {
        Ok(())
    } else {
        Err(format!("it says {file:?}"))
    };
    verdict.expect("the farm's file is changed, its comments are kept", is);
}

fn threads(verdict: &mut Verdict, scene: &Scene) {
    let discord = scene
        .threads
        .iter()
        .find(|thread| thread.place.starts_with(&format!("{ROOM} › ")));
    let discord = discord.map(|thread| thread.place.clone()).unwrap_or_default();
    // In Discord the card stands in the channel, and the thread hangs from it.
    let places = [
        ("Jira", TICKET.to_owned(), TICKET.to_owned()),
        ("GitHub", format!("{REPO}#1"), format!("{REPO}#1")),
        ("GitHub", format!("{REPO}#2"), format!("{REPO}#2")),
        ("Discord", ROOM.to_owned(), discord),
    ];
    for (platform, card_in, notices_in) in places {
        let is = ended_well(scene.said(&card_in), scene.said(&notices_in));
        verdict.expect(
            format!("{platform} · {card_in}: card completed; failure and end told once"),
            is,
        );
    }
    let retry = scene.said(&format!("{REPO}#{RETRY_ON}"));
    let retry = retry.iter().find(|said| said.text == "/dcr retry");
    let seen = retry.is_some_and(|said| said.reactions.iter().any(|by| by.starts_with('👀')));
    let is = if seen { Ok(()) } else { Err("it did not".to_owned()) };
    verdict.expect("stepherd has reacted to “/dcr retry” with 👀", is);
    let card = scene.said(ROOM).first().map(Message::opening);
    let answers = scene
        .said(ROOM)
        .iter()
        .skip(1)
        .filter(|said| Some(said.opening()) == card)
        .count();
    verdict.equal("“/dcr status” was answered in Discord", &answers, &1);
}

fn ended_well(card_in: &[Message], notices_in: &[Message]) -> Result<(), String> {
    let card = card_in.first().ok_or("nobody said anything there")?;
    if !card.head().ends_with("completed") || card.edits == 0 {
        return Err(format!("the card says “{}”, edited {} times", card.head(), card.edits));
    }
    let notices = || notices_in.iter().filter(|said| said.id != card.id && !said.private);
    let at = format!("{FAILS_AT} %");
    let failures = notices()
        .filter(|said| said.text.contains(REASON) && said.head().ends_with(&at) && said.head().contains('❌'))
        .count();
    let ends = notices().filter(|said| said.head().ends_with(" completed.")).count();
    match (failures, ends) {
        (1, 1) => Ok(()),
        (failures, ends) => Err(format!("the failure was told {failures} times, the end {ends} times")),
    }
}

/// What stepherd itself says, and what its database holds.
async fn memory(verdict: &mut Verdict, show: &Show, run: &str) {
    let should = json!({
        "hasStarted": true, "isRunning": false, "hasCompleted": true, "hasFailed": false, "progressPercentage": 100.0,
        "failureReason": null, "restartCount": 1,
    });
    let is = match process_status(show, run).await {
        Ok(mut is) => {
            // 100 and 100.0 are the same figure.
            if let Some(progress) = is.get("progressPercentage").and_then(Value::as_f64) {
                is["progressPercentage"] = json!(progress);
            }
            if is == should {
                Ok(())
            } else {
                Err(format!("it says {is}"))
            }
        }
        Err(why) => Err(why),
    };
    verdict.expect("stepherd's API says that the run has completed", is);
    let is = match show.store.counts().await {
        Ok(counts) if counts.effects_pending + counts.effects_parked + counts.deliveries_pending == 0 => {
            if counts.deliveries_parked == 0 {
                Ok(())
            } else {
                Err(format!("{} deliveries are parked", counts.deliveries_parked))
            }
        }
        Ok(counts) => Err(format!("{counts:?}")),
        Err(error) => Err(error.to_string()),
    };
    verdict.expect("nothing is left to do, and nothing is parked", is);
}

async fn process_status(show: &Show, run: &str) -> Result<Value, String> {
    let url = format!("{}/api/v1/runs/{run}/processStatus", show.url);
    let request = show.http.get(url).bearer_auth(Town::api_token());
    let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
    answer.json().await.map_err(|e| e.without_url().to_string())
}
