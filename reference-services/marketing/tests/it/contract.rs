//! What every ledger must do, asked of plain files and of the double in memory.

use std::path::Path;
use std::sync::Arc;

use marketing::adapters::files::{FileLedger, OpenError};
use marketing::ports::{Heard, Ledger};
use service_kit::folder::{FolderConfig, FolderError};

use crate::doubles::{InMemoryLedger, coupon, delivered, rewarded};

fn every_ledger() -> [Arc<dyn Ledger>; 2] {
    let temporary = FolderConfig::Temporary {
        prefix: "marketing-".to_owned(),
    };
    [
        Arc::new(InMemoryLedger::default()),
        Arc::new(FileLedger::open(&temporary).unwrap()),
    ]
}

fn open(folder: &Path) -> Result<FileLedger, OpenError> {
    FileLedger::open(&FolderConfig::At(folder.to_owned()))
}

#[tokio::test]
async fn a_coupon_is_owed_until_it_is_issued() {
    for ledger in every_ledger() {
        for order_id in ["b", "a", "c"] {
            let heard = ledger.hear(delivered(order_id)).await.unwrap();
            assert_eq!(heard, Heard::New);
            let again = ledger.hear(delivered(order_id)).await.unwrap();
            assert_eq!(again, Heard::Repeated);
        }
        let two = ledger.owed(2).await.unwrap();
        assert_eq!(two, [delivered("b"), delivered("a")]);
        let issued = ledger.issue(vec![coupon("b"), coupon("c")]).await.unwrap();
        assert_eq!(issued, 2);
        assert_eq!(ledger.owed(9).await.unwrap(), [delivered("a")]);
        let again = ledger.hear(delivered("b")).await.unwrap();
        assert_eq!(again, Heard::Repeated);
        let coupons = ledger.list().await.unwrap();
        assert_eq!(coupons, [coupon("b"), coupon("c")]);
    }
}

#[tokio::test]
async fn no_order_gets_a_second_coupon() {
    for ledger in every_ledger() {
        ledger.issue(vec![coupon("a")]).await.unwrap();
        let twice = vec![coupon("a"), coupon("b"), coupon("b")];
        assert_eq!(ledger.issue(twice.clone()).await.unwrap(), 1);
        assert_eq!(ledger.issue(twice).await.unwrap(), 0);
        assert_eq!(rewarded(&*ledger).await, ["a", "b"]);
        let heard = ledger.hear(delivered("a")).await.unwrap();
        assert_eq!(heard, Heard::Repeated);
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_new() {
    for ledger in every_ledger() {
        let racers: Vec<_> = (0..60)
            .map(|racer| {
                let ledger = Arc::clone(&ledger);
                let delivered = delivered(&(racer % 3).to_string());
                tokio::spawn(async move { ledger.hear(delivered).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for racer in racers {
            new += usize::from(racer.await.unwrap() == Heard::New);
        }
        assert_eq!(new, 3);
        assert_eq!(ledger.owed(9).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn coupons_are_unpublished_until_it_is_said_that_they_are_not() {
    for ledger in every_ledger() {
        assert_eq!(ledger.unpublished(9).await.unwrap(), []);
        let coupons = ["a", "b", "c"].map(coupon);
        ledger.issue(coupons.to_vec()).await.unwrap();
        assert_eq!(ledger.unpublished(2).await.unwrap(), coupons[..2]);
        ledger.published(2).await.unwrap();
        assert_eq!(ledger.unpublished(9).await.unwrap(), coupons[2..]);
        ledger.published(1).await.unwrap();
        assert_eq!(ledger.unpublished(9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_ledger_outlives_its_process_and_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let identity = first.identity().to_owned();
    for order_id in ["a", "b", "c"] {
        first.hear(delivered(order_id)).await.unwrap();
    }
    first.issue(vec![coupon("a"), coupon("b")]).await.unwrap();
    first.published(1).await.unwrap();
    assert!(matches!(
        open(folder.path()).unwrap_err(),
        OpenError::Folder(FolderError::InUse(_))
    ));
    drop(first);

    let second = open(folder.path()).unwrap();
    assert_eq!(second.identity(), identity);
    assert_eq!(second.owed(9).await.unwrap(), [delivered("c")]);
    assert_eq!(second.list().await.unwrap(), [coupon("a"), coupon("b")]);
    assert_eq!(second.unpublished(9).await.unwrap(), [coupon("b")]);
}

/// A crash may cut any of the files where it was being written: what is left is what had been told.
#[tokio::test]
async fn wherever_a_crash_cuts_a_journal_no_order_gets_a_second_coupon() {
    let whole = tempfile::tempdir().unwrap();
    let ledger = open(whole.path()).unwrap();
    for order_id in ["a", "b"] {
        ledger.hear(delivered(order_id)).await.unwrap();
    }
    ledger.issue(vec![coupon("a"), coupon("b")]).await.unwrap();
    drop(ledger);
    let journal = std::fs::read(whole.path().join("coupons.jsonl")).unwrap();
    let heard = std::fs::read(whole.path().join("deliveries.jsonl")).unwrap();

    for length in (0..=journal.len()).step_by(7) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("coupons.jsonl"), &journal[..length]).unwrap();
        std::fs::write(folder.path().join("deliveries.jsonl"), &heard).unwrap();
        let ledger = open(folder.path()).unwrap();
        let owed = ledger.owed(9).await.unwrap();
        let coupons = owed.iter().map(|it| coupon(&it.order_id.to_string()));
        ledger.issue(coupons.collect()).await.unwrap();
        assert_eq!(rewarded(&ledger).await, ["a", "b"], "cut at {length}");
    }
}

#[tokio::test]
async fn files_that_contradict_each_other_are_not_used() {
    for text in ["2", "-1", "one", ""] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path()).unwrap();
        ledger.issue(vec![coupon("a")]).await.unwrap();
        drop(ledger);
        std::fs::write(folder.path().join("published"), text).unwrap();
        assert!(matches!(
            open(folder.path()).unwrap_err(),
            OpenError::Contradiction { coupons: 1, .. }
        ));
    }
}

#[tokio::test]
async fn a_coupon_that_nobody_could_have_issued_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).unwrap();
    ledger.issue(vec![coupon("a")]).await.unwrap();
    drop(ledger);
    let path = folder.path().join("coupons.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let forged = text.replace("\"percent\":10", "\"percent\":101");
    assert_ne!(forged, text);
    std::fs::write(&path, forged).unwrap();
    assert!(matches!(
        open(folder.path()).unwrap_err(),
        OpenError::Journal(_)
    ));
}
