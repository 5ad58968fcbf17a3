//! What every store of orders must do, asked of each kind of database and of the double in memory.

use std::sync::Arc;

use app::adapters::sql::{SCHEMAS, SqlOrders};
use app::config::Config;
use app::domain::{
    AcceptedOrder, Address, Fact, Item, News, Order, OrderId, Quantity, Status, Step,
};
use app::ports::{
    Cause, Committed, Connection, Inserted, Intent, Orders, Origin, Overdue, Rollback, Taken,
};
use service_kit::database::{Database, query};
use service_kit::env::Env;
use service_kit::events::EventId;
use sqlx::Row as _;
use test_servers::{Kind, Server};

use crate::doubles::{InMemoryOrders, Told};

enum Store {
    InMemory(InMemoryOrders),
    Sql(Arc<Database>),
}

async fn every_store() -> Vec<Store> {
    let mut stores = vec![Store::InMemory(InMemoryOrders::default()), open([]).await];
    for kind in [Kind::Postgres, Kind::MariaDb] {
        if let Some(server) = Server::shared(kind) {
            let url = server.new_database();
            stores.push(open([("DATABASE_URL", url.as_str())]).await);
        }
    }
    stores
}

async fn open<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Store {
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    let database = Database::open(&config.database, &SCHEMAS).await.unwrap();
    Store::Sql(Arc::new(database))
}

impl Store {
    fn orders(&self) -> Arc<dyn Orders> {
        match self {
            Self::InMemory(orders) => Arc::new(orders.clone()),
            Self::Sql(database) => Arc::new(SqlOrders::new(Arc::clone(database))),
        }
    }

    async fn connect(&self) -> Box<dyn Connection> {
        self.orders().connect().await.unwrap()
    }

    /// What others will be told, in order.
    async fn told(&self) -> Vec<Told> {
        let database = match self {
            Self::InMemory(orders) => return orders.told(),
            Self::Sql(database) => database,
        };
        let mut lease = database.connect().await.unwrap();
        let connection = &mut lease.connection();
        query(
            connection,
            "SELECT kind, event_key, causation_id FROM outbox ORDER BY sequence",
        )
        .try_map(|row| {
            let fact = match row.try_get("kind")? {
                "OrderPaid" => Fact::Paid,
                "CancellationRequested" => Fact::CancellationRequested,
                "OrderCancelled" => Fact::Cancelled,
                "OrderAbandoned" => Fact::Abandoned,
                kind => panic!("nobody knows {kind}"),
            };
            let key: &str = row.try_get("event_key")?;
            Ok((fact, key.parse().unwrap(), row.try_get("causation_id")?))
        })
        .fetch_all(connection)
        .await
        .unwrap()
    }

    async fn list(&self) -> Vec<AcceptedOrder> {
        self.connect().await.list().await.unwrap()
    }

    async fn accept(&self, order: &Order) {
        let mut connection = self.connect().await;
        let inserted = connection.insert(&intent(order, None)).await.unwrap();
        assert_eq!(inserted, Inserted::New);
        let committed = connection.commit(order, &request("r")).await.unwrap();
        assert_eq!(committed, Committed::Accepted);
    }

    async fn take(&self, order: &Order, step: Step, cause: &Cause) -> Option<Taken> {
        let mut connection = self.orders().connect_in_background().await.unwrap();
        connection.take(order.id, step, cause).await.unwrap()
    }
}

fn order(id: u128, item: Item, quantity: u32, address: Option<&str>) -> Order {
    Order {
        id: OrderId::new(id),
        item,
        quantity: Quantity::new(quantity).unwrap(),
        address: address.map(|text| text.parse().unwrap()),
    }
}

fn chicken(id: u128) -> Order {
    order(id, Item::Chicken, 1, None)
}

fn intent(order: &Order, key: Option<&str>) -> Intent {
    Intent {
        order: order.clone(),
        key: key.map(|key| key.parse().unwrap()),
        begun_at_ms: i64::from(1_000 + order.quantity.get()),
        traceparent: Some(traceparent(order)),
    }
}

fn traceparent(order: &Order) -> String {
    format!("00-{}-b7ad6b7169203331-01", order.id)
}

fn overdue(orders: &[Order]) -> Vec<Overdue> {
    let overdue = |order: &Order| Overdue {
        order: order.clone(),
        traceparent: Some(traceparent(order)),
    };
    orders.iter().map(overdue).collect()
}

fn request(id: &str) -> Cause {
    Cause {
        origin: Origin::Request { id: id.to_owned() },
        traceparent: None,
    }
}

fn event(id: EventId) -> Cause {
    Cause {
        origin: Origin::Event { id },
        traceparent: None,
    }
}

fn accepted(order: &Order, status: Status) -> AcceptedOrder {
    AcceptedOrder {
        order: order.clone(),
        status,
    }
}

#[tokio::test]
async fn accepted_orders_are_found_listed_and_told_as_they_came() {
    let orders = [
        order(u128::MAX, Item::Pizza, 100, Some("서울시 \"강남구\"")),
        order(0, Item::Chicken, 1, None),
        order(7, Item::Jjajangmyeon, 2, Some("")),
        order(8, Item::Tteokbokki, 3, Some(&"x".repeat(Address::LONGEST))),
    ];
    for store in every_store().await {
        for order in &orders {
            store.accept(order).await;
        }
        let all = orders.each_ref().map(|it| accepted(it, Status::Paid));
        assert_eq!(store.list().await, all);
        let mut connection = store.connect().await;
        for accepted in &all {
            let found = connection.find(accepted.order.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(accepted));
        }
        assert_eq!(connection.find(OrderId::new(9)).await.unwrap(), None);
        let told = orders
            .each_ref()
            .map(|it| (Fact::Paid, it.id, "r".to_owned()));
        drop(connection);
        assert_eq!(store.told().await, told);
    }
}

#[tokio::test]
async fn an_order_is_invisible_and_untold_until_it_is_accepted() {
    for store in every_store().await {
        let order = chicken(1);
        let mut connection = store.connect().await;
        connection.insert(&intent(&order, None)).await.unwrap();
        assert_eq!(store.list().await, []);
        assert_eq!(connection.find(order.id).await.unwrap(), None);
        assert_eq!(store.take(&order, Step::Cancel, &request("r")).await, None);
        assert_eq!(store.told().await, []);
        // Not the connection but the store keeps it.
        drop(connection);
        let mut another = store.connect().await;
        let committed = another.commit(&order, &request("r")).await.unwrap();
        assert_eq!(committed, Committed::Accepted);
        assert_eq!(store.list().await, [accepted(&order, Status::Paid)]);
    }
}

#[tokio::test]
async fn an_order_that_was_perhaps_paid_is_given_up_aloud_and_others_silently() {
    for store in every_store().await {
        let mut connection = store.connect().await;
        for (id, reason) in [(1, Rollback::NotPaid), (2, Rollback::PerhapsPaid)] {
            let order = chicken(id);
            connection.insert(&intent(&order, None)).await.unwrap();
            // As often as it is given up, it is told once.
            for cause in ["a", "b"] {
                let cause = request(cause);
                connection.rollback(&order, reason, &cause).await.unwrap();
            }
            let late = connection.commit(&order, &request("c")).await.unwrap();
            assert_eq!(late, Committed::Abandoned);
        }
        drop(connection);
        let told = (Fact::Abandoned, OrderId::new(2), "a".to_owned());
        assert_eq!(store.told().await, [told]);
        assert_eq!(store.list().await, []);
    }
}

#[tokio::test]
async fn an_accepted_order_is_never_given_up() {
    for store in every_store().await {
        let order = chicken(1);
        store.accept(&order).await;
        let mut connection = store.connect().await;
        for reason in [Rollback::NotPaid, Rollback::PerhapsPaid] {
            connection
                .rollback(&order, reason, &request("late"))
                .await
                .unwrap();
        }
        assert_eq!(connection.overdue(i64::MAX).await.unwrap(), []);
        drop(connection);
        assert_eq!(store.list().await, [accepted(&order, Status::Paid)]);
        assert_eq!(store.told().await.len(), 1);
    }
}

#[tokio::test]
async fn orders_that_wait_for_too_long_are_found() {
    for store in every_store().await {
        let orders = [1, 2, 3].map(|quantity| order(quantity.into(), Item::Pizza, quantity, None));
        let mut connection = store.connect().await;
        for order in &orders {
            connection.insert(&intent(order, None)).await.unwrap();
        }
        assert_eq!(connection.overdue(1_001).await.unwrap(), []);
        assert_eq!(
            connection.overdue(1_003).await.unwrap(),
            overdue(&orders[..2])
        );
        connection
            .rollback(&orders[0], Rollback::PerhapsPaid, &request("r"))
            .await
            .unwrap();
        assert_eq!(
            connection.overdue(i64::MAX).await.unwrap(),
            overdue(&orders[1..])
        );
    }
}

#[tokio::test]
async fn a_key_stands_for_its_first_order_until_that_is_given_up() {
    for store in every_store().await {
        let first = order(1, Item::Pizza, 2, Some("서울"));
        let mut connection = store.connect().await;
        let mut insert =
            async |order: &Order, key| connection.insert(&intent(order, Some(key))).await.unwrap();
        assert_eq!(insert(&first, "k").await, Inserted::New);
        assert_eq!(insert(&chicken(2), "K").await, Inserted::New);
        let under_way = Inserted::KeyUsed {
            order: first.clone(),
            status: None,
        };
        assert_eq!(insert(&chicken(3), "k").await, under_way);
        connection.commit(&first, &request("r")).await.unwrap();
        let mut insert =
            async |order: &Order, key| connection.insert(&intent(order, Some(key))).await.unwrap();
        let used = Inserted::KeyUsed {
            order: first.clone(),
            status: Some(Status::Paid),
        };
        assert_eq!(insert(&chicken(3), "k").await, used);
        connection
            .rollback(&chicken(2), Rollback::NotPaid, &request("r"))
            .await
            .unwrap();
        let again = connection.insert(&intent(&chicken(3), Some("K"))).await;
        assert_eq!(again.unwrap(), Inserted::New);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_with_one_key_one_is_new() {
    for store in every_store().await {
        let racers: Vec<_> = (0..20)
            .map(|id| {
                let orders = store.orders();
                tokio::spawn(async move {
                    let mut connection = orders.connect().await.unwrap();
                    connection
                        .insert(&intent(&chicken(id), Some("k")))
                        .await
                        .unwrap()
                })
            })
            .collect();
        let mut new = 0;
        for racer in racers {
            new += usize::from(racer.await.unwrap() == Inserted::New);
        }
        assert_eq!(new, 1);
    }
}

#[tokio::test]
async fn steps_are_taken_and_told_once_for_each_event() {
    let news = |news| Step::News(news);
    for store in every_store().await {
        let order = chicken(1);
        store.accept(&order).await;
        let [accepts, asks, cancels] = [EventId::new(1), EventId::new(2), EventId::new(3)];
        for (step, cause, before, after) in [
            (
                news(News::Accepted),
                event(accepts),
                Status::Paid,
                Status::Accepted,
            ),
            (
                Step::Cancel,
                request("please"),
                Status::Accepted,
                Status::Cancelling,
            ),
            (
                Step::Cancel,
                request("again"),
                Status::Cancelling,
                Status::Cancelling,
            ),
            // Given again, with a content that would move it on: it is known by its id.
            (
                news(News::Cancelled),
                event(accepts),
                Status::Cancelling,
                Status::Cancelling,
            ),
            (
                news(News::Accepted),
                event(asks),
                Status::Cancelling,
                Status::Cancelling,
            ),
            (
                news(News::Cancelled),
                event(cancels),
                Status::Cancelling,
                Status::Cancelled,
            ),
            (
                news(News::Cancelled),
                event(cancels),
                Status::Cancelled,
                Status::Cancelled,
            ),
        ] {
            let taken = store.take(&order, step, &cause).await;
            assert_eq!(taken, Some(Taken { before, after }), "{step:?} {cause}");
            assert_eq!(store.list().await, [accepted(&order, after)]);
        }
        let told = [
            (Fact::Paid, order.id, "r".to_owned()),
            (Fact::CancellationRequested, order.id, "please".to_owned()),
            (Fact::Cancelled, order.id, cancels.to_string()),
        ];
        assert_eq!(store.told().await, told);
        assert_eq!(
            store.take(&chicken(2), Step::Cancel, &request("r")).await,
            None
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_cancellations_at_once_one_is_told() {
    for store in every_store().await {
        let order = chicken(1);
        store.accept(&order).await;
        let racers: Vec<_> = (0..20)
            .map(|_| {
                let orders = store.orders();
                let id = order.id;
                tokio::spawn(async move {
                    let mut connection = orders.connect().await.unwrap();
                    connection
                        .take(id, Step::Cancel, &request("r"))
                        .await
                        .unwrap()
                })
            })
            .collect();
        for racer in racers {
            assert_eq!(racer.await.unwrap().unwrap().after, Status::Cancelling);
        }
        assert_eq!(store.told().await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_at_once_are_all_accepted() {
    for store in every_store().await {
        let store = Arc::new(store);
        let writers: Vec<_> = (0..40)
            .map(|id| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.accept(&chicken(id)).await })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(store.list().await.len(), 40);
        assert_eq!(store.told().await.len(), 40);
    }
}
