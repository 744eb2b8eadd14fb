//! What is shown to be copied is read as what was said.

use proptest::prelude::*;
use stepherd::domain::grammar::{Found, find, resolve, written};
use stepherd::domain::signal::Text;

use super::{commands, platform};

fn of(note: &str) -> Option<(String, Found)> {
    let args = [
        ("tenant".to_owned(), "comcast".to_owned()),
        ("farmers".to_owned(), "3".to_owned()),
        ("note".to_owned(), note.to_owned()),
    ];
    let found = resolve("dcr", "start", &args, &commands(), &platform("jira"))?;
    let Found::Invocation(said) = &found else { return None };
    Some((written(said), found))
}

fn read(line: &str) -> Vec<Found> {
    find(&Text::Lines(vec![line.to_owned()]), &commands(), &platform("jira"))
}

#[test]
fn what_stands_in_a_value_never_becomes_an_argument() {
    for (note, shown) in [
        ("short", "note=short"),
        ("a tenant=evil", "note=\"a tenant=evil\""),
        ("say \"hi\" tenant=evil", "note='say \"hi\" tenant=evil'"),
        ("“curled”", "note='“curled”'"),
        ("it's \"both\" tenant=evil", "note=…"),
    ] {
        let (line, _) = of(note).unwrap();
        assert!(line.contains(shown), "{line}");
        assert!(!line.contains("tenant=evil") || shown.contains("tenant=evil"), "{line}");
    }
}

proptest! {
    #[test]
    fn a_command_that_is_shown_is_read_as_itself(note in "[ a-z=/\"'“”„\u{a0}-]{1,20}|\\PC{1,12}") {
        let Some((line, said)) = of(&note) else { return Ok(()) };
        prop_assume!(!line.contains("note=…"));
        prop_assert_eq!(read(&line), vec![said], "{}", line);
    }
}
