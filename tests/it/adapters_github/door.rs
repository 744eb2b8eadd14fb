//! Only what GitHub signed gets in.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use stepherd::adapters::github::{GithubDoor, OwnIdentity};
use stepherd::adapters::{Door, DoorAnswer, RawRequest, TurnedAway, Verified};

/// From GitHub's docs, "Validating webhook deliveries".
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

pub(super) fn signed(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes()))
}

fn door(secrets: &[&str]) -> GithubDoor {
    let secrets = secrets.iter().map(|s| (*s).to_owned().into()).collect();
    GithubDoor::new(secrets, OwnIdentity::default())
}

fn request(body: &str, signature: Option<&str>) -> RawRequest {
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("x-github-delivery".to_owned(), "72d3162e-cc78".to_owned()),
        ("x-github-event".to_owned(), "issue_comment".to_owned()),
    ];
    headers.extend(signature.map(|s| ("x-hub-signature-256".to_owned(), s.to_owned())));
    RawRequest {
        method: "POST".to_owned(),
        target: "/webhooks/github".to_owned(),
        headers,
        body: body.to_owned().into(),
    }
}

fn with(mut request: RawRequest, name: &str, value: &str) -> RawRequest {
    request.headers.retain(|(n, _)| n != name);
    request.headers.push((name.to_owned(), value.to_owned()));
    request
}

fn without(mut request: RawRequest, name: &str) -> RawRequest {
    request.headers.retain(|(n, _)| n != name);
    request
}

fn verify(door: &GithubDoor, request: &RawRequest) -> Result<Verified, TurnedAway> {
    door.verify(request, Timestamp::UNIX_EPOCH)
}

#[test]
fn githubs_own_example_gets_in() {
    let verified = verify(&door(&[SECRET]), &request(BODY, Some(SIGNATURE))).expect("the documented signature");
    assert_eq!(verified.delivery_id, "72d3162e-cc78");
    assert_eq!(verified.kind, "issue_comment");
    assert_eq!(verified.answer, DoorAnswer::Accepted);
}

#[test]
fn the_previous_secret_still_gets_in_and_an_older_one_does_not() {
    let body = r#"{"action":"created"}"#;
    let rotating = door(&["new", "old"]);
    for secret in ["new", "old"] {
        let verified = verify(&rotating, &request(body, Some(&signed(secret, body.as_bytes())))).expect(secret);
        assert_eq!(verified.kind, "issue_comment.created");
    }
    let older = request(body, Some(&signed("older", body.as_bytes())));
    assert!(matches!(verify(&rotating, &older), Err(TurnedAway::Forged(_))));
}

#[test]
fn whatever_is_not_proven_is_turned_away_as_forged() {
    let digest = SIGNATURE.strip_prefix("sha256=").expect("the prefix");
    let sha1 = "sha1=8e5d6d3a63f3ac4f4ee7b4e4bb0a5e4d8f0e0d1c".to_owned();
    let cases: Vec<(&str, RawRequest)> = vec![
        ("missing", request(BODY, None)),
        ("empty", request(BODY, Some(""))),
        ("sha1", request(BODY, Some(&sha1))),
        ("sha-1 header only", with(request(BODY, None), "x-hub-signature", &sha1)),
        ("no prefix", request(BODY, Some(digest))),
        ("wrong prefix", request(BODY, Some(&format!("sha512={digest}")))),
        ("prefix in capitals", request(BODY, Some(&format!("SHA256={digest}")))),
        ("prefix twice", request(BODY, Some(&format!("sha256={SIGNATURE}")))),
        ("not hex", request(BODY, Some(&format!("sha256={}", "z".repeat(64))))),
        ("too short", request(BODY, Some(&SIGNATURE[..SIGNATURE.len() - 2]))),
        ("too long", request(BODY, Some(&format!("{SIGNATURE}00")))),
        ("wrong secret", request(BODY, Some(&signed("other", BODY.as_bytes())))),
        ("empty secret", request(BODY, Some(&signed("", BODY.as_bytes())))),
        ("space added", request("Hello, World! ", Some(SIGNATURE))),
        ("newline added", request("Hello, World!\n", Some(SIGNATURE))),
        ("space changed", request("Hello,World!", Some(SIGNATURE))),
        ("empty body", request("", Some(SIGNATURE))),
    ];
    for (what, request) in cases {
        let answer = verify(&door(&[SECRET, ""]), &request);
        assert!(matches!(answer, Err(TurnedAway::Forged(_))), "{what}: {answer:?}");
    }
    let mut twice = request(BODY, Some(SIGNATURE));
    twice.headers.push(("x-hub-signature-256".into(), SIGNATURE.into()));
    assert!(matches!(verify(&door(&[SECRET]), &twice), Err(TurnedAway::Forged(_))));
    let no_secret = verify(&door(&[]), &request(BODY, Some(SIGNATURE)));
    assert!(matches!(no_secret, Err(TurnedAway::Forged(_))));
}

#[test]
fn the_refusal_never_tells_the_right_signature() {
    let refused = verify(
        &door(&[SECRET]),
        &request(BODY, Some(&signed("other", BODY.as_bytes()))),
    );
    let told = refused.expect_err("forged").to_string();
    assert!(!told.contains(&SIGNATURE[7..20]) && !told.contains(SECRET), "{told}");
}

#[test]
fn the_content_type_is_only_looked_at_after_the_proof() {
    let door = door(&[SECRET]);
    let xml = with(request(BODY, Some(SIGNATURE)), "content-type", "text/xml");
    assert!(matches!(verify(&door, &xml), Err(TurnedAway::UnsupportedType(_))));
    let none = without(request(BODY, Some(SIGNATURE)), "content-type");
    assert!(matches!(verify(&door, &none), Err(TurnedAway::UnsupportedType(_))));
    let forged = with(request(BODY, None), "content-type", "text/xml");
    assert!(matches!(verify(&door, &forged), Err(TurnedAway::Forged(_))));
    let charset = with(
        request(BODY, Some(SIGNATURE)),
        "content-type",
        "Application/JSON; charset=utf-8",
    );
    assert!(verify(&door, &charset).is_ok());
}

#[test]
fn a_delivery_without_an_id_cannot_be_stored() {
    let door = door(&[SECRET]);
    let proven = || request(BODY, Some(SIGNATURE));
    for request in [
        without(proven(), "x-github-delivery"),
        with(proven(), "x-github-delivery", " "),
        with(proven(), "x-github-delivery", &"9".repeat(201)),
    ] {
        assert!(matches!(verify(&door, &request), Err(TurnedAway::Malformed(_))));
    }
}

#[test]
fn a_form_is_proven_as_it_came_and_read_by_its_payload() {
    let body = "payload=%7B%22action%22%3A%22created%22%2C%22zen%22%3A%22a+b%22%7D";
    let form = with(
        request(body, Some(&signed(SECRET, body.as_bytes()))),
        "content-type",
        "application/x-www-form-urlencoded",
    );
    let verified = verify(&door(&[SECRET]), &form).expect("signed over the raw form");
    assert_eq!(verified.kind, "issue_comment.created");
    let empty = "other=1";
    let empty = with(
        request(empty, Some(&signed(SECRET, empty.as_bytes()))),
        "content-type",
        "application/x-www-form-urlencoded",
    );
    assert!(matches!(
        verify(&door(&[SECRET]), &empty),
        Err(TurnedAway::Malformed(_))
    ));
}
