//! Challenges of the gateway: each is good for one request, also across a restart.

use anyhow::Context;

use super::Store;
use super::rows::sql;

/// What came of using a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUse {
    /// It was ours, in time and unused; it is used now.
    Fresh,
    /// It was used before.
    Used,
    /// It was ours, but its time is over.
    Expired,
    /// It was never given out, or so long ago that it is forgotten.
    Unknown,
}

impl Store {
    /// Remembers a challenge until `expires_at` unix seconds, and forgets those that ended an hour ago.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn give_nonce(&self, nonce: &str, expires_at: u64) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("delete from gateway_nonces where expires_at < $1")
            .bind(sql(expires_at)?.saturating_sub(3600))
            .execute(&mut *tx)
            .await
            .context("failed to forget old challenges")?;
        sqlx::query("insert into gateway_nonces (nonce, expires_at) values ($1, $2)")
            .bind(nonce)
            .bind(sql(expires_at)?)
            .execute(&mut *tx)
            .await
            .context("failed to remember a challenge")?;
        tx.commit().await.context("failed to remember a challenge")
    }

    /// Uses a challenge up at `now` unix seconds. Of two that try at once, one is [`NonceUse::Fresh`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn use_nonce(&self, nonce: &str, now: u64) -> anyhow::Result<NonceUse> {
        let claimed = sqlx::query(
            "update gateway_nonces set used_at = $2 where nonce = $1 and used_at is null and expires_at >= $2",
        )
        .bind(nonce)
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .context("failed to use a challenge")?;
        if claimed.rows_affected() == 1 {
            return Ok(NonceUse::Fresh);
        }
        let row: Option<(Option<i64>,)> =
            sqlx::query_as("select used_at from gateway_nonces where nonce = $1")
                .bind(nonce)
                .fetch_optional(&self.reader)
                .await
                .context("failed to look up a challenge")?;
        Ok(match row {
            None => NonceUse::Unknown,
            Some((Some(_),)) => NonceUse::Used,
            Some((None,)) => NonceUse::Expired,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_challenge_is_good_once_and_in_time() {
        let store = Store::in_memory().await.expect("opens");
        store.give_nonce("a", 1000).await.expect("given");
        store.give_nonce("b", 1000).await.expect("given");
        assert_eq!(store.use_nonce("a", 1000).await.expect("asked"), NonceUse::Fresh);
        assert_eq!(store.use_nonce("a", 1000).await.expect("asked"), NonceUse::Used);
        assert_eq!(store.use_nonce("b", 1001).await.expect("asked"), NonceUse::Expired);
        assert_eq!(store.use_nonce("c", 1000).await.expect("asked"), NonceUse::Unknown);
        store.give_nonce("d", 5000).await.expect("given");
        assert_eq!(store.use_nonce("a", 5000).await.expect("asked"), NonceUse::Unknown);
    }
}
