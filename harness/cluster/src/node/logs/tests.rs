use futures::TryStreamExt as _;

use super::*;

fn owner() -> LogOwner {
    LogOwner {
        namespace: "shop".to_owned(),
        pod: "app-1".to_owned(),
        uid: "u1".to_owned(),
    }
}

async fn text(stream: impl Stream<Item = io::Result<Bytes>>) -> String {
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

async fn logs_with(lines: &str) -> (tempfile::TempDir, Logs) {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::new(directory.path().to_owned());
    let log = logs.begin(&owner(), "c", 0).unwrap();
    log.keep("stdout", lines.as_bytes()).await;
    log.complete();
    (directory, logs)
}

async fn read(logs: &Logs, options: LogOptions) -> String {
    text(logs.read(&owner(), "c", options).unwrap()).await
}

#[tokio::test]
async fn lines_come_back_as_they_were() {
    let long = "x".repeat(3 * LONGEST_PIECE + 7);
    let written = format!("one\n\n{long}\nunfinished");
    let (_directory, logs) = logs_with(&written).await;
    let expected = format!("{written}\n");
    assert_eq!(read(&logs, LogOptions::default()).await, expected);
}

#[tokio::test]
async fn the_tail_and_a_limit_can_be_asked_for() {
    let (_directory, logs) = logs_with("one\ntwo\nthree\n").await;
    let tail = LogOptions {
        tail_lines: Some(2),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, tail).await, "two\nthree\n");
    let limited = LogOptions {
        limit_bytes: Some(5),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, limited).await, "one\nt");
}

#[tokio::test]
async fn times_can_be_shown_and_asked_for() {
    let before = clock::now_precise();
    let (_directory, logs) = logs_with("one\n").await;
    let shown = read(
        &logs,
        LogOptions {
            timestamps: true,
            ..LogOptions::default()
        },
    )
    .await;
    let (time, line) = shown.split_once(' ').unwrap();
    assert!(time.parse::<Timestamp>().unwrap() >= before);
    assert_eq!(line, "one\n");
    let later = clock::now_precise() + k8s_openapi::jiff::SignedDuration::from_secs(1);
    let none = LogOptions {
        since: Some(later),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, none).await, "");
}

#[tokio::test]
async fn following_ends_with_the_container() {
    let (_directory, logs) = logs_with("one\n").await;
    let log = logs.begin(&owner(), "c", 1).unwrap();
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let reading = tokio::spawn(text(logs.read(&owner(), "c", follow).unwrap()));
    log.keep("stderr", &b"a\n"[..]).await;
    log.keep("stdout", &b"b\n"[..]).await;
    log.complete();
    assert_eq!(reading.await.unwrap(), "a\nb\n");
    let first = LogOptions {
        run: Some(0),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, first).await, "one\n");
}

#[test]
fn what_is_not_there_is_said() {
    let logs = Logs::new(PathBuf::from("/nonexistent"));
    let error = logs
        .read(&owner(), "c", LogOptions::default())
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, LogError::NotStarted { .. }));
    let options = LogOptions {
        run: Some(0),
        ..LogOptions::default()
    };
    let error = logs.read(&owner(), "c", options).map(drop).unwrap_err();
    assert!(matches!(error, LogError::NoPrevious { .. }));
}

#[tokio::test]
async fn a_chatty_container_keeps_its_latest_lines_only() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::with_files_of(1000, directory.path().to_owned());
    let log = logs.begin(&owner(), "c", 0).unwrap();
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let following = tokio::spawn(text(logs.read(&owner(), "c", follow).unwrap()));
    let lines: Vec<String> = (0..500).map(|number| format!("line {number}\n")).collect();
    for line in &lines {
        log.keep("stdout", line.as_bytes()).await;
        // The reader keeps pace, across all files.
        tokio::task::yield_now().await;
    }
    log.complete();
    let folder = directory.path().join("shop_app-1_u1/c");
    let sizes: Vec<u64> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), FILES);
    assert!(sizes.iter().all(|&size| size <= 1000), "{sizes:?}");
    let kept = read(&logs, LogOptions::default()).await;
    let expected = lines.concat();
    assert!(expected.ends_with(&kept), "{kept}");
    let tail = LogOptions {
        tail_lines: Some(40),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, tail).await, lines[460..].concat());
    let followed = following.await.unwrap();
    assert!(followed.ends_with(&kept));
}

#[tokio::test]
async fn two_runs_are_kept() {
    let (directory, logs) = logs_with("first\n").await;
    for (run, line) in [(1, &b"second\n"[..]), (2, &b"third\n"[..])] {
        let log = logs.begin(&owner(), "c", run).unwrap();
        log.keep("stdout", line).await;
        log.complete();
    }
    let of = |run| LogOptions {
        run: Some(run),
        ..LogOptions::default()
    };
    assert_eq!(read(&logs, of(1)).await, "second\n");
    assert_eq!(read(&logs, of(2)).await, "third\n");
    let first = logs.read(&owner(), "c", of(0)).map(drop);
    assert!(matches!(first, Err(LogError::NoPrevious { .. })));
    let folder = directory.path().join("shop_app-1_u1/c");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}
