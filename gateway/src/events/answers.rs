//! The response stream of a subscription: events while it lasts, and its end ahead of what is not read yet.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, Stream};
use sealpost_proto::gateway::v1::SubscribeEventsResponse;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Events, then at most one status.
pub struct Answers {
    events: mpsc::Receiver<SubscribeEventsResponse>,
    /// None after the end.
    end: Option<oneshot::Receiver<Result<(), Status>>>,
}

impl Answers {
    /// Ends as soon as `end` says how.
    #[must_use]
    pub fn new(
        events: mpsc::Receiver<SubscribeEventsResponse>,
        end: oneshot::Receiver<Result<(), Status>>,
    ) -> Self {
        Self {
            events,
            end: Some(end),
        }
    }
}

impl Stream for Answers {
    type Item = Result<SubscribeEventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(end) = &mut self.end else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(end) = end.poll_unpin(context) {
            self.end = None;
            return Poll::Ready(match end {
                Ok(Ok(())) => None,
                Ok(Err(status)) => Some(Err(status)),
                Err(_) => Some(Err(sealpost_runtime::status::internal())),
            });
        }
        match self.events.poll_recv(context) {
            Poll::Ready(Some(events)) => Poll::Ready(Some(Ok(events))),
            // The sending task has dropped its half and is about to say how it ended.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
