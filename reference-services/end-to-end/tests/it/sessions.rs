//! The sessions of the seed's README, in its words: what is seen while a service is down.

use reqwest::StatusCode;
use serde_json::{Value, json};

use end_to_end::system::{Part, System};

/// `http localhost:8081/주문s 품목=치킨 수량=1 주소=…`
async fn order_in_korean(system: &System) -> (StatusCode, Value) {
    let order = json!({"품목": "치킨", "수량": "1", "주소": "서울시 강남구"});
    let url = system.url(Part::App, "/주문s");
    let response = system.client.post(url).json(&order).send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_orders_are_taken_and_later_delivered() {
    let Some(mut system) = System::running().await else {
        return;
    };
    system.kill(Part::Store).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, order) = order_in_korean(&system).await;
        assert_eq!(status, StatusCode::CREATED);
        ids.push(order["id"].as_str().unwrap().to_owned());
    }
    // Nobody has looked at them: their status stays.
    let orders = system.read(Part::App, "/주문s").await;
    let statuses: Vec<&Value> = orders
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["status"])
        .collect();
    assert_eq!(statuses, ["paid", "paid"]);

    system.start(Part::Store).await;
    for id in ids {
        let delivered = |order: &Value| order["status"] == "delivered";
        system
            .until(Part::App, &format!("/주문s/{id}"), delivered)
            .await;
    }
    system.until_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_pay_is_down_orders_are_refused_and_taken_again_afterwards() {
    let Some(mut system) = System::running().await else {
        return;
    };
    system.kill(Part::Pay).await;
    for _ in 0..2 {
        let (status, problem) = order_in_korean(&system).await;
        assert!(status.is_server_error(), "{status}");
        assert_eq!(problem["status"], status.as_u16());
    }
    assert_eq!(system.read(Part::App, "/orders").await, json!([]));

    system.start(Part::Pay).await;
    for _ in 0..2 {
        let (status, _) = order_in_korean(&system).await;
        assert_eq!(status, StatusCode::CREATED);
    }
    let report = system.until_settled().await;
    assert_eq!(report["entries"]["orders"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_supporting_services_nobody_misses_anything() {
    let Some(mut system) = System::running().await else {
        return;
    };
    system.kill(Part::Customer).await;
    system.kill(Part::Marketing).await;
    let order = json!({"item": "jjajangmyeon"});
    let id = system.order(Part::Gateway, &order).await.unwrap();
    let delivered = |order: &Value| order["status"] == "delivered";
    system
        .until(Part::Gateway, &format!("/orders/{id}"), delivered)
        .await;
    system.start(Part::Customer).await;
    system.start(Part::Marketing).await;
    system
        .until(Part::Customer, &format!("/my-page/{id}"), delivered)
        .await;
    system.until_settled().await;
}
