//! The page in a real browser.

use std::process::Command;

use holdfast_report::{Format, SiegeFormat};

use crate::runs::Run;
use crate::scenarios;
use crate::tools::available;

const BROWSER: &str = "/usr/bin/chromium";

/// Shows the page in a frame of the given width and writes down what came of it: the width of
/// its content, whether each plot is displayed, and how many seconds the displayed one has.
fn frame(page: &str, width: u32) -> String {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        r#"<!doctype html><title>frame</title>
<iframe id="page" width="{width}" height="800" style="border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
document.getElementById('page').onload = event => {{
  const page = event.target.contentDocument;
  const shown = [...page.querySelectorAll('svg.plot')].filter(plot => plot.getBoundingClientRect().width > 0);
  const seconds = shown.map(plot => plot.querySelectorAll('.second').length);
  const found = [page.documentElement.scrollWidth, shown.length, Math.max(0, ...seconds)];
  document.getElementById('found').textContent = 'found ' + found.join(' ') + ' end';
}};
</script>"#
    )
}

/// Width of the content, plots shown, seconds of the timeline.
fn look(run: &Run, width: u32) -> [u32; 3] {
    let folder = tempfile::tempdir().unwrap();
    let page = Format::Html
        .render(&run.report(), SiegeFormat::V4_0)
        .unwrap();
    let file = folder.path().join("frame.html");
    std::fs::write(&file, frame(&page, width)).unwrap();
    let output = Command::new(BROWSER)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1600,1000",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let found = dom
        .split_once(">found ")
        .and_then(|(_, rest)| rest.split_once(" end"))
        .unwrap_or_else(|| panic!("no measurement in {} bytes of page", dom.len()));
    let numbers: Vec<u32> = found.0.split(' ').map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn the_page_fits_its_window_and_shows_every_second() {
    if !available(BROWSER) {
        return;
    }
    let run = scenarios::failed();
    for width in [400, 900, 1400] {
        // One timeline and one latency plot are displayed; the drain ends in second 61.
        assert_eq!(look(&run, width), [width, 2, 62], "at {width} px");
    }
}

#[test]
fn a_run_without_requests_has_a_page_too() {
    if !available(BROWSER) {
        return;
    }
    assert_eq!(look(&scenarios::aborted_at_once(), 400), [400, 0, 0]);
}

#[test]
fn the_page_asks_nothing_of_the_network_and_escapes_what_it_shows() {
    let run = scenarios::interrupted();
    let page = Format::Html
        .render(&run.report(), SiegeFormat::V4_0)
        .unwrap();
    for forbidden in ["<script", "src=", "@import", "url(", "<link", "<in <the>"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("Interrupted | in &#60;the&#62; middle"));
}
