//! An answer that goes on: one JSON value a line, for as long as the client reads.
//!
//! The connection is the order: a client that goes away, in whatever way, takes what it asked for with it. Lines
//! come at least once a second, so that one which has gone is noticed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Bytes, Frame};
use linecard_observe::TapEvent;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the daemon is asked for more.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// Where the lines come from. Dropping it ends what was ordered.
pub trait Feed: Send {
    /// What is new, some hundred packets at the most; nothing when the answer has ended. Must not wait.
    fn next(&mut self) -> Vec<TapEvent>;

    /// No more will come.
    fn is_done(&self) -> bool;
}

/// The body of the answer.
pub(crate) struct Lines {
    feed: Box<dyn Feed>,
    interval: Interval,
}

impl Lines {
    pub(crate) fn new(feed: Box<dyn Feed>) -> Self {
        let mut interval = interval(ASK_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { feed, interval }
    }
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        loop {
            let events = self.feed.next();
            if !events.is_empty() {
                let mut text = Vec::new();
                for event in &events {
                    if let Err(error) = serde_json::to_writer(&mut text, event) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    text.push(b'\n');
                }
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
            if self.feed.is_done() {
                return Poll::Ready(None);
            }
            if self.interval.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
