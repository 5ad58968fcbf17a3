//! What every store of payments must do, asked of each kind of database and of a double in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pay::adapters::sql::{SCHEMAS, SqlPayments};
use pay::config::Config;
use pay::domain::{Entry, OrderId, Payment, Status};
use pay::ports::{Cause, Connection, Payments, Recorded, StoreError};
use service_kit::database::{Database, query};
use service_kit::env::Env;
use service_kit::events::EventId;
use sqlx::Row as _;
use test_servers::{Kind, Server};

/// A refund that was told: of which order, how much, because of what.
type Told = (String, u32, String);

#[derive(Clone, Default)]
struct InMemory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    told: Vec<Told>,
    events: HashSet<EventId>,
}

#[async_trait]
impl Payments for InMemory {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.connect().await
    }
}

#[async_trait]
impl Connection for InMemory {
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError> {
        let entries = &mut self.0.lock().unwrap().entries;
        let mut known = entries.iter();
        if let Some(earlier) = known.find(|entry| entry.payment.order_id == payment.order_id) {
            return Ok(Recorded::Existing(earlier.clone()));
        }
        entries.push(taken(payment));
        Ok(Recorded::New)
    }

    async fn give_up(
        &mut self,
        order_id: &OrderId,
        amount: u32,
        cause: &Cause,
    ) -> Result<Status, StoreError> {
        let mut state = self.0.lock().unwrap();
        let is_new = state.events.insert(cause.id);
        let is_it = |entry: &Entry| entry.payment.order_id == *order_id;
        let Some(index) = state.entries.iter().position(is_it) else {
            let payment = Payment {
                order_id: order_id.clone(),
                amount: None,
            };
            let status = Status::Barred;
            state.entries.push(Entry { payment, status });
            return Ok(status);
        };
        let entry = &mut state.entries[index];
        if is_new && entry.status == Status::Taken {
            entry.status = Status::Refunded;
            let amount = entry.payment.amount.unwrap_or(amount);
            let told = (order_id.as_str().to_owned(), amount, cause.id.to_string());
            state.told.push(told);
        }
        Ok(state.entries[index].status)
    }

    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Entry>, StoreError> {
        let entries = self.list().await?;
        Ok(entries
            .into_iter()
            .find(|it| it.payment.order_id == *order_id))
    }

    async fn list(&mut self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.0.lock().unwrap().entries.clone())
    }
}

enum Store {
    InMemory(InMemory),
    Sql(Arc<Database>),
}

async fn open<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Store {
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    let database = Database::open(&config.database, &SCHEMAS).await.unwrap();
    Store::Sql(Arc::new(database))
}

async fn every_store() -> Vec<Store> {
    let mut stores = vec![Store::InMemory(InMemory::default()), open([]).await];
    for kind in [Kind::Postgres, Kind::MariaDb] {
        if let Some(server) = Server::shared(kind) {
            let url = server.new_database();
            stores.push(open([("DATABASE_URL", url.as_str())]).await);
        }
    }
    stores
}

impl Store {
    fn payments(&self) -> Arc<dyn Payments> {
        match self {
            Self::InMemory(payments) => Arc::new(payments.clone()),
            Self::Sql(database) => Arc::new(SqlPayments::new(Arc::clone(database))),
        }
    }

    async fn connect(&self) -> Box<dyn Connection> {
        self.payments().connect().await.unwrap()
    }

    /// The refunds that others will be told of, in order.
    async fn told(&self) -> Vec<Told> {
        let database = match self {
            Self::InMemory(payments) => return payments.0.lock().unwrap().told.clone(),
            Self::Sql(database) => database,
        };
        let mut lease = database.connect().await.unwrap();
        let connection = &mut lease.connection();
        query(
            connection,
            "SELECT event_key, payload, causation_id FROM outbox ORDER BY sequence",
        )
        .try_map(|row| {
            let payload: serde_json::Value = serde_json::from_str(row.try_get("payload")?).unwrap();
            let amount = u32::try_from(payload["amount"].as_u64().unwrap()).unwrap();
            Ok((
                row.try_get("event_key")?,
                amount,
                row.try_get("causation_id")?,
            ))
        })
        .fetch_all(connection)
        .await
        .unwrap()
    }
}

fn payment(order_id: &str, amount: Option<u32>) -> Payment {
    Payment {
        order_id: OrderId::parse(order_id).unwrap(),
        amount,
    }
}

fn taken(payment: &Payment) -> Entry {
    Entry {
        payment: payment.clone(),
        status: Status::Taken,
    }
}

fn event(id: u128) -> Cause {
    Cause {
        id: EventId::new(id),
        traceparent: None,
    }
}

#[tokio::test]
async fn the_first_payment_of_an_order_stays() {
    for store in every_store().await {
        let mut connection = store.connect().await;
        let first = payment("a", Some(5));
        assert_eq!(connection.record(&first).await.unwrap(), Recorded::New);
        for later in [
            payment("a", Some(5)),
            payment("a", Some(6)),
            payment("a", None),
        ] {
            assert_eq!(
                connection.record(&later).await.unwrap(),
                Recorded::Existing(taken(&first))
            );
        }
        let found = connection.find(&first.order_id).await.unwrap();
        assert_eq!(found, Some(taken(&first)));
    }
}

#[tokio::test]
async fn payments_are_listed_in_the_order_they_were_taken() {
    for store in every_store().await {
        let payments = [
            payment("b", None),
            payment("a", Some(0)),
            payment("c", Some(u32::MAX)),
        ];
        let mut connection = store.connect().await;
        assert_eq!(connection.list().await.unwrap(), []);
        for payment in &payments {
            connection.record(payment).await.unwrap();
        }
        drop(connection);
        let mut another = store.connect().await;
        assert_eq!(
            another.list().await.unwrap(),
            payments.each_ref().map(taken)
        );
        let unknown = OrderId::parse("d").unwrap();
        assert_eq!(another.find(&unknown).await.unwrap(), None);
    }
}

#[tokio::test]
async fn of_many_at_once_exactly_one_is_new() {
    for store in every_store().await {
        let racers: Vec<_> = (0..30)
            .map(|_| {
                let payments = store.payments();
                tokio::spawn(async move {
                    let mut connection = payments.connect().await.unwrap();
                    connection.record(&payment("a", None)).await.unwrap()
                })
            })
            .collect();
        let mut new = 0;
        for racer in racers {
            new += usize::from(racer.await.unwrap() == Recorded::New);
        }
        assert_eq!(new, 1);
    }
}

#[tokio::test]
async fn a_data_folder_outlives_the_process_and_a_temporary_file_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = [("DATA_DIR", folder.path().to_str().unwrap())];
    for (env, survivors) in [(&data_dir[..], 1), (&[], 0)] {
        let first = open(env.iter().copied()).await;
        let mut connection = first.connect().await;
        connection.record(&payment("a", None)).await.unwrap();
        drop((connection, first));
        let second = open(env.iter().copied()).await;
        let list = second.connect().await.list().await.unwrap();
        assert_eq!(list.len(), survivors);
    }
}

#[tokio::test]
async fn what_was_taken_is_given_back_once_and_never_taken_again() {
    for store in every_store().await {
        let mut connection = store.connect().await;
        for payment in [
            payment("a", Some(5)),
            payment("b", None),
            payment("c", Some(0)),
        ] {
            connection.record(&payment).await.unwrap();
        }
        for (order_id, id) in [("a", 1), ("a", 1), ("a", 2), ("b", 3)] {
            let order_id = OrderId::parse(order_id).unwrap();
            let status = connection.give_up(&order_id, 7, &event(id)).await.unwrap();
            assert_eq!(status, Status::Refunded);
        }
        let refunded = Entry {
            payment: payment("a", Some(5)),
            status: Status::Refunded,
        };
        let again = connection.record(&refunded.payment).await.unwrap();
        assert_eq!(again, Recorded::Existing(refunded.clone()));
        let entries = connection.list().await.unwrap();
        assert_eq!(entries[0], refunded);
        assert_eq!(entries[2], taken(&payment("c", Some(0))));
        drop(connection);
        let told = [("a", 5, 1), ("b", 7, 3)]
            .map(|(id, amount, cause)| (id.to_owned(), amount, EventId::new(cause).to_string()));
        assert_eq!(store.told().await, told);
    }
}

#[tokio::test]
async fn nothing_is_ever_taken_for_an_order_that_was_given_up_before() {
    for store in every_store().await {
        let mut connection = store.connect().await;
        let order_id = OrderId::parse("a").unwrap();
        for id in [1, 1, 2] {
            let status = connection.give_up(&order_id, 7, &event(id)).await.unwrap();
            assert_eq!(status, Status::Barred);
        }
        let barred = Entry {
            payment: payment("a", None),
            status: Status::Barred,
        };
        let late = connection.record(&payment("a", Some(7))).await.unwrap();
        assert_eq!(late, Recorded::Existing(barred.clone()));
        assert_eq!(connection.list().await.unwrap(), [barred]);
        drop(connection);
        assert_eq!(store.told().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_races_with_the_end_of_its_order_is_given_back_or_never_taken() {
    for store in every_store().await {
        let mut refunds = 0;
        for round in 0..20_u128 {
            let payment = payment(&round.to_string(), Some(7));
            let [payer, quitter] = [store.payments(), store.payments()];
            let (paid, order_id) = (payment.clone(), payment.order_id.clone());
            let payer = tokio::spawn(async move {
                let mut connection = payer.connect().await.unwrap();
                connection.record(&paid).await.unwrap()
            });
            let quitter = tokio::spawn(async move {
                let mut connection = quitter.connect_in_background().await.unwrap();
                loop {
                    // Whoever loses the race may fail, and is given the event again.
                    let given_up = connection.give_up(&order_id, 7, &event(round)).await;
                    if let Ok(status) = given_up {
                        break status;
                    }
                }
            });
            let expected = match payer.await.unwrap() {
                Recorded::New => Status::Refunded,
                Recorded::Existing(entry) if entry.status == Status::Barred => Status::Barred,
                Recorded::Existing(entry) => panic!("nobody else paid: {entry:?}"),
            };
            assert_eq!(quitter.await.unwrap(), expected);
            refunds += usize::from(expected == Status::Refunded);
        }
        assert_eq!(store.told().await.len(), refunds);
    }
}
