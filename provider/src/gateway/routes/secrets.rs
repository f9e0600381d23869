//! `PUT /v1/leases/{id}/secrets`: values of secrets that the manifest only names. Values that were given before and are not in
//! this request stay; none is ever told again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use manifests::extension::is_secret_name;
use manifests::objects::SecretValue;
use market::api::{ErrorKind, Secrets};

use crate::gateway::Gateway;
use crate::gateway::auth::Signed;
use crate::gateway::error::Refused;

/// How many secrets a lease may have.
const MOST: usize = 64;
/// How many bytes all of them may have: together they are one Secret of the cluster, which holds a MiB.
const MOST_BYTES: usize = 512 << 10;

pub(in crate::gateway) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Signed { id, body }: Signed,
) -> Result<StatusCode, Refused> {
    gateway.live_lease(id).await?;
    // The reader's own words could hold a value.
    let secrets: Secrets = serde_json::from_slice(&body).map_err(|_| {
        let message = "the body is not a mapping of secrets' names to their values, all of them text";
        Refused::new(ErrorKind::BadRequest, message)
    })?;
    let given: BTreeMap<String, SecretValue> =
        secrets.0.into_iter().map(|(name, value)| (name, SecretValue(value.into_bytes()))).collect();
    let _alone = gateway.claims.lock().await;
    let mut all = gateway.store.secrets(id).await?;
    all.extend(given.clone());
    are_bearable(&all).map_err(|message| Refused::new(ErrorKind::BadRequest, message))?;
    gateway.store.put_secrets(id, &given, gateway.clock.now()).await?;
    gateway.reconcile.nudge();
    tracing::info!(lease = %id, count = given.len(), "secrets were accepted");
    Ok(StatusCode::NO_CONTENT)
}

fn are_bearable(secrets: &BTreeMap<String, SecretValue>) -> Result<(), String> {
    // What is no name may be a value in the wrong place.
    if !secrets.keys().all(|name| is_secret_name(name)) {
        return Err(
            "a name of a secret is at most 63 lower-case letters, digits and -, no - at the ends".to_owned()
        );
    }
    let bytes: usize = secrets.values().map(|value| value.0.len()).sum();
    if secrets.len() > MOST || bytes > MOST_BYTES {
        return Err(format!("a lease may have {MOST} secrets of {MOST_BYTES} bytes together"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_names_and_bounds() {
        let of =
            |name: &str, bytes: usize| BTreeMap::from([(name.to_owned(), SecretValue(vec![b'x'; bytes]))]);
        assert_eq!(are_bearable(&of("db-password", MOST_BYTES)), Ok(()));
        assert!(are_bearable(&of("db-password", MOST_BYTES + 1)).is_err());
        let refused = are_bearable(&of("Hunter 2", 1)).expect_err("no name");
        assert!(!refused.contains("Hunter"), "{refused}");
        let many = (0..=MOST).map(|n| (format!("s{n}"), SecretValue(Vec::new()))).collect();
        assert!(are_bearable(&many).is_err());
    }
}
