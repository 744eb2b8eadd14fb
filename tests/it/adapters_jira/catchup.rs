//! What is found by looking reads as its webhook did, on Cloud and on Data Center.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::{Map, json};
use stepherd::adapters::jira::{Flavor, Jira, JiraCatchup, JiraConfig, JiraDoor, JiraProofs};
use stepherd::adapters::{CallError, Catchup, Door, Missed, Ours, RawRequest};
use stepherd::domain::signal::{Proof, Signal};
use stepherd::sandbox::jira::{self as site, Flavour, JiraOptions, JiraUser, Signing, Workflow};
use stepherd::sandbox::stage::{Fault, FaultKind};

const START: i64 = 1_764_500_000;
const FLAVORS: [(Flavor, Flavour); 2] = [
    (Flavor::Cloud, Flavour::Cloud),
    (Flavor::DataCenter, Flavour::DataCenter),
];

/// A site with a ticket, and the adapter that looks at it.
struct Set {
    site: site::Jira,
    jira: Arc<Jira>,
    seconds: Arc<AtomicI64>,
}

impl Set {
    async fn up((flavor, flavour): (Flavor, Flavour)) -> Self {
        let seconds = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&seconds);
        let mut bot = JiraUser::person("stepherd", "stepherd");
        bot.app = true;
        let options = JiraOptions {
            now: Arc::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).unwrap()),
            flavour,
            bot: bot.clone(),
            token: "t0ken".into(),
            // Never sent: what would have been is compared.
            webhook: None,
            signing: Signing::Unsigned,
            auto: false,
        };
        let site = site::Jira::start(options, 0).await.unwrap();
        site.add_project("OPS", "Operations", Workflow::approval());
        site.add_project("DEV", "Development", Workflow::approval());
        site.add_user(JiraUser::person("eve", "Eve"));
        let fields = Map::from_iter([("customfield_10042".to_owned(), json!("comcast"))]);
        site.add_issue("OPS-1", "DCR comcast", fields).unwrap();
        site.add_issue("DEV-1", "Something", Map::new()).unwrap();
        let config = JiraConfig {
            base_url: site.url.clone(),
            flavor,
            email: (flavor == Flavor::Cloud).then_some(bot.email),
            token: "t0ken".into(),
            own_account_id: None,
        };
        let jira = Arc::new(Jira::new(config).unwrap());
        let set = Self { site, jira, seconds };
        set.pass(3600);
        set
    }

    fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds.load(Ordering::SeqCst)).unwrap()
    }

    async fn missed_in(&self, projects: &[&str], transitions: bool, since: Timestamp) -> Missed {
        let projects = projects.iter().map(|p| (*p).to_owned()).collect();
        JiraCatchup::new(self.jira.clone(), projects, transitions)
            .missed(&Ours::default(), since, self.now())
            .await
    }

    /// All since an hour after the tickets were made.
    async fn missed(&self) -> Missed {
        self.missed_in(&[], true, Timestamp::from_second(START + 3600).unwrap())
            .await
    }

    async fn approve(&self, key: &str) {
        self.site.transition(key, "eve", "Approved").await.unwrap();
    }
}

fn read(body: Vec<u8>) -> Signal {
    let proofs = JiraProofs {
        webhook_secrets: vec!["s".into()],
        oauth_client_secret: None,
        connect_shared_secret: None,
        connect_client_key: None,
        connect_base_path: String::new(),
        automation_secret: None,
    };
    let request = RawRequest {
        method: "POST".into(),
        target: "/webhooks/jira".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.into(),
    };
    let door = JiraDoor::new(proofs, Some("557058:stepherd".into()));
    door.read(&request, Proof::Repaired, Timestamp::UNIX_EPOCH)
        .unwrap()
        .remove(0)
}

fn found(missed: &Missed) -> Vec<Signal> {
    missed.deliveries.iter().map(|d| read(d.body.clone())).collect()
}

/// Tickets as they are now differ from what they were when the webhook left in when they were updated.
fn without_updated(mut signals: Vec<Signal>) -> Vec<Signal> {
    for signal in &mut signals {
        if let Signal::TicketMoved(moved) = signal {
            for name in ["updated", "status"] {
                moved.fields.remove(name);
            }
        }
    }
    signals
}

#[tokio::test]
async fn what_is_found_by_looking_reads_exactly_as_its_webhook() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        set.pass(1);
        set.site
            .comment("OPS-1", "eve", "/dcr list\nsecond line")
            .await
            .unwrap();
        set.pass(1);
        set.approve("OPS-1").await;
        set.pass(1);
        set.site
            .set_field("OPS-1", "eve", "summary", json!("Another"))
            .await
            .unwrap();
        set.pass(1);
        set.site.transition("OPS-1", "eve", "In Progress").await.unwrap();
        set.pass(1);
        set.site.comment("DEV-1", "557058:stepherd", "/dcr list").await.unwrap();
        set.pass(60);
        let missed = set.missed().await;
        assert_eq!(
            (missed.trouble.clone(), missed.seen_to),
            (None, set.now()),
            "{flavors:?}"
        );
        let told: Vec<Signal> = set
            .site
            .deliveries()
            .into_iter()
            // Data Center tells of a comment twice, the first time without its ticket.
            .filter(|d| d.body.contains(r#""issue":"#))
            .map(|d| read(d.body.into_bytes()))
            .collect();
        let told: Vec<Signal> = told
            .into_iter()
            .filter(|signal| !matches!(signal, Signal::Nothing(_)))
            .collect();
        let mut found = without_updated(found(&missed));
        // The summary, too, is as it is now.
        if let Some(Signal::TicketMoved(moved)) = found.get_mut(1) {
            assert_eq!(moved.fields["customfield_10042"], "comcast");
            moved.fields.insert("summary".into(), "DCR comcast".into());
        }
        assert_eq!(found, without_updated(told), "{flavors:?}");
        let named: Vec<(&str, &str)> = missed.deliveries.iter().map(|d| (d.what, d.kind.as_str())).collect();
        assert_eq!(named[0], ("comment", "comment_created"));
        assert_eq!(named[1], ("transition", "jira:issue_updated"));
        assert!(missed.deliveries[0].delivery_id.starts_with("repair-comment-"));
        assert!(missed.deliveries[1].delivery_id.starts_with("repair-changelog-"));
    }
}

#[tokio::test]
async fn what_happened_before_is_left_out() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        set.site.comment("OPS-1", "eve", "/dcr before").await.unwrap();
        set.approve("OPS-1").await;
        set.pass(10);
        let since = set.now();
        set.site.comment("OPS-1", "eve", "/dcr after").await.unwrap();
        let missed = set.missed_in(&[], true, since).await;
        let found = found(&missed);
        let [Signal::Said(said)] = found.as_slice() else {
            panic!("{flavors:?}: {found:?}");
        };
        assert_eq!(said.at, since);
    }
}

#[tokio::test]
async fn a_transition_that_was_taken_back_is_left_out_and_one_that_went_on_is_not() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        set.approve("OPS-1").await;
        set.site.transition("OPS-1", "eve", "Open").await.unwrap();
        let to = |missed: &Missed| -> Vec<String> {
            let moves = found(missed).into_iter().filter_map(|signal| match signal {
                Signal::TicketMoved(moved) => Some(moved.to.name),
                _ => None,
            });
            moves.collect()
        };
        assert_eq!(to(&set.missed().await), ["Open"]);
        set.approve("OPS-1").await;
        set.site.transition("OPS-1", "eve", "In Progress").await.unwrap();
        assert_eq!(to(&set.missed().await), ["Approved", "In Progress"]);
    }
}

#[tokio::test]
async fn only_the_named_projects_are_looked_at_and_hidden_tickets_say_nothing() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        let since = set.now();
        set.site.comment("OPS-1", "eve", "/dcr list").await.unwrap();
        set.site.comment("DEV-1", "eve", "/dcr list").await.unwrap();
        assert_eq!(set.missed().await.deliveries.len(), 2);
        assert_eq!(set.missed_in(&["OPS"], true, since).await.deliveries.len(), 1);
        assert_eq!(set.missed_in(&["OPS", "DEV"], true, since).await.deliveries.len(), 2);
        let unknown = set.missed_in(&["NONE"], true, since).await;
        assert!(matches!(unknown.trouble, Some(CallError::Permanent { .. })));
        assert_eq!(unknown.seen_to, since);
        set.site.hide("DEV-1", true);
        assert_eq!(set.missed().await.deliveries.len(), 1);
    }
}

#[tokio::test]
async fn where_automation_tells_of_transitions_only_comments_are_found() {
    let set = Set::up(FLAVORS[0]).await;
    let since = set.now();
    set.approve("OPS-1").await;
    set.site.comment("OPS-1", "eve", "/dcr list").await.unwrap();
    let missed = set.missed_in(&[], false, since).await;
    assert!(matches!(found(&missed).as_slice(), [Signal::Said(_)]));
}

#[tokio::test]
async fn a_ticket_with_many_changes_and_comments_is_read_to_the_end() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        set.approve("OPS-1").await;
        for n in 0..130 {
            set.site
                .set_field("OPS-1", "eve", "summary", json!(n.to_string()))
                .await
                .unwrap();
            set.site.comment("OPS-1", "eve", "/dcr list").await.unwrap();
        }
        let missed = set.missed().await;
        let moves = missed.deliveries.iter().filter(|d| d.what == "transition").count();
        assert_eq!((moves, missed.deliveries.len()), (1, 131), "{flavors:?}");
    }
}

#[tokio::test]
async fn many_tickets_are_looked_at_bit_by_bit_the_oldest_update_first() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        for n in 0..150 {
            set.site
                .add_issue(&format!("OPS-{}", n + 2), "Another", Map::new())
                .unwrap();
        }
        set.pass(600);
        let start = set.now();
        // In another order than that of their making.
        for n in (0..150).rev() {
            set.site
                .comment(&format!("OPS-{}", n + 2), "eve", "/dcr list")
                .await
                .unwrap();
            set.pass(i64::from(n % 3 == 0));
        }
        let first = set.missed_in(&[], true, start).await;
        assert!(first.seen_to < set.now() && first.seen_to > start);
        let rest = set.missed_in(&[], true, first.seen_to).await;
        assert_eq!((rest.seen_to, rest.trouble.clone()), (set.now(), None));
        let both = first.deliveries.iter().chain(&rest.deliveries);
        let ids: std::collections::BTreeSet<&str> = both.map(|d| d.delivery_id.as_str()).collect();
        assert_eq!(ids.len(), 150, "{flavors:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_now_keeps_the_time_standing_still() {
    for flavors in FLAVORS {
        let set = Set::up(flavors).await;
        let since = set.now();
        set.site.comment("OPS-1", "eve", "/dcr list").await.unwrap();
        set.site.comment("DEV-1", "eve", "/dcr list").await.unwrap();
        for path in ["/search", "/issue/OPS-1", "/issue/OPS-1/comment"] {
            set.site.stage.misbehave(Fault::new("GET", path, 3, FaultKind::Cut));
            let missed = set.missed_in(&[], true, since).await;
            assert!(matches!(missed.trouble, Some(CallError::Retry { .. })), "{path}");
            assert_eq!(missed.seen_to, since, "{path}");
        }
        // A ticket that may not be read would stand in the way for ever.
        let refused = Fault::answer("GET", "/issue/DEV-1", 1, 403, Vec::new(), "{}");
        set.site.stage.misbehave(refused);
        let missed = set.missed_in(&[], true, since).await;
        assert_eq!((missed.trouble, missed.deliveries.len()), (None, 1));
    }
}
