//! The counting can fail: each thing that can be lost or doubled is, in a made-up town, and only that is found.

use std::collections::{BTreeMap, BTreeSet};

use stepherd::cli::torture::count::{Check, Given, Kept, Memory, Pull, Row, Seen, Told, Way, count};

const RUN: &str = "URMO7YZ2";
const TICKET: &str = "PROV-1000";
const HEADLINE: &str = "✅ DCR rebuild tenant1 · PROV-1000 · URMO7YZ2 — completed";
const PR: &str = "acme/deployment#4";

/// What was found.
struct Made {
    given: Vec<Given>,
    seen: Seen,
    memory: Memory,
}

impl Made {
    /// A run that somebody started on a pull request, that failed once, was resumed by a button and completed; and
    /// somebody asked where it stands.
    fn new() -> Self {
        let given = |id: &str, way, verb: &str, about: &str| Given {
            id: id.to_owned(),
            way,
            verb: verb.to_owned(),
            about: about.to_owned(),
            said: format!("{verb} as {id}"),
            accepted: true,
        };
        let told = |place: &str, marker: &str, text: &str| Told {
            place: place.to_owned(),
            id: format!("m{}", marker.len()),
            marker: Some(marker.to_owned()),
            answers: None,
            text: text.to_owned(),
        };
        let places = ["github:acme/deployment#1", "discord:501"];
        let mut seen = Seen {
            eyes: BTreeMap::from([("11".to_owned(), 1)]),
            pulls: vec![Pull {
                name: PR.to_owned(),
                run: RUN.to_owned(),
                step: "StartFarm".to_owned(),
                commits: 1,
                merged: true,
            }],
            syncs: vec![format!("{RUN}/Sync/1/sync")],
            rebuilds: 1,
            rebuild_calls: Vec::new(),
            moves: vec![TICKET.to_owned()],
            tickets: BTreeMap::from([(TICKET.to_owned(), "Done".to_owned())]),
            checks: vec![Check {
                id: 21,
                run: RUN.to_owned(),
                head: "abc".to_owned(),
                title: HEADLINE.to_owned(),
            }],
            accepted: BTreeSet::from(["github d-1".to_owned()]),
            told: vec![told(
                places[0],
                "reply/github:acme/deployment:issue_comment:12:dcr:status:0",
                "It rebuilds.",
            )],
        };
        for place in places {
            seen.told
                .push(told(place, &format!("{RUN}/card"), &format!("{HEADLINE}\n100 %")));
            seen.told
                .push(told(place, &format!("{RUN}/7"), "❌ Rebuild failed at 42 %"));
            seen.told.push(told(place, &format!("{RUN}/12"), "✅ completed."));
        }
        let text = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let attempts = [("StartFarm", 1), ("Sync", 1), ("Rebuild", 1), ("Rebuild", 2)];
        let run = Kept {
            id: RUN.to_owned(),
            about: TICKET.to_owned(),
            ticket: Some(TICKET.to_owned()),
            headline: HEADLINE.to_owned(),
            finished: true,
            completed: true,
            places: text(&places),
            heads: BTreeSet::from(["abc".to_owned()]),
            pulls: BTreeMap::from([("StartFarm".to_owned(), PR.to_owned())]),
            passed: text(&["StartFarm", "StartFarmMerge", "Sync", "Rebuild"])
                .into_iter()
                .collect(),
            attempts: attempts.map(|(step, number)| (step.to_owned(), number)).into(),
            notices: places
                .iter()
                .flat_map(|p| [(7, (*p).to_owned()), (12, (*p).to_owned())])
                .collect(),
            retries: 1,
            stops: 0,
        };
        Self {
            given: vec![
                given("11", Way::Comment, "start", TICKET),
                given("12", Way::Comment, "status", ""),
                given("13", Way::Button, "retry", RUN),
            ],
            seen,
            memory: Memory {
                runs: vec![run],
                deliveries: BTreeMap::from([("github d-1".to_owned(), true)]),
                parked: Vec::new(),
            },
        }
    }

    fn rows(&self) -> Vec<Row> {
        count(&self.given, &self.seen, &self.memory)
    }

    fn run(&mut self) -> &mut Kept {
        &mut self.memory.runs[0]
    }

    fn marked(&self, marker: &str) -> Told {
        let marked = self
            .seen
            .told
            .iter()
            .find(|told| told.marker.as_deref() == Some(marker));
        marked.unwrap().clone()
    }

    fn without(&mut self, marker: &str) {
        let at = self
            .seen
            .told
            .iter()
            .position(|told| told.marker.as_deref() == Some(marker));
        self.seen.told.remove(at.unwrap());
    }
}

/// Spoils what was made, and expects exactly one finding of this kind: so many lost, so many doubled.
fn finds(what: &str, lost: usize, doubled: usize, spoil: impl FnOnce(&mut Made)) {
    let mut made = Made::new();
    spoil(&mut made);
    let rows = made.rows();
    let bad: Vec<&Row> = rows.iter().filter(|row| !row.is_good()).collect();
    assert_eq!(bad.len(), 1, "{what}: {bad:#?}");
    assert_eq!(bad[0].what, what, "{bad:#?}");
    assert_eq!((bad[0].lost.len(), bad[0].doubled.len()), (lost, doubled), "{bad:#?}");
}

#[test]
fn what_went_well_is_counted_and_nothing_is_found() {
    let counted: Vec<(&str, usize)> = Made::new()
        .rows()
        .iter()
        .inspect(|row| assert!(row.is_good(), "{row:#?}"))
        .map(|row| (row.what, row.counted))
        .collect();
    assert_eq!(
        counted,
        [
            ("deliveries", 1),
            ("questions", 1),
            ("orders", 2),
            ("pull requests", 1),
            ("syncs", 1),
            ("rebuilds", 1),
            ("ticket moves", 1),
            ("cards", 2),
            ("notices", 4),
            ("checks", 1),
        ]
    );
}

#[test]
fn deliveries() {
    finds("deliveries", 1, 0, |made| made.memory.deliveries.clear());
    finds("deliveries", 1, 0, |made| {
        made.memory.deliveries.insert("github d-1".to_owned(), false);
    });
    finds("deliveries", 1, 0, |made| made.memory.parked.push("effect".to_owned()));
}

#[test]
fn questions() {
    const ANSWER: &str = "reply/github:acme/deployment:issue_comment:12:dcr:status:0";
    finds("questions", 1, 0, |made| made.without(ANSWER));
    // Two answers have one marker, which is found as a notice is, or come by two ways.
    finds("questions", 0, 1, |made| {
        let mut direct = made.marked(ANSWER);
        direct.marker = None;
        direct.answers = Some("12".to_owned());
        made.seen.told.push(direct);
    });
    // Whose question was never accepted was promised nothing.
    let mut made = Made::new();
    made.given[1].accepted = false;
    made.without(ANSWER);
    assert!(made.rows().iter().all(Row::is_good));
}

#[test]
fn orders() {
    // Accepted, and neither seen nor answered.
    finds("orders", 1, 0, |made| made.seen.eyes.clear());
    // Accepted, and without effect.
    finds("orders", 1, 0, |made| made.run().retries = 0);
    // Once too often.
    finds("orders", 0, 1, |made| made.run().retries = 2);
    finds("orders", 0, 1, |made| {
        made.seen.eyes.insert("11".to_owned(), 2);
    });
    // Given twice, of which one was refused with an answer: that is no loss.
    let mut made = Made::new();
    made.given.push(Given {
        id: "14".to_owned(),
        way: Way::Slash,
        ..made.given[2].clone()
    });
    made.seen.told.push(Told {
        place: "discord:501".to_owned(),
        id: "99".to_owned(),
        marker: None,
        answers: Some("14".to_owned()),
        text: "There is nothing to retry: only a run that has failed can be resumed. Nothing was started. Where it \
               stands:"
            .to_owned(),
    });
    assert!(made.rows().iter().all(Row::is_good));
    // But not without the answer, nor when the refused one took effect as well.
    made.run().retries = 2;
    assert_eq!(made.rows()[2].doubled.len(), 1);
    made.run().retries = 1;
    made.seen.told.pop();
    assert_eq!(made.rows()[2].lost.len(), 2, "no sign of it, and no effect");
    // An interaction that was stored and never answered may or may not take effect.
    made.given[3].accepted = false;
    assert!(made.rows().iter().all(Row::is_good));
    made.run().retries = 2;
    assert!(made.rows().iter().all(Row::is_good));
}

#[test]
fn pull_requests() {
    finds("pull requests", 1, 0, |made| made.seen.pulls.clear());
    finds("pull requests", 1, 0, |made| made.seen.pulls[0].merged = false);
    finds("pull requests", 0, 1, |made| made.seen.pulls[0].commits = 2);
    finds("pull requests", 0, 1, |made| {
        let twin = Pull {
            name: "acme/deployment#5".to_owned(),
            ..made.seen.pulls[0].clone()
        };
        made.seen.pulls.push(twin);
    });
    finds("pull requests", 0, 1, |made| {
        let ghost = Pull {
            run: "AAAAAAAA".to_owned(),
            ..made.seen.pulls[0].clone()
        };
        made.seen.pulls.push(ghost);
    });
}

#[test]
fn jobs() {
    finds("syncs", 1, 0, |made| made.seen.syncs.clear());
    finds("syncs", 0, 1, |made| made.seen.syncs.push(format!("{RUN}/Sync/1/sync")));
    finds("syncs", 0, 1, |made| made.seen.syncs.push(format!("{RUN}/Sync/2/sync")));
    finds("rebuilds", 1, 0, |made| made.seen.rebuilds = 0);
    finds("rebuilds", 0, 1, |made| {
        made.seen.rebuild_calls.push("POST /rebuild".to_owned());
    });
}

#[test]
fn ticket_moves() {
    finds("ticket moves", 1, 0, |made| made.seen.moves.clear());
    finds("ticket moves", 1, 0, |made| {
        made.seen.tickets.insert(TICKET.to_owned(), "Approved".to_owned());
    });
    finds("ticket moves", 0, 1, |made| made.seen.moves.push(TICKET.to_owned()));
    finds("ticket moves", 0, 1, |made| made.seen.moves.push("PROV-1".to_owned()));
}

#[test]
fn cards() {
    let card = format!("{RUN}/card");
    finds("cards", 1, 0, |made| made.without(&card));
    finds("cards", 0, 1, |made| made.seen.told.push(made.marked(&card)));
    finds("cards", 1, 0, |made| made.run().finished = false);
    finds("cards", 1, 0, |made| {
        let old = made.seen.told.iter_mut().find(|told| told.text.starts_with(HEADLINE));
        old.unwrap().text = "▶️ DCR rebuild — Rebuild the cache".to_owned();
    });
    finds("cards", 0, 1, |made| {
        made.seen.told.push(Told {
            marker: Some("AAAAAAAA/card".to_owned()),
            ..made.marked(&card)
        });
    });
}

#[test]
fn notices() {
    let failure = format!("{RUN}/7");
    finds("notices", 1, 0, |made| made.without(&failure));
    // Under one marker: the marker and the text are there twice.
    finds("notices", 0, 2, |made| made.seen.told.push(made.marked(&failure)));
    // Under another marker, which nobody meant, the same words.
    finds("notices", 0, 2, |made| {
        made.seen.told.push(Told {
            marker: Some(format!("{RUN}/8")),
            ..made.marked(&failure)
        });
    });
}

#[test]
fn checks() {
    finds("checks", 1, 0, |made| made.seen.checks.clear());
    finds("checks", 0, 1, |made| {
        made.seen.checks.push(made.seen.checks[0].clone())
    });
    finds("checks", 1, 0, |made| {
        made.seen.checks[0].title = "▶️ Rebuild".to_owned()
    });
    finds("checks", 0, 1, |made| {
        made.seen.checks.push(Check {
            head: "def".to_owned(),
            ..made.seen.checks[0].clone()
        });
    });
}
