//! The cases one after another, on a thread of their own: a signal ends the run at once, whatever is being
//! made or measured. Nothing of it outlives the process, so nobody waits for that thread then.

use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::cases::Case;
use super::measure::{Bench, Figures};
use super::{Args, Progress};
use crate::interrupt::{Interrupt, Interrupted};

/// How long a signal waits at the most. Each look takes microseconds of a core that may be measured: too
/// little to show.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Cases that were to be measured.
    pub(super) asked: usize,
    /// Those that were, in their order.
    pub(super) figures: Vec<Figures>,
    /// One has failed, and was said to have.
    pub(super) failed: bool,
    /// The signal that ended the run.
    pub(super) signal: Option<u8>,
}

impl Session {
    /// Takes what the thread tells until it has ended or a signal comes. What was told before the signal was
    /// seen counts.
    fn listen(&mut self, news: &Receiver<News>, interrupt: &Interrupt) {
        loop {
            match news.recv_timeout(LOOK_INTERVAL) {
                Ok(told) => self.take(told),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(Interrupted(signal)) = interrupt.check() {
                self.signal = Some(signal);
                return news.try_iter().for_each(|told| self.take(told));
            }
        }
    }

    fn take(&mut self, told: News) {
        match told {
            News::Asked(asked) => self.asked = asked,
            News::Measured(figures) => self.figures.push(*figures),
            News::Failed => self.failed = true,
        }
    }
}

/// What the thread tells.
enum News {
    Asked(usize),
    Measured(Box<Figures>),
    Failed,
}

/// Measures `cases` until all are done or a signal comes.
///
/// # Errors
/// What keeps all of them from being measured: a file that cannot be read, or lacks what they need.
pub(super) fn run(
    args: &Arc<Args>,
    cases: Vec<&'static Case>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Session> {
    let mut session = Session { asked: cases.len(), ..Session::default() };
    let (sender, news) = mpsc::channel();
    let (args, progress) = (Arc::clone(args), progress.clone());
    let thread = thread::Builder::new()
        .name("bench".to_owned())
        .spawn(move || measure(&args, cases, &progress, &sender))
        .context("start a thread")?;
    session.listen(&news, interrupt);
    if session.signal.is_some() {
        return Ok(session);
    }
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))?;
    Ok(session)
}

fn measure(
    args: &Args,
    cases: Vec<&'static Case>,
    progress: &Progress,
    news: &Sender<News>,
) -> anyhow::Result<()> {
    // Nobody hears it when a signal has come; then the process ends.
    let tell = |what| drop(news.send(what));
    let mut bench = Bench::new(args, progress)?;
    let cases = bench.able(cases)?;
    progress.begin(cases.len());
    tell(News::Asked(cases.len()));
    for case in cases {
        match bench.run(case) {
            Ok(figures) => tell(News::Measured(Box::new(figures))),
            Err(error) => {
                progress.fail(case, &error);
                tell(News::Failed);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sender outlives the call: who waited for the thread would wait for ever.
    #[test]
    fn a_signal_ends_it_while_the_thread_is_busy_and_what_was_told_counts() {
        let (sender, news) = mpsc::channel();
        for told in [News::Asked(3), News::Failed, News::Asked(2)] {
            sender.send(told).expect("the receiver is here");
        }
        let mut session = Session::default();
        session.listen(&news, &Interrupt::with_signal(2));
        assert_eq!((session.signal, session.asked, session.failed), (Some(2), 2, true));
        let mut session = Session::default();
        session.listen(&news, &Interrupt::with_signal(15));
        assert_eq!((session.signal, session.asked), (Some(15), 0), "nothing is told any more");
        drop(sender);
    }

    #[test]
    fn it_ends_with_the_thread() {
        let (sender, news) = mpsc::channel();
        sender.send(News::Asked(3)).expect("the receiver is here");
        drop(sender);
        let mut session = Session::default();
        session.listen(&news, &Interrupt::with_signal(0));
        assert_eq!((session.signal, session.asked), (None, 3));
    }
}
