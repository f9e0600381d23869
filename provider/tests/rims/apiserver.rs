//! A small API server in memory: it keeps objects, answers lists and watches by label, takes what is created, replaced, applied
//! and deleted, and remembers every change that it was asked for. It can be made to refuse, and it can be made to say nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use futures::StreamExt;
use kube::Client;
use provider::inventory::calls::{self, Observe};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::{Layer, Service};

/// Where an object is: its collection's path, and its name.
type Key = (String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    version: u64,
    changes: Vec<String>,
    watches: Vec<(Selection, mpsc::UnboundedSender<Value>)>,
    refuse: Option<(String, StatusCode, String)>,
    logs: BTreeMap<String, String>,
}

/// What a list or watch asks for.
#[derive(Clone)]
struct Selection {
    group: String,
    namespace: Option<String>,
    plural: String,
    labels: Option<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Apiserver(Arc<Mutex<State>>);

impl Apiserver {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.service(), "default")
    }

    /// A client whose requests are heard of.
    pub(crate) fn client_heard(&self, observe: Arc<dyn Observe>) -> Client {
        Client::new(calls::layer(observe).layer(self.service()), "default")
    }

    fn service(
        &self,
    ) -> impl Service<
        Request<kube::client::Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static {
        let server = self.clone();
        tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        })
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let key = split(path);
        let mut state = self.lock();
        merge(&mut object, json!({"metadata": {"name": key.1}}));
        state.store(&key, object);
    }

    /// Changes part of an object, as a controller would.
    pub(crate) fn change(&self, path: &str, change: Value) {
        let key = split(path);
        let mut state = self.lock();
        let mut object = state.objects.get(&key).unwrap_or_else(|| panic!("{path} is not there")).clone();
        merge(&mut object, change);
        state.store(&key, object);
    }

    /// Takes an object away, as somebody else would.
    pub(crate) fn delete(&self, path: &str) {
        self.lock().remove(&split(path));
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(&split(path)).cloned()
    }

    /// The paths of all objects.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.lock().objects.keys().map(|(collection, name)| format!("{collection}/{name}")).collect()
    }

    /// Every change that was asked for since the last call, as "PATCH path" or "DELETE path".
    pub(crate) fn take_changes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().changes)
    }

    /// Answers every request whose method and path contain `part` with this status and message, until called again.
    pub(crate) fn refuse(&self, part: &str, status: StatusCode, message: &str) {
        self.lock().refuse = Some((part.to_owned(), status, message.to_owned()));
    }

    pub(crate) fn refuse_nothing(&self) {
        self.lock().refuse = None;
    }

    /// What the container of a pod has written.
    pub(crate) fn write_log(&self, pod: &str, text: &str) {
        self.lock().logs.insert(pod.to_owned(), text.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the lock")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().trim_end_matches('/').to_owned();
        let query = query(parts.uri.query().unwrap_or_default());
        let body = body.collect_bytes().await.expect("a request's body is in memory");
        let mut state = self.lock();
        let mut asked = format!("{} {path}", parts.method);
        let wanted: Value = serde_json::from_slice(&body).unwrap_or_default();
        if wanted["propagationPolicy"] == "Orphan" {
            asked += " Orphan";
        }
        if matches!(parts.method, Method::PATCH | Method::DELETE | Method::POST | Method::PUT) {
            state.changes.push(asked.clone());
        }
        if let Some((part, status, message)) = &state.refuse
            && asked.contains(part)
        {
            return refusal(*status, message);
        }
        if let Some(pod) = path.strip_suffix("/log") {
            let pod = pod.rsplit('/').next().unwrap_or_default();
            return Response::new(Body::from(state.logs.get(pod).cloned().unwrap_or_default()));
        }
        let (group, namespace, plural, name) = parse(&path);
        if parts.method == Method::POST {
            let name = wanted["metadata"]["name"].as_str().expect("objects of ours are named");
            let key = (path.clone(), name.to_owned());
            return match state.objects.get(&key) {
                Some(_) => refusal(StatusCode::CONFLICT, &format!("{plural} \"{name}\" already exists")),
                None => answer(&state.store(&key, wanted)),
            };
        }
        let Some(name) = name else {
            let labels = query.get("labelSelector").cloned();
            let selection = Selection { group, namespace, plural, labels };
            return if query.get("watch").is_some_and(|watch| watch == "true") {
                state.watch(selection)
            } else {
                state.list(&selection)
            };
        };
        let key = split(&path);
        match parts.method {
            Method::GET => match state.objects.get(&key) {
                Some(object) => answer(object),
                None => refusal(StatusCode::NOT_FOUND, &format!("{plural} \"{name}\" not found")),
            },
            Method::PATCH => {
                let patch: Value = serde_json::from_slice(&body).expect("a patch is JSON");
                let mut object = match state.objects.get(&key) {
                    Some(there) => there.clone(),
                    None => json!({"metadata": {"name": name, "namespace": namespace}}),
                };
                let before = object.clone();
                merge(&mut object, patch);
                match immutable(&plural, &before, &object) {
                    Some(refused) => refusal(StatusCode::UNPROCESSABLE_ENTITY, refused),
                    None => answer(&state.store(&key, object)),
                }
            }
            Method::PUT => {
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                match state.objects.get(&key) {
                    None => refusal(StatusCode::NOT_FOUND, &format!("{plural} \"{name}\" not found")),
                    Some(there) if version(there) != version(&wanted) => {
                        refusal(StatusCode::CONFLICT, "the object has been modified")
                    }
                    Some(_) => answer(&state.store(&key, wanted)),
                }
            }
            Method::DELETE => {
                let Some(object) = state.objects.get(&key).cloned() else {
                    return refusal(StatusCode::NOT_FOUND, &format!("{plural} \"{name}\" not found"));
                };
                let uid = &wanted["preconditions"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return refusal(StatusCode::CONFLICT, "the UID is another");
                }
                state.remove(&key);
                if plural == "namespaces" {
                    let inside = format!("/namespaces/{name}/");
                    let inside: Vec<Key> = state
                        .objects
                        .keys()
                        .filter(|(path, _)| format!("{path}/").contains(&inside))
                        .cloned()
                        .collect();
                    inside.iter().for_each(|key| state.remove(key));
                }
                answer(&object)
            }
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "not in this server"),
        }
    }
}

impl State {
    fn store(&mut self, key: &Key, mut object: Value) -> Value {
        let before = self.objects.get(key).cloned();
        self.version += 1;
        let version = self.version;
        let uid = before
            .as_ref()
            .map_or_else(|| json!(format!("uid-{version}")), |before| before["metadata"]["uid"].clone());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = uid;
        }
        if let Some(before) = &before {
            let mut same = object.clone();
            same["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if same == *before {
                return same;
            }
        }
        let generation =
            before.as_ref().and_then(|before| before["metadata"]["generation"].as_u64()).unwrap_or(0);
        let changed = before.as_ref().is_none_or(|before| before["spec"] != object["spec"]);
        object["metadata"]["generation"] = json!(generation + u64::from(changed));
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.tell(key, if before.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn remove(&mut self, key: &Key) {
        let Some(mut object) = self.objects.remove(key) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(key, "DELETED", &object);
    }

    fn tell(&mut self, key: &Key, event: &str, object: &Value) {
        let event = json!({"type": event, "object": object});
        self.watches
            .retain(|(selection, watch)| !selection.takes(key, object) || watch.send(event.clone()).is_ok());
    }

    fn list(&self, selection: &Selection) -> Response<Body> {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, object)| selection.takes(key, object))
            .map(|(_, object)| object)
            .collect();
        answer(&json!({
            "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items,
        }))
    }

    fn watch(&mut self, selection: Selection) -> Response<Body> {
        let (watch, events) = mpsc::unbounded_channel();
        self.watches.push((selection, watch));
        let lines = futures::stream::unfold(events, |mut events| async {
            events.recv().await.map(|event| (event, events))
        });
        let lines = lines.map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
        Response::new(Body::from_stream(lines))
    }
}

impl Selection {
    fn takes(&self, (collection, _): &Key, object: &Value) -> bool {
        let (group, namespace, plural, _) = parse(&format!("{collection}/x"));
        group == self.group
            && plural == self.plural
            && (self.namespace.is_none() || self.namespace == namespace)
            && self.labels.iter().flat_map(|labels| labels.split(',')).all(|label| {
                let have = |key: &str| object["metadata"]["labels"][key].as_str();
                match label.split_once('=') {
                    Some((key, value)) => have(key) == Some(value),
                    None => have(label).is_some(),
                }
            })
    }
}

/// Group and version, namespace, plural and name of a path.
fn parse(path: &str) -> (String, Option<String>, String, Option<String>) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => panic!("{path} is no path of the API"),
    };
    let owned = |text: &&str| Some((*text).to_owned());
    match rest {
        ["namespaces", namespace, plural, name @ ..] => {
            (group, owned(namespace), (*plural).to_owned(), name.first().and_then(owned))
        }
        [plural, name @ ..] => (group, None, (*plural).to_owned(), name.first().and_then(owned)),
        [] => panic!("{path} is no path of an object"),
    }
}

/// What the real one does not let change, of what matters here.
fn immutable(plural: &str, before: &Value, after: &Value) -> Option<&'static str> {
    let templates = |set: &Value| set["spec"]["volumeClaimTemplates"].clone();
    let bytes = |claim: &Value| {
        let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or("0");
        text.parse::<u64>().expect("claims of ours are in bytes")
    };
    match plural {
        "statefulsets" if !before["spec"].is_null() && templates(before) != templates(after) => {
            Some("updates to statefulset spec for fields other than 'replicas' and 'template' are forbidden")
        }
        "persistentvolumeclaims" if bytes(after) < bytes(before) => {
            Some("spec.resources.requests.storage: Forbidden: field can not be less than previous value")
        }
        _ => None,
    }
}

fn split(path: &str) -> Key {
    let (collection, name) = path.rsplit_once('/').unwrap_or_else(|| panic!("{path} is no path"));
    (collection.to_owned(), name.to_owned())
}

fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decode(value)))
        .collect()
}

fn answer(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string()))
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "code": status.as_u16(),
    });
    Response::builder().status(status).body(Body::from(body.to_string())).expect("a whole response")
}

pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}
