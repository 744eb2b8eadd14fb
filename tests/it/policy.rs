//! Who may: deny by default, unknown is no.

use proptest::prelude::*;
use stepherd::domain::ids::RoleName;
use stepherd::domain::places::ControlPlace;
use stepherd::domain::policy::{
    Answer, Grant, Level, Lookup, People, Permission, SamePerson, judge, lookups, person_of, same_person,
};
use stepherd::domain::signal::{Account, Actor, ActorKind};

fn account(text: &str) -> Account {
    let (platform, id) = text.split_once(':').expect("platform:id");
    Account {
        platform: platform.parse().expect("a platform"),
        id: id.to_owned(),
    }
}

fn actor(text: &str) -> Actor {
    Actor {
        account: account(text),
        name: "ada".to_owned(),
        kind: ActorKind::Human,
        roles: Vec::new(),
        insider: false,
    }
}

fn role(name: &str) -> RoleName {
    name.parse().expect("a role")
}

fn needed(names: &[&str]) -> Vec<RoleName> {
    names.iter().map(|name| role(name)).collect()
}

fn team() -> Grant {
    Grant::Group {
        platform: "github".parse().expect("a platform"),
        group: "acme/ops".to_owned(),
    }
}

fn jira_group() -> Grant {
    Grant::Group {
        platform: "jira".parse().expect("a platform"),
        group: "ops".to_owned(),
    }
}

fn writers() -> Grant {
    Grant::Repository {
        platform: "github".parse().expect("a platform"),
        repo: "acme/deploy".parse().expect("a repository"),
        at_least: Level::Write,
    }
}

/// Ada has an account on three platforms, Bob on one; roles by every kind of grant.
fn people() -> People {
    let person = |name: &str, accounts: &[&str]| {
        (
            name.parse().expect("a person"),
            accounts.iter().map(|text| account(text)).collect(),
        )
    };
    People {
        persons: [
            person("ada", &["github:1", "jira:a-1", "discord:11"]),
            person("bob", &["github:2"]),
        ]
        .into(),
        roles: [
            (role("owner"), vec![Grant::Person("ada".parse().expect("a person"))]),
            (role("pager"), vec![Grant::Account(account("github:3"))]),
            (role("linked"), vec![Grant::Account(account("jira:a-1"))]),
            (role("chat"), vec![Grant::PlatformRole(account("discord:r-9"))]),
            (role("ops"), vec![team(), jira_group()]),
            (role("writer"), vec![writers()]),
            (role("nobody"), vec![]),
        ]
        .into(),
        approving: [role("owner")].into(),
        shared: [account("jira:automation")].into(),
    }
}

fn may(actor: &Actor, roles: &[&str], answers: &[(Lookup, Answer)]) -> Option<String> {
    match judge(&people(), &needed(roles), actor, answers) {
        Permission::Granted { role, .. } => Some(role.to_string()),
        Permission::Refused { .. } => None,
    }
}

#[test]
fn accounts_are_one_persons_only_if_configuration_says_so() {
    use SamePerson::{No, Unknown, Yes};
    for (one, other, expected) in [
        // The same account, whoever's it is.
        ("github:1", "github:1", Yes),
        ("github:9", "github:9", Yes),
        // Linked to the same person.
        ("github:1", "jira:a-1", Yes),
        ("discord:11", "jira:a-1", Yes),
        // Linked to two persons, on the same platform or not.
        ("github:1", "github:2", No),
        ("jira:a-1", "github:2", No),
        // An account of nobody's is somebody of its own where the other has another account.
        ("github:9", "github:1", No),
        ("github:9", "jira:a-1", No),
        ("github:9", "github:8", No),
        // Elsewhere it could be anybody's.
        ("jira:9", "github:2", Unknown),
        ("jira:9", "github:9", Unknown),
        ("discord:9", "jira:9", Unknown),
        // Rules act for whoever set them off.
        ("jira:automation", "jira:9", Unknown),
        ("jira:automation", "jira:a-1", Unknown),
        ("jira:automation", "github:2", Unknown),
        ("jira:automation", "jira:automation", Yes),
    ] {
        let (one, other) = (account(one), account(other));
        assert_eq!(same_person(&people(), &one, &other), expected, "{one:?} {other:?}");
        assert_eq!(same_person(&people(), &other, &one), expected, "{other:?} {one:?}");
    }
}

fn lookup(text: &str, grant: Grant) -> Lookup {
    Lookup {
        account: account(text),
        grant,
    }
}

#[test]
fn what_configuration_says_settles_who_may() {
    for (who, roles, expected) in [
        // By person, whichever account acts.
        ("github:1", &["owner"] as &[&str], Some("owner")),
        ("jira:a-1", &["owner"], Some("owner")),
        ("discord:11", &["owner"], Some("owner")),
        ("github:2", &["owner"], None),
        // By account.
        ("github:3", &["pager"], Some("pager")),
        ("jira:3", &["pager"], None),
        ("github:1", &["pager"], None),
        // By a linked account.
        ("github:1", &["linked"], Some("linked")),
        ("discord:11", &["linked"], Some("linked")),
        ("github:2", &["linked"], None),
        // Any role suffices, and the one that holds is named.
        ("github:3", &["owner", "pager"], Some("pager")),
        // Deny by default.
        ("github:1", &[], None),
        ("github:1", &["nobody"], None),
        ("github:1", &["unheard-of"], None),
        (
            "github:99",
            &["owner", "pager", "linked", "chat", "ops", "writer", "nobody"],
            None,
        ),
        // An id is only an id on its own platform.
        ("discord:1", &["owner"], None),
        ("slack:1", &["owner"], None),
    ] {
        assert_eq!(may(&actor(who), roles, &[]).as_deref(), expected, "{who} {roles:?}");
    }
}

#[test]
fn a_platform_role_counts_only_from_the_payload_of_its_platform() {
    let with = |who: &str, roles: &[&str]| Actor {
        roles: roles.iter().map(|id| (*id).to_owned()).collect(),
        ..actor(who)
    };
    assert_eq!(
        may(&with("discord:77", &["r-1", "r-9"]), &["chat"], &[]).as_deref(),
        Some("chat")
    );
    assert_eq!(may(&with("discord:77", &["r-1"]), &["chat"], &[]), None);
    assert_eq!(may(&with("discord:77", &["discord:r-9"]), &["chat"], &[]), None);
    assert_eq!(may(&with("github:77", &["r-9"]), &["chat"], &[]), None);
    // Not even for a person with a Discord account, when acting from elsewhere.
    assert_eq!(may(&with("github:1", &["r-9"]), &["chat"], &[]), None);
}

#[test]
fn bots_and_stepherd_itself_never_may() {
    for kind in [ActorKind::Bot, ActorKind::Ours] {
        let bot = Actor {
            kind,
            roles: vec!["r-9".to_owned()],
            ..actor("github:1")
        };
        let all = ["owner", "linked", "chat", "ops", "writer"];
        let answers = [
            (lookup("github:1", team()), Answer::Yes),
            (lookup("github:1", writers()), Answer::Yes),
        ];
        assert_eq!(may(&bot, &all, &answers), None, "{kind:?}");
        assert!(
            matches!(judge(&people(), &needed(&all), &bot, &answers), Permission::Refused { missing, .. } if missing.len() == all.len())
        );
    }
}

#[test]
fn a_platforms_answer_counts_only_for_what_was_asked() {
    let ada = actor("github:1");
    for (asked, answer, roles, expected) in [
        (
            lookup("github:1", team()),
            Answer::Yes,
            &["ops"] as &[&str],
            Some("ops"),
        ),
        (lookup("github:1", team()), Answer::No, &["ops"], None),
        (
            lookup("github:1", team()),
            Answer::Unknown("timeout".to_owned()),
            &["ops"],
            None,
        ),
        (lookup("github:1", writers()), Answer::Yes, &["writer"], Some("writer")),
        // A linked account's answer is as good.
        (lookup("jira:a-1", jira_group()), Answer::Yes, &["ops"], Some("ops")),
        // Somebody else's is not.
        (lookup("github:2", team()), Answer::Yes, &["ops"], None),
        (lookup("jira:b-2", jira_group()), Answer::Yes, &["ops"], None),
        // Nor is another question's.
        (lookup("github:1", team()), Answer::Yes, &["writer"], None),
        (lookup("github:1", writers()), Answer::Yes, &["ops"], None),
        (lookup("github:1", team()), Answer::Yes, &["owner-of-nothing"], None),
    ] {
        let answers = [(asked, answer)];
        assert_eq!(may(&ada, roles, &answers).as_deref(), expected, "{answers:?} {roles:?}");
    }
}

#[test]
fn a_lesser_permission_level_is_another_question() {
    let reader = Grant::Repository {
        platform: "github".parse().expect("a platform"),
        repo: "acme/deploy".parse().expect("a repository"),
        at_least: Level::Read,
    };
    assert_eq!(
        may(
            &actor("github:1"),
            &["writer"],
            &[(lookup("github:1", reader), Answer::Yes)]
        ),
        None
    );
    assert!(Level::Read < Level::Triage && Level::Triage < Level::Write);
    assert!(Level::Write < Level::Maintain && Level::Maintain < Level::Admin);
}

#[test]
fn a_refusal_says_what_would_do_and_what_could_not_be_found_out() {
    let answers = [
        (
            lookup("github:2", team()),
            Answer::Unknown("GitHub did not answer".to_owned()),
        ),
        (lookup("github:2", writers()), Answer::No),
    ];
    let refused = judge(&people(), &needed(&["ops", "writer"]), &actor("github:2"), &answers);
    assert_eq!(
        refused,
        Permission::Refused {
            missing: needed(&["ops", "writer"]),
            unknown: vec!["GitHub did not answer".to_owned()],
        }
    );
}

#[test]
fn a_grant_names_the_person_and_the_role() {
    let granted = |who: &str, roles: &[&str]| judge(&people(), &needed(roles), &actor(who), &[]);
    assert_eq!(
        granted("jira:a-1", &["pager", "owner"]),
        Permission::Granted {
            person: Some("ada".parse().expect("a person")),
            role: role("owner"),
        }
    );
    assert_eq!(
        granted("github:3", &["pager"]),
        Permission::Granted {
            person: None,
            role: role("pager"),
        }
    );
    let all = people();
    assert_eq!(
        person_of(&all, &account("discord:11")).map(|name| name.as_str()),
        Some("ada")
    );
    assert_eq!(person_of(&all, &account("discord:1")), None);
}

#[test]
fn platforms_are_asked_only_when_nothing_else_settles_it() {
    for (who, roles, expected) in [
        // Settled by configuration: nobody is asked.
        ("github:1", &["owner"] as &[&str], vec![]),
        ("github:1", &["ops", "owner"], vec![]),
        ("github:3", &["pager", "writer"], vec![]),
        // Nothing to ask.
        ("github:1", &[], vec![]),
        ("github:1", &["nobody", "unheard-of", "chat"], vec![]),
        // On the platform where the person has an account, and only there.
        ("github:2", &["ops"], vec![lookup("github:2", team())]),
        (
            "github:1",
            &["ops"],
            vec![lookup("github:1", team()), lookup("jira:a-1", jira_group())],
        ),
        ("discord:11", &["writer"], vec![lookup("github:1", writers())]),
        ("jira:stranger", &["ops"], vec![lookup("jira:stranger", jira_group())]),
        ("discord:stranger", &["ops", "writer"], vec![]),
        // Once, however many roles want to know.
        ("github:2", &["writer", "writer"], vec![lookup("github:2", writers())]),
    ] {
        assert_eq!(
            lookups(&people(), &needed(roles), &actor(who)),
            expected,
            "{who} {roles:?}"
        );
    }
}

#[test]
fn nobody_is_asked_about_bots() {
    for kind in [ActorKind::Bot, ActorKind::Ours] {
        let bot = Actor {
            kind,
            ..actor("github:2")
        };
        // An answer could not change the judgement; asking would only spend the rate limit.
        assert_eq!(lookups(&people(), &needed(&["ops", "writer"]), &bot), []);
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Yes),
        Just(Answer::No),
        Just(Answer::Unknown("?".to_owned()))
    ]
}

proptest! {
    #[test]
    fn only_a_yes_to_a_question_that_was_asked_turns_a_no(
        who in prop::sample::select(vec!["github:1", "github:2", "github:3", "jira:a-1", "jira:x", "discord:11", "slack:1"]),
        roles in prop::sample::subsequence(vec!["owner", "pager", "linked", "chat", "ops", "writer", "nobody"], 0..7),
        answers in prop::collection::vec(answer(), 4),
    ) {
        let actor = actor(who);
        let asked = lookups(&people(), &needed(&roles), &actor);
        let without = may(&actor, &roles, &[]);
        let answered: Vec<_> = asked.iter().cloned().zip(answers).collect();
        let with = may(&actor, &roles, &answered);
        let yes = answered.iter().any(|(_, answer)| *answer == Answer::Yes);
        // A settled question is not asked; an open one is decided by the answers alone.
        prop_assert!(without.is_none() || asked.is_empty());
        prop_assert_eq!(with.is_some(), without.is_some() || yes);
    }
}

#[test]
fn a_control_place_holds_what_lies_within_it_on_its_own_platform() {
    let place = |platform: &str, path: &str| ControlPlace {
        platform: platform.parse().expect("a platform"),
        path: path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    let holds = |place: &ControlPlace, platform: &str, within: &[&str]| {
        let within: Vec<String> = within.iter().map(|part| (*part).to_owned()).collect();
        place.holds(&platform.parse().expect("a platform"), &within)
    };
    let all_of_acme = place("github", "acme");
    let one_channel = place("discord", "600/601");
    for (place, platform, within, is_held) in [
        (&all_of_acme, "github", &["acme", "deployment"][..], true),
        (&all_of_acme, "github", &["ACME", "deployment"], true),
        (&all_of_acme, "github", &["acme-evil", "deployment"], false),
        (&all_of_acme, "jira", &["acme"], false),
        (&all_of_acme, "github", &[], false),
        (&one_channel, "discord", &["600", "601", "a thread in it"], true),
        (&one_channel, "discord", &["600", "602"], false),
        (&one_channel, "discord", &["600"], false),
        (&place("github", ""), "github", &["acme"], false),
    ] {
        assert_eq!(holds(place, platform, within), is_held, "{place:?} {within:?}");
    }
}
