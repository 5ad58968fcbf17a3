//! The contracts themselves, and that every breach is noticed and named.

use http::{Request, Response};
use serde_json::{Value, json};
use service_kit::events::wire::Record;

use super::{
    AnswerTerms, Breach, Contract, EventTerms, Exchange, Members, RequestTerms, all, between,
};

const SERVICES: [&str; 7] = [
    "app",
    "pay",
    "store",
    "customer",
    "marketing",
    "auditor",
    "gateway",
];

fn members() -> Members {
    let members = json!({
        "orderId": {"example": "a1", "pattern": "[a-z0-9]+"},
        "amount": {"example": 5, "from": 1, "to": 9},
        "address": {"example": "here", "longest": 5, "optional": true},
    });
    serde_json::from_value(members).unwrap()
}

fn texts(breaches: &[Breach]) -> Vec<String> {
    breaches.iter().map(ToString::to_string).collect()
}

fn checked(found: Value) -> Vec<String> {
    let Value::Object(found) = found else {
        panic!("{found} is no object");
    };
    texts(&members().check(&found))
}

fn terms() -> Vec<EventTerms> {
    let events = all().into_iter().filter_map(|contract| contract.events);
    events.flat_map(|events| events.terms()).collect()
}

fn exchanges() -> Vec<Exchange> {
    all().into_iter().flat_map(|it| it.exchanges).collect()
}

#[test]
fn a_contract_is_between_two_services_and_about_something() {
    for contract in all() {
        let Contract {
            consumer, provider, ..
        } = &contract;
        assert_ne!(consumer, provider);
        for party in [consumer, provider] {
            assert!(SERVICES.contains(&&**party), "nobody tests {party}");
        }
        assert!(contract.events.is_some() || !contract.exchanges.is_empty());
    }
}

#[test]
fn whatever_else_the_provider_says_is_its_own_business() {
    assert_eq!(
        checked(json!({"orderId": "a1", "amount": 5, "more": []})),
        [""; 0]
    );
    assert_eq!(
        checked(json!({"orderId": "b2", "amount": 9, "address": "there"})),
        [""; 0]
    );
}

#[test]
fn a_breach_is_named() {
    for (found, breach) in [
        (json!({"amount": 5}), "orderId is missing"),
        (json!({"orderID": "a1", "amount": 5}), "orderId is missing"),
        (
            json!({"orderId": 1, "amount": 5}),
            "orderId should be a text like [a-z0-9]+, and is 1",
        ),
        (
            json!({"orderId": "a 1", "amount": 5}),
            "orderId should be a text like [a-z0-9]+, and is \"a 1\"",
        ),
        (
            json!({"orderId": "a1", "amount": "5"}),
            "amount should be an integer from 1 to 9, and is \"5\"",
        ),
        (
            json!({"orderId": "a1", "amount": 10}),
            "amount should be an integer from 1 to 9, and is 10",
        ),
        (
            json!({"orderId": "a1", "amount": 5, "address": null}),
            "address should be a text of at most 5 bytes, and is null",
        ),
        (
            json!({"orderId": "a1", "amount": 5, "address": "저기"}),
            "address should be a text of at most 5 bytes, and is \"저기\"",
        ),
    ] {
        assert_eq!(checked(found), [breach]);
    }
    let all_at_once = json!({"orderId": "", "amount": 0.5});
    assert_eq!(checked(all_at_once).len(), 2);
}

#[test]
fn every_event_of_a_contract_keeps_it_and_every_broken_one_breaks_it() {
    for terms in terms() {
        for record in terms.examples() {
            assert_eq!(terms.check(&record), [], "{} {record:?}", terms.kind);
        }
        let broken = terms.broken();
        assert!(broken.len() >= 10);
        for (what, record) in broken {
            assert_ne!(terms.check(&record), [], "{}: {what}", terms.kind);
        }
    }
}

#[test]
fn an_event_has_its_key_and_a_payload_and_is_told() {
    for contract in all() {
        let Some(events) = contract.events else {
            continue;
        };
        let told: Vec<Record> = events.terms().iter().map(EventTerms::example).collect();
        assert_eq!(events.check(&told), []);
        let kind = events.terms()[0].kind.clone();
        let never = (kind.clone(), Breach::NeverTold(kind.clone()));
        assert_eq!(events.check(&told[1..]), [never]);
        let mut other_key = told.clone();
        other_key[0].key = b"other".to_vec();
        let [(of, breach)] = &events.check(&other_key)[..] else {
            panic!("one breach was to be found");
        };
        assert_eq!(*of, kind);
        assert_eq!(
            breach.to_string(),
            "key should be the orderId of the payload, and is \"other\""
        );
        let mut unreadable = told;
        unreadable[0].payload = b"[]".to_vec();
        assert_eq!(
            events.check(&unreadable),
            [(kind, Breach::NotAnObject("payload"))]
        );
    }
}

#[test]
fn every_answer_of_a_contract_keeps_it_and_every_broken_one_breaks_it() {
    for Exchange { request, answers } in exchanges() {
        assert_eq!(request.check(&request.example()), []);
        for terms in answers {
            for answer in terms.examples() {
                assert_eq!(terms.check(&answer), [], "{answer:?}");
            }
            for (what, answer) in terms.broken() {
                assert_ne!(terms.check(&answer), [], "{what}");
            }
        }
    }
}

#[test]
fn another_status_header_or_body_is_named() {
    let terms = json!({
        "given": "",
        "meaning": "",
        "status": "2xx",
        "headers": {"x-time": {"example": "1", "pattern": "[0-9]+"}},
        "body": {"orderId": {"example": "a1"}},
    });
    let terms: AnswerTerms = serde_json::from_value(terms).unwrap();
    let whole = || Response::builder().header("x-time", "2");
    let fine = r#"{"orderId": "b"}"#;
    for (answer, breaches) in [
        (whole().status(202).body(fine), vec![]),
        (
            whole().status(409).body(fine),
            vec!["the status should be 2xx, and is 409"],
        ),
        (Response::builder().body(fine), vec!["x-time is missing"]),
        (
            whole().body(r#"{"orderid": "b"}"#),
            vec!["orderId is missing"],
        ),
        (whole().body("b"), vec!["the body is not a JSON object"]),
    ] {
        assert_eq!(texts(&terms.check(&answer.unwrap())), breaches);
    }
}

#[test]
fn a_list_has_entries_and_each_is_as_agreed() {
    let terms = json!({
        "given": "",
        "meaning": "",
        "status": "200",
        "entries": {"orderId": {"example": "a1"}},
    });
    let terms: AnswerTerms = serde_json::from_value(terms).unwrap();
    let no_list = "the body is not a list with JSON objects in it";
    for (body, breaches) in [
        (r#"[{"orderId": "a"}, {"orderId": "b", "more": 1}]"#, vec![]),
        (
            r#"[{"orderId": "a"}, {"orderid": "b"}]"#,
            vec!["orderId is missing"],
        ),
        ("[]", vec![no_list]),
        ("[1]", vec![no_list]),
        (r#"{"orderId": "a"}"#, vec![no_list]),
    ] {
        assert_eq!(
            texts(&terms.check(&Response::new(body))),
            breaches,
            "{body}"
        );
    }
}

#[test]
fn a_request_is_what_was_agreed_and_nothing_else() {
    let Exchange { request, .. } = between("app", "pay").exchanges.remove(0);
    let sent = |method: &str, uri: &str, body: &str| {
        let mut sent = Request::builder().method(method).uri(uri);
        for (name, value) in request.example().headers() {
            sent = sent.header(name, value);
        }
        texts(&request.check(&sent.body(body.to_owned()).unwrap()))
    };
    let body = request.example().into_body();
    let more = body.replace("orderId", "orderid");
    assert_eq!(sent("POST", "/payments", &body), [""; 0]);
    for (breaches, expected) in [
        (
            sent("PUT", "/payments", &body),
            vec!["the method should be POST, and is \"PUT\""],
        ),
        (
            sent("POST", "/payment", &body),
            vec!["the path should be /payments, and is \"/payment\""],
        ),
        (
            sent("POST", "/payments", &more),
            vec!["orderId is missing", "orderid is not in the contract"],
        ),
        (
            sent("POST", "/payments", ""),
            vec!["the body is not a JSON object"],
        ),
    ] {
        assert_eq!(breaches, expected);
    }
    let reading = json!({"method": "GET", "path": "/orders", "headers": {}});
    let reading: RequestTerms = serde_json::from_value(reading).unwrap();
    let sent = |body: &'static str| Request::get("/orders").body(body).unwrap();
    assert_eq!(texts(&reading.check(&sent(""))), [""; 0]);
    assert_eq!(
        texts(&reading.check(&sent("{}"))),
        ["the body is not in the contract"]
    );
}
