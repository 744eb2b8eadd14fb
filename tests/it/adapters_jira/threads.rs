//! Comments and questions about people, call by call.

use serde_json::{Value, json};
use stepherd::adapters::jira::{Flavor, Jira, JiraConfig};
use stepherd::adapters::{CallError, Marker, Threads, WordSeen};
use stepherd::domain::doc::{Doc, Span};
use stepherd::domain::policy::{Grant, Level, Lookup};
use stepherd::domain::signal::{Account, Actor, ActorKind, MessageRef, Said, Text};
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::moved::reads;
use super::peer::{ISSUE, Line, Peer, cloud, peer_of};

fn doc() -> Doc {
    Doc::paragraph(vec![Span::text("DCR *failed*")])
}

fn marker() -> Marker {
    Marker("URMO7YZ2/card".into())
}

fn message(id: &str) -> MessageRef {
    MessageRef {
        thread: "jira:OPS-1".parse().unwrap(),
        id: id.into(),
    }
}

fn page(start: usize, total: usize, comments: Value) -> Line {
    let target = format!("{ISSUE}/comment?startAt={start}&maxResults=100&orderBy=-created&expand=properties");
    (
        "GET",
        target,
        200,
        json!({ "startAt": start, "total": total, "comments": comments }),
    )
}

fn marked(id: &str, author: &str, marker: &str) -> Value {
    let properties = json!([{ "key": "other", "value": 1 }, { "key": "stepherd", "value": { "marker": marker } }]);
    json!({ "id": id, "author": { "accountId": author }, "properties": properties })
}

fn created(id: &str) -> Line {
    ("POST", format!("{ISSUE}/comment"), 201, json!({ "id": id }))
}

fn put(id: &str, status: u16) -> Line {
    (
        "PUT",
        format!("{ISSUE}/comment/{id}?notifyUsers=false"),
        status,
        json!({ "id": id }),
    )
}

/// A comment is asked for its marker by itself.
fn asked(id: &str, marker: Option<&str>) -> Line {
    let target = format!("/rest/api/3/comment/{id}/properties/stepherd");
    match marker {
        Some(marker) => {
            let body = json!({ "key": "stepherd", "value": { "marker": marker } });
            ("GET", target, 200, body)
        }
        None => ("GET", target, 404, json!({ "errorMessages": ["not found"] })),
    }
}

#[tokio::test]
async fn a_site_that_lists_no_properties_is_asked_about_our_newest_comments_only() {
    let thread = "jira:OPS-1".parse().unwrap();
    let bare = |id: u32| json!({ "id": id.to_string(), "author": { "accountId": "own" }, "properties": [] });
    let found = cloud(vec![
        page(0, 2, json!([bare(1), bare(2)])),
        asked("1", Some("URMO7YZ2/other")),
        asked("2", Some("URMO7YZ2/card")),
        put("2", 200),
    ])
    .await;
    let posted = found.jira.post(&thread, &marker(), &doc(), None, true).await.unwrap();
    assert_eq!(posted.message.id, "2");
    found.done();
    let many: Vec<Value> = (1..=30).map(bare).collect();
    let mut script = vec![page(0, 30, json!(many))];
    script.extend((1..=20).map(|id| asked(&id.to_string(), None)));
    script.push(created("31"));
    let capped = cloud(script).await;
    let posted = capped.jira.post(&thread, &marker(), &doc(), None, true).await.unwrap();
    assert_eq!(posted.message.id, "31");
    capped.done();
}

#[tokio::test]
async fn a_comment_carries_its_marker_in_a_property() {
    let peer = cloud(vec![created("20001")]).await;
    let thread = "jira:OPS-1".parse().unwrap();
    let posted = peer
        .jira
        .post(&thread, &marker(), &doc(), Some("title"), false)
        .await
        .unwrap();
    assert_eq!((posted.message, posted.opened), (message("20001"), None));
    assert_eq!(
        peer.sent("POST"),
        [json!({
            "body": { "type": "doc", "version": 1, "content": [
                { "type": "paragraph", "content": [{ "type": "text", "text": "DCR *failed*" }] },
            ]},
            "properties": [{ "key": "stepherd", "value": { "marker": "URMO7YZ2/card" } }],
        })]
    );
    peer.done();
}

#[tokio::test]
async fn data_center_gets_wiki_text_under_version_two_with_a_bearer_token() {
    let made = (
        "POST",
        "/rest/api/2/issue/OPS-1/comment".to_owned(),
        201,
        json!({ "id": 20001 }),
    );
    let peer = peer_of(Flavor::DataCenter, Some("own"), vec![made]).await;
    let thread = "jira:OPS-1".parse().unwrap();
    let posted = peer.jira.post(&thread, &marker(), &doc(), None, false).await.unwrap();
    assert_eq!(posted.message.id, "20001");
    assert_eq!(peer.sent("POST")[0]["body"], r"DCR \*failed\*");
    assert_eq!(peer.credentials.lock().unwrap()[0], "Bearer t0ken");
    peer.done();
}

#[tokio::test]
async fn a_comment_that_may_be_there_is_found_by_author_and_marker_and_brought_up_to_date() {
    let others: Vec<Value> = (0..100)
        .map(|n| marked(&format!("{n}"), "somebody", "URMO7YZ2/card"))
        .collect();
    let peer = cloud(vec![
        page(0, 103, json!(others)),
        page(
            100,
            103,
            json!([
                marked("7", "own", "URMO7YZ2/other"),
                { "id": "8", "author": { "accountId": "own" }, "properties": [] },
                marked("9", "own", "URMO7YZ2/card"),
            ]),
        ),
        asked("8", None),
        put("9", 200),
    ])
    .await;
    let thread = "jira:OPS-1".parse().unwrap();
    let posted = peer.jira.post(&thread, &marker(), &doc(), None, true).await.unwrap();
    assert_eq!(posted.message.id, "9");
    peer.done();
}

#[tokio::test]
async fn a_comment_that_is_not_there_or_vanishes_is_posted() {
    let thread = "jira:OPS-1".parse().unwrap();
    let absent = cloud(vec![page(0, 0, json!([])), created("1")]).await;
    absent.jira.post(&thread, &marker(), &doc(), None, true).await.unwrap();
    absent.done();
    let vanished = cloud(vec![
        page(0, 1, json!([marked("9", "own", "URMO7YZ2/card")])),
        put("9", 404),
        created("10"),
    ])
    .await;
    let posted = vanished
        .jira
        .post(&thread, &marker(), &doc(), None, true)
        .await
        .unwrap();
    assert_eq!(posted.message.id, "10");
    vanished.done();
}

#[tokio::test]
async fn a_site_that_lists_no_properties_is_asked_for_the_one_and_who_we_are() {
    let bare = |id: &str| json!({ "id": id, "author": { "accountId": "me" } });
    let script = vec![
        (
            "GET",
            "/rest/api/3/myself".to_owned(),
            200,
            json!({ "accountId": "me" }),
        ),
        page(0, 2, json!([bare("1"), bare("2")])),
        asked("1", None),
        asked("2", Some("URMO7YZ2/card")),
        put("2", 200),
    ];
    let peer = peer_of(Flavor::Cloud, None, script).await;
    let thread = "jira:OPS-1".parse().unwrap();
    let posted = peer.jira.post(&thread, &marker(), &doc(), None, true).await.unwrap();
    assert_eq!(posted.message.id, "2");
    assert_eq!(peer.jira.own_account().await, Ok("me"), "asked once");
    peer.done();
}

#[tokio::test]
async fn an_answer_lost_after_posting_asks_for_another_try() {
    let peer = cloud(vec![created("1")]).await;
    peer.stage
        .misbehave(Fault::new("POST", "", 1, FaultKind::EffectThenTruncated));
    let thread = "jira:OPS-1".parse().unwrap();
    let verdict = peer.jira.post(&thread, &marker(), &doc(), None, false).await;
    assert!(matches!(verdict, Err(CallError::Retry { .. })), "{verdict:?}");
}

#[tokio::test]
async fn editing_tells_whether_the_comment_is_still_there() {
    for (status, verdict) in [(200, Some(true)), (404, Some(false)), (403, None)] {
        let peer = cloud(vec![put("9", status)]).await;
        let edited = peer.jira.edit(&message("9"), &marker(), &doc()).await;
        assert_eq!(edited.ok(), verdict, "{status}");
        peer.done();
    }
}

#[tokio::test]
async fn threads_of_other_platforms_and_odd_places_are_never_called() {
    let peer = cloud(Vec::new()).await;
    for thread in ["github:OPS-1", "jira:OPS-1/../../x", "jira:ops"] {
        let verdict = peer
            .jira
            .post(&thread.parse().unwrap(), &marker(), &doc(), None, false)
            .await;
        assert!(matches!(verdict, Err(CallError::Permanent { .. })), "{thread}");
    }
    peer.done();
    assert!(peer.stage.calls().is_empty());
}

fn said() -> Said {
    let account = Account {
        platform: "jira".parse().unwrap(),
        id: "eve".into(),
    };
    Said {
        actor: Actor {
            account,
            name: "Eve".into(),
            kind: ActorKind::Human,
            roles: Vec::new(),
            insider: false,
        },
        thread: message("5").thread,
        within: vec!["OPS".to_owned()],
        text: Text::Lines(vec!["/dcr retry".into()]),
        as_written: true,
        at: jiff::Timestamp::UNIX_EPOCH,
        key: "jira:comment:5".into(),
        message: message("5"),
        pr: None,
    }
}

const SAID: &str = "1970-01-01T00:00:00.000+0000";
const EDITED: &str = "1970-01-01T00:00:01.000+0000";

fn comment(version: u8, author: &str, updated: &str, body: Value) -> Line {
    let body = json!({
        "self": format!("https://x.example/rest/api/{version}/issue/10001/comment/5"), "id": "5",
        "author": { "accountId": author }, "created": SAID, "updated": updated, "body": body,
    });
    ("GET", format!("/rest/api/{version}/issue/OPS-1/comment/5"), 200, body)
}

fn ticket(key: &str) -> Line {
    let body = json!({ "id": "10001", "key": key, "fields": {} });
    ("GET", "/rest/api/3/issue/OPS-1?fields=status".to_owned(), 200, body)
}

fn adf(text: &str) -> Value {
    json!({ "type": "doc", "version": 1, "content": [
        { "type": "paragraph", "content": [{ "type": "text", "text": text }] },
    ]})
}

#[tokio::test]
async fn a_comment_stands_while_its_author_its_text_and_its_dates_do() {
    let gone = ("GET", "/rest/api/3/issue/OPS-1/comment/5".to_owned(), 404, json!({}));
    let changed = comment(3, "eve", SAID, adf("/dcr stop"));
    let untouched = comment(3, "eve", SAID, adf("/dcr retry"));
    let but = |name: &str, value: Value| {
        let mut line = untouched.clone();
        line.3[name] = value;
        line
    };
    let by = |author: Value| but("author", author);
    let elsewhere = json!("https://x.example/rest/api/3/issue/10002/comment/5");
    for (what, script, stands) in [
        ("untouched", vec![untouched.clone()], true),
        (
            "read as wiki text",
            vec![changed.clone(), comment(2, "eve", SAID, json!("/dcr retry"))],
            true,
        ),
        (
            "changed",
            vec![changed, comment(2, "eve", SAID, json!("/dcr stop"))],
            false,
        ),
        ("edited", vec![comment(3, "eve", EDITED, adf("/dcr retry"))], false),
        ("another's", vec![comment(3, "mallory", SAID, adf("/dcr retry"))], false),
        ("nobody's", vec![by(Value::Null)], false),
        (
            "an app's",
            vec![by(json!({ "accountId": "eve", "accountType": "app" }))],
            false,
        ),
        ("our own", vec![by(json!({ "accountId": "eve", "key": "own" }))], false),
        (
            "for some",
            vec![but("visibility", json!({ "type": "role", "value": "Developers" }))],
            false,
        ),
        ("an internal note", vec![but("jsdPublic", json!(false))], false),
        ("for all", vec![but("jsdPublic", json!(true))], true),
        ("on another ticket", vec![but("self", elsewhere)], false),
        ("of no time", vec![but("created", Value::Null)], false),
        ("deleted", vec![gone], false),
    ] {
        let peer = cloud([vec![ticket("OPS-1")], script].concat()).await;
        let written = stands.then_some(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(written_at(&peer, &said()).await, written, "{what}");
        peer.done();
    }
    for (seconds, stands) in [(-61, false), (-60, true), (60, true), (61, false)] {
        let peer = cloud(vec![ticket("OPS-1"), untouched.clone()]).await;
        let mut claimed = said();
        claimed.at = jiff::Timestamp::from_second(seconds).unwrap();
        let written = stands.then_some(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(
            written_at(&peer, &claimed).await,
            written,
            "{seconds}: when Jira has it"
        );
        peer.done();
    }
}

/// When it was written, if it stands.
async fn written_at(peer: &Peer, said: &Said) -> Option<jiff::Timestamp> {
    match peer.jira.still_stands(said).await {
        Ok(WordSeen::Stands(stands)) => {
            assert_eq!(stands.thread, said.thread);
            Some(stands.at)
        }
        Ok(WordSeen::Not(_) | WordSeen::Absent(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_comment_on_a_ticket_that_is_not_there_or_under_another_key_does_not_stand() {
    let gone = (
        "GET",
        "/rest/api/3/issue/OPS-1?fields=status".to_owned(),
        404,
        json!({}),
    );
    for (line, absent) in [(gone, true), (ticket("NEW-7"), false)] {
        let peer = cloud(vec![line]).await;
        let seen = peer.jira.still_stands(&said()).await;
        assert_eq!(matches!(seen, Ok(WordSeen::Absent(_))), absent, "{seen:?}");
        assert!(!matches!(seen, Ok(WordSeen::Stands(_)) | Err(_)), "{seen:?}");
        peer.done();
    }
}

#[tokio::test]
async fn without_knowing_itself_it_lets_nobodys_word_stand() {
    for (status, body) in [(503, json!({})), (401, json!({})), (403, json!({})), (200, json!({}))] {
        let line = || ("GET", "/rest/api/3/myself".to_owned(), status, body.clone());
        let lines = (0..reads(status)).map(|_| line()).collect();
        let peer = peer_of(Flavor::Cloud, None, lines).await;
        let unknown = peer.jira.still_stands(&said()).await;
        assert!(matches!(unknown, Err(CallError::Retry { .. })), "{status}: {unknown:?}");
        peer.done();
    }
}

fn lookup(grant: Grant) -> Lookup {
    Lookup {
        account: said().actor.account,
        grant,
    }
}

fn in_group(group: &str) -> Lookup {
    lookup(Grant::Group {
        platform: "jira".parse().unwrap(),
        group: group.into(),
    })
}

#[tokio::test]
async fn cloud_is_asked_for_an_accounts_groups() {
    let groups = |status, body| ("GET", "/rest/api/3/user/groups?accountId=eve".to_owned(), status, body);
    let ops = json!([{ "name": "ops", "groupId": "g-1" }]);
    for (group, line, answer) in [
        ("ops", groups(200, ops.clone()), Some(true)),
        ("g-1", groups(200, ops.clone()), Some(true)),
        ("OPS", groups(200, ops), Some(false)),
        ("ops", groups(200, json!([])), Some(false)),
        ("ops", groups(200, json!({})), None),
        ("ops", groups(404, json!({})), None),
    ] {
        let peer = cloud(vec![line]).await;
        let found = peer.jira.answer_lookup(&in_group(group)).await;
        match answer {
            Some(answer) => assert_eq!(found, Ok(answer), "{group}"),
            None => assert!(matches!(found, Err(CallError::Permanent { .. })), "{found:?}"),
        }
        peer.done();
    }
}

#[tokio::test]
async fn a_limit_or_a_fault_is_no_answer_about_groups() {
    for (status, body) in [
        (401, json!({})),
        (429, json!({})),
        (500, json!({})),
        (503, json!({})),
        (200, Value::Null),
    ] {
        let line = ("GET", "/rest/api/3/user/groups?accountId=eve".to_owned(), status, body);
        let peer = cloud(vec![line; reads(status) as usize]).await;
        let found = peer.jira.answer_lookup(&in_group("ops")).await;
        assert!(matches!(found, Err(CallError::Retry { .. })), "{status}: {found:?}");
        peer.done();
    }
}

#[tokio::test]
async fn data_center_is_asked_for_the_user_with_groups() {
    let user = |body| ("GET", "/rest/api/2/user?key=eve&expand=groups".to_owned(), 200, body);
    let groups =
        |size: u8, active: bool| json!({ "active": active, "groups": { "size": size, "items": [{ "name": "ops" }] } });
    for (group, line, answer) in [
        ("ops", user(groups(1, true)), Some(true)),
        ("sre", user(groups(1, true)), Some(false)),
        ("ops", user(groups(1, false)), Some(false)),
        ("sre", user(groups(2, true)), None),
        ("sre", user(json!({ "key": "eve" })), None),
    ] {
        let peer = peer_of(Flavor::DataCenter, Some("own"), vec![line]).await;
        let found = peer.jira.answer_lookup(&in_group(group)).await;
        match answer {
            Some(answer) => assert_eq!(found, Ok(answer), "{group}"),
            None => assert!(matches!(found, Err(CallError::Permanent { .. })), "{found:?}"),
        }
        peer.done();
    }
}

#[tokio::test]
async fn questions_that_are_none_of_jiras_are_not_asked() {
    let peer = cloud(Vec::new()).await;
    let repository = Grant::Repository {
        platform: "jira".parse().unwrap(),
        repo: "acme/deploy".parse().unwrap(),
        at_least: Level::Write,
    };
    let elsewhere = Grant::Group {
        platform: "github".parse().unwrap(),
        group: "ops".into(),
    };
    for grant in [repository, elsewhere] {
        assert!(matches!(
            peer.jira.answer_lookup(&lookup(grant)).await,
            Err(CallError::Permanent { .. })
        ));
    }
    peer.done();
}

#[tokio::test]
async fn a_site_that_cannot_be_called_is_refused_when_it_is_set_up() {
    for (url, token) in [
        ("jira.example.com", "t"),
        ("ftp://jira.example.com", "t"),
        ("https://jira", "to\nken"),
    ] {
        let config = JiraConfig {
            base_url: url.into(),
            flavor: Flavor::DataCenter,
            email: None,
            token: token.into(),
            own_account_id: None,
        };
        let text = format!("{config:?}");
        let error = Jira::new(config).err().unwrap();
        assert!(!error.contains("ken") && !text.contains("ken\""), "{error} {text}");
    }
}
