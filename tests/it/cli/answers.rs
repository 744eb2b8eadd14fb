//! Help, mistakes and exit codes.

use super::kit::Folder;

const SUBCOMMANDS: [&[&str]; 14] = [
    &["serve"],
    &["demo"],
    &["check"],
    &["send"],
    &["runs", "list"],
    &["runs", "show"],
    &["deliveries", "list"],
    &["deliveries", "show"],
    &["deliveries", "replay"],
    &["effects", "list"],
    &["effects", "release"],
    &["commands", "list"],
    &["commands", "register"],
    &["runs"],
];

#[test]
fn help_shows_examples_and_every_subcommand_has_help_of_its_own() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Examples:\n  stepherd demo"), "{}", help.out);
    for subcommand in SUBCOMMANDS {
        assert!(help.out.contains(subcommand[0]), "{subcommand:?}");
        let its_own = folder.run(&[subcommand, &["--help"]].concat());
        assert_eq!(its_own.code, Some(0), "{subcommand:?}");
        assert!(
            its_own.out.contains("Usage: stepherd"),
            "{subcommand:?}: {}",
            its_own.out
        );
    }
    let version = folder.run(&["--version"]);
    assert_eq!(version.out.trim(), format!("stepherd {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_not_understood_ends_with_two_and_a_hint() {
    let folder = Folder::new();
    let table: [(&[&str], &str); 8] = [
        (&[], "Usage: stepherd"),
        (&["--colour"], "unexpected argument '--colour'"),
        (&["srve"], "a similar subcommand exists: 'serve'"),
        (&["check", "--jsn"], "a similar argument exists: '--json'"),
        (&["send", "slack", "x.json"], "[possible values: github, jira, discord]"),
        (
            &["runs", "list", "--ticket", "nonsense"],
            "a ticket key must be like SREPROV-3072",
        ),
        (&["deliveries", "show", "first"], "invalid digit"),
        (
            &["deliveries", "list", "--state", "lost"],
            "[possible values: pending, done, parked]",
        ),
    ];
    for (args, words) in table {
        let ran = folder.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
}

#[test]
fn the_commands_are_listed_and_their_registration_can_be_read_before_it_is_made() {
    let folder = Folder::new();
    let list = folder.run(&["commands", "list"]);
    assert_eq!(list.code, Some(0));
    assert!(
        list.out.contains("/dcr start") && list.out.contains("/provision answer"),
        "{}",
        list.out
    );
    let dry = folder.run(&["commands", "register", "--dry-run"]);
    assert_eq!(dry.code, Some(0));
    let registered = dry.json();
    let names: Vec<&str> = registered
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dcr", "provision"]);
    let real = folder.run(&["commands", "register"]);
    assert_eq!(real.code, Some(1));
    assert!(real.err.contains("discord has no application_id"), "{}", real.err);
}

#[test]
fn send_says_what_it_lacks() {
    let folder = Folder::new();
    let ping = folder.write("ping.json", r#"{"zen":"Design for failure."}"#);
    let ping = ping.to_str().unwrap();
    let unsigned = folder.run(&["send", "github", ping]);
    assert_eq!(unsigned.code, Some(1));
    assert!(
        unsigned.err.contains("github.webhook_secret is not configured"),
        "{}",
        unsigned.err
    );
    let folder = Folder::with_github();
    let odd = folder.write("odd.json", "{");
    let odd = folder.run(&["send", "github", odd.to_str().unwrap()]);
    assert_eq!((odd.code, odd.err.contains("not JSON")), (Some(2), true), "{odd:?}");
    let absent = folder.run(&["send", "github", "absent.json"]);
    assert_eq!(
        (absent.code, absent.err.contains("absent.json: No such file")),
        (Some(2), true),
        "{absent:?}"
    );
    let nobody = folder.run(&["send", "github", ping, "--url", "http://127.0.0.1:9"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.err.contains("Is `stepherd serve` running?"), "{}", nobody.err);
    let keyless = folder.run(&["send", "discord", ping]);
    assert_eq!(
        (keyless.code, keyless.err.contains("--key-file")),
        (Some(1), true),
        "{keyless:?}"
    );
    let nameless = folder.write("nameless.json", "{}");
    let nameless = folder.run(&["send", "github", nameless.to_str().unwrap()]);
    assert_eq!(
        (nameless.code, nameless.err.contains("--event")),
        (Some(1), true),
        "{nameless:?}"
    );
}
