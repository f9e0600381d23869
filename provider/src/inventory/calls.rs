//! Listens in on what the API server is asked: every request of a client that is made with [`layer`] is told with how it was
//! answered, whoever made it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Method, Request, Response};
use tower::{Layer, Service};

/// What a request is about, in few words: no name of an object is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// As Kubernetes grants it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// Plural of the kind, with the subresource after a slash; `none` for what is no resource.
    pub resource: &'a str,
}

/// Hears of requests.
pub trait Observe: Send + Sync {
    /// A request was answered with this status, or not answered at all. A watch is answered when it begins.
    fn asked(&self, asked: &Asked<'_>, code: Option<u16>, took: Duration);
}

/// Tells of every request that goes through it.
#[must_use]
pub fn layer<S>(observe: Arc<dyn Observe>) -> impl Layer<S, Service = Heard<S>> {
    tower::layer::layer_fn(move |inner| Heard { inner, observe: Arc::clone(&observe) })
}

/// A way to the API server that is listened in on.
#[derive(Clone)]
pub struct Heard<S> {
    inner: S,
    observe: Arc<dyn Observe>,
}

impl<S, A, B> Service<Request<A>> for Heard<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, resource) = read(request.method(), request.uri().path(), request.uri().query());
        let (observe, began) = (Arc::clone(&self.observe), Instant::now());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            observe.asked(&Asked { verb, resource: &resource }, code, began.elapsed());
            answer
        }
        .boxed()
    }
}

/// Verb and resource of a request.
fn read(method: &Method, path: &str, query: Option<&str>) -> (&'static str, String) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let within = match parts.as_slice() {
        ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
        _ => &[],
    };
    let object = match within {
        // A namespace as such is an object like another.
        ["namespaces", _, "status" | "finalize"] | ["namespaces", _] => within,
        ["namespaces", _, rest @ ..] => rest,
        _ => within,
    };
    let (resource, has_name) = match object {
        [] => ("none".to_owned(), true),
        [plural] => ((*plural).to_owned(), false),
        [plural, _name] => ((*plural).to_owned(), true),
        [plural, _name, subresource, ..] => (format!("{plural}/{subresource}"), true),
    };
    let watches =
        query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if has_name => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if has_name => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_verb_and_kind_and_never_by_name() {
        for (method, path, query, verb, resource) in [
            (Method::GET, "/api/v1/pods", Some("limit=500"), "list", "pods"),
            (Method::GET, "/api/v1/nodes", Some("watch=true&timeoutSeconds=20"), "watch", "nodes"),
            (Method::GET, "/api/v1/namespaces/berth-x", None, "get", "namespaces"),
            (Method::DELETE, "/api/v1/namespaces/berth-x", None, "delete", "namespaces"),
            (
                Method::GET,
                "/api/v1/namespaces/berth-x/pods/web-1/log",
                Some("follow=true"),
                "get",
                "pods/log",
            ),
            (Method::PATCH, "/apis/apps/v1/namespaces/berth-x/deployments/web", None, "patch", "deployments"),
            (Method::POST, "/apis/coordination.k8s.io/v1/namespaces/berth/leases", None, "create", "leases"),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/berth/leases/a", None, "update", "leases"),
            (Method::DELETE, "/api/v1/namespaces/berth-x/secrets", None, "deletecollection", "secrets"),
            (Method::GET, "/version", None, "get", "none"),
        ] {
            assert_eq!(read(&method, path, query), (verb, resource.to_owned()), "{method} {path}");
        }
    }
}
