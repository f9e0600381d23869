//! Values of secrets that manifests only name, sealed at rest.

use std::collections::BTreeMap;

use ::manifests::objects::SecretValue;
use ::manifests::order::LeaseId;
use anyhow::{Context, anyhow};
use sqlx::Row;

use super::Store;
use super::rows::sql;

fn place(lease: LeaseId, name: &str) -> String {
    format!("secret {name} of lease {lease}")
}

impl Store {
    /// Keeps values by their names, in place of older ones; all of them or none.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_secrets(
        &self,
        lease: LeaseId,
        values: &BTreeMap<String, SecretValue>,
        now: u64,
    ) -> anyhow::Result<()> {
        let failed = || format!("failed to store the secrets of lease {lease}");
        let mut transaction = self.begin().await?;
        for (name, value) in values {
            sqlx::query(
                "insert into lease_secrets (lease_id, name, sealed, received_at) values ($1, $2, $3, $4) \
                 on conflict (lease_id, name) do update set sealed = excluded.sealed, \
                 received_at = excluded.received_at",
            )
            .bind(lease.to_string())
            .bind(name)
            .bind(self.sealer.seal(&place(lease, name), &value.0)?)
            .bind(sql(now)?)
            .execute(&mut *transaction)
            .await
            .with_context(failed)?;
        }
        transaction.commit().await.with_context(failed)
    }

    /// The values that the tenant of a lease gave, by their names.
    ///
    /// # Errors
    /// When the database cannot be read, or a value cannot be decrypted.
    pub async fn secrets(&self, lease: LeaseId) -> anyhow::Result<BTreeMap<String, SecretValue>> {
        let rows = sqlx::query("select name, sealed from lease_secrets where lease_id = $1")
            .bind(lease.to_string())
            .fetch_all(&self.reader)
            .await
            .with_context(|| format!("failed to read the secrets of lease {lease}"))?;
        let open = |row: &sqlx::any::AnyRow| {
            let (name, sealed): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("sealed")?);
            let value = self.sealer.open(&place(lease, &name), &sealed).ok_or_else(|| {
                anyhow!("the secret {name} of lease {lease} does not open: it was changed behind our back")
            })?;
            Ok((name, SecretValue(value.to_vec())))
        };
        rows.iter().map(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use ::manifests::order::Address;

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretValue> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretValue(value.as_bytes().to_vec())))
            .collect()
    }

    #[tokio::test]
    async fn secrets_are_kept_sealed_one_by_one_and_go_with_the_manifest() {
        let store = Store::fresh().await.expect("opens");
        let lease = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        assert!(store.secrets(lease).await.expect("read").is_empty());
        store.put_secrets(lease, &values(&[("db", "hunter2"), ("api", "hunter3")]), 5).await.expect("stored");
        store.put_secrets(lease, &values(&[("db", "hunter4")]), 6).await.expect("stored");
        assert_eq!(
            store.secrets(lease).await.expect("read"),
            values(&[("db", "hunter4"), ("api", "hunter3")])
        );
        let other = LeaseId { dseq: 2, ..lease };
        assert!(store.secrets(other).await.expect("read").is_empty());

        let raw: Vec<(Vec<u8>,)> =
            sqlx::query_as("select sealed from lease_secrets").fetch_all(&store.reader).await.expect("read");
        assert!(raw.iter().all(|(raw,)| !raw.windows(6).any(|window| window == b"hunter")));
        // A value that was moved to another name is no value.
        sqlx::query("update lease_secrets set name = 'other' where name = 'db'")
            .execute(&store.writer)
            .await
            .expect("moved");
        let error = store.secrets(lease).await.expect_err("moved").to_string();
        assert!(error.contains("behind our back") && !error.contains("hunter"), "{error}");

        store.forget_entrusted(lease).await.expect("forgotten");
        assert!(store.secrets(lease).await.expect("read").is_empty());
    }
}
