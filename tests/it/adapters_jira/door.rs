//! Which requests prove themselves, and which do not.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepherd::adapters::jira::{JiraDoor, JiraProofs, query_string_hash};
use stepherd::adapters::{Door, DoorAnswer, RawRequest, TurnedAway, Verified};
use stepherd::domain::signal::Proof;

const NOW: i64 = 1_700_000_000;
const TARGET: &str = "/webhooks/jira";
const BODY: &str = r#"{"webhookEvent":"jira:issue_updated"}"#;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn proofs() -> JiraProofs {
    JiraProofs {
        webhook_secrets: vec!["new-secret".into(), "It's a Secret to Everybody".into()],
        oauth_client_secret: Some("client-secret".into()),
        connect_shared_secret: Some("shared-secret".into()),
        connect_client_key: None,
        connect_base_path: "/webhooks".into(),
        automation_secret: Some("automation-secret".into()),
    }
}

fn request(target: &str, headers: &[(&str, &str)], body: &str) -> RawRequest {
    let mut all = vec![("content-type".to_owned(), "application/json; charset=UTF-8".to_owned())];
    all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    RawRequest {
        method: "POST".into(),
        target: target.into(),
        headers: all,
        body: body.as_bytes().to_vec().into(),
    }
}

fn verify(request: &RawRequest) -> Result<Verified, TurnedAway> {
    JiraDoor::new(proofs(), None).verify(request, now())
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn token(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

fn connect_claims(target: &str) -> Value {
    let qsh = query_string_hash("POST", target, "/webhooks");
    json!({ "iss": "client-key", "iat": NOW, "exp": NOW + 180, "qsh": qsh })
}

#[test]
fn atlassians_own_vector_is_accepted_and_so_is_the_secret_that_replaces_it() {
    let vector = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
    let verified = verify(&request(TARGET, &[("x-hub-signature", vector)], "Hello World!")).unwrap();
    assert_eq!(verified.answer, DoorAnswer::Accepted);
    assert_eq!(verified.kind, "unreadable");
    let newer = signature("new-secret", BODY);
    assert_eq!(
        verify(&request(TARGET, &[("x-hub-signature", &newer)], BODY))
            .unwrap()
            .kind,
        "jira:issue_updated"
    );
}

#[test]
fn a_bearer_token_made_elsewhere_is_accepted() {
    let made_with_another_library = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJpc3MiOiJjbGllbnQiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDE4MH0.\
        TJbQThj4porzF2MKJJTlhwkJIcaELN9Wn7gSJwwvENs";
    verify(&request(TARGET, &[("authorization", made_with_another_library)], BODY)).unwrap();
}

#[test]
fn the_query_string_hash_follows_atlassians_worked_example() {
    // The canonical request is the one that Atlassian's documentation of the claim spells out.
    let canonical = "GET&/path/to/service&first=param&repeated=parameter%201,parameter%202&zee_last=param";
    let target = "/path/to/service?zee_last=param&repeated=parameter 1&first=param&repeated=parameter 2";
    let expected = hex::encode(Sha256::digest(canonical));
    assert_eq!(
        expected,
        "e52bb281606c3bd9ca16cfe96fe2df78f5d9ffa126f06befd750dfa10fa1a897"
    );
    assert_eq!(query_string_hash("get", target, ""), expected);
}

#[test]
fn the_query_string_hash_writes_paths_and_parameters_canonically() {
    for (target, base, canonical) in [
        ("/webhooks/jira", "/webhooks", "POST&/jira&"),
        ("/webhooks/jira/", "/webhooks/", "POST&/jira&"),
        ("/webhooks", "/webhooks", "POST&/&"),
        ("/webhooksx/jira", "/webhooks", "POST&/webhooksx/jira&"),
        ("/", "", "POST&/&"),
        ("/a&b", "", "POST&/a%26b&"),
        ("/x?jwt=a.b.c&b=2&a=1", "", "POST&/x&a=1&b=2"),
        ("/x?b=z&B=y&a=*~+%2B", "", "POST&/x&B=y&a=%2A~%20%2B&b=z"),
        ("/x?empty=&bare", "", "POST&/x&bare=&empty="),
        ("/x?ids=20&ids=-1&ids=10", "", "POST&/x&ids=-1,10,20"),
    ] {
        assert_eq!(
            query_string_hash("POST", target, base),
            hex::encode(Sha256::digest(canonical)),
            "{target}"
        );
    }
}

#[test]
fn a_connect_token_holds_in_the_header_and_in_the_query() {
    let header = format!("JWT {}", token(&connect_claims(TARGET), "shared-secret"));
    verify(&request(TARGET, &[("authorization", &header)], BODY)).unwrap();
    let target = "/webhooks/jira?user=a%20b";
    let in_query = format!("{target}&jwt={}", token(&connect_claims(target), "shared-secret"));
    verify(&request(&in_query, &[], BODY)).unwrap();
}

#[test]
fn an_automation_rules_token_is_accepted_and_its_body_stands_for_the_delivery_id() {
    let automation = [("x-automation-webhook-token", "automation-secret")];
    let body = r#"{"issue":{"key":"OPS-1"}}"#;
    let verified = verify(&request(TARGET, &automation, body)).unwrap();
    assert_eq!(verified.kind, "automation");
    assert_eq!(
        verified.delivery_id,
        format!("sha256:{}", hex::encode(Sha256::digest(body)))
    );
    assert_eq!(verify(&request(TARGET, &automation, body)).unwrap(), verified);
    let other = verify(&request(TARGET, &automation, r#"{"issue":{"key":"OPS-2"}}"#)).unwrap();
    assert_ne!(other.delivery_id, verified.delivery_id);
}

#[test]
fn a_proof_tells_its_kind_and_of_several_the_weakest_counts() {
    let signed = signature("new-secret", BODY);
    let oauth = format!("Bearer {}", token(&json!({ "exp": NOW + 180 }), "client-secret"));
    let connect = format!("JWT {}", token(&connect_claims(TARGET), "shared-secret"));
    let (body, rule) = (
        ("x-hub-signature", signed.as_str()),
        ("x-automation-webhook-token", "automation-secret"),
    );
    let (bearer, jwt) = (("authorization", oauth.as_str()), ("authorization", connect.as_str()));
    for (offered, proof) in [
        (&[body][..], Proof::BodySigned),
        (&[bearer], Proof::Token),
        (&[jwt], Proof::Token),
        (&[rule], Proof::Automation),
        (&[body, jwt], Proof::Token),
        (&[jwt, rule], Proof::Automation),
        (&[rule, body], Proof::Automation),
    ] {
        let verified = verify(&request(TARGET, offered, BODY)).unwrap();
        assert_eq!(verified.proof, proof, "{offered:?}");
    }
    let target = format!("{TARGET}?%6awt={}", token(&connect_claims(TARGET), "shared-secret"));
    assert_eq!(verify(&request(&target, &[body], BODY)).unwrap().proof, Proof::Token);
}

#[test]
fn jiras_identifier_is_the_delivery_id_unless_it_is_no_word() {
    let signed = signature("new-secret", BODY);
    let with = |ids: &[&str]| {
        let mut headers = vec![("x-hub-signature", signed.as_str())];
        headers.extend(ids.iter().map(|id| ("x-atlassian-webhook-identifier", *id)));
        verify(&request(TARGET, &headers, BODY))
    };
    assert_eq!(with(&["a1b2"]).unwrap().delivery_id, "a1b2");
    assert!(with(&[]).unwrap().delivery_id.starts_with("sha256:"));
    let long = "x".repeat(201);
    for bad in [
        &[""][..],
        &["a b"],
        &[long.as_str()],
        &["a", "b"],
        &["repair-comment-5"],
        &["sha256:00"],
    ] {
        assert!(matches!(with(bad), Err(TurnedAway::Malformed(_))), "{bad:?}");
    }
}

/// What it is, where it is sent, and the headers that it offers.
type Forgery<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>);

fn assert_all_forged(cases: Vec<Forgery<'_>>) {
    for (what, target, headers) in cases {
        let verdict = verify(&request(target, &headers, BODY));
        assert!(matches!(verdict, Err(TurnedAway::Forged(_))), "{what}: {verdict:?}");
    }
}

#[test]
fn forged_signatures_and_fixed_tokens_are_turned_away() {
    const SIGNATURE: &str = "x-hub-signature";
    const AUTOMATION: &str = "x-automation-webhook-token";
    let good = signature("new-secret", BODY);
    let sha1 = format!("sha1={}", "0".repeat(40));
    let sha1_in_name_only = good.replace("sha256", "sha1");
    let bare = good.replace("sha256=", "");
    let other_secret = signature("guess", BODY);
    let empty_secret = signature("", BODY);
    let other_body = signature("new-secret", "{}");
    let cut = &good[..good.len() - 2];
    let long = format!("{good}00");
    let signed = (SIGNATURE, good.as_str());
    assert!(verify(&request(TARGET, &[signed], BODY)).is_ok());
    assert_all_forged(vec![
        ("nothing", TARGET, vec![]),
        ("another secret", TARGET, vec![(SIGNATURE, &other_secret)]),
        ("the empty secret", TARGET, vec![(SIGNATURE, &empty_secret)]),
        ("another body", TARGET, vec![(SIGNATURE, &other_body)]),
        ("sha1", TARGET, vec![(SIGNATURE, &sha1)]),
        ("sha1 in name only", TARGET, vec![(SIGNATURE, &sha1_in_name_only)]),
        ("no method", TARGET, vec![(SIGNATURE, &bare)]),
        ("a cut digest", TARGET, vec![(SIGNATURE, cut)]),
        ("a long digest", TARGET, vec![(SIGNATURE, &long)]),
        ("no hex", TARGET, vec![(SIGNATURE, "sha256=zz")]),
        ("an empty header", TARGET, vec![(SIGNATURE, "")]),
        ("the same twice", TARGET, vec![signed, signed]),
        (
            "a good one and a bad one",
            TARGET,
            vec![signed, (SIGNATURE, &other_secret)],
        ),
        ("GitHub's header", TARGET, vec![("x-hub-signature-256", &good)]),
        ("a cut automation token", TARGET, vec![(AUTOMATION, "automation-secre")]),
        ("an empty automation token", TARGET, vec![(AUTOMATION, "")]),
        ("another proof's secret", TARGET, vec![(AUTOMATION, "new-secret")]),
        (
            "one good proof and one that fails",
            TARGET,
            vec![signed, (AUTOMATION, "x")],
        ),
        (
            "a good signature beside a bad token",
            TARGET,
            vec![signed, ("authorization", "Bearer a.b.c")],
        ),
    ]);
}

#[test]
fn forged_web_tokens_are_turned_away() {
    const AUTHORIZATION: &str = "authorization";
    let connect = token(&connect_claims(TARGET), "shared-secret");
    let (signed_part, _) = connect.rsplit_once('.').unwrap();
    let unsigned = format!("JWT {signed_part}.");
    let connect_as_bearer = format!("Bearer {connect}");
    let other_target = format!("JWT {}", token(&connect_claims("/webhooks/other"), "shared-secret"));
    let other_in_query = format!(
        "{TARGET}?jwt={}",
        token(&connect_claims("/webhooks/x"), "shared-secret")
    );
    let added_param = format!("{TARGET}?admin=1&jwt={connect}");
    let second_in_query = format!("{TARGET}?jwt={connect}&jwt=a.b.c");
    // {"alg":"none"}
    let none = format!("JWT eyJhbGciOiJub25lIn0.{}.", signed_part.split_once('.').unwrap().1);
    assert!(verify(&request(&format!("{TARGET}?jwt={connect}"), &[], BODY)).is_ok());
    assert_all_forged(vec![
        ("basic credentials alone", TARGET, vec![(AUTHORIZATION, "Basic YTpi")]),
        ("an empty bearer", TARGET, vec![(AUTHORIZATION, "Bearer ")]),
        ("a bare scheme", TARGET, vec![(AUTHORIZATION, "JWT")]),
        ("a signature left out", TARGET, vec![(AUTHORIZATION, &unsigned)]),
        ("no algorithm", TARGET, vec![(AUTHORIZATION, &none)]),
        (
            "a Connect token as bearer",
            TARGET,
            vec![(AUTHORIZATION, &connect_as_bearer)],
        ),
        ("a token for another path", TARGET, vec![(AUTHORIZATION, &other_target)]),
        ("the same in the query", &other_in_query, vec![]),
        ("a parameter added later", &added_param, vec![]),
        ("a second token in the query", &second_in_query, vec![]),
    ]);
}

#[test]
fn tokens_are_judged_by_the_time_that_is_passed_in_with_a_minute_of_leeway() {
    let bearer = |claims: &Value| {
        let header = format!("Bearer {}", token(claims, "client-secret"));
        verify(&request(TARGET, &[("authorization", &header)], BODY)).is_ok()
    };
    for (claims, holds) in [
        (json!({ "exp": NOW }), true),
        (json!({ "exp": NOW - 60 }), true),
        (json!({ "exp": NOW - 61 }), false),
        (json!({ "exp": NOW as f64 + 0.5 }), true),
        (json!({}), false),
        (json!({ "exp": "1800000000" }), false),
        (json!({ "exp": null }), false),
        (json!({ "exp": -1 }), false),
        (json!({ "exp": NOW + 180, "iat": NOW + 60 }), true),
        (json!({ "exp": NOW + 180, "iat": NOW + 61 }), false),
        (json!({ "exp": NOW + 180, "iat": "soon" }), false),
        (json!({ "exp": NOW + 180, "nbf": NOW + 61 }), false),
        (json!({ "exp": NOW + 180, "aud": "whoever" }), true),
    ] {
        assert_eq!(bearer(&claims), holds, "{claims}");
    }
}

#[test]
fn only_hs256_signs() {
    let claims = json!({ "exp": NOW + 180 });
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let key = EncodingKey::from_secret(b"client-secret");
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
        let header = format!("Bearer {token}");
        let verdict = verify(&request(TARGET, &[("authorization", &header)], BODY));
        assert!(matches!(verdict, Err(TurnedAway::Forged(_))), "{algorithm:?}");
    }
}

#[test]
fn a_connect_token_needs_every_one_of_its_claims() {
    for missing in ["iss", "iat", "exp", "qsh"] {
        let mut claims = connect_claims(TARGET);
        claims.as_object_mut().unwrap().remove(missing);
        let header = format!("JWT {}", token(&claims, "shared-secret"));
        let verdict = verify(&request(TARGET, &[("authorization", &header)], BODY));
        assert!(matches!(verdict, Err(TurnedAway::Forged(_))), "without {missing}");
    }
    let mut claims = connect_claims(TARGET);
    claims["qsh"] = "context-qsh".into();
    let header = format!("JWT {}", token(&claims, "shared-secret"));
    assert!(
        verify(&request(TARGET, &[("authorization", &header)], BODY)).is_err(),
        "a browser's token is no webhook's"
    );
}

#[test]
fn a_connect_token_of_another_installation_is_refused_where_the_client_key_is_configured() {
    let header = format!("JWT {}", token(&connect_claims(TARGET), "shared-secret"));
    for (key, good) in [(None, true), (Some("client-key"), true), (Some("another"), false)] {
        let proofs = JiraProofs {
            connect_client_key: key.map(str::to_owned),
            ..proofs()
        };
        let door = JiraDoor::new(proofs, None);
        let verdict = door.verify(&request(TARGET, &[("authorization", &header)], BODY), now());
        assert_eq!(verdict.is_ok(), good, "{key:?}: {verdict:?}");
    }
}

#[test]
fn what_is_not_configured_proves_nothing_not_even_when_empty() {
    let closed = [
        JiraProofs::default(),
        JiraProofs {
            webhook_secrets: vec!["".into()],
            oauth_client_secret: Some("".into()),
            connect_shared_secret: Some("".into()),
            connect_client_key: None,
            connect_base_path: String::new(),
            automation_secret: Some("".into()),
        },
    ];
    let bearer = format!("Bearer {}", token(&json!({ "exp": NOW + 180 }), ""));
    let mut claims = connect_claims(TARGET);
    claims["qsh"] = query_string_hash("POST", TARGET, "").into();
    let connect = format!("JWT {}", token(&claims, ""));
    let signed = signature("", BODY);
    for proofs in closed {
        assert!(!proofs.any());
        let door = JiraDoor::new(proofs, None);
        for header in [
            ("x-hub-signature", signed.as_str()),
            ("authorization", &bearer),
            ("authorization", &connect),
            ("x-automation-webhook-token", ""),
        ] {
            let verdict = door.verify(&request(TARGET, &[header], BODY), now());
            assert!(matches!(verdict, Err(TurnedAway::Forged(_))), "{header:?}: {verdict:?}");
        }
    }
    assert!(proofs().any());
}

#[test]
fn proof_comes_before_the_content_type_and_only_json_is_taken() {
    let signed = signature("new-secret", BODY);
    let with_type = |kind: Option<&str>, signature: &str| {
        let mut request = request(TARGET, &[("x-hub-signature", signature)], BODY);
        request.headers.retain(|(name, _)| name != "content-type");
        if let Some(kind) = kind {
            request.headers.push(("content-type".into(), kind.into()));
        }
        verify(&request)
    };
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some(""),
    ] {
        assert!(
            matches!(with_type(kind, &signed), Err(TurnedAway::UnsupportedType(_))),
            "{kind:?}"
        );
        assert!(
            matches!(with_type(kind, "sha256=00"), Err(TurnedAway::Forged(_))),
            "{kind:?}"
        );
    }
    assert!(with_type(Some("Application/JSON"), &signed).is_ok());
}

#[test]
fn refusals_and_debug_output_tell_no_secret() {
    let text = format!("{:?}", JiraDoor::new(proofs(), None));
    let refusal = verify(&request(TARGET, &[("x-automation-webhook-token", "tried-this")], BODY));
    let text = format!("{text}{refusal:?}");
    for secret in [
        "new-secret",
        "client-secret",
        "shared-secret",
        "automation-secret",
        "tried-this",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn odd_event_names_do_not_reach_lists() {
    let kind = |body: &str| {
        verify(&request(
            TARGET,
            &[("x-hub-signature", &signature("new-secret", body))],
            body,
        ))
        .unwrap()
        .kind
    };
    assert_eq!(kind(r#"{"webhookEvent":"comment_created"}"#), "comment_created");
    assert_eq!(kind(r#"{"webhookEvent":"<b>\n"}"#), "other");
    assert_eq!(kind(r#"{"webhookEvent":7}"#), "unreadable");
    assert_eq!(kind("[1,"), "unreadable");
}
