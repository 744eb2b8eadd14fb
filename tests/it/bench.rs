//! The benchmark, as somebody runs it who has just built the program, small and short. How fast anything is says
//! nothing here: what is asserted is that everything is measured and nothing is lost or done twice.

use std::process::Command;

use serde_json::Value;

use super::postgres::Database;

const ROWS: [&str; 23] = [
    "ingest: durable against bare",
    "ingest: processor time each",
    "ingest: time to the answer",
    "ingest: not read by the engine at the end",
    "ingest: door and store alone",
    "answer: p50 idle",
    "answer: p99 at 10/s",
    "watch: 150 runs, processor time a look",
    "watch: a look among 150 against 150",
    "watch: 150 runs, lateness p99",
    "watch: 150 runs, memory",
    "watch: writes for unchanged observations",
    "restart: first webhook accepted",
    "restart: every overdue run claimed",
    "restart: every overdue run looked at",
    "idle: start to listening",
    "idle: memory",
    "idle: processor",
    "growth: database",
    "growth: ingest, slower by",
    "growth: status of a run, slower by",
    "growth: list of runs, slower by",
    "growth: list of live runs, slower by",
];

/// Runs it in a folder of its own; what it printed.
fn bench(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_stepherd"))
        .args(["bench", "--quick", "--json"])
        .args(args)
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .env(
            "STEPHERD__SERVER__LISTEN",
            "this would be refused if the benchmark looked at it",
        )
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"));
    assert_eq!(told["wrong"], serde_json::json!([]), "{err}");
    assert!(ran.status.success(), "{err}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it tidies up after itself"
    );
    told
}

fn rows(told: &Value) -> Vec<String> {
    let rows = told["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            format!(
                "{}: {}",
                row["section"].as_str().unwrap(),
                row["measurement"].as_str().unwrap()
            )
        })
        .collect()
}

fn number(told: &Value, measurement: &str, name: &str) -> f64 {
    let rows = told["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["measurement"] == measurement);
    row.and_then(|row| row["numbers"][name].as_f64())
        .unwrap_or_else(|| panic!("{measurement} has no {name}: {told:#}"))
}

#[test]
fn everything_is_measured_and_nothing_is_lost() {
    let told = bench(&[]);
    assert_eq!(rows(&told), ROWS);
    assert!(number(&told, "durable against bare", "per_s") > 0.0);
    assert_eq!(number(&told, "p50 idle", "answered"), 5.0);
    assert_eq!(number(&told, "p99 at 10/s", "answered"), 10.0);
    assert!(number(&told, "150 runs, processor time a look", "looks") >= 150.0);
    assert_eq!(number(&told, "writes for unchanged observations", "writes"), 0.0);
    let verdicts = told["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["meets"].is_boolean());
    assert_eq!(verdicts.count(), 17, "each aim has a verdict: {told:#}");
}

#[tokio::test]
async fn postgres_is_measured_too_in_a_database_that_is_dropped() {
    let database = Database::new().await;
    let url = database.url.clone();
    let told = tokio::task::spawn_blocking(move || bench(&["--database", &url, "ingest", "answer", "watch"])).await;
    let told = told.unwrap();
    assert_eq!(rows(&told), ROWS[..12]);
    assert!(told["machine"].as_str().unwrap().contains("PostgreSQL"), "{told:#}");
    let left: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'stepherd_bench_%'")
            .fetch_all(&mut database.by_hand().await)
            .await
            .unwrap();
    assert_eq!(left, Vec::<String>::new());
    database.drop().await;
}
