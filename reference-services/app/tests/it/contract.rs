//! What every store of orders must do, asked of each kind of database and of the double in memory.

use std::sync::Arc;

use app::adapters::sql::SqlOrders;
use app::config::Config;
use app::domain::{Item, Order, OrderId, Quantity};
use app::ports::Orders;
use service_kit::env::Env;
use test_servers::{Kind, Server};

use crate::doubles::InMemoryOrders;

async fn every_store() -> Vec<Arc<dyn Orders>> {
    let double: Arc<dyn Orders> = Arc::new(InMemoryOrders::default());
    let mut stores = vec![double, open([]).await];
    for kind in [Kind::Postgres, Kind::MariaDb] {
        if let Some(server) = Server::shared(kind) {
            let url = server.new_database();
            stores.push(open([("DATABASE_URL", url.as_str())]).await);
        }
    }
    stores
}

async fn open<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<dyn Orders> {
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    Arc::new(SqlOrders::open(&config.database).await.unwrap())
}

fn order(id: u128, item: Item, quantity: u32, address: Option<&str>) -> Order {
    Order {
        id: OrderId::new(id),
        item,
        quantity: Quantity::new(quantity).unwrap(),
        address: address.map(str::to_owned),
    }
}

async fn accept(store: &dyn Orders, order: &Order) {
    let mut connection = store.connect().await.unwrap();
    connection.insert(order.clone()).await.unwrap();
    connection.commit().await.unwrap();
}

async fn list(store: &dyn Orders) -> Vec<Order> {
    store.connect().await.unwrap().list().await.unwrap()
}

#[tokio::test]
async fn committed_orders_are_found_and_listed_as_they_came() {
    let orders = [
        order(u128::MAX, Item::Pizza, 100, Some("서울시 \"강남구\"")),
        order(0, Item::Chicken, 1, None),
        order(7, Item::Jjajangmyeon, 2, Some("")),
        order(8, Item::Tteokbokki, 3, None),
    ];
    for store in every_store().await {
        for order in &orders {
            accept(&*store, order).await;
        }
        assert_eq!(list(&*store).await, orders);
        let mut connection = store.connect().await.unwrap();
        for order in &orders {
            assert_eq!(
                connection.find(order.id).await.unwrap().as_ref(),
                Some(order)
            );
        }
        assert_eq!(connection.find(OrderId::new(9)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_order_is_invisible_until_it_is_committed() {
    for store in every_store().await {
        let mut connection = store.connect().await.unwrap();
        let order = order(1, Item::Chicken, 1, None);
        connection.insert(order.clone()).await.unwrap();
        assert_eq!(list(&*store).await, []);
        connection.commit().await.unwrap();
        assert_eq!(list(&*store).await, [order]);
    }
}

#[tokio::test]
async fn orders_rolled_back_or_left_behind_are_forgotten() {
    for store in every_store().await {
        let mut connection = store.connect().await.unwrap();
        connection
            .insert(order(1, Item::Pizza, 1, None))
            .await
            .unwrap();
        connection.rollback().await.unwrap();
        connection.commit().await.unwrap();
        connection
            .insert(order(2, Item::Pizza, 1, None))
            .await
            .unwrap();
        drop(connection);
        assert_eq!(list(&*store).await, []);
    }
}

#[tokio::test]
async fn many_orders_at_once_are_all_accepted() {
    for store in every_store().await {
        let writers: Vec<_> = (0..40)
            .map(|id| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    accept(&*store, &order(id, Item::Chicken, 1, None)).await;
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(list(&*store).await.len(), 40);
    }
}
