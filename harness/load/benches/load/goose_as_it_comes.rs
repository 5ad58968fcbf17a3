//! Goose as its documentation has it: its own client, metrics and reports.

use goose::prelude::*;

pub(crate) const ROLE: &str = "goose";

/// `address users seconds`
pub(crate) fn main(arguments: &[&str]) {
    let [address, users, seconds] = arguments else {
        panic!("{arguments:?}");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(attack(address, users.parse().unwrap(), seconds));
}

async fn attack(address: &str, users: usize, seconds: &str) {
    let mut configuration = goose::config::GooseConfiguration::default();
    configuration.host = Some(format!("http://{address}"));
    configuration.users = Some(users);
    configuration.run_time = format!("{seconds}s").into();
    configuration.increase_rate = Some("10000".to_owned());
    configuration.quiet = 2;
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    GooseAttack::initialize_with_config(configuration)
        .unwrap()
        .register_scenario(scenario!("orders").register_transaction(transaction!(order)))
        .execute()
        .await
        .unwrap();
}

async fn order(user: &mut GooseUser) -> TransactionResult {
    let request = user
        .get_request_builder(&GooseMethod::Post, "/orders")?
        .header("content-type", "application/json")
        .body(crate::generators::BODY);
    let request = GooseRequest::builder().set_request_builder(request).build();
    let answer = user.request(request).await?;
    if let Ok(answer) = answer.response {
        drop(answer.bytes().await);
    }
    Ok(())
}
