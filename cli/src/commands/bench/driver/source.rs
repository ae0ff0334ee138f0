//! When the next message leaves, and in which conversation: the window and the schedule.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use crate::commands::bench::header::Header;
use crate::commands::bench::plan::Plan;
use crate::commands::bench::time;

/// Makes the headers of one direction's messages, each when it may leave.
pub struct Source {
    run: u32,
    window: Arc<Semaphore>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    sequences: Vec<u32>,
    next: usize,
    /// When the schedule began, and nanoseconds between two messages.
    schedule: Option<(u64, f64)>,
    /// Messages that may still leave in the stretch that counts.
    left: Option<u64>,
    only_firsts: bool,
}

impl Source {
    /// Begins now.
    pub fn new(
        plan: &Plan,
        window: Arc<Semaphore>,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) -> Self {
        let apart = |rate: f64| (time::now(), time::SECOND as f64 / rate);
        Self {
            run: plan.run,
            window,
            tally,
            stop,
            sequences: vec![0; plan.conversations()],
            next: 0,
            schedule: plan.rate.map(apart),
            left: plan.messages,
            only_firsts: plan.new_sessions,
        }
    }

    /// The next message, when it may leave; none when no more shall.
    pub async fn next(&mut self) -> Option<Header> {
        if self.only_firsts && self.next == self.sequences.len() {
            return None;
        }
        let intended = self.turn().await?;
        if intended >= self.tally.until() {
            return None;
        }
        if let Some(left) = &mut self.left
            && intended >= self.tally.from()
        {
            *left = left.checked_sub(1)?;
        }
        let conversation = self.next % self.sequences.len();
        self.next += 1;
        self.sequences[conversation] += 1;
        self.tally.sends();
        Some(Header {
            run: self.run,
            conversation: u32::try_from(conversation).ok()?,
            sequence: self.sequences[conversation],
            intended,
        })
    }

    /// Waits for its turn on the schedule, and then for room in the window. Answers when it was meant to leave.
    async fn turn(&self) -> Option<u64> {
        let turn = async {
            let scheduled = self.schedule.map(|(begun, apart)| {
                let after = apart * self.next as f64;
                begun + after as u64
            });
            if let Some(intended) = scheduled {
                time::sleep_until(intended).await;
            }
            self.window.acquire().await.ok()?.forget();
            Some(scheduled.unwrap_or_else(time::now))
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            turn = turn => turn,
        }
    }
}

/// Sends in order: polls the future once, here and now, and lets it go on by itself. What is first polled first leaves first.
pub async fn send_off(mut sending: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let is_over = std::future::poll_fn(|context| {
        let polled = sending.as_mut().poll(context);
        Poll::Ready(polled.is_ready())
    });
    if !is_over.await {
        tokio::spawn(sending);
    }
}
