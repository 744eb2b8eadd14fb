//! Everything that a database holds, in the clear, for tests that look for what must not be there.

use std::path::Path;

use sqlx::{Connection as _, Row as _, SqliteConnection};
use stepherd::store::Store;

/// Columns that are packed, and are read unpacked by the store's own verbs below.
const PACKED: [(&str, &str); 1] = [("bundles", "body")];

/// What stands where: every value of every table, every delivery as the store unpacks it, and the raw files, which also
/// hold what was deleted.
pub async fn everything(database: &str) -> Vec<(String, String)> {
    let mut all = rows(database).await;
    let store = Store::open(database).await.unwrap();
    for delivery in store.deliveries(None, 10_000).await.unwrap() {
        let (_, whole) = store.delivery_by_seq(delivery.seq).await.unwrap().unwrap();
        let place = format!("delivery {} of {}", delivery.delivery_id, whole.platform);
        all.push((format!("the target of {place}"), whole.target));
        for (name, value) in whole.headers {
            all.push((format!("a header of {place}"), format!("{name}: {value}")));
        }
        all.push((
            format!("the body of {place}"),
            String::from_utf8_lossy(&whole.body).into_owned(),
        ));
    }
    store.close().await;
    let path = Path::new(database.trim_start_matches("sqlite:"));
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with(&name) {
            let bytes = std::fs::read(file.path()).unwrap();
            all.push((format!("{file:?}"), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    let bytes: usize = all.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes > 10_000, "there is something to look through");
    all
}

async fn rows(database: &str) -> Vec<(String, String)> {
    let mut other = SqliteConnection::connect(database).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    )
    .fetch_all(&mut other)
    .await
    .unwrap();
    let mut all = Vec::new();
    for (table, column) in columns {
        let values = sqlx::AssertSqlSafe(format!(
            r#"SELECT typeof("{column}"), CAST("{column}" AS BLOB) FROM "{table}" WHERE "{column}" IS NOT NULL"#
        ));
        for row in sqlx::query(values).fetch_all(&mut other).await.unwrap() {
            let packed = row.get::<String, _>(0) == "blob" && table != "_sqlx_migrations";
            let known = PACKED.contains(&(table.as_str(), column.as_str()));
            assert!(!packed || known, "nothing here can read {table}.{column}");
            let value = row.get::<Vec<u8>, _>(1);
            all.push((
                format!("{table}.{column}"),
                String::from_utf8_lossy(&value).into_owned(),
            ));
        }
    }
    all
}
