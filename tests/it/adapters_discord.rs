//! Discord: signed interactions in; what goes out is in `shape` (markup) and `client` (calls).

mod client;
mod shape;
mod stand_in;

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::discord::{DiscordDoor, decode_custom_id};
use stepherd::adapters::{Door, DoorAnswer, HalfTyped, RawRequest, TurnedAway};
use stepherd::domain::signal::{ActorKind, Invoked, Proof, Signal};

/// RFC 8032, section 7.1, test 2.
const SECRET: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const SIGNED_AT: i64 = 1_763_640_000;
const APPLICATION: &str = "1190000000000000001";

fn now() -> Timestamp {
    Timestamp::from_second(SIGNED_AT).expect("a time")
}

fn door() -> DiscordDoor {
    DiscordDoor::new(PUBLIC, Duration::from_secs(300), APPLICATION).expect("a good key")
}

fn request(headers: &[(&str, &str)], body: &str) -> RawRequest {
    RawRequest {
        method: "POST".to_owned(),
        target: "/webhooks/discord".to_owned(),
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn signed_at(timestamp: &str, body: &str) -> RawRequest {
    let mut secret = [0; 32];
    hex::decode_to_slice(SECRET, &mut secret).expect("hex");
    let signature = SigningKey::from_bytes(&secret).sign(format!("{timestamp}{body}").as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-signature-ed25519", &hex::encode(signature.to_bytes())),
        ("x-signature-timestamp", timestamp),
    ];
    request(&headers, body)
}

fn signed(body: &Value) -> RawRequest {
    signed_at(&SIGNED_AT.to_string(), &body.to_string())
}

/// `/dcr retry run:URMO7YZ2 force:true tries:3`, as Discord sends it.
fn command() -> Value {
    json!({
        "id": "1300000000000000001", "application_id": APPLICATION, "type": 2, "token": "aW50ZXJhY3Rpb24",
        "guild_id": "42", "channel_id": "77", "version": 1, "channel": {"id": "77", "type": 0, "parent_id": "70"},
        "context": 0, "authorizing_integration_owners": {"0": "42", "1": "501"},
        "member": {"user": {"id": "501", "username": "egon", "global_name": "Egon"}, "roles": ["9001", "9002"],
                   "nick": null, "permissions": "8"},
        "data": {"id": "3", "name": "dcr", "type": 1, "options": [{"type": 1, "name": "retry", "options": [
            {"type": 3, "name": "run", "value": "URMO7YZ2"},
            {"type": 5, "name": "force", "value": true},
            {"type": 4, "name": "tries", "value": 3},
        ]}]},
    })
}

fn button(custom_id: &str) -> Value {
    let mut interaction = command();
    interaction["type"] = json!(3);
    interaction["message"] = json!({"id": "7"});
    interaction["data"] = json!({"component_type": 2, "custom_id": custom_id});
    interaction
}

fn invoked(interaction: &Value) -> Invoked {
    let signals = door()
        .read(&signed(interaction), Proof::BodySigned, now())
        .expect("readable");
    match <[Signal; 1]>::try_from(signals).expect("one signal") {
        [Signal::Invoked(invoked)] => invoked,
        [other] => panic!("not invoked: {other:?}"),
    }
}

#[test]
fn where_something_was_said_is_known_only_in_a_server_that_installed_the_app() {
    let said = |change: &dyn Fn(&mut Value)| {
        let mut interaction = command();
        change(&mut interaction);
        invoked(&interaction).within.join("/")
    };
    // What is above a channel is a heading; what is above a thread is its channel.
    assert_eq!(said(&|_| {}), "42/77");
    for kind in [10, 11, 12] {
        assert_eq!(said(&|i| i["channel"]["type"] = json!(kind)), "42/70/77");
    }
    assert_eq!(said(&|i| i["channel"] = Value::Null), "42/77");
    assert_eq!(said(&|i| i["channel"]["id"] = json!("78")), "42/77");
    // With the bot alone, among people, brought along by a person, or not said.
    let unknown: [&dyn Fn(&mut Value); 8] = [
        &|i| i["context"] = json!(1),
        &|i| i["context"] = json!(2),
        &|i| i["context"] = json!(7),
        &|i| i["guild_id"] = Value::Null,
        &|i| i["guild_id"] = json!("@me"),
        &|i| i["authorizing_integration_owners"] = json!({"1": "501"}),
        &|i| i["authorizing_integration_owners"] = json!({"0": "43"}),
        &|i| i["authorizing_integration_owners"] = json!({}),
    ];
    for (n, change) in unknown.into_iter().enumerate() {
        assert_eq!(said(change), "", "{n}");
    }
}

#[test]
fn a_signature_made_elsewhere_is_accepted() {
    let signature = "54069db3c514535078711f037451ed213edcf334a60820cb4ae2789c2888a903f90d788aad209ba5ac690560199ea24e6408612767efa71fee77003a60851600";
    let headers = [
        ("x-signature-ed25519", signature),
        ("x-signature-timestamp", "1763640000"),
    ];
    let verified = door()
        .verify(&request(&headers, r#"{"id":"1","type":1}"#), now())
        .expect("genuine");
    assert_eq!(verified.answer, DoorAnswer::JsonOnly(r#"{"type":1}"#.to_owned()));
    assert_eq!((verified.delivery_id.as_str(), verified.kind.as_str()), ("1", "ping"));
}

#[test]
fn whatever_does_not_prove_itself_is_forged() {
    let genuine = signed(&command());
    assert!(door().verify(&genuine, now()).is_ok());
    let replaced = |name: &str, value: Option<&str>| {
        let mut request = genuine.clone();
        request.headers.retain(|(n, _)| n != name);
        if let Some(value) = value {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
        request
    };
    let (signature, timestamp) = ("x-signature-ed25519", "x-signature-timestamp");
    let mut space = genuine.clone();
    space.body = Bytes::from([space.body.as_ref(), b" "].concat());
    let mut twice = genuine.clone();
    twice.headers.push((signature.to_owned(), "00".repeat(64)));
    let hexes = [
        "00".repeat(64),
        "zz".repeat(64),
        "ab".to_owned(),
        String::new(),
        "é".repeat(64),
    ];
    let mut forged: Vec<RawRequest> = hexes.iter().map(|hex| replaced(signature, Some(hex))).collect();
    forged.extend([
        replaced(signature, None),
        replaced(timestamp, None),
        replaced(timestamp, Some("1763640001")),
        replaced(timestamp, Some("")),
        space,
        twice,
        signed_at("soon", &command().to_string()),
        signed_at("99999999999999999999", &command().to_string()),
    ]);
    for request in forged {
        let answer = door().verify(&request, now());
        assert!(
            matches!(answer, Err(TurnedAway::Forged(_))),
            "{:?} {answer:?}",
            request.headers
        );
    }
}

#[test]
fn a_genuine_request_is_fresh_for_five_minutes_either_way() {
    let genuine = signed(&command());
    for (off, fresh) in [
        (0, true),
        (300, true),
        (-300, true),
        (301, false),
        (-301, false),
        (i64::from(u32::MAX), false),
    ] {
        let now = Timestamp::from_second(SIGNED_AT + off).expect("a time");
        assert_eq!(door().verify(&genuine, now).is_ok(), fresh, "{off}");
    }
}

#[test]
fn a_bad_public_key_is_an_error_not_a_panic() {
    for key in ["", "00", "zz", &"é".repeat(32), &"f".repeat(63)] {
        assert!(
            DiscordDoor::new(key, Duration::from_secs(300), APPLICATION).is_err(),
            "{key}"
        );
    }
}

#[test]
fn each_kind_of_interaction_gets_the_answer_discord_waits_for() {
    let mut autocomplete = command();
    autocomplete["type"] = json!(4);
    autocomplete["data"]["options"][0]["options"] = json!([
        {"type": 4, "name": "tries", "value": 3},
        {"type": 3, "name": "run", "value": "URM", "focused": true},
    ]);
    let mut modal = command();
    modal["type"] = json!(5);
    let text = |json: &str| DoorAnswer::Json(json.to_owned());
    let suggest = DoorAnswer::Suggest(Box::new(HalfTyped {
        actor: invoked(&command()).actor,
        thread: "discord:77".parse().expect("a thread"),
        within: vec!["42".to_owned(), "77".to_owned()],
        command: "dcr".to_owned(),
        verb: "retry".to_owned(),
        arg: "run".to_owned(),
        typed: "URM".to_owned(),
    }));
    let mut nobody = autocomplete.clone();
    nobody["member"] = json!(null);
    let nothing = DoorAnswer::JsonOnly(r#"{"type":8,"data":{"choices":[]}}"#.to_owned());
    for (interaction, kind, answer) in [
        (
            command(),
            "command.dcr.retry",
            text(r#"{"type":5,"data":{"flags":64}}"#),
        ),
        (
            button("sh:dcr:retry:run=URMO7YZ2"),
            "component.dcr.retry",
            text(r#"{"type":6}"#),
        ),
        (button("ans:RUN:PROMPT:yes"), "component", text(r#"{"type":6}"#)),
        (autocomplete, "autocomplete.dcr.retry", suggest),
        (nobody, "autocomplete.dcr.retry", nothing),
        (modal, "type.5", DoorAnswer::Accepted),
    ] {
        let verified = door().verify(&signed(&interaction), now()).expect("genuine");
        assert_eq!((verified.kind.as_str(), verified.answer), (kind, answer));
        assert_eq!(verified.delivery_id, "1300000000000000001");
    }
}

#[test]
fn genuine_nonsense_is_malformed_and_other_types_are_not_taken() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"type":2}"#,
        r#"{"id":"x","type":2}"#,
        r#"{"id":7,"type":2}"#,
        r#"{"id":"1","type":999}"#,
    ] {
        let answer = door().verify(&signed_at("1763640000", body), now());
        assert!(matches!(answer, Err(TurnedAway::Malformed(_))), "{body} {answer:?}");
    }
    let mut form = signed(&command());
    form.headers[0].1 = "application/x-www-form-urlencoded".to_owned();
    assert!(matches!(
        door().verify(&form, now()),
        Err(TurnedAway::UnsupportedType(_))
    ));
}

#[test]
fn a_slash_command_is_read_with_its_words_its_person_and_its_right_to_answer() {
    let received_at = Timestamp::from_second(SIGNED_AT + 2).expect("a time");
    let signals = door()
        .read(&signed(&command()), Proof::BodySigned, received_at)
        .expect("readable");
    let [Signal::Invoked(invoked)] = signals.as_slice() else {
        panic!("{signals:?}");
    };
    assert_eq!((invoked.command.as_str(), invoked.verb.as_str()), ("dcr", "retry"));
    let args: Vec<_> = invoked.args.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(args, [("run", "URMO7YZ2"), ("force", "true"), ("tries", "3")]);
    assert_eq!(invoked.thread.to_string(), "discord:77");
    assert_eq!(invoked.actor.account.id, "501");
    assert_eq!(invoked.actor.name, "Egon");
    assert_eq!(invoked.actor.kind, ActorKind::Human);
    assert_eq!(invoked.actor.roles, ["9001", "9002"]);
    assert_eq!(invoked.key, "discord:interaction:1300000000000000001");
    assert_eq!(invoked.at, now());
    let handle = invoked.handle.as_ref().expect("a right to answer");
    assert_eq!(handle.token, format!("{APPLICATION}/aW50ZXJhY3Rpb24"));
    let lives = handle.until.duration_since(received_at).as_secs();
    assert!((600..900).contains(&lives), "{lives}");
    assert!(!format!("{invoked:?}").contains("aW50ZXJhY3Rpb24"));
}

#[test]
fn a_button_of_ours_is_the_command_it_stands_for_and_is_answered_in_the_thread() {
    let invoked = invoked(&button("sh:dcr:answer:run=URMO7YZ2,value=yes%2C no"));
    assert_eq!((invoked.command.as_str(), invoked.verb.as_str()), ("dcr", "answer"));
    let args: Vec<_> = invoked.args.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(args, [("run", "URMO7YZ2"), ("value", "yes, no")]);
    // Its `@original` is the card itself, which an answer must not overwrite.
    assert_eq!(invoked.handle, None);
}

#[test]
fn in_a_direct_message_there_is_a_user_and_no_roles() {
    let mut interaction = command();
    interaction["user"] = interaction["member"]["user"].take();
    interaction.as_object_mut().expect("an object").shift_remove("member");
    let actor = invoked(&interaction).actor;
    assert_eq!((actor.account.id.as_str(), actor.roles.len()), ("501", 0));
}

#[test]
fn programs_are_known_as_programs_and_we_know_ourselves() {
    let mut interaction = command();
    interaction["member"]["user"]["bot"] = json!(true);
    assert_eq!(invoked(&interaction).actor.kind, ActorKind::Bot);
    interaction["member"]["user"]["id"] = json!(APPLICATION);
    assert_eq!(invoked(&interaction).actor.kind, ActorKind::Ours);
}

#[test]
fn what_is_not_for_us_means_nothing_and_what_makes_no_sense_is_unreadable() {
    let mut menu = command();
    menu["data"]["type"] = json!(3);
    let mut modal = command();
    modal["type"] = json!(5);
    let ping = json!({"id": "1", "type": 1});
    for interaction in [
        menu,
        modal,
        ping,
        button("ans:RUN:PROMPT:yes"),
        button("sh:dcr"),
        button(""),
    ] {
        let signals = door()
            .read(&signed(&interaction), Proof::BodySigned, now())
            .expect("readable");
        assert!(matches!(signals.as_slice(), [Signal::Nothing(_)]), "{interaction}");
    }
    let without = |pointer: &str, key: &str| {
        let mut interaction = command();
        let holder = interaction.pointer_mut(pointer).and_then(Value::as_object_mut);
        holder.expect("an object").shift_remove(key);
        interaction
    };
    let mut nested = command();
    nested["data"]["options"][0]["options"][0]["value"] = json!({"a": 1});
    let mut odd_channel = command();
    odd_channel["channel_id"] = json!("../../users/@me");
    for interaction in [
        without("", "data"),
        without("", "channel_id"),
        without("", "member"),
        without("/member", "user"),
        without("/data", "name"),
        without("/data/options/0/options/0", "value"),
        nested,
        odd_channel,
    ] {
        assert!(
            door().read(&signed(&interaction), Proof::BodySigned, now()).is_err(),
            "{interaction}"
        );
    }
    // A token that would leave its place in the address gives no right to answer.
    let mut odd_token = command();
    odd_token["token"] = json!("../../channels/77");
    assert_eq!(invoked(&odd_token).handle, None);
}

#[test]
fn suggestions_are_what_discord_takes() {
    let mut choices: Vec<_> = (0..30).map(|i| (format!("RUN{i}"), format!("run {i}"))).collect();
    choices.insert(0, ("x".repeat(101), "too long a value".to_owned()));
    choices.insert(1, ("URMO7YZ2".to_owned(), "é".repeat(200)));
    choices.insert(2, ("URMO7YZ3".to_owned(), String::new()));
    let answer: Value = serde_json::from_str(&door().suggestions(&choices)).expect("JSON");
    assert_eq!(answer["type"], json!(8));
    let listed = answer["data"]["choices"].as_array().expect("a list");
    assert_eq!(listed.len(), 25);
    assert_eq!(listed[0]["value"], json!("URMO7YZ2"));
    assert_eq!(listed[0]["name"].as_str().map(|name| name.chars().count()), Some(100));
    assert_eq!(listed[1]["name"], json!("URMO7YZ3"));
    assert_eq!(door().suggestions(&[]), r#"{"type":8,"data":{"choices":[]}}"#);
}

proptest! {
    // Each case signs anew, which is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_custom_id_and_no_body_makes_a_reader_panic(
        id in "(sh:)?[a-z:,=%0-9]{0,40}|\\PC{0,40}", body in "\\PC{0,80}", kind in 0..7_u8, value in ".{0,20}",
    ) {
        let _ = decode_custom_id(&id);
        let _ = door().read(&request(&[], &body), Proof::BodySigned, now());
        let mut interaction = button(&id);
        interaction["type"] = json!(kind);
        interaction["data"]["name"] = json!(value);
        interaction["data"]["options"] = json!([{"type": kind, "name": value, "value": value}]);
        let verified = door().verify(&signed(&interaction), now());
        prop_assert!(verified.is_ok(), "{:?}", verified);
        let _ = door().read(&signed(&interaction), Proof::BodySigned, now());
    }
}
