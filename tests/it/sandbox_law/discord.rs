//! Discord's stand-in: messages, threads, limits, commands.

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use stepherd::sandbox::discord::{Discord, DiscordOptions, Member};

use super::{Arrived, Caller, Listener, Turned};

pub(super) const MESSAGES: &str = "/api/v10/channels/20/messages";

pub(super) fn options(clock: &Turned) -> DiscordOptions {
    DiscordOptions {
        now: clock.now(),
        application_id: "1".into(),
        bot_token: "t0ken".into(),
        key_seed: [7; 32],
        endpoint: None,
        channel_limit: None,
        strict_user_agent: true,
    }
}

pub(super) fn eve() -> Member {
    Member {
        id: "5".into(),
        name: "eve".into(),
        roles: vec!["6".into()],
    }
}

pub(super) async fn stand(options: DiscordOptions) -> (Discord, Caller) {
    let discord = Discord::start(options, 0).await.expect("a port");
    discord.add_guild("10");
    discord.add_channel("10", "20", "ops");
    discord.set_member("10", eve());
    let caller = Caller::new(&discord.url, "Bot t0ken");
    (discord, caller)
}

pub(super) async fn with_listener() -> (Discord, Caller, Listener, Turned) {
    let (clock, listener) = (Turned::at_noon(), Listener::start().await);
    let mut options = options(&clock);
    options.endpoint = Some(listener.url("/webhooks/discord"));
    let (discord, caller) = stand(options).await;
    (discord, caller, listener, clock)
}

pub(super) fn button(id: &str, label: &str, disabled: bool) -> Value {
    json!({"type": 2, "style": 1, "custom_id": id, "label": label, "disabled": disabled})
}

pub(super) fn row(buttons: &[Value]) -> Value {
    json!({"type": 1, "components": buttons})
}

fn proves(arrived: &Arrived, key_hex: &str) -> bool {
    let key: [u8; 32] = hex::decode(key_hex).expect("hex").try_into().expect("32 bytes");
    let key = VerifyingKey::from_bytes(&key).expect("a key");
    let signature = hex::decode(arrived.header("x-signature-ed25519")).expect("hex");
    let signature = Signature::from_slice(&signature).expect("64 bytes");
    let mut signed = arrived.header("x-signature-timestamp").as_bytes().to_vec();
    signed.extend_from_slice(&arrived.body);
    key.verify_strict(&signed, &signature).is_ok()
}

#[tokio::test]
async fn a_message_is_posted_edited_reacted_to_and_listed() {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    let (status, first) = caller.post(MESSAGES, json!({"content": "one"})).await;
    assert_eq!(
        (status, &first["author"]["id"], &first["edited_timestamp"]),
        (200, &json!("1"), &Value::Null)
    );
    let id = first["id"].as_str().expect("an id").to_owned();
    let embed = json!({"title": "DCR", "fields": [{"name": "stage", "value": "rebuild"}]});
    let edit = json!({"embeds": [embed], "components": [row(&[button("ans:1", "Continue", false)])]});
    let (status, edited) = caller.call("PATCH", &format!("{MESSAGES}/{id}"), Some(edit)).await;
    assert_eq!(
        (status, &edited["content"]),
        (200, &json!("one")),
        "what is not given stays"
    );
    let react = format!("{MESSAGES}/{id}/reactions/%F0%9F%91%80/@me");
    for _ in 0..2 {
        assert_eq!(caller.call("PUT", &react, None).await.0, 204);
    }
    assert_eq!(
        caller
            .call("PUT", &format!("{MESSAGES}/{id}/reactions/eyes/@me"), None)
            .await
            .1["code"],
        10014
    );
    caller.post("/channels/20/messages", json!({"content": "two"})).await;
    let listed = caller.get(&format!("{MESSAGES}?limit=1")).await.1;
    assert_eq!(listed[0]["content"], "two", "the newest comes first");
    let older = caller
        .get(&format!("{MESSAGES}?before={}", listed[0]["id"].as_str().unwrap_or("")))
        .await
        .1;
    assert_eq!(older[0]["id"], first["id"]);
    let shown = &discord.messages("20")[0];
    assert_eq!(shown.text, "one\nDCR\nstage: rebuild\n[Continue]");
    assert_eq!(
        (shown.edits, shown.reactions.as_slice()),
        (1, ["👀".to_owned()].as_slice())
    );
}

fn embed(chars: usize) -> Value {
    json!({"description": "x".repeat(chars)})
}

fn buttons(n: usize) -> Vec<Value> {
    (0..n).map(|b| button(&b.to_string(), "b", false)).collect()
}

async fn all_refused(bodies: &[Value], code: u32) {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    for body in bodies {
        let (status, answer) = caller.post(MESSAGES, body.clone()).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{body}");
        assert_eq!(answer["errors"].is_object(), code == 50035, "{answer}");
    }
    assert_eq!(discord.messages("20"), []);
}

#[tokio::test]
async fn a_message_that_shows_nothing_is_refused() {
    let bodies = [
        json!({}),
        json!({"content": "   "}),
        json!({"embeds": [{}]}),
        json!({"components": [row(&buttons(1))]}),
    ];
    all_refused(&bodies, 50006).await;
}

#[tokio::test]
async fn texts_and_embeds_beyond_the_limits_are_refused() {
    let field = json!({"name": "n", "value": "v"});
    let bodies = [
        json!({"content": "x".repeat(2001)}),
        json!({"content": 7}),
        json!({"embeds": vec![embed(1); 11]}),
        json!({"embeds": [embed(4097)]}),
        json!({"embeds": [embed(3001), embed(3000)]}),
        json!({"embeds": [{"title": "x".repeat(257)}]}),
        json!({"embeds": [{"fields": vec![field; 26]}]}),
        json!({"embeds": [{"fields": [{"name": "n", "value": ""}]}]}),
        json!({"embeds": [{"title": "x", "color": 0x0100_0000}]}),
        json!({"content": "x", "nonce": "x".repeat(26), "enforce_nonce": true}),
        json!({"content": "x", "allowed_mentions": {"parse": ["all"]}}),
        json!({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["5"]}}),
        json!({"content": "x", "message_reference": {"message_id": "1"}}),
    ];
    all_refused(&bodies, 50035).await;
}

#[tokio::test]
async fn buttons_beyond_the_limits_are_refused() {
    let rows = [
        json!(vec![row(&[button("a", "b", false)]); 6]),
        json!([row(&buttons(6))]),
        json!([row(&[])]),
        json!(buttons(1)),
        json!([row(&[button("a", "b", false), button("a", "c", false)])]),
        json!([row(&[button(&"x".repeat(101), "b", false)])]),
        json!([row(&[button("", "b", false)])]),
        json!([row(&[button("a", &"x".repeat(81), false)])]),
        json!([row(&[json!({"type": 2, "style": 5, "label": "no url"})])]),
        json!([row(&[json!({"type": 2, "style": 1, "custom_id": "no label"})])]),
    ];
    all_refused(&rows.map(|rows| json!({"content": "x", "components": rows})), 50035).await;
}

#[tokio::test]
async fn a_message_at_all_limits_is_taken() {
    let (_discord, caller) = stand(options(&Turned::at_noon())).await;
    let most = json!({"content": "x".repeat(2000), "embeds": [embed(3000), embed(3000)],
        "components": [row(&buttons(5))], "nonce": "x".repeat(25)});
    assert_eq!(caller.post(MESSAGES, most).await.0, 200);
}

#[tokio::test]
async fn strangers_and_what_is_not_there_are_refused_with_discords_codes() {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    let stranger = Caller::new(&discord.url, "Bearer t0ken").get(MESSAGES).await;
    assert_eq!(stranger, (401, json!({"message": "401: Unauthorized", "code": 0})));
    let hers = discord.say(&eve(), "20", "hello");
    let cases = [
        ("GET", "/channels/21".to_owned(), 404, 10003),
        ("GET", "/channels/21/messages".into(), 404, 10003),
        ("GET", format!("{MESSAGES}/1"), 404, 10008),
        ("GET", format!("{MESSAGES}?limit=101"), 400, 50035),
        ("GET", "/guilds/11/members/5".into(), 404, 10004),
        ("GET", "/guilds/10/members/6".into(), 404, 10007),
        ("GET", "/nothing".into(), 404, 0),
        ("DELETE", format!("{MESSAGES}/{hers}"), 403, 50013),
    ];
    for (method, path, status, code) in cases {
        let (got, body) = caller.call(method, &path, None).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{path}");
    }
    let edit = caller
        .call("PATCH", &format!("{MESSAGES}/{hers}"), Some(json!({"content": "x"})))
        .await;
    assert_eq!((edit.0, &edit.1["code"]), (403, &json!(50005)));
    assert_eq!(caller.get("/guilds/10/members/5").await.1["roles"], json!(["6"]));
    discord.close_channel("20", true);
    assert_eq!(caller.post(MESSAGES, json!({"content": "x"})).await.1["code"], 50013);
    let plain = reqwest::Client::builder().no_proxy().build().expect("a client");
    let bare = plain
        .get(format!("{}{MESSAGES}", discord.url))
        .header("authorization", "Bot t0ken");
    assert_eq!(
        bare.send().await.expect("an answer").status().as_u16(),
        403,
        "no User-Agent, no Discord"
    );
}

#[tokio::test]
async fn an_enforced_nonce_gives_the_message_that_is_there_for_a_few_minutes() {
    let clock = Turned::at_noon();
    let (discord, caller) = stand(options(&clock)).await;
    discord.add_channel("10", "30", "other");
    let body = json!({"content": "one", "nonce": "run1", "enforce_nonce": true});
    let first = caller.post(MESSAGES, body.clone()).await.1;
    assert_eq!(first["nonce"], "run1");
    clock.forward(120);
    assert_eq!(caller.post(MESSAGES, body.clone()).await.1["id"], first["id"]);
    let elsewhere = caller.post("/channels/30/messages", body.clone()).await.1;
    assert_eq!(elsewhere["id"], first["id"], "nonces are per author, not per channel");
    let unenforced = json!({"content": "one", "nonce": "run1"});
    assert_ne!(caller.post(MESSAGES, unenforced).await.1["id"], first["id"]);
    clock.forward(600);
    assert_ne!(caller.post(MESSAGES, body).await.1["id"], first["id"]);
    assert_eq!(discord.messages("20").len(), 3);
}

#[tokio::test]
async fn a_message_has_one_thread_with_its_own_id() {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    let card = caller.post(MESSAGES, json!({"content": "card"})).await.1["id"].clone();
    let card = card.as_str().expect("an id");
    let threads = format!("{MESSAGES}/{card}/threads");
    for wrong in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x".repeat(101)}),
        json!({"name": "x", "auto_archive_duration": 61}),
    ] {
        assert_eq!(caller.post(&threads, wrong).await.1["code"], 50035);
    }
    let good = json!({"name": "DCR comcast", "auto_archive_duration": 1440});
    let (status, thread) = caller.post(&threads, good.clone()).await;
    assert_eq!(
        (status, &thread["id"], &thread["type"], &thread["parent_id"]),
        (201, &json!(card), &json!(11), &json!("20"))
    );
    assert_eq!(caller.post(&threads, good.clone()).await.1["code"], 160_004);
    assert_eq!(
        caller.get(&format!("/channels/{card}")).await.1["thread_metadata"]["auto_archive_duration"],
        1440
    );
    let inside = caller
        .post(&format!("/channels/{card}/messages"), json!({"content": "inside"}))
        .await
        .1;
    let nested = format!(
        "/channels/{card}/messages/{}/threads",
        inside["id"].as_str().unwrap_or("")
    );
    assert_eq!(caller.post(&nested, good).await.1["code"], 50024);
    let shown: Vec<String> = discord.messages("20").into_iter().map(|m| m.text).collect();
    assert_eq!(shown, ["card", "inside"]);
    assert_eq!(discord.threads("20"), [(card.to_owned(), "DCR comcast".to_owned())]);
    let opener = caller.get(&format!("{MESSAGES}/{card}")).await.1;
    assert_eq!((&opener["thread"]["id"], &opener["flags"]), (&json!(card), &json!(32)));
    discord.archive_thread(card, false);
    let edit = format!("/channels/{card}/messages/{}", inside["id"].as_str().unwrap_or(""));
    let archived = caller.call("PATCH", &edit, Some(json!({"content": "x"}))).await;
    assert_eq!(
        (archived.0, &archived.1["code"]),
        (400, &json!(50083)),
        "only posting wakes a thread"
    );
    let wake = caller
        .call("PATCH", &format!("/channels/{card}"), Some(json!({"archived": false})))
        .await;
    assert_eq!((wake.0, &wake.1["thread_metadata"]["archived"]), (200, &json!(false)));
    assert_eq!(
        caller.call("PATCH", &edit, Some(json!({"content": "inside"}))).await.0,
        200
    );
    discord.archive_thread(card, false);
    assert_eq!(
        caller
            .post(&format!("/channels/{card}/messages"), json!({"content": "wakes it"}))
            .await
            .0,
        200
    );
    discord.archive_thread(card, true);
    let locked = caller
        .post(&format!("/channels/{card}/messages"), json!({"content": "x"}))
        .await;
    assert_eq!((locked.0, &locked.1["code"]), (400, &json!(50083)));
    let wake = caller
        .call("PATCH", &format!("/channels/{card}"), Some(json!({"archived": false})))
        .await;
    assert_eq!((wake.0, &wake.1["code"]), (403, &json!(50013)));
}

#[tokio::test]
async fn limits_answer_429_and_let_go_when_their_time_is_over() {
    let clock = Turned::at_noon();
    let mut options = options(&clock);
    options.channel_limit = Some((2, std::time::Duration::from_secs(5)));
    let (discord, caller) = stand(options).await;
    for _ in 0..2 {
        assert_eq!(caller.post(MESSAGES, json!({"content": "x"})).await.0, 200);
    }
    let (status, body) = caller.post(MESSAGES, json!({"content": "x"})).await;
    let limited = json!({"message": "You are being rate limited.", "retry_after": 5.0, "global": false});
    assert_eq!((status, body), (429, limited));
    clock.forward(5);
    assert_eq!(caller.post(MESSAGES, json!({"content": "x"})).await.0, 200);
    discord.limit("GET", "/channels/20", 1, 0.65, true);
    let (status, body) = caller.get("/channels/20").await;
    assert_eq!(
        (status, &body["retry_after"], &body["global"]),
        (429, &json!(0.65), &json!(true))
    );
    assert_eq!(caller.get("/channels/20").await.0, 200);
}

#[tokio::test]
async fn mentions_ring_unless_they_are_forbidden() {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    let cases = [
        (json!({"content": "@everyone"}), true),
        (json!({"content": "<@5>"}), true),
        (json!({"content": "nobody"}), false),
        (
            json!({"content": "@everyone <@5>", "allowed_mentions": {"parse": []}}),
            false,
        ),
        (
            json!({"content": "<@5>", "allowed_mentions": {"parse": ["everyone"]}}),
            false,
        ),
    ];
    for (n, (body, rings)) in cases.into_iter().enumerate() {
        caller.post(MESSAGES, body.clone()).await;
        assert_eq!(discord.messages("20")[n].pings, rings, "{body}");
    }
}

#[tokio::test]
async fn commands_are_registered_in_bulk_and_held_to_the_limits() {
    let (discord, caller) = stand(options(&Turned::at_noon())).await;
    let path = "/applications/1/guilds/10/commands";
    let sub = |options: Value| json!([{"name": "dcr", "description": "d", "options": options}]);
    let text = |name: &str, required: bool| json!({"type": 3, "name": name, "description": "d", "required": required});
    let choice = |n: usize| json!({"name": n.to_string(), "value": "v"});
    let refused = [
        json!({}),
        json!([{"name": "Dcr", "description": "d"}]),
        json!([{"name": "two words", "description": "d"}]),
        json!([{"name": "x".repeat(33), "description": "d"}]),
        json!([{"name": "dcr"}]),
        json!([{"name": "dcr", "description": "x".repeat(101)}]),
        json!([{"name": "dcr", "description": "d"}, {"name": "dcr", "description": "d"}]),
        json!([{"name": "dcr", "description": "d", "contexts": [9]}]),
        sub(json!((0..26).map(|n| text(&n.to_string(), false)).collect::<Vec<_>>())),
        sub(json!([text("a", false), text("b", true)])),
        sub(json!([text("a", false), text("a", false)])),
        sub(json!([{"type": 1, "name": "retry", "description": "d"}, text("a", false)])),
        sub(json!([{"type": 3, "name": "a", "description": "d", "choices": (0..26).map(choice).collect::<Vec<_>>()}])),
        sub(json!([{"type": 3, "name": "a", "description": "d", "autocomplete": true, "choices": [choice(1)]}])),
        sub(json!([{"type": 12, "name": "a", "description": "d"}])),
        sub(json!(
            (0..25)
                .map(|n| {
                    let options: Vec<Value> = (0..25)
                        .map(|o| json!({"type": 3, "name": o.to_string(), "description": "x".repeat(20)}))
                        .collect();
                    json!({"type": 1, "name": n.to_string(), "description": "d", "options": options})
                })
                .collect::<Vec<_>>()
        )),
    ];
    for body in refused {
        let (status, answer) = caller.call("PUT", path, Some(body.clone())).await;
        assert_eq!((status, &answer["code"]), (400, &json!(50035)), "{body}");
    }
    let good = json!([{"name": "dcr", "type": 1, "description": "d", "contexts": [0], "default_member_permissions": "0",
        "options": [{"type": 1, "name": "retry", "description": "d", "options": [text("run", true), text("why", false)]}]}]);
    let (status, first) = caller.call("PUT", path, Some(good.clone())).await;
    assert_eq!((status, &first[0]["guild_id"]), (200, &json!("10")));
    let again = caller.call("PUT", path, Some(good.clone())).await.1;
    assert_eq!(again[0]["id"], first[0]["id"]);
    assert_eq!(caller.get(path).await.1, again);
    assert_eq!(discord.commands("10"), ["dcr"]);
    assert_eq!(
        caller
            .call("PUT", "/applications/2/commands", Some(good.clone()))
            .await
            .1["code"],
        20012
    );
    assert_eq!(
        caller
            .call("PUT", "/applications/1/guilds/11/commands", Some(good.clone()))
            .await
            .1["code"],
        50001
    );
    assert_eq!(caller.call("PUT", "/applications/1/commands", Some(good)).await.0, 200);
    assert_eq!(caller.call("PUT", path, Some(json!([]))).await, (200, json!([])));
}

#[tokio::test]
async fn an_endpoint_must_pong_and_turn_away_bad_signatures() {
    let (discord, _caller, listener, _clock) = with_listener().await;
    listener.will_answer(200, r#"{"type":1}"#);
    assert_eq!(discord.ping().await.expect("an endpoint").problem, None);
    assert!(proves(&listener.last(), &discord.public_key_hex()));
    assert_eq!(
        discord.public_key_hex(),
        hex::encode(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes())
    );
    listener.will_answer(401, "");
    assert_eq!(discord.probe_bad_signature().await.expect("an endpoint").problem, None);
    assert!(!proves(&listener.last(), &discord.public_key_hex()));
    listener.will_answer(200, r#"{"type":1}"#);
    let careless = discord
        .check_endpoint()
        .await
        .expect_err("the bad signature was answered 200");
    assert_eq!(careless.0, "a bad signature was answered 200");
}
