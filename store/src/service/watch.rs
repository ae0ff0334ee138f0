//! Watching events: the heads of all numbers first, then each change, and each opening of a subscription.

use sealpost_proto::store::v1::{NumberCursor, SubscriptionOpening, WatchEventsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    announce::{Heard, News},
    datastore::Datastore,
};

/// Numbers in one answer.
const PAGE: usize = 1_000;

type Answer = Result<WatchEventsResponse, Status>;

/// Starts a watch that ends when its client goes or `stop` is cancelled.
pub(super) fn start(datastore: Datastore, stop: CancellationToken) -> ReceiverStream<Answer> {
    let (answers, stream) = mpsc::channel(4);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = answers.closed() => {}
            ended = watch(&datastore, &answers) => if let Err(status) = ended {
                // Nobody may be left to read it.
                let _ = answers.send(Err(status)).await;
            }
        }
    });
    ReceiverStream::new(stream)
}

async fn watch(datastore: &Datastore, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
    // Listening starts before the heads are read, so that nothing falls between.
    let mut listener = datastore.announcements().listen();
    send_heads(datastore, answers).await?;
    loop {
        match listener.hear(PAGE).await {
            Heard::News(news) => send(answers, news).await,
            Heard::Missed => send_heads(datastore, answers).await?,
        }
    }
}

/// Sends every head, page by page; at least one answer, so that the watcher knows that it has them.
async fn send_heads(datastore: &Datastore, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
    let mut after = None;
    loop {
        let heads = datastore.event_heads(after, PAGE as u64).await?;
        let last = heads.keys().next_back().cloned();
        let complete = heads.len() < PAGE;
        let news = News {
            heads,
            openings: Vec::new(),
        };
        send(answers, news).await;
        if complete {
            return Ok(());
        }
        after = last;
    }
}

async fn send(answers: &mpsc::Sender<Answer>, news: News) {
    let cursors = news.heads.into_iter().map(|(number, cursor)| NumberCursor {
        phone_number_id: number.as_str().to_owned(),
        cursor,
    });
    let openings = news.openings.into_iter().map(|one| SubscriptionOpening {
        subscription: one.subscription.as_str().to_owned(),
        phone_number_id: one.number.as_str().to_owned(),
        opening: one.opening,
    });
    let answer = WatchEventsResponse {
        cursors: cursors.collect(),
        openings: openings.collect(),
    };
    // A client that went away ends the watch in `start`.
    let _ = answers.send(Ok(answer)).await;
}
