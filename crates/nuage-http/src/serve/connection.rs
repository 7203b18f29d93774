//! The life of a connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::gate::Gate;
use crate::serve::Link;
use crate::serve::answer::answer;
use crate::watch::{Verdict, Watch};
use crate::wire::Wire;

/// How long a reader may take nothing once the server is told to stop.
const HURRIED_MS: u64 = 1_000;

/// One connection, from its first byte to its last. Holds its place, and `alive`, meanwhile.
pub(super) async fn connection(link: Link, stream: TcpStream, _alive: mpsc::Sender<Infallible>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
        return;
    }
    let link = Arc::new(link);
    let (server, watch) = (Arc::clone(&link.server), Arc::clone(&link.watch));
    let gate = Gate::new(server.options.limits.header_bytes, Arc::clone(&link.refused));
    let wire = Wire::new(stream, gate, Arc::clone(&watch), Arc::clone(&link.linger));
    let service = service_fn(move |request| {
        // To be looked at now: the gate may refuse the next head while this one is answered.
        let refused = link.refused.get().is_some();
        answer(Arc::clone(&link), request, refused)
    });
    let mut http = server.http.serve_connection(wire, service);

    let mut timer = Timer::new(&watch);
    let mut waker: Option<Waker> = None;
    let mut draining = false;
    let ended = poll_fn(|cx| {
        // A task has one waker for life. Registering it again would cost a lock each time.
        let known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            waker = Some(cx.waker().clone());
            watch.register(cx.waker());
        }
        if !draining && server.stopping.is_told() {
            draining = true;
            Pin::new(&mut http).graceful_shutdown();
            watch.hurry(HURRIED_MS);
            timer.end_ms = watch.now_ms().saturating_add(server.options.drain_ms);
        }
        if watch.is_leaving() || timer.judge(&watch) == Verdict::Close {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(ended) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(ended);
        }
        timer.arm(&watch, known, cx);
        Poll::Pending
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The one timer of a connection, armed for the earliest deadline that it saw.
struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    armed_ms: u64,
    /// When the connection goes, whatever it does.
    end_ms: u64,
}

impl Timer {
    fn new(watch: &Watch) -> Self {
        let armed_ms = watch.deadline_ms();
        let sleep = Box::pin(tokio::time::sleep_until(watch.instant(armed_ms)));
        Self { sleep, armed_ms, end_ms: u64::MAX }
    }

    /// What to do now. Looks at the clock only when the timer fired.
    fn judge(&self, watch: &Watch) -> Verdict {
        if !self.sleep.is_elapsed() {
            return Verdict::Continue;
        }
        let now_ms = watch.now_ms();
        if now_ms >= self.end_ms { Verdict::Close } else { watch.judge(now_ms) }
    }

    /// Sees to it that the task is woken at the present deadline or before.
    fn arm(&mut self, watch: &Watch, waker_known: bool, cx: &mut Context<'_>) {
        let due_ms = watch.deadline_ms().min(self.end_ms);
        let elapsed = self.sleep.is_elapsed();
        if due_ms < self.armed_ms || elapsed {
            self.armed_ms = due_ms;
            self.sleep.as_mut().reset(watch.instant(due_ms));
        } else if waker_known {
            return;
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}
