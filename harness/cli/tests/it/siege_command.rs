//! `holdfast siege` as people use it, and beside the real siege, with the same options against the
//! same server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::holdfast::{Finished, ended_with, finish, holdfast, tool, wait};
use crate::web::Web;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1/x";

fn ours(arguments: &[&str]) -> Finished {
    finish(holdfast("siege").arg("siege").args(arguments))
}

/// siege with the given options, without colours, and with `more` lines in its resource file.
fn theirs(arguments: &[&str], more: &str) -> Finished {
    let home = tempfile::tempdir().unwrap();
    // It would greet a newcomer.
    let folder = home.path().join(".siege");
    std::fs::create_dir(&folder).unwrap();
    let settings = folder.join("siege.conf");
    let always = "color = off\nparser = false\nlogging = false\nshow-logfile = false\n\
                  protocol = HTTP/1.1\naccept-encoding = gzip, deflate\n";
    std::fs::write(&settings, format!("{always}{more}")).unwrap();
    let mut siege = Command::new("siege");
    siege
        .arg("-R")
        .arg(&settings)
        .args(arguments)
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(&mut siege)
}

/// Every number replaced by as many `#` as it is wide, blanks on its left included.
fn layout(text: &str) -> String {
    let mut layout = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' && layout.ends_with('#') {
            let blanks = layout.len() - layout.trim_end_matches(' ').len();
            layout.truncate(layout.len() - blanks);
            layout.push_str(&"#".repeat(blanks + 1));
        } else {
            layout.push(c);
        }
    }
    layout
}

/// What both say on standard error, ours behind siege's block left out. The first line names the
/// program.
fn told(finished: &Finished) -> String {
    let text = &finished.err;
    let end = text
        .find("\n \n")
        .unwrap_or_else(|| panic!("no block in:\n{text}"));
    let text = &text[..end + 3];
    let (name, rest) = text.split_once('\n').unwrap();
    assert!(
        name.starts_with("** SIEGE 4.") || name.starts_with("** HOLDFAST "),
        "{name}"
    );
    rest.to_owned()
}

fn figure(finished: &Finished, label: &str) -> String {
    let line = finished.err.lines().find(|line| line.starts_with(label));
    let line = line.unwrap_or_else(|| panic!("no {label} in:\n{}", finished.err));
    let value = line[label.len()..].split_whitespace().next();
    value.unwrap().to_owned()
}

/// A list of URLs with answers of every kind that siege counts in its own way; without the colon.
fn mixed_urls(folder: &Path, web: &Web) -> String {
    let urls = folder.join("urls.txt");
    let host = web.origin.strip_prefix("http://").unwrap();
    let text = format!(
        "# answers of every kind\n\
         HOST={host}\n\
         http://$(HOST)/200/big\n\
         http://$(HOST)/201/made POST {{\"item\": \"chicken\"}}\n\
         http://$(HOST)/404/gone?a=b\n\
         http://$(HOST)/429/slow\n\
         http://$(HOST)/503/down\n\
         http://$(HOST)/408/late\n\
         http://$(HOST)/511/login PUT x\n\
         http://$(HOST)/204/none DELETE\n\
         http://$(HOST)/200/two words\n"
    );
    std::fs::write(&urls, text).unwrap();
    urls.display().to_string()
}

#[test]
fn the_same_layout_and_figures_as_siege() {
    if tool("siege").is_none() {
        return;
    }
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let urls = mixed_urls(folder.path(), &web);
    let order = format!("{}/200/orders POST {{\"item\": \"chicken\"}}", web.origin);
    let options: [&[&str]; 4] = [
        &["-c1", "-r18", "-f", &urls],
        &["-c1", "--reps=once", "--file", &urls],
        &["-c3", "-r4", "-b", "-T", "application/json", &order],
        &[
            "--concurrent=2",
            "-r",
            "2",
            "-H",
            "x-a: b",
            "-A",
            "me",
            &order,
        ],
    ];
    for options in options {
        let siege = theirs(options, "verbose = false\n");
        let received = web.take();
        let holdfast = ours(options);
        let by_ours = web.take();
        assert_eq!(
            layout(&told(&holdfast)),
            layout(&told(&siege)),
            "{options:?}"
        );
        for label in [
            "Transactions:",
            "Availability:",
            "Data transferred:",
            "Successful transactions:",
            "Failed transactions:",
        ] {
            let (ours, theirs) = (figure(&holdfast, label), figure(&siege, label));
            assert_eq!(ours, theirs, "{label} {options:?}");
        }
        assert_eq!(holdfast.out, "");
        assert_eq!(by_ours.len(), received.len());
        for (ours, theirs) in by_ours.iter().zip(&received) {
            assert_eq!((&ours.line, &ours.body), (&theirs.line, &theirs.body));
            let differs = |header: &&String| {
                !ours.headers.contains(header) && !header.starts_with("user-agent: Mozilla")
            };
            assert_eq!(theirs.headers.iter().find(differs), None, "{ours:?}");
        }
    }
}

#[test]
fn redirects_are_followed_and_counted_as_siege_does() {
    if tool("siege").is_none() {
        return;
    }
    let web = Web::start();
    let url = format!("{}/302/moved", web.origin);
    let count = |finished: &Finished| {
        let labels = [
            "Transactions:",
            "Successful transactions:",
            "Failed transactions:",
        ];
        labels.map(|label| figure(finished, label))
    };
    for (options, transactions) in [
        (vec!["-c1", "-r3"], "6"),
        (vec!["-c1", "-r3", "--no-follow"], "3"),
    ] {
        let options: Vec<&str> = options.into_iter().chain([url.as_str()]).collect();
        let siege = theirs(&options, "verbose = false\n");
        web.take();
        let holdfast = ours(&options);
        assert_eq!(count(&holdfast), count(&siege), "{options:?}");
        assert_eq!(count(&holdfast)[0], transactions);
        assert_eq!(web.take().len().to_string(), transactions);
    }
}

#[test]
fn urls_may_be_of_several_servers() {
    let (one, other) = (Web::start(), Web::start());
    let folder = tempfile::tempdir().unwrap();
    let urls = folder.path().join("urls.txt");
    let text = format!("{}/200/a\n{}/200/b POST x\n", one.origin, other.origin);
    std::fs::write(&urls, text).unwrap();
    let file = urls.display().to_string();
    let finished = ours(&["-v", "-c2", "-r4", "-f", &file]);
    assert_eq!(figure(&finished, "Transactions:"), "8");
    for (web, line) in [
        (&one, "GET /200/a HTTP/1.1"),
        (&other, "POST /200/b HTTP/1.1"),
    ] {
        let received = web.take();
        assert_eq!(received.len(), 4);
        assert!(received.iter().all(|it| it.line == line), "{received:?}");
    }
    let shown = |end: &str| {
        finished
            .out
            .lines()
            .filter(|line| line.ends_with(end))
            .count()
    };
    assert_eq!(shown("==> GET  /200/a"), 4, "{}", finished.out);
    let other = format!("==> POST {}/200/b", other.origin);
    assert_eq!(shown(&other), 4, "{}", finished.out);

    // At random: in two hundred draws neither of two is left out.
    let finished = ours(&["-i", "-c2", "-r100", "-f", &file]);
    assert_eq!(figure(&finished, "Transactions:"), "200");
    assert!(!one.take().is_empty());
}

#[test]
fn the_same_line_for_each_answer_as_siege() {
    if tool("siege").is_none() {
        return;
    }
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let urls = mixed_urls(folder.path(), &web);
    let options = ["-v", "-c1", "-r9", "-f", &urls];
    let (siege, holdfast) = (theirs(&options, ""), ours(&options));
    let timeless = |finished: &Finished| {
        let lines = finished.out.lines();
        let without = |line: &str| {
            let (before, after) = line.split_once(" secs:").unwrap();
            format!("{} secs:{after}", layout(before))
        };
        lines.map(without).collect::<Vec<_>>()
    };
    assert_eq!(timeless(&holdfast), timeless(&siege));
    assert_eq!(timeless(&holdfast).len(), 9);
    assert_eq!(layout(&told(&holdfast)), layout(&told(&siege)));
}

#[test]
fn the_same_json_as_siege() {
    if tool("siege").is_none() {
        return;
    }
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let urls = mixed_urls(folder.path(), &web);
    let options = ["-j", "-c1", "-r9", "-f", &urls];
    let (siege, holdfast) = (theirs(&options, ""), ours(&options));
    assert_eq!(holdfast.err, siege.err, "one empty line");
    // Since 4.0.9 the brace has a line of its own; Debian's siege may be older.
    let opened = siege.out.replacen("{\t", "{\n\t", 1);
    assert_eq!(layout(&holdfast.out), layout(&opened));
    let read = |finished: &Finished| serde_json::from_str::<Value>(&finished.out).unwrap();
    let (ours, theirs) = (read(&holdfast), read(&siege));
    for key in [
        "transactions",
        "availability",
        "data_transferred",
        "successful_transactions",
        "failed_transactions",
    ] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}

#[test]
fn the_same_log_as_siege() {
    if tool("siege").is_none() {
        return;
    }
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let log = |name: &str| folder.path().join(name).display().to_string();
    let url = format!("{}/404/x", web.origin);
    let big = format!("{}/200/big", web.origin);
    let (their_log, our_log) = (log("theirs.log"), log("ours.log"));
    for (url, reps) in [(&url, "-r3"), (&big, "-r2")] {
        let option = format!("-l{their_log}");
        theirs(&["-c1", reps, "-d0.2", &option, "-m", "a mark", url], "");
        let option = format!("-l{our_log}");
        let told = ours(&["-c1", reps, "-d0.2", &option, "-m", "a mark", url]);
        assert!(
            told.err.contains(&format!("LOG FILE: {our_log}\n")),
            "{}",
            told.err
        );
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    // siege divides by the time it measures, which may be nothing.
    let numbers = |text: &str| layout(&text.replace("  inf", "0.00").replace(" -nan", " 0.00"));
    assert_eq!(numbers(&read(&our_log)), numbers(&read(&their_log)));
    let column = |path: &str, number: usize| {
        let rows = read(path);
        let rows = rows.lines().filter(|line| line.starts_with("20"));
        rows.map(|row| row.split(',').nth(number).unwrap().trim().to_owned())
            .collect::<Vec<_>>()
    };
    for number in [1, 3, 8, 9] {
        assert_eq!(column(&our_log, number), column(&their_log, number));
    }
}

#[test]
fn the_seeds_own_command() {
    let web = Web::start();
    let url = format!("{}/orders POST {{\"item\": \"chicken\"}}", web.origin);
    // Shorter than a minute, everything else as it was published.
    let arguments = [
        "-c100",
        "-t2S",
        "-r10",
        "--content-type",
        "application/json",
        &url,
    ];
    let finished = ours(&arguments);
    assert!(
        [Some(0), Some(3)].contains(&finished.status.code()),
        "{}",
        finished.err
    );
    let received = web.take();
    assert!(received.len() > 100, "{}", received.len());
    let first = &received[0];
    assert_eq!(first.line, "POST /orders HTTP/1.1");
    assert_eq!(first.body, "{\"item\": \"chicken\"}");
    for header in ["content-type: application/json", "connection: close"] {
        assert!(first.headers.iter().any(|it| it == header), "{first:?}");
    }
    let expected = "[error] CONFIG conflict: selected time and repetition based testing\n\
                    defaulting to time-based testing: 2 seconds\n\
                    ** HOLDFAST 0.1.0\n\
                    ** Preparing 100 concurrent users for battle.\n\
                    The server is now under siege...\n\
                    Lifting the server siege...\n\
                    Transactions:\t\t";
    assert!(finished.err.starts_with(expected), "{}", finished.err);
}

#[test]
fn siege_gives_up_when_nobody_is_there() {
    let gone = ours(&["-c2", "-r100000", NOBODY]);
    assert_eq!(gone.status.code(), Some(4), "{}", gone.err);
    let expected = "The server is now under siege...\n\
                    siege aborted due to excessive socket failure; you\n\
                    can change the failure threshold with --failures\n\
                    \n\
                    Transactions:\t\t           0 hits\n\
                    Availability:\t\t        0.00 %\n";
    assert!(gone.err.contains(expected), "{}", gone.err);
    let failed: u64 = figure(&gone, "Failed transactions:").parse().unwrap();
    assert!((1024..100_000).contains(&failed), "{failed}");

    let patient = ours(&["-c2", "-r600", "--failures", "0", NOBODY]);
    assert_eq!(figure(&patient, "Failed transactions:"), "1200");
    assert!(!patient.err.contains("aborted"), "{}", patient.err);
}

#[test]
fn ctrl_c_lifts_a_siege_without_end() {
    let web = Web::start();
    let child = holdfast("siege")
        .args(["siege", "-c1", "-d0.1", &web.origin])
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while web.take().is_empty() {
        assert!(Instant::now() < deadline, "no request came");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let finished = wait(child);
    assert_eq!(finished.status.code(), Some(130), "{}", finished.err);
    let lifted = "siege...\nLifting the server siege...\nTransactions:\t\t";
    assert!(finished.err.contains(lifted), "{}", finished.err);
}

#[test]
fn thresholds_decide_and_the_whole_report_is_kept() {
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let good = format!("{}/200/x", web.origin);
    let bad = format!("{}/404/x", web.origin);
    let run = |url: &str, threshold: &str| {
        ours(&["-c2", "-r5", "--out", &out, "--threshold", threshold, url])
    };
    let met = run(&good, "availability>=99.9");
    ended_with(&met, 0);
    assert!(met.err.contains("✓ met") || met.err.contains("? cannot be said"));
    let latest = folder.path().join("siege/latest");
    let page = std::fs::read_to_string(latest.join("report.html")).unwrap();
    assert!(
        page.contains("holdfast siege -c2 -r5"),
        "the page repeats the command"
    );
    for file in [
        "record.json",
        "events.jsonl",
        "siege.txt",
        "siege.json",
        "summary.md",
    ] {
        assert!(latest.join(file).is_file(), "{file}");
    }

    // siege takes a 404 for available; strictly nothing was as expected.
    let missed = run(&bad, "availability>=99.9");
    ended_with(&missed, 1);
    assert_eq!(figure(&missed, "Availability:"), "100.00");
    assert!(!missed.err.contains("✓ met"), "{}", missed.err);
    ended_with(&run(&bad, "siegeAvailability>=100"), 0);

    let quiet = ours(&["-q", "-c1", "-r1", "--threshold", "availability>=1", &bad]);
    assert!([Some(1), Some(3)].contains(&quiet.status.code()));
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let json = ours(&["-j", "-c1", "-r1", "--threshold", "availability>=1", &bad]);
    ended_with(&json, 1);
    assert!(json.err.contains("availability: 0.00 %"), "{}", json.err);
    assert!(
        serde_json::from_str::<Value>(&json.out).is_ok(),
        "{}",
        json.out
    );
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_sent() {
    let web = Web::start();
    let url = web.origin.as_str();
    let cases: [(&[&str], &[&str]); 14] = [
        (&[], &["<URL>"]),
        (
            &["ftp://localhost/x"],
            &["ftp://localhost/x", "http or https"],
        ),
        (&["-c0", url], &["--concurrent"]),
        (&["-t", "soon", url], &["--time", "60S"]),
        (&["-r", "twice", url], &["--reps", "once"]),
        (&["-H", "no colon", url], &["--header", "Name: value"]),
        (&["-f", "no/such.txt"], &["no/such.txt"]),
        (&["h/x POST <no/such.json"], &["no/such.json"]),
        (
            &["--log=/no/such/folder/x.log", url],
            &["/no/such/folder/x.log", "--log=FILE"],
        ),
        (&["--threshold", "p95<500", url], &["`<`", "`<=`"]),
        (
            &["--threshold", "p99{phase:fault}<=2s", url],
            &["asks about a fault"],
        ),
        (&["--rate", "10", "-r5", url], &["--rate", "--reps"]),
        (&["-g", url], &["--get", "curl"]),
        (&["-R", "x", url], &["--rc", "no resource file"]),
    ];
    for (arguments, words) in cases {
        let finished = ours(arguments);
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{arguments:?}: {}",
            finished.err
        );
        for word in words {
            assert!(
                finished.err.contains(word),
                "no {word} in: {}",
                finished.err
            );
        }
        assert_eq!(finished.out, "");
    }
    assert_eq!(web.take().len(), 0);
}

#[test]
fn the_generator_tells_what_it_manages() {
    let told = ours(&["--self-check"]);
    assert_eq!(told.status.code(), Some(0), "{}", told.err);
    for name in ["a new connection each", "kept connections"] {
        let line = told.out.lines().find(|line| line.contains(name)).unwrap();
        let rate = line
            .split_whitespace()
            .rev()
            .skip_while(|word| *word != "requests/s,")
            .nth(1);
        assert!(rate.unwrap().parse::<f64>().unwrap() > 10.0, "{line}");
    }
}

#[test]
fn several_processes_share_a_siege() {
    let web = Web::start();
    // More processes than users, and fewer.
    for (users, transactions) in [("-c1", "4"), ("-c3", "12")] {
        let finished = ours(&["--workers", "2", users, "-r4", &web.origin]);
        ended_with(&finished, 0);
        assert_eq!(figure(&finished, "Transactions:"), transactions);
        assert_eq!(web.take().len().to_string(), transactions);
    }
}

#[test]
fn the_help_lists_sieges_options_and_ours() {
    let help = ours(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    insta::assert_snapshot!(help.out);
}
