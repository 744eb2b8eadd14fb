//! No acceptance of a forgery: whatever single thing is changed about a request that proves itself, it proves nothing
//! any more.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use stepherd::adapters::discord::DiscordDoor;
use stepherd::adapters::github::{GithubDoor, OwnIdentity};
use stepherd::adapters::jira::{JiraDoor, JiraProofs, query_string_hash};
use stepherd::adapters::{Door, RawRequest, TurnedAway};

const NOW: i64 = 1_795_000_000;
const SECRET: &str = "a secret of more than thirty-two bytes, as it ought to be";
const TARGET: &str = "/webhooks/jira?tenant=comcast&x=1";
const SEED: [u8; 32] = [9; 32];

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A way of proving: its door, and a request that it lets in.
struct Way {
    name: &'static str,
    door: Box<dyn Door>,
    good: RawRequest,
    /// The header that proves, and how much of its value stands before the proof itself.
    proof: (&'static str, usize),
    /// Whether the proof is made over the body.
    covers_body: bool,
}

fn request(platform: &str, headers: &[(&str, String)], body: &Value) -> RawRequest {
    let mut all = vec![("content-type".to_owned(), "application/json".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    RawRequest {
        method: "POST".into(),
        target: platform.into(),
        headers: all,
        body: body.to_string().into_bytes().into(),
    }
}

fn hmac(secret: &str, message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// A token with this header and these claims, signed as HS256 whatever the header says.
fn token_of(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn token(claims: &Value) -> String {
    token_of(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

fn claims() -> Value {
    let qsh = query_string_hash("POST", TARGET, "");
    json!({ "iss": "client-key", "iat": NOW, "exp": NOW + 180, "qsh": qsh })
}

fn jira_door(proofs: JiraProofs) -> Box<dyn Door> {
    Box::new(JiraDoor::new(proofs, None))
}

fn all_proofs() -> JiraProofs {
    JiraProofs {
        webhook_secrets: vec![SECRET.into()],
        oauth_client_secret: Some(SECRET.into()),
        connect_shared_secret: Some(SECRET.into()),
        connect_client_key: None,
        connect_base_path: String::new(),
        automation_secret: Some(SECRET.into()),
    }
}

fn jira_body() -> Value {
    json!({ "webhookEvent": "jira:issue_updated", "issue": { "key": "SREPROV-1" } })
}

fn bearer(token: &str) -> RawRequest {
    request(TARGET, &[("authorization", format!("Bearer {token}"))], &jira_body())
}

fn connect(token: &str) -> RawRequest {
    request(TARGET, &[("authorization", format!("JWT {token}"))], &jira_body())
}

fn discord_signed(body: &Value, timestamp: &str) -> (RawRequest, [u8; 64]) {
    let signed = SigningKey::from_bytes(&SEED).sign(format!("{timestamp}{body}").as_bytes());
    let headers = [
        ("x-signature-ed25519", hex::encode(signed.to_bytes())),
        ("x-signature-timestamp", timestamp.to_owned()),
    ];
    (request("/webhooks/discord", &headers, body), signed.to_bytes())
}

fn discord_door() -> Box<dyn Door> {
    let public = hex::encode(SigningKey::from_bytes(&SEED).verifying_key().to_bytes());
    Box::new(DiscordDoor::new(&public, Duration::from_secs(300), "900").unwrap())
}

fn ways() -> Vec<Way> {
    let body = json!({ "action": "created", "comment": { "body": "/dcr retry" } });
    let signature =
        |secret: &str, body: &Value| format!("sha256={}", hex::encode(hmac(secret, body.to_string().as_bytes())));
    let github = [
        ("x-hub-signature-256", signature(SECRET, &body)),
        ("x-github-delivery", "d-1".to_owned()),
        ("x-github-event", "issue_comment".to_owned()),
    ];
    let interaction = json!({ "id": "100000000000000001", "application_id": "900", "type": 1, "token": "t" });
    let way = |name, door, good, proof, covers_body| Way {
        name,
        door,
        good,
        proof,
        covers_body,
    };
    vec![
        way(
            "GitHub",
            Box::new(GithubDoor::new(vec![SECRET.into()], OwnIdentity::default())),
            request("/webhooks/github", &github, &body),
            ("x-hub-signature-256", 7),
            true,
        ),
        way(
            "Jira, signed",
            jira_door(all_proofs()),
            request(
                TARGET,
                &[("x-hub-signature", signature(SECRET, &jira_body()))],
                &jira_body(),
            ),
            ("x-hub-signature", 7),
            true,
        ),
        way(
            "Jira, OAuth",
            jira_door(all_proofs()),
            bearer(&token(&claims())),
            ("authorization", 7),
            false,
        ),
        way(
            "Jira, Connect",
            jira_door(all_proofs()),
            connect(&token(&claims())),
            ("authorization", 4),
            false,
        ),
        way(
            "Jira, Automation",
            jira_door(all_proofs()),
            request(
                TARGET,
                &[("x-automation-webhook-token", SECRET.to_owned())],
                &jira_body(),
            ),
            ("x-automation-webhook-token", 0),
            false,
        ),
        way(
            "Discord",
            discord_door(),
            discord_signed(&interaction, &NOW.to_string()).0,
            ("x-signature-ed25519", 0),
            true,
        ),
    ]
}

fn is_forged(door: &dyn Door, request: &RawRequest) -> bool {
    matches!(door.verify(request, now()), Err(TurnedAway::Forged(_)))
}

fn value_mut<'a>(request: &'a mut RawRequest, name: &str) -> &'a mut String {
    let found = request.headers.iter_mut().find(|(known, _)| known == name);
    &mut found.unwrap().1
}

/// The text with one bit of one byte turned, if it is still text that says something else: a hexadecimal digit in the
/// other case is the same digit.
fn bit_turned(text: &str, from: usize, at: Index, bit: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = from + at.index(bytes.len() - from);
    bytes[at] ^= 1 << bit;
    let turned = String::from_utf8(bytes).ok()?;
    let hex = text[from..].bytes().all(|byte| byte.is_ascii_hexdigit());
    (!(hex && turned.eq_ignore_ascii_case(text))).then_some(turned)
}

#[test]
fn what_the_forgeries_are_made_of_is_let_in() {
    for way in ways() {
        assert!(way.door.verify(&way.good, now()).is_ok(), "{}", way.name);
        assert!(way.good.header(way.proof.0).is_some(), "{}", way.name);
    }
}

proptest! {
    // Each case tries every way; Ed25519 without optimisation is what takes time.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_bit_of_the_proof_or_of_what_it_proves_is_enough(at in any::<Index>(), bit in 0..7_u8) {
        for way in ways() {
            let (name, from) = way.proof;
            let mut forgery = way.good.clone();
            if let Some(turned) = bit_turned(way.good.header(name).unwrap(), from, at, bit) {
                *value_mut(&mut forgery, name) = turned;
                prop_assert!(is_forged(way.door.as_ref(), &forgery), "{}: {:?}", way.name, forgery.headers);
            }
            if way.covers_body {
                let mut body = way.good.body.to_vec();
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
                let forgery = RawRequest { body: body.into(), ..way.good.clone() };
                prop_assert!(is_forged(way.door.as_ref(), &forgery), "{}: bit {bit} of byte {at}", way.name);
            }
        }
    }

    #[test]
    fn no_part_of_a_proof_stands_for_the_whole(keep in any::<Index>(), more in "[0-9a-fA-F=. A-Za-z_-]{1,8}") {
        for way in ways() {
            let (name, from) = way.proof;
            let proof = way.good.header(name).unwrap().to_owned();
            let kept = from + keep.index(proof.len() - from);
            let lead = &proof[..from];
            for spoilt in [
                proof[..kept].to_owned(),
                format!("{lead}{}", &proof[kept..]).chars().skip(usize::from(kept == from)).collect(),
                format!("{proof}{}", more.trim()),
                format!("{lead}{more}{}", &proof[from..]),
            ] {
                let mut forgery = way.good.clone();
                // Space around a token is not part of it.
                if spoilt.trim() == proof || spoilt.split_whitespace().eq(proof.split_whitespace()) {
                    continue;
                }
                *value_mut(&mut forgery, name) = spoilt;
                prop_assert!(is_forged(way.door.as_ref(), &forgery), "{}: {:?}", way.name, forgery.headers);
            }
        }
    }

    #[test]
    fn whatever_is_sent_instead_of_a_proof_is_none(text in "\\PC{0,60}|(Bearer|JWT|sha256=|sha1=)?[ .=]?[a-zA-Z0-9._=-]{0,80}", twice in any::<bool>()) {
        for way in ways() {
            let (name, _) = way.proof;
            let mut forgery = way.good.clone();
            if twice {
                forgery.headers.push((name.to_owned(), text.clone()));
            } else {
                *value_mut(&mut forgery, name) = text.clone();
            }
            prop_assert!(is_forged(way.door.as_ref(), &forgery), "{}: {:?}", way.name, forgery.headers);
        }
    }

    #[test]
    fn another_secret_proves_nothing(secret in "\\PC{0,40}") {
        prop_assume!(secret != SECRET);
        let body = jira_body();
        let signature = format!("sha256={}", hex::encode(hmac(&secret, body.to_string().as_bytes())));
        let token = token_of(&json!({ "alg": "HS256" }), &claims(), &secret);
        let github = request("/webhooks/github", &[("x-hub-signature-256", signature.clone())], &body);
        let door = GithubDoor::new(vec![SECRET.into(), String::new().into()], OwnIdentity::default());
        prop_assert!(is_forged(&door, &github));
        let mut empty_too = all_proofs();
        empty_too.webhook_secrets.push(String::new().into());
        for proofs in [empty_too, JiraProofs {
            webhook_secrets: vec![String::new().into()],
            oauth_client_secret: Some(String::new().into()),
            connect_shared_secret: Some(String::new().into()),
            automation_secret: Some(String::new().into()),
            ..JiraProofs::default()
        }] {
            let door = jira_door(proofs);
            for forgery in [
                request(TARGET, &[("x-hub-signature", signature.clone())], &body),
                bearer(&token),
                connect(&token),
                request(TARGET, &[("x-automation-webhook-token", secret.clone())], &body),
            ] {
                prop_assert!(is_forged(door.as_ref(), &forgery), "{:?}", forgery.headers);
            }
        }
    }

    #[test]
    fn a_connect_token_is_good_for_its_request_alone(method in "GET|PUT|DELETE|post ", path in "/webhooks/(jir[b-z]|jira/x|github)|/", query in "|x=1|tenant=comcast&x=2|tenant=comcast&x=1&y=|x=1&tenant=comcast%20") {
        let good = connect(&token(&claims()));
        let door = jira_door(all_proofs());
        for forgery in [
            RawRequest { method, ..good.clone() },
            RawRequest { target: format!("{path}?tenant=comcast&x=1"), ..good.clone() },
            RawRequest { target: format!("/webhooks/jira?{query}"), ..good },
        ] {
            prop_assert!(is_forged(door.as_ref(), &forgery), "{} {}", forgery.method, forgery.target);
        }
    }

    #[test]
    fn claims_are_judged_whatever_they_hold(
        name in prop::sample::select(vec!["exp", "iat", "nbf", "qsh", "iss"]),
        odd in prop_oneof![
            Just(Value::Null), Just(json!("")), Just(json!([])), Just(json!({ "a": 1 })), Just(json!(true)),
            Just(json!("1795000180")), Just(json!(-1)), Just(json!(-1e308)),
        ],
        remove in any::<bool>(),
    ) {
        // A token without the claim, or with nonsense for it, is none; `nbf` alone may be absent.
        let mut changed = claims();
        if remove {
            changed.as_object_mut().unwrap().remove(name);
        } else {
            changed[name] = odd.clone();
        }
        let early = !remove && matches!(name, "iat" | "nbf") && odd.is_number();
        let door = jira_door(all_proofs());
        // Whoever the issuer is, only its secret counts.
        let named = name == "iss" && !remove && odd.as_str().is_some_and(|iss| !iss.is_empty());
        let connect_holds = (name == "nbf" && remove) || early || named;
        prop_assert_eq!(!is_forged(door.as_ref(), &connect(&token(&changed))), connect_holds, "{}", changed);
        if name == "exp" {
            prop_assert!(is_forged(door.as_ref(), &bearer(&token(&changed))), "{}", changed);
        }
    }
}

#[test]
fn a_token_signed_in_any_other_way_is_none() {
    let door = jira_door(all_proofs());
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA", "hs256", "HS256 ",
    ] {
        let header = json!({ "alg": alg, "typ": "JWT" });
        let signed = token_of(&header, &claims(), SECRET);
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        let bare = signed.rsplit_once('.').unwrap().0.to_owned();
        for token in [signed, unsigned, bare] {
            assert!(is_forged(door.as_ref(), &bearer(&token)), "{alg}: {token}");
            assert!(is_forged(door.as_ref(), &connect(&token)), "{alg}: {token}");
        }
    }
    // Signed with the secret and the right algorithm for its header, which is still not the one that is agreed.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS512" })), part(&claims()));
    let mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(mac.chain_update(&signed).finalize().into_bytes());
    assert!(is_forged(door.as_ref(), &bearer(&format!("{signed}.{signature}"))));
    // A header that names a key of its own, a critical extension or no algorithm at all.
    for header in [
        json!({ "typ": "JWT" }),
        json!({ "alg": null }),
        json!({ "alg": ["HS256"] }),
        json!({ "alg": "none", "jwk": { "kty": "oct", "k": "AA" } }),
        json!("HS256"),
    ] {
        assert!(
            is_forged(door.as_ref(), &bearer(&token_of(&header, &claims(), SECRET))),
            "{header}"
        );
    }
}

#[test]
fn a_token_lives_no_longer_than_it_says_whatever_number_it_says_it_with() {
    let door = jira_door(all_proofs());
    let with = |name: &str, value: &str| {
        let claims = claims().to_string();
        let old = claims.split(&format!("\"{name}\":")).nth(1).unwrap();
        let old = old.split([',', '}']).next().unwrap();
        let claims = claims.replacen(&format!("\"{name}\":{old}"), &format!("\"{name}\":{value}"), 1);
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = URL_SAFE_NO_PAD.encode(hmac(SECRET, signed.as_bytes()));
        is_forged(door.as_ref(), &bearer(&format!("{signed}.{signature}")))
    };
    for (name, value, forged) in [
        ("exp", "1795000000", false),
        ("exp", "1794999940.5", false),
        ("exp", "1794999939", true),
        ("exp", "-9223372036854775808", true),
        ("exp", "0", true),
        ("exp", "1e400", true),
        ("exp", "-1e400", true),
        ("exp", "NaN", true),
        ("exp", "1795000180, \"exp\": 1", true),
        ("exp", "18446744073709551616", false),
        ("iat", "1795000061", true),
        ("iat", "1e300", true),
        ("iat", "99999999999999999999999", true),
    ] {
        assert_eq!(with(name, value), forged, "{name} = {value}");
    }
}

#[test]
fn a_discord_signature_has_no_second_form() {
    // The same point and s + L, which a lax verifier takes for the same signature.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let body = json!({ "id": "100000000000000001", "application_id": "900", "type": 1, "token": "t" });
    let (good, mut signature) = discord_signed(&body, &NOW.to_string());
    assert!(!is_forged(discord_door().as_ref(), &good));
    let mut carry = 0_u16;
    for (byte, more) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let mut other = good.clone();
    *value_mut(&mut other, "x-signature-ed25519") = hex::encode(signature);
    assert!(is_forged(discord_door().as_ref(), &other));
    // A timestamp that reads as the same number is another one.
    for timestamp in [
        format!("0{NOW}"),
        format!("+{NOW}"),
        format!(" {NOW}"),
        format!("{NOW}.0"),
    ] {
        let mut other = good.clone();
        *value_mut(&mut other, "x-signature-timestamp") = timestamp;
        assert!(is_forged(discord_door().as_ref(), &other));
    }
    // Signed all right, and no time at all, or one beyond all times.
    for timestamp in [
        "",
        "x",
        "99999999999999999999",
        "-1",
        "1795000301",
        "1794999699",
        "9223372036854775807",
    ] {
        let (signed, _) = discord_signed(&body, timestamp);
        assert!(is_forged(discord_door().as_ref(), &signed), "{timestamp}");
    }
}

#[test]
fn a_digest_is_the_same_in_either_case_and_nothing_else_is() {
    for way in ways().into_iter().filter(|way| way.covers_body) {
        let (name, from) = way.proof;
        let proof = way.good.header(name).unwrap().to_owned();
        let mut upper = way.good.clone();
        *value_mut(&mut upper, name) = format!("{}{}", &proof[..from], proof[from..].to_uppercase());
        assert!(!is_forged(way.door.as_ref(), &upper), "{}", way.name);
        for spoilt in [
            proof.replace("sha256", "SHA256"),
            proof.replace("sha256=", "sha256= "),
            proof.replace("sha256=", "sha1="),
            format!("{proof},{proof}"),
            format!("{proof}\0"),
        ] {
            let mut forgery = way.good.clone();
            if spoilt == proof {
                continue;
            }
            *value_mut(&mut forgery, name) = spoilt;
            assert!(
                is_forged(way.door.as_ref(), &forgery),
                "{}: {:?}",
                way.name,
                forgery.headers
            );
        }
    }
}
