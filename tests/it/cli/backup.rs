//! `backup` and `restored`: a copy is made while the server runs, and a restored one is told that it is.

use serde_json::json;

use super::kit::Folder;
use crate::postgres::Database;

#[test]
fn a_running_server_is_backed_up_and_the_copy_is_served() {
    let mut folder = Folder::with_github();
    let server = folder.serve();
    let said = folder.run(&["backup", "monday.db"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(
        said.out.starts_with("Wrote monday.db: ")
            && said.out.contains(&format!(
                "a copy of SQLite with 0 runs (0 live) and 0 deliveries to be dealt with, schema {}",
                newest_schema()
            )),
        "{}",
        said.out
    );
    let again = folder.run(&["backup", "monday.db"]);
    assert_eq!((again.code, again.out.as_str()), (Some(1), ""));
    assert!(again.err.contains("monday.db is there already"), "{}", again.err);
    let json = folder.run(&["backup", "tuesday.db", "--json"]).json();
    assert_eq!(
        (&json["file"], &json["engine"], &json["runs"], &json["schema"]),
        (
            &json!("tuesday.db"),
            &json!("SQLite"),
            &json!(0),
            &json!(newest_schema())
        )
    );
    let bytes = std::fs::metadata(folder.path("tuesday.db")).unwrap().len();
    assert_eq!(json["bytes"], json!(bytes));
    drop(server);
    folder.set("DATABASE__URL", "sqlite:monday.db");
    // It had looked at GitHub before it was backed up, and so will see again what came after.
    looked_at_github(&folder.path("monday.db"));
    let told = folder.run(&["restored"]);
    assert!(
        told.out
            .contains("github: what was said since 2026-11-01T00:00:00Z is looked for")
            && told.out.contains("commands from then are obeyed again"),
        "{}",
        told.out
    );
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(
        told.out.contains("everything is looked for before it is done"),
        "{}",
        told.out
    );
    folder.serve();
}

/// The number of the newest migration.
fn newest_schema() -> u64 {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations/sqlite");
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let numbers = names.filter_map(|name| name.to_str()?.split_once('_')?.0.parse().ok());
    numbers.max().unwrap()
}

fn looked_at_github(file: &std::path::Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let looked = "INSERT OR REPLACE INTO cursors (name, value, due, epoch)
        VALUES ('repair:github', '2026-11-01T00:00:00Z', 0, 1)";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::Executor::execute(&mut conn, looked).await.unwrap();
        sqlx::Connection::close(conn).await.unwrap();
    });
}

#[tokio::test]
async fn without_pg_dump_the_command_to_run_is_said_without_the_password() {
    let database = Database::new().await;
    database.store().await.close().await;
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let mut folder = Folder::new();
    folder.set("DATABASE__URL", url.as_str());
    let made = folder.run(&["backup", "x.dump"]);
    assert!(made.out.contains("a copy of PostgreSQL with 0 runs"), "{made:?}");
    let empty = folder.path("config").display().to_string();
    folder.env.insert("PATH".to_owned(), empty);
    let away = folder.run(&["backup", "y.dump"]);
    assert_eq!((away.code, away.out.as_str()), (Some(1), ""), "{away:?}");
    assert!(
        away.err.contains("pg_dump, which is not installed here"),
        "{}",
        away.err
    );
    assert!(
        away.err.contains("PGPASSWORD=… pg_dump --format=custom --host="),
        "{}",
        away.err
    );
    for ran in [made, away] {
        assert!(!ran.err.contains("hunter2") && !ran.out.contains("hunter2"), "{ran:?}");
    }
    assert!(!folder.path("y.dump").exists());
    database.drop().await;
}

#[test]
fn a_database_that_was_never_made_is_not_made_by_a_backup() {
    let folder = Folder::new();
    let refused = folder.run(&["backup", "x.db"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("there is no database at stepherd.db"),
        "{}",
        refused.err
    );
    assert!(!folder.path("stepherd.db").exists() && !folder.path("x.db").exists());
}
