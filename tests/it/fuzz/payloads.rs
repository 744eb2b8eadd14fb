//! Payloads as the stand-ins send them, with anything done to them: they are read or refused, and what they say is
//! looked through for commands, without a panic.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Number, Value, json};
use stepherd::adapters::discord::DiscordDoor;
use stepherd::adapters::github::{GithubDoor, OwnIdentity};
use stepherd::adapters::jira::{JiraDoor, JiraProofs};
use stepherd::adapters::{Door, RawRequest};
use stepherd::catalog::{self, Catalog};
use stepherd::domain::grammar;
use stepherd::domain::signal::{Proof, Signal};
use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::jira::{Automation, Shape};
use stepherd::sandbox::town::{REPO, TICKET};

use crate::world::World;

/// One payload: whose it is, what event, what it says.
type Payload = (&'static str, String, Value);

/// A day in the town, as the three platforms would have told it.
fn payloads() -> &'static [Payload] {
    static ALL: OnceLock<Vec<Payload>> = OnceLock::new();
    ALL.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut all = runtime.block_on(told());
        all.extend(interactions());
        // One of each kind is enough.
        all.sort_by_key(|(platform, event, payload)| (*platform, event.clone(), payload["action"].to_string()));
        all.dedup_by_key(|(platform, event, payload)| (*platform, event.clone(), payload["action"].to_string()));
        assert!(
            all.len() > 12,
            "{:?}",
            all.iter().map(|(p, e, _)| (p, e)).collect::<Vec<_>>()
        );
        all
    })
}

async fn told() -> Vec<Payload> {
    let world = World::new().await;
    let pr = NewPr {
        branch: "wish",
        base: "main",
        title: "A wish",
        body: "",
        files: &[("WISH.md", Some("x\n"))],
        fork: None,
    };
    let github = &world.town.github;
    let number = github.open_pr_by_person(REPO, "ada", pr).unwrap();
    github.comment(REPO, number, "ada", "/dcr status\n\n> quoted").unwrap();
    github
        .push_to_pr(REPO, number, "ada", &[("WISH.md", Some("y\n"))])
        .unwrap();
    github.label(REPO, number, "ada", "dcr", true).unwrap();
    github.ping();
    let merged = github.merge_by_person(REPO, number, "ada").unwrap();
    github.finish_check(REPO, &merged, "ci", "success").unwrap();
    github.finish_workflow(REPO, &merged, "ci", "failure").unwrap();
    let jira = &world.town.jira;
    jira.comment(TICKET, "557058:ada", "/dcr list").await.unwrap();
    jira.transition(TICKET, "557058:ada", "Approved").await.unwrap();
    for shape in [
        Shape {
            comment_as_adf: true,
            dc_user: true,
            ..Shape::default()
        },
        Shape {
            automation: Some(Automation::IssueData),
            ..Shape::default()
        },
        Shape {
            automation: Some(Automation::Flat),
            ..Shape::default()
        },
    ] {
        jira.set_shape(shape);
        jira.comment(TICKET, "557058:ada", "/dcr retry").await.unwrap();
    }
    while world.deliver().await {}
    let mut all = Vec::new();
    for delivery in github.deliveries() {
        all.push(("github", delivery.event, delivery.payload));
    }
    for (count, delivery) in jira.deliveries().into_iter().enumerate() {
        all.push((
            "jira",
            format!("{count}"),
            serde_json::from_str(&delivery.body).unwrap(),
        ));
    }
    all
}

fn interactions() -> Vec<Payload> {
    let member = json!({ "user": { "id": "5", "username": "ada", "global_name": "Ada" }, "nick": null, "roles": ["77"], "permissions": "0" });
    let of = |kind: u8, data: Value| {
        let payload = json!({
            "id": "100000000000000001", "application_id": "900", "type": kind, "token": "interaction-token",
            "guild_id": "300", "channel_id": "400", "member": member, "data": data, "version": 1,
        });
        ("discord", format!("type {kind}"), payload)
    };
    let option = json!({ "name": "run", "type": 3, "value": "URMO7YZ2", "focused": true });
    let words = json!({ "id": "1", "name": "dcr", "type": 1, "options": [{ "name": "retry", "type": 1, "options": [option] }] });
    vec![
        of(1, Value::Null),
        of(2, words.clone()),
        of(
            3,
            json!({ "custom_id": "sh:dcr:retry:run=URMO7YZ2", "component_type": 2 }),
        ),
        of(4, words),
    ]
}

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        catalog::load(&config, &std::collections::BTreeMap::new()).unwrap()
    })
}

/// Reads it as its platform's door would once it was stored, and looks for commands in what it says.
fn read(platform: &str, event: &str, body: Vec<u8>) -> usize {
    let own = OwnIdentity {
        instance: "api.github.com".to_owned(),
        app_id: Some(7),
        account_id: Some(9),
    };
    let door: Box<dyn Door> = match platform {
        "github" => Box::new(GithubDoor::new(Vec::new(), own)),
        "jira" => Box::new(JiraDoor::new(JiraProofs::default(), Some("stepherd".into()))),
        _ => Box::new(DiscordDoor::new(&"0".repeat(64), Duration::from_secs(1), "900").unwrap()),
    };
    let request = RawRequest {
        method: "POST".into(),
        target: format!("/webhooks/{platform}"),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("x-github-event".into(), event.into()),
        ],
        body: body.into(),
    };
    // What may be believed depends on the proof; no proof makes it safe to stumble.
    let reads = Proof::ALL.map(|proof| door.read(&request, proof, Timestamp::UNIX_EPOCH).unwrap_or_default());
    for signal in reads.iter().flatten() {
        if let Signal::Said(said) = signal {
            let place = platform.parse().unwrap();
            assert!(grammar::find(&said.text, &catalog().commands, &place).len() <= 11);
        }
    }
    reads.iter().map(Vec::len).max().unwrap_or_default()
}

/// Every place in a payload.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), all);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                places(
                    item,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    all,
                );
            }
        }
        _ => {}
    }
}

/// What may stand anywhere instead of what belongs there.
fn odd() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "",
        " ",
        "\0",
        "/dcr retry",
        "/dcr stop\n/dcr stop",
        "../../x",
        "a\u{0}b",
        "\u{202e}evil",
        "\u{feff}",
        "NaN",
        "9223372036854775808",
        "-1",
        "2026-11-20T00:00:00Z",
        "1970-01-01T00:00:00.000+9999",
        "acme/x/y",
        "\u{fffd}",
        "null",
        "acme/deployment\n",
        "0000000000000000000000000000000000000000",
        "%00",
        "'; DROP TABLE runs; --",
    ]);
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("a number of JSON", Number::from_f64),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        text.prop_map(|text| json!(text)),
        "\\PC{0,20}".prop_map(Value::String),
        (1..4_usize).prop_map(|size| json!("x".repeat(size * 30_000))),
        (1..120_usize).prop_map(|depth| (0..depth).fold(Value::Null, |inner, _| json!([inner]))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(("[a-z_]{0,8}", inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[test]
fn what_the_mutants_are_made_of_is_read() {
    for (platform, event, payload) in payloads() {
        let read = read(platform, event, payload.to_string().into_bytes());
        // Discord's PING and a half-typed command never get so far as to be read.
        let answered_at_once = *platform == "discord" && matches!(event.as_str(), "type 1" | "type 4");
        assert!(read == 1 || answered_at_once, "{platform} {event}: {payload}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_payload_with_any_parts_gone_odd_is_read_or_refused(
        which in any::<Index>(), hits in prop::collection::vec((any::<Index>(), odd(), 0..3_u8), 1..4),
    ) {
        let (platform, event, payload) = which.get(payloads());
        let mut payload = payload.clone();
        for (at, odd, how) in hits {
            let mut all = Vec::new();
            places(&payload, "", &mut all);
            let at = at.get(&all).clone();
            let parent = at.rsplit_once('/').and_then(|(parent, key)| Some((payload.pointer_mut(parent)?, key)));
            match (how, parent) {
                (0, Some((Value::Object(map), key))) => { map.shift_remove(key); }
                _ => *payload.pointer_mut(&at).unwrap() = odd,
            }
        }
        read(platform, event, payload.to_string().into_bytes());
    }

    #[test]
    fn a_payload_with_any_bytes_gone_odd_is_read_or_refused(
        which in any::<Index>(), at in any::<Index>(), cut in 0..30_usize,
        put in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            prop::sample::select(vec![
                r#""\ud800""#, r#"\ud800"#, r#"\udc00\ud800"#, r#"\u0000"#, "\u{0}", "1e999", "-", "1e-999999999", "\"", "\\",
                "[[[[[[[[", "{\"a\":", "NaN", "Infinity", "\u{feff}", "/*", "0x1", "01", ",,", "\r\n\r\n",
            ]).prop_map(|text| text.as_bytes().to_vec()),
        ],
    ) {
        let (platform, event, payload) = which.get(payloads());
        let mut bytes = payload.to_string().into_bytes();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put);
        read(platform, event, bytes);
    }
}
