//! Manifests as tenants sent them, sealed at rest.

use anyhow::{Context, anyhow};
use manifests::order::{Hash, LeaseId};
use zeroize::Zeroizing;

use super::Store;
use super::rows::{number, sql, text};
use crate::failpoint::{self, Point};

/// A manifest that was accepted for a lease.
pub struct StoredManifest {
    /// The lease it is for.
    pub lease: LeaseId,
    /// Its digest, equal to the one on chain when it was accepted.
    pub digest: Hash,
    /// Counts the manifests of this lease, from 1.
    pub revision: u64,
    /// What the gateway stored: env values and registry credentials are inside.
    pub body: Zeroizing<Vec<u8>>,
    /// Unix seconds.
    pub received_at: u64,
}

impl std::fmt::Debug for StoredManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lease, digest, revision, body: _, received_at } = self;
        write!(
            f,
            "StoredManifest {{ lease: {lease}, digest: {digest}, revision: {revision}, body: ***, received_at: {received_at} }}"
        )
    }
}

fn place(lease: LeaseId, digest: Hash) -> String {
    format!("manifest {digest} of lease {lease}")
}

impl Store {
    /// Keeps a manifest that was checked against the chain and the order's spec, in place of an older one, and returns its
    /// revision. The same digest again changes nothing unless the body differs (credentials are not part of the digest).
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_manifest(
        &self,
        lease: LeaseId,
        digest: Hash,
        body: &[u8],
        now: u64,
    ) -> anyhow::Result<u64> {
        if let Some(stored) = self.manifest(lease).await?
            && stored.digest == digest
            && stored.body.as_slice() == body
        {
            return Ok(stored.revision);
        }
        let sealed = self.sealer.seal(&place(lease, digest), body)?;
        let (revision,): (i64,) = sqlx::query_as(
            "insert into manifests (lease_id, digest, revision, sealed, received_at) values ($1, $2, 1, $3, $4) \
             on conflict (lease_id) do update set digest = excluded.digest, revision = manifests.revision + 1, \
             sealed = excluded.sealed, received_at = excluded.received_at returning revision",
        )
        .bind(lease.to_string())
        .bind(digest.to_string())
        .bind(sealed)
        .bind(sql(now)?)
        .fetch_one(&self.writer)
        .await
        .with_context(|| format!("failed to store the manifest of lease {lease}"))?;
        failpoint::reach(Point::ManifestStored);
        u64::try_from(revision).context("the manifest's revision is damaged")
    }

    /// The manifest to run for a lease, if its tenant sent one.
    ///
    /// # Errors
    /// When the database cannot be read, or the manifest cannot be decrypted.
    pub async fn manifest(&self, lease: LeaseId) -> anyhow::Result<Option<StoredManifest>> {
        use sqlx::Row;

        let Some(row) = sqlx::query("select * from manifests where lease_id = $1")
            .bind(lease.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the manifest of lease {lease}"))?
        else {
            return Ok(None);
        };
        let digest = text(&row, "digest")?;
        let sealed: Vec<u8> = row.try_get("sealed")?;
        let body = self.sealer.open(&place(lease, digest), &sealed).ok_or_else(|| {
            anyhow!("the stored manifest of lease {lease} does not open: it was changed behind our back")
        })?;
        Ok(Some(StoredManifest {
            lease,
            digest,
            revision: number(&row, "revision")?,
            body,
            received_at: number(&row, "received_at")?,
        }))
    }

    /// Whether the tenant of a lease sent a manifest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn has_manifest(&self, lease: LeaseId) -> anyhow::Result<bool> {
        let row = sqlx::query("select 1 from manifests where lease_id = $1")
            .bind(lease.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to look for the manifest of lease {lease}"))?;
        Ok(row.is_some())
    }

    /// Forgets the manifest and the secrets of a lease that is torn down for good.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn forget_entrusted(&self, lease: LeaseId) -> anyhow::Result<()> {
        let failed = || format!("failed to forget what the tenant of lease {lease} entrusted to us");
        let mut transaction = self.begin().await?;
        for statement in
            ["delete from manifests where lease_id = $1", "delete from lease_secrets where lease_id = $1"]
        {
            let query = sqlx::query(statement).bind(lease.to_string());
            query.execute(&mut *transaction).await.with_context(failed)?;
        }
        transaction.commit().await.with_context(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::order::Address;

    #[tokio::test]
    async fn a_manifest_is_kept_sealed_and_counts_its_revisions() {
        let store = Store::fresh().await.expect("opens");
        let lease = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        assert!(store.manifest(lease).await.expect("read").is_none());
        let put = |digest: u8, body: &'static [u8]| {
            let store = store.clone();
            async move { store.put_manifest(lease, Hash([digest; 32]), body, 5).await.expect("stored") }
        };
        assert_eq!(put(1, b"PASSWORD=hunter2").await, 1);
        assert_eq!(put(1, b"PASSWORD=hunter2").await, 1, "the same again is no new revision");
        assert_eq!(put(2, b"PASSWORD=hunter3").await, 2);
        let stored = store.manifest(lease).await.expect("read").expect("stored");
        assert_eq!((stored.digest, stored.body.as_slice()), (Hash([2; 32]), b"PASSWORD=hunter3".as_slice()));
        assert!(!format!("{stored:?}").contains("hunter"));
        let (raw,): (Vec<u8>,) =
            sqlx::query_as("select sealed from manifests").fetch_one(&store.reader).await.expect("read");
        assert!(!raw.windows(6).any(|window| window == b"hunter"));
        store.forget_entrusted(lease).await.expect("forgotten");
        assert!(store.manifest(lease).await.expect("read").is_none());
    }
}
