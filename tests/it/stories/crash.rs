//! stepherd dies without a word and another one starts on the same database: no accepted command is lost, and nothing
//! is done twice. It dies at every point of a story at which a database or the world can have changed, and each time
//! the story must end as if it had not.

mod points;
mod tale;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use stepherd::sandbox::town::REPO;
use stepherd::store::{Gate, Point, StoreError};
use tokio::sync::OnceCell;

use super::scene::at;
use crate::postgres::Database;
use crate::world::{TestClock, World};
use points::Harm;
use tale::Tale;

/// More points than any story has.
const POINTS_MAX: usize = 5000;
/// Fewer points than the story has: a count that stops here has not counted.
const POINTS_MIN: usize = 100;
/// Tries every point of everything. Without it a few points are spread over the story: a death at every seventeenth, an
/// error of the database at every seventeenth commit, and on PostgreSQL, where each tale makes a database, a death at
/// every 149th point and an error at every 149th side of a commit.
const ALL: &str = "STEPHERD_CRASH_ALL";

#[tokio::test]
async fn a_command_that_is_durable_survives_the_crash_before_anybody_read_it() {
    let world = World::new().await;
    let (number, head) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    assert!(world.deliver().await);
    let world = world.restart().await;
    world.settle().await;
    let run = world.run().await;
    assert_eq!(at(&run), "Sync 1");
    assert_eq!(run.subject.pinned.expect("pinned").head.as_str(), head);
}

#[tokio::test]
async fn what_was_decided_is_done_although_who_decided_it_died() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    world.intake().await;
    assert_eq!(at(&world.run().await), "HistoryUpdate 1");
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1);
    let world = world.restart().await;
    world.settle().await;
    assert_eq!(at(&world.run().await), "Sync 1");
    assert_eq!(world.messages(number)[0].reactions, ["stepherd[bot]:eyes"]);
}

/// How the story ends when nothing happens to stepherd.
async fn untouched() -> &'static str {
    static END: OnceCell<String> = OnceCell::const_new();
    END.get_or_init(|| async {
        let end = Tale::new(Harm::None, None).await.told().await;
        assert!(end.contains("Some(\"Done\") after 2 moves"), "{end}");
        end
    })
    .await
}

/// Tells the story with this harm: it must end as the untouched one. Where the harm was done, if it was.
async fn told_with(harm: Harm, database: Option<&str>) -> Option<String> {
    let expected = untouched().await;
    let mut tale = Tale::new(harm, database).await;
    let seen = tale.told().await;
    let struck = tale.struck();
    assert!(
        seen == expected,
        "{harm:?}, {struck:?}:\n{}",
        difference(expected, &seen)
    );
    struck
}

/// Tells the story with a harm at the first of these points, at the next one and so on, until one is told untouched.
async fn at_points(points: impl Iterator<Item = usize>, harm: fn(usize) -> Harm) {
    for point in points.take_while(|point| *point < POINTS_MAX) {
        if told_with(harm(point), None).await.is_none() {
            assert!(point > POINTS_MIN, "the story has more to it than {point} points");
            return;
        }
    }
    panic!("the story never ends");
}

async fn on_postgres(points: impl Iterator<Item = usize>, harm: fn(usize) -> Harm) {
    for point in points.take_while(|point| *point < POINTS_MAX) {
        let database = Database::new().await;
        database.store().await.close().await;
        let struck = told_with(harm(point), Some(&database.url)).await;
        database.drop().await;
        if struck.is_none() {
            assert!(point > POINTS_MIN, "the story has more to it than {point} points");
            return;
        }
    }
    panic!("the story never ends");
}

/// The lines that only one of them has.
fn difference(expected: &str, seen: &str) -> String {
    let only = |of: &str, not: &str, mark: char| -> Vec<String> {
        let lines: Vec<&str> = not.lines().collect();
        let missing = of.lines().filter(|line| !lines.contains(line));
        missing.map(|line| format!("{mark}{line}")).collect()
    };
    let mut lines = only(expected, seen, '-');
    lines.extend(only(seen, expected, '+'));
    format!("{}\n\n{seen}", lines.join("\n"))
}

#[tokio::test]
async fn the_story_passes_every_kind_of_point() {
    let mut tale = Tale::new(Harm::None, None).await;
    tale.told().await;
    let passed: BTreeSet<String> = tale.passed().into_iter().collect();
    let has = |name: &str| passed.iter().any(|passed| passed.starts_with(name));
    for name in [
        "record_delivery BeforeCommit",
        "claim_deliveries AfterCommit",
        "commit BeforeCommit",
        "commit AfterCommit",
        "settle_delivery AfterCommit",
        "claim_effects AfterCommit",
        "record_sent AfterCommit",
        "settle_effect BeforeCommit",
        "hold_shards AfterCommit",
        "POST /repos/acme/deployment/git/refs arrives",
        "POST /repos/acme/deployment/pulls leaves",
        "PUT /repos/acme/deployment/pulls/1/merge leaves",
        "POST /repos/acme/deployment/issues/1/comments leaves",
        "POST /repos/acme/deployment/check-runs leaves",
        "GET /rest/api/3/issue/SREPROV-3072/transitions arrives",
        "POST /rest/api/3/issue/SREPROV-3072/transitions leaves",
        "POST /rest/api/3/issue/SREPROV-3072/comment leaves",
    ] {
        assert!(has(name), "{name} is not among\n{passed:#?}");
    }
    for part in [
        "/messages leaves",
        "/threads leaves",
        "/rebuild leaves",
        "/reactions leaves",
    ] {
        assert!(
            passed.iter().any(|passed| passed.ends_with(part)),
            "{part}: {passed:#?}"
        );
    }
}

/// From this point on every so many points. If all are asked for, every so many of all instead, which the tests share
/// among themselves.
fn some(first: usize, step: usize, step_of_all: usize) -> impl Iterator<Item = usize> {
    if std::env::var_os(ALL).is_some() {
        ((first - 1) % step_of_all + 1..).step_by(step_of_all)
    } else {
        (first..).step_by(step)
    }
}

macro_rules! parts {
    ($($name:ident: $how:ident, $points:expr, $harm:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            $how($points, $harm).await;
        })*
    };
}

// Every point belongs to one of four tests, which may run side by side.
parts! {
    a_death_at_any_point_changes_nothing_that_people_see_part_1: at_points, some(1, 68, 4), Harm::Death;
    a_death_at_any_point_changes_nothing_that_people_see_part_2: at_points, some(18, 68, 4), Harm::Death;
    a_death_at_any_point_changes_nothing_that_people_see_part_3: at_points, some(35, 68, 4), Harm::Death;
    a_death_at_any_point_changes_nothing_that_people_see_part_4: at_points, some(52, 68, 4), Harm::Death;
    an_error_of_the_database_before_a_commit_changes_nothing_that_people_see:
        at_points, some(1, 34, 2), Harm::StoreFails;
    an_error_of_the_database_after_a_commit_changes_nothing_that_people_see:
        at_points, some(2, 34, 2), Harm::StoreFails;
    a_death_on_postgres_changes_nothing_that_people_see: on_postgres, some(5, 149, 1), Harm::Death;
    an_error_of_postgres_changes_nothing_that_people_see: on_postgres, some(6, 149, 1), Harm::StoreFails;
}

#[tokio::test]
async fn every_effect_is_done_twice_on_purpose_and_shows_once() {
    let struck = told_with(Harm::AnswersLost, None).await;
    assert!(struck.is_some());
}

#[tokio::test]
async fn every_change_is_refused_once_and_works_the_second_time() {
    let struck = told_with(Harm::ChangesRefused, None).await;
    assert!(struck.is_some());
}

#[tokio::test]
async fn every_look_is_refused_once_and_works_the_second_time() {
    let struck = told_with(Harm::LooksRefused, None).await;
    assert!(struck.is_some());
}

/// Lets a heartbeat become due in the middle of a commit.
#[derive(Default)]
struct SlowCommit(OnceLock<Arc<TestClock>>);

#[async_trait]
impl Gate for SlowCommit {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if let Some(clock) = self
            .0
            .get()
            .filter(|_| verb == "settle_delivery" && point == Point::BeforeCommit)
        {
            clock.advance(Duration::from_secs(4));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_heartbeat_in_the_middle_of_a_commit_does_not_keep_it_waiting() {
    let gate = Arc::new(SlowCommit::default());
    let world = World::gated(|_| {}, None, gate.clone()).await;
    world.open_pull("wish");
    world.deliver().await;
    let _ = gate.0.set(world.clock.clone());
    // Far less than the store waits for a connection that never comes.
    let taken = tokio::time::timeout(Duration::from_secs(5), world.intake()).await;
    assert_eq!(taken, Ok(1));
}
