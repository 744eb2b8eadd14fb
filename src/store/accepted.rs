//! What has taken effect already, by the keys of commits.

use super::sql::sql;
use super::{Store, StoreError};

impl Store {
    /// Whether a commit was made with this key.
    pub async fn accepted(&self, key: &str) -> Result<bool, StoreError> {
        let (found,): (i64,) = sql("SELECT COUNT(*) FROM accepted WHERE key = $1")
            .bind(key)
            .one(&mut self.read().await?)
            .await?;
        Ok(found > 0)
    }

    /// Whether a commit was made whose key begins with this, which ends in `:`.
    pub async fn accepted_within(&self, prefix: &str) -> Result<bool, StoreError> {
        debug_assert!(prefix.ends_with(':'), "a key's part is whole");
        // The keys from `a:` up to, and without, `a;` are those that begin with `a:`.
        let end = format!("{};", prefix.strip_suffix(':').unwrap_or(prefix));
        let (found,): (i64,) =
            sql("SELECT COUNT(*) FROM (SELECT 1 FROM accepted WHERE key >= $1 AND key < $2 LIMIT 1) AS one")
                .bind(prefix)
                .bind(end)
                .one(&mut self.read().await?)
                .await?;
        Ok(found > 0)
    }
}
