//! Discord: signed interactions in, cards and answers out.

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::discord::{DiscordDoor, decode_custom_id, encode_custom_id, markdown, registration};
use stepherd::adapters::{Door, DoorAnswer, RawRequest, TurnedAway};
use stepherd::domain::command::{Action, Arg, Command, Verb};
use stepherd::domain::doc::{Block, Button, Doc, Span, Tone};
use stepherd::domain::ids::Percent;
use stepherd::domain::pipeline::ParamKind;
use stepherd::domain::signal::{ActorKind, Invoked, Signal};

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
        "guild_id": "42", "channel_id": "77", "version": 1,
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
    let signals = door().read(&signed(interaction), now()).expect("readable");
    match <[Signal; 1]>::try_from(signals).expect("one signal") {
        [Signal::Invoked(invoked)] => invoked,
        [other] => panic!("not invoked: {other:?}"),
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
    let suggest = DoorAnswer::Suggest {
        arg: "run".to_owned(),
        typed: "URM".to_owned(),
    };
    for (interaction, kind, answer) in [
        (command(), "command.dcr.retry", text(r#"{"type":5}"#)),
        (
            button("sh:dcr:retry:run=URMO7YZ2"),
            "component.dcr.retry",
            text(r#"{"type":6}"#),
        ),
        (button("ans:RUN:PROMPT:yes"), "component", text(r#"{"type":6}"#)),
        (autocomplete, "autocomplete.dcr.retry", suggest),
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
    let signals = door().read(&signed(&command()), received_at).expect("readable");
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
        let signals = door().read(&signed(&interaction), now()).expect("readable");
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
        assert!(door().read(&signed(&interaction), now()).is_err(), "{interaction}");
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

/// What Discord would show: backslashes before punctuation are gone. Fails on anything left that means something.
fn shown(escaped: &str) -> String {
    let mut out = String::new();
    let mut chars = escaped.chars().peekable();
    let mut line_start = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().expect("a backslash disarms something");
                assert!(next.is_ascii_punctuation(), "{escaped:?}");
                out.push(next);
            }
            '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '@' | '[' | ']' => panic!("{c} is bare in {escaped:?}"),
            ':' => {
                assert_eq!(chars.peek(), Some(&' '), "{escaped:?}");
                out.push(c);
            }
            '-' | '+' if line_start => panic!("a list begins in {escaped:?}"),
            '.' | ')' => {
                let before = out.trim_start();
                let numbered = !before.is_empty() && before.chars().all(|c| c.is_ascii_digit());
                assert!(!numbered, "a numbered list begins in {escaped:?}");
                out.push(c);
            }
            c => {
                assert!(
                    !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c),
                    "{escaped:?}"
                );
                out.push(c);
            }
        }
        line_start &= c == ' ';
    }
    out
}

#[test]
fn text_is_disarmed_and_still_reads_the_same() {
    for (text, escaped) in [
        ("2 of min 3 farmers", "2 of min 3 farmers"),
        ("Step: Rebuild", "Step: Rebuild"),
        ("@everyone", r"\@everyone"),
        ("<@501> <#77> <t:1>", r"\<\@501\> \<\#77\> \<t\:1\>"),
        (":smile:", r"\:smile\:"),
        ("https://evil.example", r"https\://evil.example"),
        ("[a](https://b)", r"\[a\](https\://b)"),
        ("# big", r"\# big"),
        ("-# small", r"\-\# small"),
        ("- item", r"\- item"),
        ("farmer-3 lost", "farmer-3 lost"),
        ("1. one", r"1\. one"),
        ("1.5 of 2.5", r"1\.5 of 2.5"),
        (
            "**bold** __u__ ~~s~~ ||spoiler||",
            r"\*\*bold\*\* \_\_u\_\_ \~\~s\~\~ \|\|spoiler\|\|",
        ),
        ("`code`", r"\`code\`"),
        ("a\nb\tc\r\nd", "a b c  d"),
        ("\u{202e}evil\u{0007}", "evil"),
        (r"\*", r"\\\*"),
    ] {
        assert_eq!(markdown::escape(text), escaped);
        shown(escaped);
    }
}

fn embed(doc: &Doc) -> Value {
    serde_json::to_value(markdown::render(doc, Some("stepherd · URMO7YZ2/card")).embed).expect("JSON")
}

fn rows(doc: &Doc) -> Vec<Value> {
    let rows = serde_json::to_value(markdown::render(doc, None).rows).expect("JSON");
    rows.as_array().cloned().expect("a list")
}

#[test]
fn a_card_becomes_one_embed() {
    let doc = Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR *comcast*")]),
            Block::Paragraph(vec![
                Span::text("Running "),
                Span::strong("Rebuild"),
                Span::text(", say "),
                Span::code("/dcr stop"),
            ]),
            Block::Progress(Percent::clamped(42.0)),
            Block::Fields(vec![(
                "Ticket".to_owned(),
                vec![Span::link("SREPROV-3072", "https://jira.example/browse/SREPROV-3072")],
            )]),
            Block::List(vec![vec![Span::text("one")], vec![Span::text("- two")]]),
            Block::Verbatim("farmer-3 lost\n```@everyone```".to_owned()),
        ],
        buttons: Vec::new(),
        tone: Tone::Busy,
    };
    let embed = embed(&doc);
    assert_eq!(embed["title"], json!(r"DCR \*comcast\*"));
    let description = embed["description"].as_str().expect("text");
    let fence = "```\nfarmer-3 lost\n`\u{200b}`\u{200b}`@everyone`\u{200b}`\u{200b}`\n```";
    assert_eq!(
        description,
        format!("Running **Rebuild**, say `/dcr stop`\n▰▰▰▰▱▱▱▱▱▱ 42 %\n- one\n- \\- two\n{fence}")
    );
    let expected = json!([{"name": "Ticket", "value": "[SREPROV-3072](https://jira.example/browse/SREPROV-3072)", "inline": true}]);
    assert_eq!(embed["fields"], expected);
    assert_eq!(embed["color"], json!(0x0034_98DB));
    assert_eq!(embed["footer"]["text"], json!("stepherd · URMO7YZ2/card"));
}

#[test]
fn links_lead_only_where_the_web_is_and_cannot_be_broken_out_of() {
    for (url, shown) in [
        ("https://a.example/x", "[l](https://a.example/x)"),
        (
            "https://a.example/x) [y](https://b.example",
            "[l](https://a.example/x%29%20%5By%5D%28https://b.example)",
        ),
        ("javascript:alert(1)", "l"),
        ("discord://x", "l"),
        ("not a url", "l"),
        ("", "l"),
    ] {
        let doc = Doc::paragraph(vec![Span::link("l", url)]);
        assert_eq!(embed(&doc)["description"], json!(shown), "{url}");
    }
}

#[test]
fn an_empty_doc_is_still_a_message() {
    let empty = embed(&Doc::default());
    assert_eq!(empty["description"], json!("\u{200b}"));
}

fn press(label: &str, args: &[(&str, &str)]) -> Button {
    Button {
        label: label.to_owned(),
        command: "dcr".to_owned(),
        verb: "answer".to_owned(),
        args: args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
    }
}

#[test]
fn buttons_stand_five_to_a_row_once_each_and_only_if_their_id_fits() {
    let mut buttons: Vec<Button> = (0..30)
        .map(|i| press(&format!("b{i}"), &[("run", &i.to_string())]))
        .collect();
    buttons.insert(0, press("too much", &[("run", &"x".repeat(100))]));
    buttons.insert(1, press(&"é".repeat(100), &[("run", "a")]));
    buttons.insert(2, press("again", &[("run", "a")]));
    buttons.insert(3, press(" ", &[("run", "b")]));
    let doc = Doc {
        buttons,
        ..Doc::default()
    };
    let rows = rows(&doc);
    assert_eq!(rows.len(), 5);
    let all: Vec<&Value> = rows
        .iter()
        .flat_map(|row| row["components"].as_array().expect("a list"))
        .collect();
    assert_eq!(all.len(), 25);
    assert_eq!(all[0]["custom_id"], json!("sh:dcr:answer:run=a"));
    assert_eq!(all[0]["label"].as_str().map(|label| label.chars().count()), Some(80));
    assert_eq!(all[1]["label"], json!("answer"));
    assert!(all.iter().all(|b| b["type"] == json!(2)));
}

fn verb(name: &str, places: &[&str], args: Vec<Arg>) -> Verb {
    Verb {
        name: name.parse().expect("a name"),
        help: format!("{name} it"),
        action: Action::Start,
        args,
        roles: Vec::new(),
        places: places.iter().map(|p| p.parse().expect("a name")).collect(),
        example: String::new(),
    }
}

fn arg(name: &str, kind: ParamKind, required: bool) -> Arg {
    Arg {
        name: name.parse().expect("a name"),
        kind,
        help: format!("the {name}"),
        required,
    }
}

fn dcr(verbs: Vec<Verb>) -> Command {
    Command {
        name: "dcr".parse().expect("a name"),
        summary: "Cache rebuilds".to_owned(),
        pipeline: "dcr".parse().expect("a name"),
        verbs,
        triggers: Vec::new(),
    }
}

#[test]
fn commands_are_registered_as_discord_documents_it() {
    let args = vec![
        arg("note", ParamKind::Text, false),
        arg("run", ParamKind::Run, true),
        arg("min", ParamKind::Int { min: -3, max: i64::MAX }, false),
        arg("dry", ParamKind::Bool, false),
        arg("size", ParamKind::Choice(vec!["s".to_owned(), "l".to_owned()]), true),
        arg(
            "many",
            ParamKind::Choice((0..26).map(|i| i.to_string()).collect()),
            false,
        ),
    ];
    let command = dcr(vec![
        verb("start", &["github", "discord"], args),
        verb("why", &["github"], Vec::new()),
    ]);
    let elsewhere = dcr(vec![verb("start", &["github"], Vec::new())]);
    let expected = json!([{
        "name": "dcr", "type": 1, "description": "Cache rebuilds", "contexts": [0], "default_member_permissions": "0",
        "options": [{"type": 1, "name": "start", "description": "start it", "options": [
            {"type": 3, "name": "run", "description": "the run", "required": true, "autocomplete": true},
            {"type": 3, "name": "size", "description": "the size", "required": true,
             "choices": [{"name": "s", "value": "s"}, {"name": "l", "value": "l"}]},
            {"type": 3, "name": "note", "description": "the note", "required": false},
            {"type": 4, "name": "min", "description": "the min", "required": false,
             "min_value": -3, "max_value": 9_007_199_254_740_991_i64},
            {"type": 5, "name": "dry", "description": "the dry", "required": false},
            {"type": 3, "name": "many", "description": "the many", "required": false},
        ]}],
    }]);
    assert_eq!(registration(&[command, elsewhere]), expected);
}

#[test]
fn a_command_with_too_much_help_keeps_its_words_and_loses_the_help() {
    let args = |n: usize| (0..n).map(|i| arg(&format!("a{i}"), ParamKind::Text, false));
    let wordy = |mut arg: Arg| {
        arg.help = "x".repeat(300);
        arg
    };
    let verbs = (0..10).map(|i| verb(&format!("v{i}"), &["discord"], args(20).map(wordy).collect()));
    let registered = registration(&[dcr(verbs.collect())]);
    let options = registered[0]["options"].as_array().expect("a list");
    assert_eq!(options.len(), 10);
    assert!(registered.to_string().len() < 30_000);
    assert_eq!(options[0]["options"][0]["description"], json!("a0"));
    let few = registration(&[dcr(vec![verb("v", &["discord"], args(2).map(wordy).collect())])]);
    let help = few[0]["options"][0]["options"][0]["description"]
        .as_str()
        .expect("text");
    assert_eq!(help.chars().count(), 100);
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let nasty = "[ -~\n]{0,40}|[*_`\\\\:@<>\\[\\]()#|~.+-]{0,30}|\\PC{0,20}|[a-z🐑é]{200,2500}";
    let span = (0..4, nasty, "[ -~]{0,30}").prop_map(|(kind, text, rest)| match kind {
        0 => Span::Text(text),
        1 => Span::Strong(text),
        2 => Span::Code(text),
        _ => Span::link(text, format!("https://a.example/{rest}")),
    });
    prop::collection::vec(span, 0..5)
}

fn docs() -> impl Strategy<Value = Doc> {
    let block = prop_oneof![
        spans().prop_map(Block::Heading),
        spans().prop_map(Block::Paragraph),
        (0.0..100.0).prop_map(|p| Block::Progress(Percent::clamped(p))),
        prop::collection::vec(spans(), 0..8).prop_map(Block::List),
        prop::collection::vec(("\\PC{0,300}", spans()), 0..30).prop_map(Block::Fields),
        "[`a\n]{0,40}|\\PC{0,3000}".prop_map(Block::Verbatim),
    ];
    prop::collection::vec(block, 0..8).prop_map(|blocks| Doc {
        blocks,
        ..Doc::default()
    })
}

proptest! {
    #[test]
    fn no_text_survives_escaping_with_a_meaning(text in "[ -~\n]{0,60}|\\PC{0,60}|[0-9.)+ -]{0,10}|\\p{any}{0,30}") {
        let escaped = markdown::escape(&text);
        let read = shown(&escaped);
        let plain = markdown::escape(&read);
        prop_assert_eq!(plain, escaped);
    }

    #[test]
    fn nor_does_text_in_pieces(pieces in prop::collection::vec("[0-9.):@a -]{0,6}|\\PC{0,20}", 0..5)) {
        let text = pieces.concat();
        let spans = pieces.into_iter().map(Span::Text).collect();
        let embed = embed(&Doc::paragraph(spans));
        let description = embed["description"].as_str().expect("text");
        if !text.trim().is_empty() {
            prop_assert_eq!(shown(&markdown::escape(&text)), shown(description));
        }
    }

    #[test]
    fn fences_stay_balanced(text in "[`a\n ]{0,60}|[`🐑]{2000}") {
        let doc = Doc { blocks: vec![Block::Verbatim(text.clone())], ..Doc::default() };
        let embed = embed(&doc);
        let description = embed["description"].as_str().expect("text");
        prop_assert_eq!(description.matches("```").count(), if text.trim().is_empty() { 0 } else { 2 });
    }

    #[test]
    fn a_button_comes_back_as_what_it_was(
        command in "\\PC{1,8}", verb in "\\PC{1,8}",
        args in prop::collection::vec(("\\PC{1,4}", "\\PC{0,6}"), 0..3),
    ) {
        let button = Button { label: "b".to_owned(), command, verb, args };
        if let Some(id) = encode_custom_id(&button) {
            prop_assert!(id.len() <= 100);
            let spoken = decode_custom_id(&id).expect("ours");
            prop_assert_eq!((spoken.command, spoken.verb, spoken.args), (button.command, button.verb, button.args));
        }
    }

    #[test]
    fn no_custom_id_and_no_body_makes_a_reader_panic(
        id in "(sh:)?[a-z:,=%0-9]{0,40}|\\PC{0,40}", body in "\\PC{0,80}", kind in 0..7_u8, value in ".{0,20}",
    ) {
        let _ = decode_custom_id(&id);
        let _ = door().read(&request(&[], &body), now());
        let mut interaction = button(&id);
        interaction["type"] = json!(kind);
        interaction["data"]["name"] = json!(value);
        interaction["data"]["options"] = json!([{"type": kind, "name": value, "value": value}]);
        let verified = door().verify(&signed(&interaction), now());
        prop_assert!(verified.is_ok(), "{:?}", verified);
        let _ = door().read(&signed(&interaction), now());
    }
}

proptest! {
    // Docs are large; what is looked for is at the edges of each limit, which few cases reach.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_doc_fits_into_a_message(doc in docs()) {
        let embed = embed(&doc);
        let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        let within = |value: &Value, max: usize| value.is_null() || (1..=max).contains(&length(value));
        prop_assert!(within(&embed["title"], 256) && within(&embed["description"], 4096));
        let none = Vec::new();
        let fields = embed["fields"].as_array().unwrap_or(&none);
        prop_assert!(fields.len() <= 25);
        let mut total = length(&embed["title"]) + length(&embed["description"]) + length(&embed["footer"]["text"]);
        for field in fields {
            prop_assert!(length(&field["name"]) >= 1 && within(&field["name"], 256));
            prop_assert!(length(&field["value"]) >= 1 && within(&field["value"], 1024));
            total += length(&field["name"]) + length(&field["value"]);
        }
        prop_assert!(total <= 6000, "{}", total);
    }
}
