//! Hints between processes on one PostgreSQL database: a listening connection of its own, and `NOTIFY`.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::lent::{Server, in_time};

/// The channel of the hints.
const CHANNEL: &str = "stepherd";

/// Hints to others go out at most this often.
const SPACING: Duration = Duration::from_millis(10);

/// After a lost connection.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Passes hints on, both ways, until it is dropped.
pub(super) async fn relay(server: &Arc<Server>, ours: &Notify, wake: &(impl Fn() + Send + Sync)) {
    loop {
        if let Err(error) = relay_once(server, ours, wake).await {
            tracing::warn!(%error, "hints from other processes do not come now; polling goes on");
        }
        sleep(RECONNECT_AFTER).await;
    }
}

async fn relay_once(server: &Arc<Server>, ours: &Notify, wake: &(impl Fn() + Send + Sync)) -> sqlx::Result<()> {
    let limit = server.limits.verb;
    let pool = server.listening();
    let mut listener = PgListener::connect_with(&pool).await?;
    // What is lost is made anew here, where it is said.
    listener.eager_reconnect(false);
    in_time(limit, listener.listen(CHANNEL)).await?;
    let notify = format!("NOTIFY {CHANNEL}");
    loop {
        tokio::select! {
            heard = listener.try_recv() => match heard? {
                Some(_) => wake(),
                // What was said meanwhile is found by looking.
                None => {
                    wake();
                    return Ok(());
                }
            },
            () = ours.notified() => {
                in_time(limit, listener.execute(AssertSqlSafe(notify.clone()))).await?;
                sleep(SPACING).await;
            }
            // A connection on which nothing is heard looks the same whether nobody speaks or it is dead: it is asked.
            () = sleep(limit * 2) => {
                in_time(limit, listener.execute("SELECT 1")).await?;
            }
        }
    }
}
