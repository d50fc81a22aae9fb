//! One request under way: from its arrival through the queue and the batch to its last byte, or to its abort.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::metrics::Finished;
use crate::scheduler::{self, Admission, Job, Number};
use crate::seen::{Ending, Entry};

/// What a request makes the model do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// The row of the metrics it counts in.
    pub(crate) model: usize,
    pub(crate) sequences: usize,
    pub(crate) prompt_tokens: usize,
    /// The tokens of all sequences together, and of the longest.
    pub(crate) output_tokens: usize,
    pub(crate) longest: usize,
    pub(crate) max_tokens: usize,
    /// How many sequences end at the token limit.
    pub(crate) cut: usize,
}

/// The engine takes no more requests: its queue is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueFull;

/// Where a request is.
#[derive(Debug)]
enum Place {
    /// It needs no model, or not yet.
    Outside,
    Waiting(Work, Number, oneshot::Receiver<Admission>),
    Running(Work, Number, Admission, Instant),
}

/// One request under way. Dropped before it is completed, it was aborted: the connection let go of it.
#[derive(Debug)]
pub(crate) struct Ticket {
    engine: Arc<Engine>,
    entry: Entry,
    route: &'static str,
    begun: Instant,
    place: Place,
    open: bool,
}

impl Ticket {
    pub(crate) fn new(engine: Arc<Engine>, entry: Entry) -> Self {
        let begun = entry.lock().at;
        Ticket { engine, entry, route: "none", begun, place: Place::Outside, open: true }
    }

    /// Which route it takes.
    pub(crate) fn take(&mut self, route: &'static str) {
        self.route = route;
    }

    /// The request asks to be let into the batch.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn begin(&mut self, work: Work, job: Job) -> Result<(), QueueFull> {
        self.place = match self.engine.scheduler.lock().enter(job) {
            scheduler::Entry::Admitted(number, admission) => {
                Place::Running(work, number, admission, Instant::now())
            }
            scheduler::Entry::Waiting(number, told) => Place::Waiting(work, number, told),
            scheduler::Entry::Refused => return Err(QueueFull),
        };
        Ok(())
    }

    /// Waits for the batch; tells nothing to a request that needs no model.
    pub(crate) async fn admitted(&mut self) -> Option<Admission> {
        std::future::poll_fn(|cx| self.poll_admitted(cx)).await
    }

    /// The same as a poll.
    pub(crate) fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Option<Admission>> {
        match &mut self.place {
            Place::Outside => Poll::Ready(None),
            Place::Running(_, _, admission, _) => Poll::Ready(Some(*admission)),
            Place::Waiting(work, number, told) => match Pin::new(told).poll(cx) {
                Poll::Ready(Ok(admission)) => {
                    self.place = Place::Running(*work, *number, admission, Instant::now());
                    Poll::Ready(Some(admission))
                }
                // the engine is gone, and with it everyone who could let this request in
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            },
        }
    }

    /// When its last token is there.
    pub(crate) fn done(&self) -> Instant {
        match &self.place {
            Place::Running(work, _, admission, _) => admission.pace.all(work.longest),
            Place::Outside | Place::Waiting(..) => self.begun,
        }
    }

    /// The head is known.
    pub(crate) fn answered(&self, status: u16, headers: &HeaderMap) {
        let mut entry = self.entry.lock();
        entry.status = Some(status);
        entry.answer = headers.clone();
        self.engine.metrics.lock().answered(self.route, entry.method.as_str(), status);
    }

    /// A piece of the body goes out.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        let limit = self.engine.settings.recorded;
        if limit > 0 {
            let sent = &mut self.entry.lock().sent;
            let room = limit.saturating_sub(sent.len());
            sent.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The answer is out.
    pub(crate) fn complete(&mut self) {
        self.close(Ending::Completed);
    }

    /// The request did not arrive whole.
    pub(crate) fn fail(&mut self) {
        self.close(Ending::Failed);
    }

    /// A fault ended the answer.
    pub(crate) fn cut(&mut self) {
        self.close(Ending::Cut { at: Instant::now() });
    }

    fn close(&mut self, ending: Ending) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.entry.lock().ended = Some(ending);
        match std::mem::replace(&mut self.place, Place::Outside) {
            Place::Outside => {}
            Place::Waiting(work, number, _) => {
                self.engine.scheduler.lock().leave(number, 0);
                self.engine.metrics.lock().aborted(work.model, work.sequences, 0, 0);
                self.engine.count_abort();
            }
            Place::Running(work, number, admission, since) => {
                self.left(work, number, admission, since, ending);
            }
        }
    }

    /// Leaves the batch.
    fn left(&self, work: Work, number: Number, admission: Admission, since: Instant, ending: Ending) {
        let so_far = admission.pace.so_far(work.longest);
        self.engine.scheduler.lock().leave(number, so_far);
        let mut metrics = self.engine.metrics.lock();
        if let Ending::Aborted { .. } = ending {
            let output = (so_far * work.sequences).min(work.output_tokens);
            let read = if so_far > 0 { work.prompt_tokens } else { 0 };
            metrics.aborted(work.model, work.sequences, read, output);
            drop(metrics);
            self.engine.count_abort();
            return;
        }
        let after = |at: Instant| at.saturating_duration_since(self.begun);
        let to_first = after(admission.pace.token(0));
        let finished = Finished {
            prompt_tokens: work.prompt_tokens,
            output_tokens: work.output_tokens,
            longest: work.longest,
            sequences: work.sequences,
            max_tokens: work.max_tokens,
            cut: work.cut,
            queued: after(since),
            to_first,
            whole: self.begun.elapsed().max(to_first),
        };
        metrics.finished(work.model, finished);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            let at = Instant::now();
            let after: Duration = at.saturating_duration_since(self.begun);
            self.close(Ending::Aborted { after, at });
        }
    }
}
