//! Work that costs about as much for many items as for one, such as writing to a disk for good: what
//! is asked for while a batch is under way goes together into the next one.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

/// What waits to be worked on, and who waits for it.
type Asked<I, O> = (I, oneshot::Sender<O>);

/// Hands items over to a thread that works on them in batches.
#[derive(Debug)]
pub struct Batches<I, O> {
    /// There until the drop.
    queue: Option<mpsc::Sender<Asked<I, O>>>,
    worker: Option<JoinHandle<()>>,
}

/// The work panicked; nothing is worked on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch before this one was never finished")]
pub struct Broken;

impl<I: Send + 'static, O: Send + 'static> Batches<I, O> {
    /// Starts to work on batches of at most `largest` items, in the order in which they come. `work`
    /// gives one answer for each item.
    pub fn start(largest: usize, work: impl FnMut(Vec<I>) -> Vec<O> + Send + 'static) -> Self {
        let (queue, asked) = mpsc::channel(largest);
        Self {
            queue: Some(queue),
            worker: Some(std::thread::spawn(move || run(largest, work, asked))),
        }
    }

    /// Has `item` worked on, also if nobody waits for the answer any more.
    pub async fn submit(&self, item: I) -> Result<O, Broken> {
        let queue = self.queue.as_ref().expect("it is there until the drop");
        let (waiting, answer) = oneshot::channel();
        queue.send((item, waiting)).await.map_err(|_| Broken)?;
        answer.await.map_err(|_| Broken)
    }
}

impl<I, O> Drop for Batches<I, O> {
    /// Waits until everything in hand is finished and `work` is dropped with all that it uses.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(worker) = self.worker.take() {
            // Whoever waited for the answers knows of a panic.
            drop(worker.join());
        }
    }
}

fn run<I, O>(
    largest: usize,
    mut work: impl FnMut(Vec<I>) -> Vec<O>,
    mut asked: mpsc::Receiver<Asked<I, O>>,
) {
    while let Some(first) = asked.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < largest
            && let Ok(next) = asked.try_recv()
        {
            batch.push(next);
        }
        let (items, waiting): (Vec<I>, Vec<oneshot::Sender<O>>) = batch.into_iter().unzip();
        for (answer, waiting) in work(items).into_iter().zip(waiting) {
            // Who does not wait any more has no use for the answer.
            drop(waiting.send(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_during_a_batch_is_the_next_batch() {
        let (begun, mut begins) = mpsc::channel(1);
        let (finish, finishes) = std::sync::mpsc::channel();
        let batches = Batches::start(3, move |items: Vec<u32>| {
            begun.blocking_send(items.clone()).unwrap();
            finishes.recv().unwrap();
            items.into_iter().map(|item| item * 10).collect()
        });
        let rest = async {
            assert_eq!(begins.recv().await.unwrap(), [1]);
            let observer = async {
                for expected in [&[2, 3, 4][..], &[5]] {
                    finish.send(()).unwrap();
                    assert_eq!(begins.recv().await.unwrap(), expected);
                }
                finish.send(()).unwrap();
            };
            tokio::join!(
                batches.submit(2),
                batches.submit(3),
                batches.submit(4),
                batches.submit(5),
                observer,
            )
        };
        let (one, (two, three, four, five, ())) = tokio::join!(batches.submit(1), rest);
        let answers = [one, two, three, four, five];
        assert_eq!(answers, [10, 20, 30, 40, 50].map(Ok));
    }

    #[tokio::test]
    async fn after_a_panic_nothing_is_promised() {
        let batches = Batches::start(3, |items: Vec<u32>| -> Vec<u32> {
            assert!(items.is_empty(), "as asked for");
            items
        });
        assert_eq!(batches.submit(1).await, Err(Broken));
        assert_eq!(batches.submit(2).await, Err(Broken));
    }

    #[tokio::test]
    async fn after_the_drop_nothing_is_used_any_more() {
        let used = std::sync::Arc::new(());
        let by_work = std::sync::Arc::clone(&used);
        let batches = Batches::start(3, move |items: Vec<u32>| {
            assert!(std::sync::Arc::strong_count(&by_work) > 1);
            items
        });
        assert_eq!(batches.submit(1).await, Ok(1));
        drop(batches);
        assert_eq!(std::sync::Arc::strong_count(&used), 1);
    }
}
