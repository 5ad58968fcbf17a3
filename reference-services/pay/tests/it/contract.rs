//! What every store of payments must do, asked of each kind of database and of a double in
//! memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pay::adapters::sql::SqlPayments;
use pay::config::Config;
use pay::domain::{OrderId, Payment};
use pay::ports::{Connection, Payments, Recorded, StoreError};
use service_kit::env::Env;
use test_servers::{Kind, Server};

#[derive(Clone, Default)]
struct InMemory(Arc<Mutex<Vec<Payment>>>);

#[async_trait]
impl Payments for InMemory {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Connection for InMemory {
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError> {
        let mut payments = self.0.lock().unwrap();
        let earlier = payments.iter().find(|p| p.order_id == payment.order_id);
        if let Some(earlier) = earlier {
            return Ok(Recorded::Existing(earlier.clone()));
        }
        payments.push(payment.clone());
        Ok(Recorded::New)
    }

    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Payment>, StoreError> {
        let payments = self.0.lock().unwrap();
        Ok(payments.iter().find(|p| p.order_id == *order_id).cloned())
    }

    async fn list(&mut self) -> Result<Vec<Payment>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

fn payment(order_id: &str, amount: Option<u32>) -> Payment {
    Payment {
        order_id: OrderId::parse(order_id).unwrap(),
        amount,
    }
}

async fn open<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<dyn Payments> {
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    Arc::new(SqlPayments::open(&config.database).await.unwrap())
}

async fn every_store() -> Vec<Arc<dyn Payments>> {
    let double: Arc<dyn Payments> = Arc::new(InMemory::default());
    let mut stores = vec![double, open([]).await];
    for kind in [Kind::Postgres, Kind::MariaDb] {
        if let Some(server) = Server::shared(kind) {
            let url = server.new_database();
            stores.push(open([("DATABASE_URL", url.as_str())]).await);
        }
    }
    stores
}

#[tokio::test]
async fn the_first_payment_of_an_order_stays() {
    for store in every_store().await {
        let mut connection = store.connect().await.unwrap();
        let first = payment("a", Some(5));
        assert_eq!(connection.record(&first).await.unwrap(), Recorded::New);
        for later in [
            payment("a", Some(5)),
            payment("a", Some(6)),
            payment("a", None),
        ] {
            assert_eq!(
                connection.record(&later).await.unwrap(),
                Recorded::Existing(first.clone())
            );
        }
        assert_eq!(connection.find(&first.order_id).await.unwrap(), Some(first));
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
        let mut connection = store.connect().await.unwrap();
        assert_eq!(connection.list().await.unwrap(), []);
        for payment in &payments {
            connection.record(payment).await.unwrap();
        }
        drop(connection);
        let mut another = store.connect().await.unwrap();
        assert_eq!(another.list().await.unwrap(), payments);
        let unknown = OrderId::parse("d").unwrap();
        assert_eq!(another.find(&unknown).await.unwrap(), None);
    }
}

#[tokio::test]
async fn of_many_at_once_exactly_one_is_new() {
    for store in every_store().await {
        let racers: Vec<_> = (0..30)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut connection = store.connect().await.unwrap();
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
        let mut connection = first.connect().await.unwrap();
        connection.record(&payment("a", None)).await.unwrap();
        drop((connection, first));
        let second = open(env.iter().copied()).await;
        let list = second.connect().await.unwrap().list().await.unwrap();
        assert_eq!(list.len(), survivors);
    }
}
