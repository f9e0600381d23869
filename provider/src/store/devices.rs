//! Which GPU was given to which pod, with its history: a device plugin chooses, we take note afterwards.

use std::collections::BTreeSet;

use anyhow::Context;
use manifests::order::LeaseId;

use super::Store;
use super::rows::{maybe, number, sql, string, text};

/// One device in one container of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuAllocation {
    /// Whose pod.
    pub lease: LeaseId,
    /// The node's name.
    pub node: String,
    /// The pod's UID.
    pub pod: String,
    /// The container in the pod.
    pub container: String,
    /// The device.
    pub uuid: String,
    /// Unix seconds at which it was first seen there.
    pub since: u64,
    /// Unix seconds at which it was found gone; `None` while it is there.
    pub until: Option<u64>,
}

impl Store {
    /// Takes note of what the pods of a lease hold now: new devices are adopted, those that are no longer there get an end.
    /// `held` are (node, pod UID, container, device UUID). Returns how many rows changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn adopt_gpus(
        &self,
        lease: LeaseId,
        held: &[(String, String, String, String)],
        now: u64,
    ) -> anyhow::Result<u64> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query("select * from gpu_allocations where lease_id = $1 and until is null")
            .bind(lease.to_string())
            .fetch_all(&mut *tx)
            .await
            .with_context(|| format!("failed to read the devices of lease {lease}"))?;
        let wanted: BTreeSet<_> =
            held.iter().map(|(_, pod, container, uuid)| (pod, container, uuid)).collect();
        let mut changed = 0;
        for row in rows {
            let (pod, container, uuid) =
                (string(&row, "pod")?, string(&row, "container")?, string(&row, "uuid")?);
            if wanted.contains(&(&pod, &container, &uuid)) {
                continue;
            }
            changed += sqlx::query(
                "update gpu_allocations set until = $4 where pod = $1 and container = $2 and uuid = $3",
            )
            .bind(pod)
            .bind(container)
            .bind(uuid)
            .bind(sql(now)?)
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to end a device of lease {lease}"))?
            .rows_affected();
        }
        for (node, pod, container, uuid) in held {
            changed += sqlx::query(
                "insert into gpu_allocations (lease_id, node, pod, container, uuid, since) values ($1, $2, $3, $4, $5, $6) \
                 on conflict (pod, container, uuid) do update set until = null \
                 where gpu_allocations.until is not null",
            )
            .bind(lease.to_string())
            .bind(node)
            .bind(pod)
            .bind(container)
            .bind(uuid)
            .bind(sql(now)?)
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to adopt a device of lease {lease}"))?
            .rows_affected();
        }
        tx.commit().await.with_context(|| format!("failed to adopt the devices of lease {lease}"))?;
        Ok(changed)
    }

    /// The devices of a lease, oldest first, with those it held before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn gpus_of(&self, lease: LeaseId) -> anyhow::Result<Vec<GpuAllocation>> {
        self.gpu_rows(
            "select * from gpu_allocations where lease_id = $1 order by since, uuid",
            &lease.to_string(),
        )
        .await
    }

    /// The leases that hold a device now; more than one is an incident.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holders_of_gpu(&self, uuid: &str) -> anyhow::Result<Vec<GpuAllocation>> {
        self.gpu_rows("select * from gpu_allocations where uuid = $1 and until is null order by since", uuid)
            .await
    }

    async fn gpu_rows(&self, query: &'static str, key: &str) -> anyhow::Result<Vec<GpuAllocation>> {
        let rows = sqlx::query(query).bind(key).fetch_all(&self.reader).await;
        rows.context("failed to read devices")?
            .iter()
            .map(|row| {
                Ok(GpuAllocation {
                    lease: text(row, "lease_id")?,
                    node: string(row, "node")?,
                    pod: string(row, "pod")?,
                    container: string(row, "container")?,
                    uuid: string(row, "uuid")?,
                    since: number(row, "since")?,
                    until: maybe(row, "until")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::order::Address;

    #[tokio::test]
    async fn a_recreated_pods_new_device_is_adopted_and_the_old_one_stays_in_the_history() {
        let store = Store::fresh().await.expect("opens");
        let lease = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let held =
            |pod: &str, uuid: &str| [("n1".to_owned(), pod.to_owned(), "main".to_owned(), uuid.to_owned())];
        assert_eq!(store.adopt_gpus(lease, &held("p1", "GPU-a"), 10).await.expect("adopted"), 1);
        assert_eq!(store.adopt_gpus(lease, &held("p1", "GPU-a"), 11).await.expect("adopted"), 0);
        assert_eq!(store.adopt_gpus(lease, &held("p2", "GPU-b"), 12).await.expect("adopted"), 2);
        let seen: Vec<_> =
            store.gpus_of(lease).await.expect("read").into_iter().map(|gpu| (gpu.uuid, gpu.until)).collect();
        assert_eq!(seen, [("GPU-a".to_owned(), Some(12)), ("GPU-b".to_owned(), None)]);
        assert!(store.holders_of_gpu("GPU-a").await.expect("read").is_empty());
        assert_eq!(store.holders_of_gpu("GPU-b").await.expect("read").len(), 1);
    }
}
