//! What tenants reach over HTTPS.
