//! Door and client together, against a Discord that signs what people do and holds every call to its limits.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use jiff::Timestamp;
use serde_json::json;
use stepherd::adapters::discord::{Discord, DiscordConfig, DiscordDoor, registration};
use stepherd::adapters::{CallError, Direct, Door, DoorAnswer, Marker, RawRequest, Threads, TurnedAway};
use stepherd::domain::doc::{Block, Button, Doc, Span};
use stepherd::domain::pipeline::ParamKind;
use stepherd::domain::signal::{Invoked, MessageRef, Proof, Signal};
use stepherd::sandbox::Now;
use stepherd::sandbox::discord::{self as peer, DiscordOptions, Member};
use stepherd::sandbox::stage::{Fault, FaultKind, Served, Stage, serve};

use super::shape::{arg, dcr, verb};
use super::{APPLICATION, SIGNED_AT};

struct Ears {
    door: DiscordDoor,
    clock: Arc<AtomicI64>,
    heard: Mutex<Vec<RawRequest>>,
}

struct Scene {
    peer: peer::Discord,
    discord: Discord,
    ears: Arc<Ears>,
    clock: Arc<AtomicI64>,
    _served: Served,
}

fn time(clock: &AtomicI64) -> Timestamp {
    Timestamp::from_second(clock.load(Ordering::Relaxed)).expect("a time")
}

async fn hear(State(ears): State<Arc<Ears>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |v: &header::HeaderValue| v.to_str().unwrap_or_default().to_owned();
    let request = RawRequest {
        method: "POST".to_owned(),
        target: "/webhooks/discord".to_owned(),
        headers: headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect(),
        body,
    };
    let answer = match ears.door.verify(&request, time(&ears.clock)) {
        Err(TurnedAway::Forged(_)) => return StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        Ok(verified) => verified.answer,
    };
    let json = match answer {
        DoorAnswer::Accepted => return StatusCode::ACCEPTED.into_response(),
        DoorAnswer::JsonOnly(json) => json,
        DoorAnswer::Suggest(half) => ears
            .door
            .suggestions(&[(format!("{}-{}", half.arg, half.typed), String::new())]),
        DoorAnswer::Json(json) => {
            ears.heard.lock().expect("no panic before").push(request);
            json
        }
    };
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

async fn scene() -> Scene {
    let clock = Arc::new(AtomicI64::new(SIGNED_AT));
    let seen = Arc::clone(&clock);
    let now: Now = Arc::new(move || time(&seen));
    let options = DiscordOptions {
        now,
        application_id: APPLICATION.to_owned(),
        bot_token: "bot-token".to_owned(),
        key_seed: [7; 32],
        endpoint: None,
        channel_limit: None,
        strict_user_agent: false,
    };
    let peer = peer::Discord::start(options, 0).await.expect("a port");
    peer.add_guild("42");
    peer.add_channel("42", "77", "operations");
    peer.set_member("42", egon());
    let config = DiscordConfig {
        api_url: format!("{}/api/v10", peer.url),
        application_id: APPLICATION.to_owned(),
        public_key: peer.public_key_hex(),
        token: "bot-token".into(),
    };
    let ears = Arc::new(Ears {
        door: DiscordDoor::new(&config.public_key, Duration::from_secs(300), APPLICATION).expect("a good key"),
        clock: Arc::clone(&clock),
        heard: Mutex::default(),
    });
    let routes = Router::new()
        .route("/webhooks/discord", routing::post(hear))
        .with_state(Arc::clone(&ears));
    let served = serve(routes, Arc::new(Stage::default()), 0).await.expect("a port");
    let endpoint = format!("{}/webhooks/discord", served.url).parse().expect("a URL");
    peer.set_endpoint(Some(endpoint));
    Scene {
        peer,
        discord: Discord::new(&config).expect("a good configuration"),
        ears,
        clock,
        _served: served,
    }
}

fn egon() -> Member {
    Member {
        id: "501".to_owned(),
        name: "Egon".to_owned(),
        roles: vec!["9001".to_owned()],
    }
}

fn marker() -> Marker {
    Marker("URMO7YZ2/card".to_owned())
}

fn card(text: &str) -> Doc {
    let stop = Button {
        label: "Stop".to_owned(),
        command: "dcr".to_owned(),
        verb: "stop".to_owned(),
        args: vec![("run".to_owned(), "URMO7YZ2".to_owned())],
    };
    Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR comcast")]),
            Block::Paragraph(vec![Span::text(text)]),
        ],
        buttons: vec![stop],
        ..Doc::default()
    }
}

impl Scene {
    async fn register(&self) {
        let run = vec![arg("run", ParamKind::Run, true)];
        let verbs = vec![
            verb("retry", &["discord"], run.clone()),
            verb("stop", &["discord"], run),
        ];
        let registered = self.discord.register(Some("42"), &registration(&[dcr(verbs)])).await;
        assert_eq!(registered, Ok(()));
    }

    fn heard(&self) -> Vec<Invoked> {
        let requests = self.ears.heard.lock().expect("no panic before").clone();
        let read = |request| {
            self.ears
                .door
                .read(request, Proof::BodySigned, time(&self.clock))
                .expect("readable")
        };
        let signals = requests.iter().flat_map(read);
        signals
            .map(|signal| match signal {
                Signal::Invoked(invoked) => invoked,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    async fn post(&self, text: &str, maybe_there: bool) -> Result<MessageRef, CallError> {
        let thread = "discord:77".parse().expect("a thread");
        let (marker, card) = (marker(), card(text));
        let posted = self
            .discord
            .post(&thread, &marker, &card, Some("DCR comcast"), maybe_there);
        posted.await.map(|posted| posted.message)
    }

    fn texts(&self) -> Vec<String> {
        self.peer.messages("77").into_iter().map(|m| m.text).collect()
    }
}

#[tokio::test]
async fn discord_would_save_our_endpoint() {
    let scene = scene().await;
    assert_eq!(scene.peer.check_endpoint().await, Ok(()));
}

#[tokio::test]
async fn a_slash_command_is_heard_and_answered_in_its_own_place() {
    let scene = scene().await;
    scene.register().await;
    let run = [("run", json!("URMO7YZ2"))];
    let said = scene
        .peer
        .slash(&egon(), "42", "77", "dcr", "retry", &run)
        .await
        .expect("possible");
    assert_eq!((said.problem.as_deref(), said.kind()), (None, 5));
    let heard = scene.heard();
    let [invoked] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    assert_eq!(
        (invoked.verb.as_str(), invoked.actor.roles.as_slice()),
        ("retry", ["9001".to_owned()].as_slice())
    );
    let handle = invoked.handle.as_ref().expect("a right to answer");
    let answer = Doc::paragraph(vec![Span::text("Resumed.")]);
    assert_eq!(scene.discord.answer(handle, &answer).await, Ok(Direct::Answered));
    assert_eq!(scene.texts(), ["Resumed."]);
    scene.clock.fetch_add(15 * 60, Ordering::Relaxed);
    assert_eq!(scene.discord.answer(handle, &answer).await, Ok(Direct::Lapsed));
    // The same bytes again are too old by now.
    assert_eq!(scene.peer.redeliver(&said.id).await, Ok(401));
}

#[tokio::test]
async fn a_half_typed_run_is_completed() {
    let scene = scene().await;
    scene.register().await;
    let typing = ("run", "URM");
    let asked = scene
        .peer
        .autocomplete(&egon(), "42", "77", "dcr", "retry", &[], typing)
        .await;
    let asked = asked.expect("possible");
    assert_eq!(asked.problem, None);
    assert_eq!(asked.choices(), [("run-URM".to_owned(), "run-URM".to_owned())]);
}

#[tokio::test]
async fn a_button_on_the_card_is_the_command_and_leaves_the_card_alone() {
    let scene = scene().await;
    let message = scene.post("running", false).await.expect("posted");
    let shown = scene.peer.messages("77");
    let [card] = shown.as_slice() else {
        panic!("{shown:?}");
    };
    assert!(!card.pings);
    let pressed = scene
        .peer
        .press(&egon(), &message.id, &card.buttons[0].custom_id)
        .await
        .expect("possible");
    assert_eq!((pressed.problem.as_deref(), pressed.kind()), (None, 6));
    let heard = scene.heard();
    assert_eq!((heard[0].command.as_str(), heard[0].verb.as_str()), ("dcr", "stop"));
    assert_eq!(heard[0].args, [("run".to_owned(), "URMO7YZ2".to_owned())]);
    assert_eq!(scene.peer.messages("77")[0].text, card.text);
}

#[tokio::test]
async fn a_card_whose_post_was_lost_is_there_once_however_late_it_is_looked_for() {
    for (kind, later) in [
        (FaultKind::EffectThenCut, 1),
        (FaultKind::EffectThenEmpty, 1),
        (FaultKind::EffectThenTruncated, 3600),
    ] {
        let scene = scene().await;
        scene.peer.stage.misbehave(Fault::new("POST", "/messages", 1, kind));
        let lost = scene.post("running", false).await;
        assert!(matches!(lost, Err(CallError::Retry { .. })), "{lost:?}");
        scene.clock.fetch_add(later, Ordering::Relaxed);
        scene.peer.say(&egon(), "77", "what is it doing? URMO7YZ2/card");
        let found = scene.post("done", true).await.expect("found");
        let shown = scene.peer.messages("77");
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].id, found.id);
        assert!(shown[0].text.contains("done"), "{}", shown[0].text);
        assert_eq!(scene.peer.threads("77"), [(found.id.clone(), "DCR comcast".to_owned())]);
        // Even without looking: Discord itself knows the nonce for a while.
        if later == 1 {
            assert_eq!(scene.post("done", false).await, Ok(found));
            assert_eq!(scene.peer.messages("77").len(), 2);
        }
    }
}

#[tokio::test]
async fn a_card_whose_thread_was_opened_out_of_sight_finds_its_thread() {
    let scene = scene().await;
    scene
        .peer
        .stage
        .misbehave(Fault::new("POST", "/threads", 1, FaultKind::EffectThenCut));
    assert!(matches!(
        scene.post("running", false).await,
        Err(CallError::Retry { .. })
    ));
    let thread = "discord:77".parse().expect("a thread");
    let posted = scene
        .discord
        .post(&thread, &marker(), &card("running"), Some("DCR comcast"), true)
        .await;
    let posted = posted.expect("found");
    assert_eq!(posted.opened.map(|t| t.place), Some(posted.message.id));
    assert_eq!(
        (scene.peer.messages("77").len(), scene.peer.threads("77").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_card_is_edited_in_place_until_people_delete_it() {
    let scene = scene().await;
    let message = scene.post("running", false).await.expect("posted");
    let mut done = card("done");
    done.buttons.clear();
    assert_eq!(scene.discord.edit(&message, &marker(), &done).await, Ok(true));
    let shown = &scene.peer.messages("77")[0];
    assert!(
        shown.text.contains("done") && shown.buttons.is_empty(),
        "{}",
        shown.text
    );
    scene.peer.delete_message(&message.id);
    assert_eq!(scene.discord.edit(&message, &marker(), &done).await, Ok(false));
}

#[tokio::test]
async fn notes_go_into_the_cards_thread_even_after_it_was_archived() {
    let scene = scene().await;
    let card_at = scene.post("running", false).await.expect("posted");
    let thread = format!("discord:{}", card_at.id).parse().expect("a thread");
    let note = Marker("URMO7YZ2/2".to_owned());
    let posted = scene
        .discord
        .post(&thread, &note, &card("step passed"), None, false)
        .await
        .expect("posted");
    scene.peer.archive_thread(&card_at.id, false);
    assert_eq!(
        scene.discord.edit(&posted.message, &note, &card("step passed!")).await,
        Ok(true)
    );
    scene.peer.archive_thread(&card_at.id, true);
    let locked = scene
        .discord
        .post(&thread, &Marker("URMO7YZ2/3".to_owned()), &card("more"), None, false)
        .await;
    assert!(matches!(locked, Err(CallError::Permanent { .. })), "{locked:?}");
}

#[tokio::test]
async fn inside_a_thread_a_card_opens_no_further_thread() {
    let scene = scene().await;
    let outer = scene.post("running", false).await.expect("posted");
    let thread = format!("discord:{}", outer.id).parse().expect("a thread");
    let inner = Marker("AAAAAAAA/card".to_owned());
    let posted = scene
        .discord
        .post(&thread, &inner, &card("another"), Some("DCR other"), false)
        .await;
    assert_eq!(posted.map(|p| p.opened), Ok(None));
}
