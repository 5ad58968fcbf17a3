//! How far an order is, and what moves it on.

use std::str::FromStr;

/// How far an accepted order is. What is listed later comes later, and there is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Paid,
    /// The store will see to it.
    Accepted,
    /// The customer does not want it any more; the store decides.
    Cancelling,
    Cooking,
    WithRider,
    Delivered,
    /// Nobody will bring it; what was paid is given back.
    Cancelled,
}

/// A word that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such status")]
pub struct UnknownStatus;

/// What the store tells of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Accepted,
    CookingStarted,
    RiderAssigned,
    Delivered,
    /// The store will not see to it.
    Cancelled,
    /// It was being cooked already.
    CancellationRefused,
}

/// What may move an order on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The customer asks for it not to be brought.
    Cancel,
    News(News),
}

/// What has happened to an order and others must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Paid,
    CancellationRequested,
    Cancelled,
    /// It was not accepted, although it may have been paid.
    Abandoned,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Paid,
        Self::Accepted,
        Self::Cancelling,
        Self::Cooking,
        Self::WithRider,
        Self::Delivered,
        Self::Cancelled,
    ];

    /// The status after `step`, and what others must hear of. News may be late, repeated or
    /// overtaken by other news.
    pub fn after(self, step: Step) -> (Self, Option<Fact>) {
        let can_be_cancelled = self < Self::Cooking;
        match step {
            Step::Cancel if self < Self::Cancelling => {
                (Self::Cancelling, Some(Fact::CancellationRequested))
            }
            Step::News(News::Cancelled) if can_be_cancelled => {
                (Self::Cancelled, Some(Fact::Cancelled))
            }
            Step::News(News::CancellationRefused) if self == Self::Cancelling => {
                (Self::Cooking, None)
            }
            Step::News(News::Accepted) => (self.max(Self::Accepted), None),
            Step::News(News::CookingStarted) => (self.max(Self::Cooking), None),
            Step::News(News::RiderAssigned) => (self.max(Self::WithRider), None),
            Step::News(News::Delivered) => (self.max(Self::Delivered), None),
            Step::Cancel | Step::News(News::Cancelled | News::CancellationRefused) => (self, None),
        }
    }

    /// Whether the customer's wish that it not be brought is granted, or may still be.
    pub fn is_cancelled_or_may_be(self) -> bool {
        matches!(self, Self::Cancelling | Self::Cancelled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Accepted => "accepted",
            Self::Cancelling => "cancelling",
            Self::Cooking => "cooking",
            Self::WithRider => "withRider",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWS: [News; 6] = [
        News::Accepted,
        News::CookingStarted,
        News::RiderAssigned,
        News::Delivered,
        News::Cancelled,
        News::CancellationRefused,
    ];

    fn after(status: Status, steps: impl IntoIterator<Item = Step>) -> (Status, Vec<Fact>) {
        let mut facts = Vec::new();
        let status = steps.into_iter().fold(status, |status, step| {
            let (status, fact) = status.after(step);
            facts.extend(fact);
            status
        });
        (status, facts)
    }

    fn hears(status: Status, news: impl IntoIterator<Item = News>) -> (Status, Vec<Fact>) {
        after(status, news.into_iter().map(Step::News))
    }

    #[test]
    fn every_status_is_known_by_its_own_name() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert_eq!("pending".parse::<Status>(), Err(UnknownStatus));
    }

    #[test]
    fn an_order_follows_the_store_to_the_door() {
        for (count, status) in [
            (1, Status::Accepted),
            (2, Status::Cooking),
            (3, Status::WithRider),
            (4, Status::Delivered),
        ] {
            let news = NEWS.into_iter().take(count);
            assert_eq!(hears(Status::Paid, news), (status, vec![]));
        }
    }

    #[test]
    fn a_status_never_goes_backwards_and_a_repeated_step_changes_nothing() {
        let steps = NEWS.map(Step::News).into_iter().chain([Step::Cancel]);
        for status in Status::ALL {
            for step in steps.clone() {
                let (next, _) = status.after(step);
                assert!(next >= status, "{status:?} {step:?}");
                assert_eq!(next.after(step), (next, None), "{status:?} {step:?}");
            }
        }
    }

    #[test]
    fn a_cancellation_is_asked_for_once_and_decided_by_the_store() {
        let asked = after(Status::Accepted, [Step::Cancel, Step::Cancel]);
        let requested = vec![Fact::CancellationRequested];
        assert_eq!(asked, (Status::Cancelling, requested));
        assert_eq!(
            hears(Status::Cancelling, [News::Accepted, News::Cancelled]),
            (Status::Cancelled, vec![Fact::Cancelled])
        );
        assert_eq!(
            hears(Status::Cancelling, [News::CancellationRefused]),
            (Status::Cooking, vec![])
        );
    }

    #[test]
    fn what_is_being_cooked_is_brought() {
        for status in [Status::Cooking, Status::WithRider, Status::Delivered] {
            assert_eq!(status.after(Step::Cancel), (status, None));
            assert_eq!(hears(status, [News::Cancelled]), (status, vec![]));
        }
    }
}
