//! One honest run, from which thousands are copied: decided by the domain, committed by the store, its effects
//! claimed and settled one by one. Only the calls to the outside are left out, and their outcomes made up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::payload::{self, AUTHOR};
use super::place::{DEPLOYMENT, Place};
use crate::adapters::Backend as _;
use crate::adapters::dcr::{Dcr, DcrConfig};
use crate::catalog::Catalog;
use crate::clock::{Clock as _, SystemClock};
use crate::domain::command::{Action, Invocation};
use crate::domain::decide::{
    Asked, Decision, Event, Facts, HeadKnown, HeadThen, Known, Look, Origin, PrHead, SaidAt, StartFacts, Via, decide,
    glance, next_wake,
};
use crate::domain::effect::{Act, Deed, Effect, Outcome};
use crate::domain::ids::{PrRef, QuestionId, RunId, Sha, ThreadRef};
use crate::domain::policy::Permission;
use crate::domain::run::{By, Observation, ObservedState, OpenedPr, Run, RunState};
use crate::domain::signal::{Account, MessageRef, Proof};
use crate::domain::start;
use crate::store::{
    ClaimedEffect, Commit, Committed, DeliverySettled, EffectSettled, HeadSeen, Lease, NewDelivery, RunWrite, Sent,
    Store,
};

/// A run that others are copied from. `token` stands in everything that is its own: pull requests, tenant, ticket.
pub(super) struct Life {
    pub(super) run: RunId,
    pub(super) token: u64,
    pub(super) until: Until,
}

/// Up to where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Its rebuild runs and is watched.
    Watched,
    /// It is finished.
    Finished,
}

/// More events than this and something goes in circles.
const EVENTS_MAX: usize = 200;
const LEASE: Lease = Lease(Duration::from_secs(60));

fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Lives one run in the place's database.
pub(super) async fn live(place: &Place, token: u64, until: Until) -> Result<Life, String> {
    let catalog = place.catalog()?;
    let store = place.store().await?;
    let backend = dcr(place)?;
    let run = begin(&store, &catalog, token).await?;
    let mut events = 0;
    loop {
        events += 1;
        if events > EVENTS_MAX {
            return Err("the run to copy does not get to its end".to_owned());
        }
        let claimed = store.claim_effects(SystemClock.now(), LEASE, 1).await.map_err(said)?;
        if let Some(effect) = claimed.into_iter().next() {
            settle(&store, &run, effect, token).await?;
            continue;
        }
        let now = store.run(&run).await.map_err(said)?.ok_or("the run to copy is gone")?;
        if matches!(now.state, RunState::Finished { .. }) {
            break;
        }
        let Some(look) = glance(&now).looks.into_iter().next() else {
            return Err(format!("the run to copy stands still: {:?}", now.state));
        };
        let Look::Job {
            step, attempt, intent, ..
        } = look
        else {
            return Err("the run to copy waits for a merge".to_owned());
        };
        let rebuild = step.as_str() == "Rebuild";
        let seen = if rebuild && until == Until::Watched {
            // Through the adapter itself, so that the next look sees the very same.
            backend.observe(&intent, true).await.map_err(said)?
        } else {
            done()
        };
        let event = Event::Observed {
            step,
            attempt,
            job: intent.job,
            seen,
        };
        if !apply(&store, &run, &event, None).await? && rebuild {
            break;
        }
    }
    store.close().await;
    Ok(Life { run, token, until })
}

fn dcr(place: &Place) -> Result<Dcr, String> {
    let settings = place.catalog()?.settings.dcr;
    Dcr::new(&DcrConfig {
        base_url: settings.base_url.ok_or("no address for the rebuild service")?,
        token: settings.token.ok_or("no token for the rebuild service")?,
    })
}

fn done() -> Observation {
    Observation::of(ObservedState::Succeeded)
}

/// The delivery, and the decision to start.
async fn begin(store: &Store, catalog: &Catalog, token: u64) -> Result<RunId, String> {
    let now = SystemClock.now();
    let pr = PrRef {
        repo: name(payload::REPO)?,
        number: token,
    };
    let head: Sha = name(&format!("{}{token}", "c".repeat(31)))?;
    store
        .record_head(
            &pr,
            &HeadSeen {
                head: head.clone(),
                at: now,
            },
        )
        .await
        .map_err(said)?;
    deliver(store, token).await?;
    let plan = catalog.pipelines.get(&name("dcr")?).ok_or("no pipeline `dcr`")?.clone();
    let args = [
        ("tenant", format!("t{token}")),
        ("ticket", format!("SREPROV-{token}")),
        ("farmers_min", "3".to_owned()),
    ];
    let mut given = BTreeMap::new();
    for (key, value) in args {
        given.insert(name(key)?, value);
    }
    let channel = Some(format!("40000000{token}"));
    let params = start::resolve(&plan, &given, &BTreeMap::from([((name("channel")?, 0), channel)]))?;
    let locks = start::lock_names(&plan, &params.values)?;
    let known = Known::Start(Box::new(StartFacts {
        plan,
        params: Ok(params),
        queues: store.lock_queues(&locks).await.map_err(said)?,
        head: HeadKnown::Seen(Box::new(PrHead {
            pr: pr.clone(),
            origin: Origin::Trusted,
            live: head.clone(),
            recorded: Some(head.clone()),
            at_command: HeadThen::Commit(head),
            belongs: true,
        })),
    }));
    let asked = asked(&pr, token, given, known)?;
    let key = asked.via.key.clone();
    let decision = decide(None, &Event::Asked(Box::new(asked)), &facts());
    let run = decision
        .run
        .as_ref()
        .map(|run| run.id.clone())
        .ok_or("the run to copy does not start")?;
    commit(store, decision, None, Some(key), None).await?;
    Ok(run)
}

/// What somebody who may start a run says on the pull request.
fn asked(pr: &PrRef, token: u64, given: start::Params, known: Known) -> Result<Asked, String> {
    let thread: ThreadRef = name(&format!("github:{pr}"))?;
    Ok(Asked {
        said: SaidAt {
            at: facts().now,
            counts_for: None,
        },
        invocation: Invocation {
            command: name("dcr")?,
            verb: name("start")?,
            action: Action::Start,
            args: given,
        },
        via: Via {
            key: format!("github:{}:issue_comment:6{token}:dcr:start:0", pr.repo),
            message: Some(MessageRef {
                thread: thread.clone(),
                id: format!("issue_comment/6{token}"),
            }),
            thread,
            handle: None,
        },
        by: By {
            account: Some(Account {
                platform: name("github")?,
                id: AUTHOR.to_string(),
            }),
            person: Some(name("ada")?),
            name: "ada".to_owned(),
        },
        permission: Permission::Granted {
            person: Some(name("ada")?),
            role: name("operator")?,
        },
        known,
    })
}

/// The comment that asked for it, settled.
async fn deliver(store: &Store, token: u64) -> Result<(), String> {
    let now = SystemClock.now();
    let body = payload::Envelope::new("/dcr start tenant\n", true).body();
    let delivery = NewDelivery {
        platform: name("github")?,
        delivery_id: String::from_utf8_lossy(&payload::uuid(token)).into_owned(),
        kind: "issue_comment.created".to_owned(),
        proof: Proof::BodySigned,
        target: "/webhooks/github".to_owned(),
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-github-event".to_owned(), "issue_comment".to_owned()),
        ],
        body: body.into(),
        received_at: now,
        thread: None,
    };
    store.record_delivery(&delivery).await.map_err(said)?;
    for claimed in store.claim_deliveries(now, LEASE, 1).await.map_err(said)? {
        let note = "/dcr start".to_owned();
        store
            .settle_delivery(claimed.claim, DeliverySettled::Done { note }, now)
            .await
            .map_err(said)?;
    }
    Ok(())
}

fn facts() -> Facts {
    Facts {
        now: SystemClock.now(),
        new_run: RunId::from_bits(SystemClock.random()),
        new_question: QuestionId::from_bits(SystemClock.random()),
    }
}

/// Carries out an effect in name only: what is a part of the run has its outcome, the rest is done.
async fn settle(store: &Store, run: &RunId, claimed: ClaimedEffect, token: u64) -> Result<(), String> {
    let now = SystemClock.now();
    if let Effect::Act(act) = &claimed.effect {
        let event = Event::Came {
            act: act.clone(),
            outcome: outcome(act, token)?,
        };
        apply(store, run, &event, Some(&claimed)).await?;
        return Ok(());
    }
    if let Effect::Report { thread } = &claimed.effect {
        let sent = Sent {
            message: MessageRef {
                thread: thread.clone(),
                id: format!("issue_comment/5{token}"),
            },
            digest: "0".repeat(64),
            at: now,
            opened: None,
        };
        store
            .record_sent(Some(run), thread, "card", &sent)
            .await
            .map_err(said)?;
    }
    store
        .settle_effect(&claimed.claim, EffectSettled::Done, now)
        .await
        .map_err(said)?;
    Ok(())
}

fn outcome(act: &Act, token: u64) -> Result<Outcome, String> {
    // Two pull requests in one repository need two numbers; both hold the token.
    let digit = if act.step.as_str().starts_with("History") { 1 } else { 2 };
    Ok(match &act.what {
        Deed::Change(intent) => {
            let pr = PrRef {
                repo: name(DEPLOYMENT)?,
                number: format!("{digit}{token}").parse().map_err(said)?,
            };
            Outcome::ChangeOpened(OpenedPr {
                branch: intent.branch.clone(),
                head: name(&format!("{}{digit}{token}", "d".repeat(30)))?,
                url: format!("https://github.com/{DEPLOYMENT}/pull/{}", pr.number),
                thread: name(&format!("github:{pr}"))?,
                merged: None,
                pr,
            })
        }
        Deed::Merge(_) => Outcome::Merged {
            commit: name(&format!("{}{digit}{token}", "e".repeat(30)))?,
        },
        Deed::StartJob(_) => Outcome::JobStarted,
        Deed::CancelJob(_) => Outcome::JobCanceled,
        Deed::MoveTicket(_) => Outcome::TicketMoved,
    })
}

/// As the engine does it. `false` if nothing followed from the event.
async fn apply(store: &Store, id: &RunId, event: &Event, settles: Option<&ClaimedEffect>) -> Result<bool, String> {
    let run = store.run(id).await.map_err(said)?.ok_or("the run to copy is gone")?;
    let decision = decide(Some(&run), event, &facts());
    if decision.is_nothing() && settles.is_none() {
        return Ok(false);
    }
    commit(store, decision, Some(&run), None, settles).await?;
    Ok(true)
}

async fn commit(
    store: &Store,
    decision: Decision,
    before: Option<&Run>,
    key: Option<String>,
    settles: Option<&ClaimedEffect>,
) -> Result<(), String> {
    let now = SystemClock.now();
    let commit = Commit {
        key,
        also: Vec::new(),
        run: decision.run.map(|run| RunWrite {
            wake: next_wake(before, &run, now),
            run,
            expected: before.map(|run| run.version),
        }),
        history: decision.history,
        effects: decision.effects,
        locks: decision.locks,
        settles: settles.map(|effect| effect.claim),
        unless_voided: None,
    };
    match store.commit(&commit, now).await.map_err(said)? {
        Committed::Done => Ok(()),
        other => Err(format!("the run to copy cannot be committed: {other:?}")),
    }
}
