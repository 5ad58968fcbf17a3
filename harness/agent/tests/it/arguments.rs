//! What the agent refuses, and what it tells.

use tokio::net::TcpStream;

use super::agent::{Agent, in_seconds, run, until};
use super::upstream;

/// What an agent says that does not even begin.
async fn refusal(words: &[&str]) -> String {
    let until = in_seconds(60);
    let output = run(&[words, &["--until", &until]].concat()).await;
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused_with_a_reason() {
    let proxy = ["proxy", "--listen", "0", "--upstream", "localhost:1"];
    for (more, reason) in [
        (&["--listen", "0"][..], "each --listen needs its --upstream"),
        (&["--errors", "5%"], "--protocol http"),
        (&["--abort", "101%"], "from 0 to 100"),
        (&["--bandwidth", "0"], "--blackhole"),
        (&["--status", "99"], "200 to 599"),
        (&["--delay", "5"], "200ms"),
        (
            &["--protocol", "http", "--errors", "60%", "--abort", "60%"],
            "more than 100 %",
        ),
    ] {
        let said = refusal(&[&proxy[..], more].concat()).await;
        assert!(said.contains(reason), "{more:?}: {said}");
    }
    let said = refusal(&["proxy", "--listen", "0", "--upstream", "localhost"]).await;
    assert!(said.contains("HOST:PORT"), "{said}");
    let said = refusal(&["memory", "--bytes", "100000Gi"]).await;
    assert!(said.contains("available"), "{said}");
}

#[tokio::test]
async fn no_harm_lasts_for_a_day() {
    let day = in_seconds(24 * 60 * 60);
    let output = run(&["cpu", "--workers", "1", "--until", &day]).await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no harm lasts longer"), "{said}");
}

#[tokio::test]
async fn it_tells_that_it_is_there_and_what_it_did() {
    let upstream = upstream::echo().await.to_string();
    let words = ["proxy", "--listen", "0", "--upstream", &upstream];
    let agent = Agent::start(&words).await;
    // The log is first to tell.
    until(async || {
        let answer = agent.get("/healthz").await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert!(agent.get("/other").await.starts_with("HTTP/1.1 404"));
    let metrics = agent.get("/metrics").await;
    for line in [
        "holdfast_agent_active{mode=\"proxy\"} 1\n",
        "holdfast_agent_delay_microseconds{mode=\"proxy\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn its_log_tells_what_has_changed() {
    let upstream = upstream::echo().await.to_string();
    let words = ["proxy", "--listen", "0", "--upstream", &upstream];
    let mut agent = Agent::start(&words).await;
    for connections in 1..=3 {
        let client = TcpStream::connect(agent.listening[0]).await.unwrap();
        let about = agent.told("counted").await;
        assert_eq!(about["evidence"]["connections"], connections, "{about}");
        drop(client);
    }
}
