//! What the containers of a lease write, from all its pods at once, line by line, as `service/pod line`.
//!
//! While following, pods that appear later and containers that are started again join by themselves, and a connection that
//! breaks is taken up where it broke. A slow reader slows the reading down; nothing is kept for it beyond a small queue. What
//! we have to say ourselves stands on lines that begin with `# `, which no service's name can.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::io::AsyncBufRead;
use futures::{AsyncBufReadExt, Stream};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use manifests::order::{Address, LeaseId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::names::short_name;
use crate::inventory::Inventory;
use crate::inventory::watch::Blind;

/// Bytes of a line beyond which it is cut in two.
const LONGEST_LINE: usize = 64 << 10;

/// Lines that wait for the reader.
const QUEUE: usize = 256;

/// How often new pods are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Go on with lines as they are written.
    pub follow: bool,
    /// Begin with at most so many of the last lines of each pod.
    pub tail: Option<u32>,
}

/// A pod whose log is read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The service it runs for.
    pub service: String,
    /// The pod.
    pub pod: Arc<Pod>,
}

/// Finds the pods of leases and reads what they write.
#[derive(Clone)]
pub struct LeaseLogs {
    logs: Logs,
    inventory: Inventory,
    provider: Address,
}

impl LeaseLogs {
    /// Reads the logs of this provider's leases.
    #[must_use]
    pub fn new(client: Client, inventory: Inventory, provider: Address) -> Self {
        Self { logs: Logs::new(client), inventory, provider }
    }

    /// What a lease's containers write, of all services or of one; see [`Logs::lines`].
    ///
    /// # Errors
    /// [`Blind`] when the pods cannot be seen.
    pub fn of_lease(
        &self,
        id: LeaseId,
        service: Option<String>,
        wanted: Wanted,
        end: impl Future<Output = String> + Send + 'static,
    ) -> Result<impl Stream<Item = String> + Send + 'static, Blind> {
        let (inventory, name) = (self.inventory.clone(), short_name(id, self.provider));
        let pods = move || -> Result<Vec<Source>, Blind> {
            let mut pods = inventory.pods_by_lease()?.remove(&name).unwrap_or_default();
            pods.retain(|source| service.as_ref().is_none_or(|service| *service == source.service));
            Ok(pods)
        };
        let mut last = pods()?;
        let sources = move || {
            // While the cluster cannot be seen, the pods seen last are read on.
            last = pods().unwrap_or_else(|_| std::mem::take(&mut last));
            last.clone()
        };
        Ok(self.logs.lines(sources, wanted, end))
    }
}

/// Reads logs through a client.
#[derive(Clone)]
pub struct Logs {
    client: Client,
}

/// How far a pod's log has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// The time of the last line that was passed on.
    last: Option<Timestamp>,
    /// How often the container had been started again when reading began.
    restarts: i32,
    /// Whether it is being read now.
    reading: bool,
}

impl Logs {
    /// Reads logs through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The lines of the pods that `sources` gives, each with its line break. Without following they end with the last line
    /// written so far; with it, when `end` gives a sentence, which becomes the last line.
    pub fn lines(
        &self,
        sources: impl FnMut() -> Vec<Source> + Send + 'static,
        wanted: Wanted,
        end: impl Future<Output = String> + Send + 'static,
    ) -> impl Stream<Item = String> + Send + 'static {
        let (lines, reader) = mpsc::channel(QUEUE);
        tokio::spawn(drive(self.client.clone(), sources, wanted, end, lines));
        futures::stream::unfold(reader, |mut reader| async { reader.recv().await.map(|line| (line, reader)) })
    }
}

async fn drive(
    client: Client,
    mut sources: impl FnMut() -> Vec<Source> + Send,
    wanted: Wanted,
    end: impl Future<Output = String> + Send,
    lines: mpsc::Sender<String>,
) {
    let mut end = pin!(end);
    let mut positions: HashMap<String, Position> = HashMap::new();
    let mut readers = JoinSet::new();
    // The last lines of what has run so far are of interest, and all lines of what starts later.
    let mut tail = wanted.tail;
    loop {
        let sources = sources();
        for Source { service, pod } in &sources {
            let Some(uid) = pod.uid() else { continue };
            let restarts = restarts(pod);
            let known = positions.get(&uid).copied();
            let due = match known {
                None => true,
                Some(position) => !position.reading && (is_running(pod) || restarts > position.restarts),
            };
            if !has_started(pod) || !due {
                continue;
            }
            let mut position = known.unwrap_or_default();
            (position.restarts, position.reading) = (restarts, true);
            positions.insert(uid.clone(), position);
            let reader = Reader {
                api: Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default()),
                pod: pod.name_any(),
                container: pod
                    .spec
                    .iter()
                    .flat_map(|spec| &spec.containers)
                    .next()
                    .map(|main| main.name.clone()),
                prefix: format!("{service}/{} ", pod.name_any()),
                params: Wanted { tail: tail.filter(|_| known.is_none()), ..wanted },
                lines: lines.clone(),
            };
            readers.spawn(async move { (uid, reader.read(position.last).await) });
        }
        tail = None;
        positions.retain(|uid, position| {
            position.reading || sources.iter().any(|source| source.pod.metadata.uid.as_ref() == Some(uid))
        });
        if !wanted.follow && readers.is_empty() {
            return;
        }
        tokio::select! {
            Some(Ok((uid, last))) = readers.join_next() => {
                if let Some(position) = positions.get_mut(&uid) {
                    position.reading = !wanted.follow;
                    position.last = last.or(position.last);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
            sentence = &mut end => {
                // The reader may have gone at the same moment.
                lines.send(format!("# {sentence}\n")).await.ok();
                return;
            }
            () = lines.closed() => return,
        }
    }
}

struct Reader {
    api: Api<Pod>,
    pod: String,
    container: Option<String>,
    prefix: String,
    params: Wanted,
    lines: mpsc::Sender<String>,
}

impl Reader {
    /// Passes lines on until the log ends or breaks off, and gives the time of the last one.
    async fn read(self, from: Option<Timestamp>) -> Option<Timestamp> {
        let params = LogParams {
            container: self.container.clone(),
            follow: self.params.follow,
            tail_lines: self.params.tail.map(i64::from),
            since_time: from,
            timestamps: true,
            ..LogParams::default()
        };
        let mut last = from;
        let log = match self.api.log_stream(&self.pod, &params).await {
            Ok(log) => log,
            Err(error) => {
                if from.is_none() {
                    let line = format!("# {}the log cannot be read: {}\n", self.prefix, told(&error));
                    self.lines.send(line).await.ok()?;
                }
                // Not at once again.
                tokio::time::sleep(LOOK).await;
                return last;
            }
        };
        let mut log = Box::pin(log);
        while let Ok(Some(line)) = next_line(&mut log).await {
            let (time, text) = split_time(&line);
            // The API server begins at a whole second: what was passed on before comes again.
            if time.is_some() && time <= from {
                continue;
            }
            last = time.or(last);
            self.lines.send(format!("{}{text}\n", self.prefix)).await.ok()?;
        }
        last
    }
}

/// The next line without its break, cut at [`LONGEST_LINE`].
async fn next_line(log: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let available = log.fill_buf().await?;
        if available.is_empty() {
            return Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()));
        }
        let room = &available[..available.len().min(LONGEST_LINE - line.len())];
        let end = room.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
        let taken = end.map_or(room.len(), |end| end + 1);
        log.consume_unpin(taken);
        if end.is_some() || line.len() >= LONGEST_LINE {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
    }
}

fn split_time(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((time, text)) => match time.parse() {
            Ok(time) => (Some(time), text),
            Err(_) => (None, line),
        },
        None => (None, line),
    }
}

/// What the API server says, without the request that it said it to.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        _ => "the cluster does not answer".to_owned(),
    }
}

/// Whether the container was started at least once, so that there is a log.
fn has_started(pod: &Pod) -> bool {
    main_status(pod).is_some_and(|status| {
        let state = status.state.as_ref();
        status.restart_count > 0
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

fn is_running(pod: &Pod) -> bool {
    main_status(pod).and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
}

fn restarts(pod: &Pod) -> i32 {
    main_status(pod).map_or(0, |status| status.restart_count)
}

fn main_status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn all(text: &[u8]) -> Vec<String> {
        let mut log = Cursor::new(text);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut log).await.expect("memory does not fail") {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_told_apart_and_endless_ones_are_cut() {
        assert_eq!(all(b"a\n\nb").await, ["a", "", "b"]);
        assert_eq!(all(b"").await, [""; 0]);
        assert_eq!(all(b"\xff\n").await, ["\u{fffd}"]);
        let endless = vec![b'x'; LONGEST_LINE * 2 + 1];
        assert_eq!(
            all(&endless).await.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST_LINE, LONGEST_LINE, 1]
        );
    }

    #[test]
    fn the_time_before_a_line_is_not_part_of_it() {
        let (time, text) = split_time("2026-01-02T03:04:05.000000006Z hello world");
        assert_eq!((time.map(Timestamp::as_second), text), (Some(1_767_323_045), "hello world"));
        assert_eq!(split_time("hello world"), (None, "hello world"));
    }
}
