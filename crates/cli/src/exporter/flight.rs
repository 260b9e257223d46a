//! A question that is asked once for all requests that want its answer at the same time.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// What is under way, if anything. It goes on when the clients that asked have gone.
pub struct Flight<T: Clone>(Mutex<Option<Shared<BoxFuture<'static, Option<T>>>>>);

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The answer of the question that is under way; else `begin` is asked. None if it panicked.
    pub async fn join<F: Future<Output = T> + Send + 'static>(
        &self,
        begin: impl FnOnce() -> F,
    ) -> Option<T> {
        let shared = {
            let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match running
                .take_if(|flight| flight.peek().is_some())
                .or_else(|| running.clone())
            {
                Some(flight) if flight.peek().is_none() => flight,
                _ => {
                    let task = tokio::spawn(begin());
                    let flight = async move { task.await.ok() }.boxed().shared();
                    *running = Some(flight.clone());
                    flight
                }
            }
        };
        shared.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn requests_at_the_same_time_get_the_same_answer_and_a_later_one_asks_again() {
        let flight = Arc::new(Flight::new());
        let asked = Arc::new(AtomicU32::new(0));
        let ask = || {
            let (flight, asked) = (flight.clone(), asked.clone());
            async move {
                flight
                    .join(|| async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        asked.fetch_add(1, Ordering::Relaxed)
                    })
                    .await
            }
        };
        assert_eq!(
            tokio::join!(ask(), ask(), ask()),
            (Some(0), Some(0), Some(0))
        );
        assert_eq!(ask().await, Some(1));
    }

    #[tokio::test]
    async fn a_question_goes_on_when_its_asker_has_gone() {
        let flight = Arc::new(Flight::new());
        let question = || async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            1
        };
        let gone = tokio::time::timeout(Duration::from_millis(10), flight.join(question)).await;
        assert!(gone.is_err());
        let begun = std::time::Instant::now();
        assert_eq!(flight.join(question).await, Some(1));
        assert!(
            begun.elapsed() < Duration::from_millis(48),
            "the first question still ran"
        );
    }
}
