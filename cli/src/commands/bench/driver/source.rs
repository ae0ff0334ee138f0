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

/// When messages are meant to leave, by the clock of [`time::now`].
#[derive(Clone, Copy)]
struct Schedule {
    /// The next one, in nanoseconds.
    next: f64,
    /// Between two of them until the stretch that counts is over, and after that.
    apart: [f64; 2],
}

impl Schedule {
    fn of(plan: &Plan) -> Option<Self> {
        let apart = |rate: f64| time::SECOND as f64 / rate;
        let rate = plan.rate?;
        Some(Self {
            next: time::now() as f64,
            apart: [rate, plan.then_rate.unwrap_or(rate)].map(apart),
        })
    }

    /// The next one is on its way. `until` ends the stretch that counts.
    fn advance(&mut self, until: u64) {
        let is_after = self.next >= until as f64;
        self.next += self.apart[usize::from(is_after)];
    }
}

/// Makes the headers of one direction's messages, each when it may leave.
pub struct Source {
    run: u32,
    window: Arc<Semaphore>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    sequences: Vec<u32>,
    next: usize,
    schedule: Option<Schedule>,
    /// Whether the window holds back what has its turn.
    is_windowed: bool,
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
        Self {
            run: plan.run,
            window,
            tally,
            stop,
            sequences: vec![0; plan.conversations()],
            next: 0,
            schedule: Schedule::of(plan),
            is_windowed: !plan.counts_refusals,
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
        if intended >= self.tally.end() {
            return None;
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.advance(self.tally.until());
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
            let scheduled = self.schedule.map(|schedule| schedule.next as u64);
            if let Some(intended) = scheduled {
                time::sleep_until(intended).await;
            }
            if self.is_windowed {
                self.window.acquire().await.ok()?.forget();
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_keeps_its_rate_until_the_stretch_is_over_and_then_the_other() {
        let mut schedule = Schedule {
            next: 0.0,
            apart: [1.0, 4.0],
        };
        let mut left = Vec::new();
        while left.len() < 6 {
            left.push(schedule.next as u64);
            schedule.advance(3);
        }
        assert_eq!(left, [0, 1, 2, 3, 7, 11]);
    }
}
