//! `berth logs`: what the services write.

use futures::StreamExt as _;
use futures::stream::select_all;
use market::api::LogsQuery;

use crate::account::Account;
use crate::cli::Logs;
use crate::exit::Ending;
use crate::output::raw;
use crate::serve::gateway;
use crate::sight::{Sight, find};

pub(crate) async fn run(logs: Logs) -> anyhow::Result<()> {
    let account = Account::open(&logs.context).await?;
    let record = find(&account, &logs.name).await?;
    let sight = Sight::of(&account.chain, &record).await?;
    let query = LogsQuery { follow: logs.follow, service: logs.service, tail: logs.tail };
    let running = sight.groups.iter().filter(|group| group.state.is_some_and(|state| state.runs()));
    let mut streams = Vec::new();
    for (group, lease) in running.filter_map(|group| Some((group, group.lease?))) {
        let gateway = gateway(&account, &lease).await?;
        let stream = gateway.logs(&account.wallet, group.order, &query).await?;
        streams.push(lines(stream).boxed());
    }
    if streams.is_empty() {
        let sentence = format!("{} has no running lease: it is {}", logs.name, sight.summary());
        return Err(Ending::error(Ending::CLOSED, sentence));
    }
    let mut all = select_all(streams);
    while let Some(line) = all.next().await {
        match raw(&format!("{}\n", line?)) {
            Ok(()) => {}
            // Whoever read us has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whole lines of a stream of chunks, so that lines of several leases do not mix; a last line without an end counts.
fn lines<E>(
    chunks: impl futures::Stream<Item = Result<Vec<u8>, E>>,
) -> impl futures::Stream<Item = Result<String, E>> {
    let ended = futures::stream::once(async { None });
    chunks
        .map(Some)
        .chain(ended)
        .scan(Vec::new(), |rest: &mut Vec<u8>, chunk| {
            let whole: Vec<Result<String, E>> = match chunk {
                Some(Err(error)) => vec![Err(error)],
                Some(Ok(bytes)) => {
                    rest.extend(bytes);
                    let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let text: Vec<u8> = rest.drain(..end).collect();
                    String::from_utf8_lossy(&text).lines().map(|line| Ok(line.to_owned())).collect()
                }
                None if rest.is_empty() => Vec::new(),
                None => vec![Ok(String::from_utf8_lossy(rest).into_owned())],
            };
            std::future::ready(Some(futures::stream::iter(whole)))
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_become_whole_lines() {
        let chunks =
            ["web/1 on", "e\nweb/1 two\nwe", "b/2 three"].map(|chunk| Ok::<_, ()>(chunk.as_bytes().to_vec()));
        let lines: Vec<_> = lines(futures::stream::iter(chunks)).collect().await;
        assert_eq!(
            lines,
            [Ok("web/1 one".to_owned()), Ok("web/1 two".to_owned()), Ok("web/2 three".to_owned())]
        );
    }
}
