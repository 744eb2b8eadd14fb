//! Calls to Discord: each answer is scripted, each request looked at.

use std::sync::Arc;

use axum::Router;
use jiff::Timestamp;
use serde_json::{Value, json};
use stepherd::adapters::discord::{Discord, DiscordConfig};
use stepherd::adapters::{CallError, Direct, Marker, Posted, Threads};
use stepherd::domain::doc::{Doc, Span};
use stepherd::domain::ids::ThreadRef;
use stepherd::domain::run::FailureClass;
use stepherd::domain::signal::{MessageRef, ReplyHandle};
use stepherd::sandbox::stage::{Call, Fault, FaultKind, Served, Stage, serve};

use super::APPLICATION;

const FOOTER: &str = "stepherd · URMO7YZ2/card";

/// A Discord that answers what it is told to, in order, and 404 to everything else.
struct Scene {
    discord: Discord,
    stage: Arc<Stage>,
    _served: Served,
}

async fn scene() -> Scene {
    let stage = Arc::new(Stage::default());
    let served = serve(Router::new(), Arc::clone(&stage), 0).await.expect("a port");
    let discord = Discord::new(&DiscordConfig {
        api_url: format!("{}/api/v10", served.url),
        application_id: APPLICATION.to_owned(),
        public_key: super::PUBLIC.to_owned(),
        token: "bot-token".into(),
    });
    Scene {
        discord: discord.expect("a good configuration"),
        stage,
        _served: served,
    }
}

impl Scene {
    fn answers(&self, method: &str, path: &str, status: u16, body: &Value) -> &Self {
        let fault = Fault::answer(method, path, 1, status, Vec::new(), &body.to_string());
        self.stage.misbehave(fault);
        self
    }

    async fn post(&self, title: Option<&str>, maybe_there: bool) -> Result<Posted, CallError> {
        self.discord
            .post(&channel(), &marker(), &doc(), title, maybe_there)
            .await
    }

    fn calls(&self) -> Vec<String> {
        let short = |call: &Call| format!("{} {}", call.method, call.path.trim_start_matches("/api/v10"));
        self.stage.calls().iter().map(short).collect()
    }

    fn sent(&self, at: usize) -> Value {
        serde_json::from_str(&self.stage.calls()[at].body).expect("JSON")
    }
}

fn channel() -> ThreadRef {
    "discord:77".parse().expect("a thread")
}

fn marker() -> Marker {
    Marker("URMO7YZ2/card".to_owned())
}

fn doc() -> Doc {
    Doc::paragraph(vec![Span::text("@everyone")])
}

fn message(id: &str, author: &str, footer: &str) -> Value {
    json!({"id": id, "channel_id": "77", "author": {"id": author}, "embeds": [{"footer": {"text": footer}}]})
}

fn at(id: &str) -> MessageRef {
    MessageRef {
        thread: channel(),
        id: id.to_owned(),
    }
}

fn error(code: i64, text: &str) -> Value {
    json!({"code": code, "message": text})
}

#[tokio::test]
async fn a_card_is_posted_without_mentions_under_a_nonce_that_is_always_the_same() {
    let scene = scene().await;
    for _ in 0..2 {
        scene.answers(
            "POST",
            "/channels/77/messages",
            200,
            &message("901", APPLICATION, FOOTER),
        );
        let posted = scene.post(None, false).await.expect("posted");
        assert_eq!((posted.message, posted.opened), (at("901"), None));
    }
    let elsewhere: ThreadRef = "discord:78".parse().expect("a thread");
    scene.answers(
        "POST",
        "/channels/78/messages",
        200,
        &message("902", APPLICATION, FOOTER),
    );
    let posted = scene.discord.post(&elsewhere, &marker(), &doc(), None, false).await;
    assert!(posted.is_ok());
    let sent = scene.sent(0);
    assert_eq!(sent["allowed_mentions"]["parse"], json!([]));
    assert_eq!(sent["enforce_nonce"], json!(true));
    assert_eq!(sent["nonce"].as_str().map(str::len), Some(25));
    assert_eq!(sent["nonce"], scene.sent(1)["nonce"]);
    // Discord compares nonces across channels.
    assert_ne!(sent["nonce"], scene.sent(2)["nonce"]);
    assert_eq!(sent["embeds"][0]["description"], json!(r"\@everyone"));
    assert_eq!(sent["embeds"][0]["footer"]["text"], json!(FOOTER));
    assert_eq!(sent["components"], json!([]));
}

#[tokio::test]
async fn a_card_with_a_title_opens_its_thread_or_finds_it_open() {
    let opened = json!({"id": "901", "type": 11});
    for (status, body) in [
        (201, opened),
        (
            400,
            error(160_004, "A thread has already been created for this message"),
        ),
    ] {
        let scene = scene().await;
        scene.answers("POST", "/threads", status, &body).answers(
            "POST",
            "/messages",
            200,
            &message("901", APPLICATION, FOOTER),
        );
        let title = format!("DCR\ncomcast {}", "x".repeat(200));
        let posted = scene.post(Some(&title), false).await.expect("posted");
        assert_eq!(posted.opened.map(|t| t.to_string()).as_deref(), Some("discord:901"));
        assert_eq!(
            scene.calls(),
            ["POST /channels/77/messages", "POST /channels/77/messages/901/threads"]
        );
        let name = scene.sent(1)["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("DCR comcast") && name.chars().count() == 100, "{name}");
    }
}

#[tokio::test]
async fn without_the_right_to_open_threads_the_card_still_stands() {
    let scene = scene().await;
    scene
        .answers("POST", "/threads", 403, &error(50_013, "Missing Permissions"))
        .answers("POST", "/messages", 200, &message("901", APPLICATION, FOOTER));
    let posted = scene.post(Some("DCR"), false).await.expect("posted");
    assert_eq!((posted.message, posted.opened), (at("901"), None));
}

#[tokio::test]
async fn after_a_lost_post_our_own_message_is_found_and_brought_up_to_date() {
    let scene = scene().await;
    let mut ours = message("903", APPLICATION, FOOTER);
    ours["thread"] = json!({"id": "903"});
    let last = json!([
        message("905", APPLICATION, "stepherd · URMO7YZ2/note"),
        message("904", "666", FOOTER),
        {"id": "902", "author": {"id": APPLICATION}, "content": FOOTER, "embeds": []},
        ours,
    ]);
    scene.answers("GET", "/channels/77/messages", 200, &last).answers(
        "PATCH",
        "/channels/77/messages/903",
        200,
        &message("903", APPLICATION, FOOTER),
    );
    let posted = scene.post(Some("DCR"), true).await.expect("found");
    assert_eq!(posted.message, at("903"));
    assert_eq!(posted.opened.map(|t| t.to_string()).as_deref(), Some("discord:903"));
    assert_eq!(
        scene.calls(),
        ["GET /channels/77/messages", "PATCH /channels/77/messages/903"]
    );
    assert_eq!(scene.stage.calls()[0].query, "limit=50");
}

#[tokio::test]
async fn what_is_not_found_or_may_not_be_looked_for_is_posted_under_its_nonce() {
    for (status, body) in [(200, json!([])), (403, error(50_001, "Missing Access"))] {
        let scene = scene().await;
        scene.answers("GET", "/messages", status, &body).answers(
            "POST",
            "/messages",
            200,
            &message("901", APPLICATION, FOOTER),
        );
        assert_eq!(scene.post(None, true).await.map(|p| p.message), Ok(at("901")));
        assert_eq!(scene.sent(1)["enforce_nonce"], json!(true));
    }
}

#[tokio::test]
async fn a_long_marker_is_cut_but_still_told_from_others() {
    let scene = scene().await;
    let mut footers = Vec::new();
    for n in 0..2 {
        scene.answers("POST", "/messages", 200, &message("901", APPLICATION, FOOTER));
        let marker = Marker(format!("{}{n}", "é".repeat(300)));
        assert!(
            scene
                .discord
                .post(&channel(), &marker, &doc(), None, false)
                .await
                .is_ok()
        );
        let footer = scene.sent(n)["embeds"][0]["footer"]["text"]
            .as_str()
            .expect("text")
            .to_owned();
        assert!(footer.chars().count() <= 100, "{footer}");
        footers.push(footer);
    }
    assert_ne!(footers[0], footers[1]);
}

#[tokio::test]
async fn an_answer_that_was_cut_is_worth_another_try() {
    let scene = scene().await;
    scene
        .stage
        .misbehave(Fault::new("POST", "/messages", 1, FaultKind::Cut));
    let cut = scene.post(None, false).await;
    assert!(matches!(cut, Err(CallError::Retry { .. })), "{cut:?}");
    for body in ["", "{", "{}", r#"{"id":"not an id"}"#] {
        scene
            .stage
            .misbehave(Fault::answer("POST", "/messages", 1, 200, Vec::new(), body));
        let posted = scene.post(None, false).await;
        assert!(posted.is_err(), "{body}");
        let lost = matches!(posted, Err(CallError::Retry { .. }));
        assert_eq!(lost, body != r#"{"id":"not an id"}"#, "{body}");
    }
}

#[tokio::test]
async fn discords_limits_are_heard() {
    let scene = scene().await;
    let body = json!({"message": "You are being rate limited.", "retry_after": 1.5, "global": false});
    scene.answers("POST", "/messages", 429, &body);
    let Err(CallError::Retry { after, class, .. }) = scene.post(None, false).await else {
        panic!("must retry");
    };
    assert_eq!(after, Some(std::time::Duration::from_millis(1500)));
    assert_eq!(class, FailureClass::RateLimit);
}

#[tokio::test]
async fn an_edit_replaces_buttons_too_and_tells_when_the_message_is_gone() {
    let scene = scene().await;
    scene.answers("PATCH", "/messages/901", 200, &message("901", APPLICATION, FOOTER));
    assert_eq!(scene.discord.edit(&at("901"), &marker(), &doc()).await, Ok(true));
    let sent = scene.sent(0);
    assert_eq!(sent["components"], json!([]));
    assert_eq!(sent["allowed_mentions"]["parse"], json!([]));
    assert_eq!(sent["embeds"][0]["footer"]["text"], json!(FOOTER));
    scene.answers("PATCH", "/messages/901", 404, &error(10_008, "Unknown Message"));
    assert_eq!(scene.discord.edit(&at("901"), &marker(), &doc()).await, Ok(false));
    scene.answers("PATCH", "/messages/901", 404, &error(10_003, "Unknown Channel"));
    let gone = scene.discord.edit(&at("901"), &marker(), &doc()).await;
    assert!(matches!(gone, Err(CallError::Permanent { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_message_in_an_archived_thread_is_edited_after_waking_the_thread() {
    let scene = scene().await;
    scene
        .answers("PATCH", "/messages/901", 400, &error(50_083, "Thread is archived"))
        .answers("PATCH", "/messages/901", 200, &message("901", APPLICATION, FOOTER))
        .answers("PATCH", "/channels/77", 200, &json!({"id": "77"}));
    assert_eq!(scene.discord.edit(&at("901"), &marker(), &doc()).await, Ok(true));
    assert_eq!(scene.sent(1), json!({"archived": false}));
    assert_eq!(scene.calls().len(), 3);
}

#[tokio::test]
async fn an_interaction_is_answered_while_its_token_lives() {
    let scene = scene().await;
    let handle = ReplyHandle {
        token: format!("{APPLICATION}/aW50ZXJhY3Rpb24"),
        until: Timestamp::UNIX_EPOCH,
    };
    let path = "/messages/@original";
    scene.answers("PATCH", path, 200, &message("901", APPLICATION, ""));
    assert_eq!(scene.discord.answer(&handle, &doc()).await, Ok(Direct::Answered));
    assert_eq!(
        scene.calls(),
        [format!("PATCH /webhooks/{APPLICATION}/aW50ZXJhY3Rpb24{path}")]
    );
    assert_eq!(scene.sent(0)["allowed_mentions"]["parse"], json!([]));
    for (status, code) in [(404, 10_008), (401, 50_027)] {
        scene.answers("PATCH", path, status, &error(code, "gone"));
        assert_eq!(
            scene.discord.answer(&handle, &doc()).await,
            Ok(Direct::Lapsed),
            "{code}"
        );
    }
    for odd in ["", "1", "x/y", "1/..", "1/a/b", "1/a?b"] {
        let handle = ReplyHandle {
            token: odd.to_owned(),
            until: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(scene.discord.answer(&handle, &doc()).await, Ok(Direct::Lapsed), "{odd}");
    }
    assert_eq!(scene.calls().len(), 3);
}

#[tokio::test]
async fn a_token_that_discord_does_not_know_yet_is_told_from_one_that_has_lapsed() {
    let scene = scene().await;
    let handle = ReplyHandle {
        token: format!("{APPLICATION}/aW50ZXJhY3Rpb24"),
        until: Timestamp::UNIX_EPOCH,
    };
    let path = "/messages/@original";
    scene
        .answers("PATCH", path, 404, &error(10_015, "Unknown Webhook"))
        .answers("PATCH", path, 200, &message("901", APPLICATION, ""));
    assert_eq!(scene.discord.answer(&handle, &doc()).await, Ok(Direct::NotKnown));
    assert_eq!(scene.discord.answer(&handle, &doc()).await, Ok(Direct::Answered));
}

#[tokio::test]
async fn no_failure_tells_an_interactions_token() {
    let scene = scene().await;
    let handle = ReplyHandle {
        token: format!("{APPLICATION}/aW50ZXJhY3Rpb24"),
        until: Timestamp::UNIX_EPOCH,
    };
    for status in [400, 403, 429, 500, 200] {
        scene.answers("PATCH", "@original", status, &Value::Null);
    }
    scene
        .stage
        .misbehave(Fault::new("PATCH", "@original", 1, FaultKind::Cut));
    for n in 0..6 {
        let failure = scene.discord.answer(&handle, &doc()).await.expect_err("a failure");
        assert!(
            !format!("{failure:?} {failure}").contains("aW50ZXJhY3Rpb24"),
            "{n}: {failure}"
        );
    }
}

#[tokio::test]
async fn places_that_are_no_discord_ids_are_refused_without_a_call() {
    let scene = scene().await;
    for place in ["", "x", "../users/@me", "77/messages/1", "123456789012345678901"] {
        let thread = ThreadRef {
            platform: "discord".parse().expect("a name"),
            place: place.to_owned(),
        };
        let posted = scene.discord.post(&thread, &marker(), &doc(), None, true).await;
        assert!(matches!(posted, Err(CallError::Permanent { .. })), "{place}");
    }
    let edited = scene.discord.edit(&at("../1"), &marker(), &doc()).await;
    assert!(matches!(edited, Err(CallError::Permanent { .. })));
    assert!(scene.calls().is_empty());
}

#[tokio::test]
async fn commands_are_registered_in_one_server_or_everywhere() {
    let scene = scene().await;
    let commands = json!([{"name": "dcr"}]);
    for _ in 0..2 {
        scene.answers("PUT", "/commands", 200, &json!([{"id": "1", "name": "dcr"}]));
    }
    assert_eq!(scene.discord.register(Some("42"), &commands).await, Ok(()));
    assert_eq!(scene.discord.register(None, &commands).await, Ok(()));
    let everywhere = format!("PUT /applications/{APPLICATION}/commands");
    let here = format!("PUT /applications/{APPLICATION}/guilds/42/commands");
    assert_eq!(scene.calls(), [here, everywhere]);
    assert_eq!(scene.sent(0), commands);
    scene.answers("PUT", "/commands", 400, &error(50_035, "Invalid Form Body"));
    let refused = scene.discord.register(Some("42"), &commands).await;
    assert!(matches!(refused, Err(CallError::Permanent { .. })));
    assert!(scene.discord.register(Some("../x"), &commands).await.is_err());
}

#[tokio::test]
async fn a_message_is_taken_back_if_there_is_another_one_of_ours_with_its_marker() {
    let (own, second) = (message("901", APPLICATION, FOOTER), message("902", APPLICATION, FOOTER));
    let withdrawn = async |scene: &Scene| scene.discord.withdraw_second(&at("902"), &marker()).await;
    let there = scene().await;
    there
        .answers("GET", "/channels/77/messages", 200, &json!([second, own]))
        .answers("DELETE", "/channels/77/messages/902", 204, &Value::Null);
    assert_eq!(withdrawn(&there).await, Ok(true));
    assert_eq!(
        there.calls(),
        ["GET /channels/77/messages", "DELETE /channels/77/messages/902"]
    );
    // Gone already is as good.
    let gone = scene().await;
    gone.answers("GET", "/channels/77/messages", 200, &json!([second, own]));
    assert_eq!(withdrawn(&gone).await, Ok(true));
    // Itself, somebody else's, and others of ours are no second one.
    let alone = scene().await;
    let others = json!([
        second,
        message("903", "4", FOOTER),
        message("904", APPLICATION, "stepherd · URMO7YZ2/7")
    ]);
    alone.answers("GET", "/channels/77/messages", 200, &others);
    assert_eq!(withdrawn(&alone).await, Ok(false));
    assert_eq!(alone.calls(), ["GET /channels/77/messages"]);
}

#[tokio::test]
async fn whether_a_message_is_the_second_one_cannot_be_told_without_reading() {
    for status in [403, 500] {
        let scene = scene().await;
        scene.answers("GET", "/channels/77/messages", status, &error(0, "No."));
        let told = scene.discord.withdraw_second(&at("902"), &marker()).await;
        assert!(told.is_err(), "{told:?}");
    }
    let refused = scene().await;
    let both = json!([message("902", APPLICATION, FOOTER), message("901", APPLICATION, FOOTER)]);
    refused.answers("GET", "/channels/77/messages", 200, &both).answers(
        "DELETE",
        "/channels/77/messages/902",
        403,
        &error(50013, "No."),
    );
    let told = refused.discord.withdraw_second(&at("902"), &marker()).await;
    assert!(told.is_err(), "it still stands: {told:?}");
}
