//! Statements that are sent one after the other, without waiting for each other's answers.

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};

/// Joins futures that send something when they are first polled: in their order, however many there
/// are.
pub(super) async fn in_order<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let futures = futures.into_iter().map(|future| Box::pin(maybe_done(future)));
    let mut futures: Vec<_> = futures.collect();
    poll_fn(|cx| {
        let polled = futures.iter_mut().map(|future| future.as_mut().poll(cx));
        // Each of them is polled.
        match polled.filter(Poll::is_pending).count() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    futures.iter_mut().filter_map(|future| MaybeDone::take_output(future.as_mut())).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::in_order;

    #[tokio::test]
    async fn the_first_is_sent_first_however_many_there_are() {
        let sent = RefCell::new(Vec::new());
        let send = |n: usize| {
            let sent = &sent;
            async move {
                sent.borrow_mut().push(n);
                // Those that came first are answered last.
                for _ in n..100 {
                    tokio::task::yield_now().await;
                }
                n
            }
        };
        let answers = in_order((0..100).map(send)).await;
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(answers, all);
        assert_eq!(*sent.borrow(), all);
    }
}
