//! The adapter against the stand-in for Jira: both were written from Atlassian's documents, not from each other.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::Map;
use stepherd::adapters::jira::{Flavor, Jira, JiraConfig, JiraDoor, JiraProofs};
use stepherd::adapters::{CallError, Door, Marker, RawRequest, Threads, Tracker, TurnedAway, Unreadable, WordSeen};
use stepherd::domain::doc::{Block, Doc, Span, Tone};
use stepherd::domain::effect::{MoveIntent, Outcome};
use stepherd::domain::policy::{Grant, Lookup};
use stepherd::domain::signal::{Account, ActorKind, Proof, Said, Signal, Text};
use stepherd::sandbox::jira::{self as site, Automation, Flavour, JiraOptions, JiraUser, Shape, Signing, Workflow};
use stepherd::sandbox::stage::{Served, Stage, serve};

const NOW: i64 = 1_764_500_000;
pub(super) const FLAVORS: [(Flavor, Flavour); 2] = [
    (Flavor::Cloud, Flavour::Cloud),
    (Flavor::DataCenter, Flavour::DataCenter),
];

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

type Received = Arc<Mutex<Vec<RawRequest>>>;

/// A site with one ticket, an adapter that talks to it, and a door-step where its webhooks are put down.
pub(super) struct Set {
    pub(super) site: site::Jira,
    pub(super) jira: Jira,
    received: Received,
    hooks: url::Url,
    _served: Served,
}

async fn put_down(State(received): State<Received>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers = parts.headers.iter();
    received.lock().unwrap().push(RawRequest {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: headers
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
            .collect(),
        body,
    });
    StatusCode::ACCEPTED
}

pub(super) async fn set_up(flavor: Flavor, flavour: Flavour) -> Set {
    let received = Received::default();
    let routes = Router::new().fallback(put_down).with_state(Arc::clone(&received));
    let served = serve(routes, Arc::new(Stage::default()), 0).await.unwrap();
    let hooks: url::Url = format!("{}/webhooks/jira?site=a%20b", served.url).parse().unwrap();
    let mut bot = JiraUser::person("stepherd", "stepherd");
    bot.app = true;
    let options = JiraOptions {
        now: Arc::new(now),
        flavour,
        bot: bot.clone(),
        token: "t0ken".into(),
        webhook: Some(hooks.clone()),
        signing: Signing::Unsigned,
        auto: true,
    };
    let site = site::Jira::start(options, 0).await.unwrap();
    site.add_project("OPS", "Operations", Workflow::approval());
    site.add_user(JiraUser::person("eve", "Eve"));
    site.add_user(JiraUser::person("bob", "Bob"));
    site.add_group("ops", &["eve"]);
    site.add_issue("OPS-1", "DCR comcast", Map::new()).unwrap();
    let config = JiraConfig {
        base_url: site.url.clone(),
        flavor,
        email: (flavor == Flavor::Cloud).then_some(bot.email),
        token: "t0ken".into(),
        own_account_id: None,
    };
    Set {
        site,
        jira: Jira::new(config).unwrap(),
        received,
        hooks,
        _served: served,
    }
}

pub(super) fn door() -> JiraDoor {
    let proofs = JiraProofs {
        webhook_secrets: vec!["admin-secret".into()],
        oauth_client_secret: Some("client-secret".into()),
        connect_shared_secret: Some("shared-secret".into()),
        connect_client_key: None,
        connect_base_path: "/webhooks".into(),
        automation_secret: Some("automation-secret".into()),
    };
    JiraDoor::new(proofs, Some("557058:stepherd".into()))
}

fn signings() -> Vec<Signing> {
    vec![
        Signing::Admin {
            secret: "admin-secret".into(),
        },
        Signing::OAuth {
            client_id: "client".into(),
            client_secret: "client-secret".into(),
        },
        Signing::Connect {
            client_key: "key".into(),
            shared_secret: "shared-secret".into(),
            base_path: "/webhooks".into(),
        },
        Signing::Automation {
            header: "X-Automation-Webhook-Token".into(),
            value: "automation-secret".into(),
        },
    ]
}

impl Set {
    fn last(&self) -> RawRequest {
        self.received.lock().unwrap().last().cloned().unwrap()
    }

    pub(super) fn read_last(&self) -> Result<Signal, Unreadable> {
        Ok(door().read(&self.last(), Proof::BodySigned, now())?.remove(0))
    }

    fn said_last(&self) -> Said {
        match self.read_last() {
            Ok(Signal::Said(said)) => said,
            other => panic!("{other:?}"),
        }
    }
}

fn to(status: &str) -> MoveIntent {
    MoveIntent {
        ticket: "OPS-1".parse().unwrap(),
        to: status.into(),
    }
}

fn card(text: &str) -> Doc {
    Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR "), Span::strong("failed")]),
            Block::Paragraph(vec![
                Span::code("/dcr retry"),
                Span::link("log", "https://ci.example/1"),
            ]),
            Block::List(vec![vec![Span::text("one")]]),
            Block::Fields(vec![("Step".into(), vec![Span::text("Rebuild")])]),
            Block::Verbatim(text.into()),
        ],
        buttons: Vec::new(),
        tone: Tone::Bad,
    }
}

#[tokio::test]
async fn a_ticket_goes_where_its_workflow_lets_it() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        assert_eq!(set.jira.move_ticket(&to("approved")).await, Ok(Outcome::TicketMoved));
        assert_eq!(set.site.status("OPS-1").as_deref(), Some("Approved"));
        assert_eq!(set.jira.move_ticket(&to("10011")).await, Ok(Outcome::TicketMoved));
        assert_eq!(
            set.site.stage.calls_to("POST", "").len(),
            1,
            "moving it again moves nothing"
        );
        let Ok(Outcome::Failed { reason, .. }) = set.jira.move_ticket(&to("Done")).await else {
            panic!("there is no such way");
        };
        assert!(reason.contains("In Progress") && reason.contains("Failed"), "{reason}");
    }
}

#[tokio::test]
async fn a_card_stands_once_and_is_edited_until_people_delete_it() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        let thread = "jira:OPS-1".parse().unwrap();
        let marker = Marker("URMO7YZ2/card".into());
        let first = set
            .jira
            .post(&thread, &marker, &card("one"), None, false)
            .await
            .unwrap();
        let again = set.jira.post(&thread, &marker, &card("two"), None, true).await.unwrap();
        assert_eq!(again, first);
        let other = Marker("URMO7YZ2/notice".into());
        let second = set
            .jira
            .post(&thread, &other, &card("other"), None, true)
            .await
            .unwrap();
        assert_ne!(second, first);
        assert!(set.jira.edit(&first.message, &marker, &card("three")).await.unwrap());
        let comments = set.site.comments("OPS-1");
        assert_eq!(comments.len(), 2);
        assert!(comments[0].text.contains("three") && comments[0].text.contains("/dcr retry"));
        set.site
            .delete_comment("OPS-1", &first.message.id, "eve")
            .await
            .unwrap();
        assert!(!set.jira.edit(&first.message, &marker, &card("four")).await.unwrap());
    }
}

#[tokio::test]
async fn each_of_the_four_proofs_holds_for_what_the_site_sends_and_for_nothing_else() {
    for signing in signings() {
        let set = set_up(Flavor::Cloud, Flavour::Cloud).await;
        let named = signing.header("POST", &set.hooks, b"", now()).unwrap().0;
        set.site.set_webhook(Some(set.hooks.clone()), signing.clone());
        set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
        let request = set.last();
        let verified = door().verify(&request, now()).unwrap();
        let by_digest = matches!(signing, Signing::Automation { .. });
        assert_eq!(verified.delivery_id.starts_with("sha256:"), by_digest, "{named}");
        assert_eq!(verified.kind, "jira:issue_updated");
        let mut bare = request.clone();
        bare.headers.retain(|(name, _)| *name != named);
        assert!(
            matches!(door().verify(&bare, now()), Err(TurnedAway::Forged(_))),
            "{named}"
        );
        let empty = JiraDoor::new(JiraProofs::default(), None);
        assert!(
            matches!(empty.verify(&request, now()), Err(TurnedAway::Forged(_))),
            "{named}"
        );
    }
}

#[tokio::test]
async fn a_transition_reads_the_same_in_every_shape_that_sites_send() {
    let shapes = [
        Shape::default(),
        Shape {
            two_items: true,
            ..Shape::default()
        },
        Shape {
            numeric_changelog_id: true,
            ..Shape::default()
        },
        Shape {
            active_as_text: true,
            ..Shape::default()
        },
        Shape {
            bulk: true,
            ..Shape::default()
        },
        Shape {
            secondary_flow: true,
            ..Shape::default()
        },
    ];
    for (flavor, flavour) in FLAVORS {
        for shape in &shapes {
            let set = set_up(flavor, flavour).await;
            set.site.set_shape(shape.clone());
            set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
            let Ok(Signal::TicketMoved(moved)) = set.read_last() else {
                panic!("{shape:?}");
            };
            let account = if flavor == Flavor::Cloud {
                "557058:eve"
            } else {
                "JIRAUSER-eve"
            };
            assert_eq!(
                (moved.actor.account.id.as_str(), moved.actor.kind),
                (account, ActorKind::Human)
            );
            let from = moved.from.unwrap();
            assert_eq!(
                (from.id.as_str(), moved.to.id.as_str()),
                ("10010", "10011"),
                "{shape:?}"
            );
            assert_eq!(
                (moved.fields["project"].as_str(), moved.fields["summary"].as_str()),
                ("OPS", "DCR comcast")
            );
            assert_eq!((moved.ticket.as_str(), moved.at), ("OPS-1", now()));
        }
    }
}

#[tokio::test]
async fn shapes_without_a_change_are_nothing_and_automation_tells_only_where_it_went() {
    for shape in [
        Shape {
            no_changelog: true,
            ..Shape::default()
        },
        Shape {
            from_equals_to: true,
            ..Shape::default()
        },
    ] {
        let set = set_up(Flavor::Cloud, Flavour::Cloud).await;
        set.site.set_shape(shape.clone());
        set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
        assert!(matches!(set.read_last(), Ok(Signal::Nothing(_))), "{shape:?}");
    }
    for automation in [Automation::IssueData, Automation::Flat] {
        let set = set_up(Flavor::Cloud, Flavour::Cloud).await;
        set.site.set_shape(Shape {
            automation: Some(automation.clone()),
            ..Shape::default()
        });
        set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
        let read = door().read(&set.last(), Proof::Automation, now()).unwrap();
        let [Signal::TicketMoved(moved)] = read.as_slice() else {
            panic!("{automation:?}");
        };
        assert_eq!((&moved.from, moved.to.name.as_str()), (&None, "Approved"));
        assert_eq!(moved.actor.account.id, "automation");
    }
}

#[tokio::test]
async fn a_comment_says_what_it_says_until_it_is_edited() {
    let shapes = [
        Shape::default(),
        Shape {
            comment_as_adf: true,
            ..Shape::default()
        },
    ];
    for ((flavor, flavour), shape) in FLAVORS
        .into_iter()
        .zip(shapes.iter().cycle())
        .chain([(FLAVORS[0], &shapes[1])])
    {
        let set = set_up(flavor, flavour).await;
        set.site.set_shape(Shape {
            comment_as_adf: shape.comment_as_adf && flavor == Flavor::Cloud,
            ..Shape::default()
        });
        let text = "/dcr retry URMO7YZ2\n{code}\n/dcr stop\n{code}";
        let id = set.site.comment("OPS-1", "eve", text).await.unwrap();
        let said = set.said_last();
        assert_eq!(said.text, Text::Lines(vec!["/dcr retry URMO7YZ2".into()]));
        assert_eq!(
            (said.message.id.as_str(), said.thread.place.as_str()),
            (id.as_str(), "OPS-1")
        );
        let stands = set.jira.still_stands(&said).await;
        let Ok(WordSeen::Stands(stands)) = stands else {
            panic!("{flavor:?}: {stands:?}");
        };
        assert_eq!((stands.at, &stands.thread), (said.at, &said.thread), "{flavor:?}");
        assert_eq!(stands.clock, Some(now()), "by the site's clock");
        let mut claimed = said.clone();
        claimed.text = Text::Lines(vec!["/dcr stop".into()]);
        let edited = set.jira.still_stands(&claimed).await;
        assert_eq!(edited, Ok(WordSeen::Not("it was edited".into())));
        set.site.delete_comment("OPS-1", &id, "eve").await.unwrap();
        let gone = set.jira.still_stands(&said).await;
        assert!(matches!(gone, Ok(WordSeen::Absent(_))), "{gone:?}");
        assert!(
            matches!(set.read_last(), Ok(Signal::Nothing(_))),
            "a deletion says nothing"
        );
    }
}

#[tokio::test]
async fn comments_are_read_once_and_our_own_are_known() {
    let set = set_up(Flavor::Cloud, Flavour::Cloud).await;
    set.site.set_shape(Shape {
        issue_commented_too: true,
        ..Shape::default()
    });
    set.site.comment("OPS-1", "eve", "/dcr retry").await.unwrap();
    let received: Vec<RawRequest> = set.received.lock().unwrap().clone();
    let signals = received
        .iter()
        .map(|request| door().read(request, Proof::BodySigned, now()).unwrap().remove(0));
    let said = signals.filter_map(|signal| match signal {
        Signal::Said(said) => Some(said.key),
        _ => None,
    });
    let keys: std::collections::BTreeSet<String> = said.collect();
    assert_eq!((received.len(), keys.len()), (2, 1), "one comment, one key");
    set.site.set_shape(Shape::default());
    set.site.comment("OPS-1", "stepherd", "/dcr retry").await.unwrap();
    assert_eq!(set.said_last().actor.kind, ActorKind::Ours);
    set.site.set_shape(Shape {
        comment_without_issue: true,
        ..Shape::default()
    });
    set.site.comment("OPS-1", "eve", "/dcr retry").await.unwrap();
    placed_by_its_ticket(&set).await;
}

/// The newest comment came without its ticket; who reads it again learns which one that is.
async fn placed_by_its_ticket(set: &Set) {
    let said = set.said_last();
    assert_ne!(said.thread.place, "OPS-1");
    let stands = set.jira.still_stands(&said).await;
    let Ok(WordSeen::Stands(stands)) = stands else {
        panic!("{stands:?}");
    };
    assert_eq!(stands.thread.place, "OPS-1");
}

#[tokio::test]
async fn data_center_tells_of_a_comment_twice_and_either_is_heard_under_the_same_key() {
    let set = set_up(Flavor::DataCenter, Flavour::DataCenter).await;
    set.site.comment("OPS-1", "eve", "/dcr retry").await.unwrap();
    let whole = set.said_last();
    assert_eq!(whole.thread.place, "OPS-1");
    set.received.lock().unwrap().pop();
    assert_eq!(set.said_last().key, whole.key);
    placed_by_its_ticket(&set).await;
}

#[tokio::test]
async fn groups_are_asked_for_by_the_id_that_webhooks_carry() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        for (name, group, expected) in [("eve", "ops", true), ("bob", "ops", false), ("eve", "sre", false)] {
            set.site.comment("OPS-1", name, "hello").await.unwrap();
            let lookup = Lookup {
                account: set.said_last().actor.account,
                grant: Grant::Group {
                    platform: "jira".parse().unwrap(),
                    group: group.into(),
                },
            };
            assert_eq!(set.jira.answer_lookup(&lookup).await, Ok(expected), "{name} {group}");
        }
        let of = |id: &str| Lookup {
            account: Account {
                platform: "jira".parse().unwrap(),
                id: id.to_owned(),
            },
            grant: Grant::Group {
                platform: "jira".parse().unwrap(),
                group: "ops".into(),
            },
        };
        assert!(matches!(
            set.jira.answer_lookup(&of("557058:gone")).await,
            Err(CallError::Permanent { .. })
        ));
        for nobody in ["anonymous", "automation"] {
            assert_eq!(set.jira.answer_lookup(&of(nobody)).await, Ok(false));
        }
    }
}

#[tokio::test]
async fn the_stand_in_takes_the_longest_document_that_stepherd_writes() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        let long = card(&"farmer-3 lost {noformat}\n".repeat(4_000));
        let thread = "jira:OPS-1".parse().unwrap();
        set.jira
            .post(&thread, &Marker("m".into()), &long, None, false)
            .await
            .unwrap();
        assert!(set.site.comments("OPS-1")[0].text.contains("(cut)"));
    }
}
