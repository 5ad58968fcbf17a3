//! What the victim is told.

use std::time::Duration;

use super::windows::{Windows, duration};

/// How to use it, for people.
pub const HELP: &str = "\
A program for conformance checks, whose behaviour is scripted.

victim [OPTIONS]: an HTTP server that answers / with its pod's name
    --port N             where it listens, on $POD_IP or else everywhere [default: 8080]
    --boot-delay TIME    waits before it listens
    --ready WINDOWS      when GET /ready answers 200 and not 503 [default: always]
    --live WINDOWS       when GET /live does [default: always]
    --answer-delay TIME  before each answer
    --on-term none|exit|ignore|drain:TIME
                         what SIGTERM does: no handler at all; exit 0; nothing; stop listening and
                         exit 0 when nothing is in flight, after TIME at the latest [default: exit]
    --exit-after TIME    ends by itself
    --exit-code N        then with this code [default: 0]
    --burn MILLICORES    processor time it uses up [default: 0]
    --burn-until TIME    when it rests [default: never]
  GET /status/N answers with status N, GET /redirect?URL with a redirection to URL.

victim probe --target HOST:PORT [OPTIONS]: opens connections and counts what becomes of them
    --every TIME         between two connections [default: 20ms]
    --count N            ends after so many [default: until SIGTERM]
    --keep-alive         all requests on one connection, for as long as it lives

TIME is 3s, 1.5s or 200ms; WINDOWS is always, never or 3s..9s,20s.. since the program's start.";

/// What SIGTERM does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTerm {
    /// There is no handler.
    None,
    /// It exits with 0 at once.
    Exit,
    /// It is handled, and nothing happens.
    Ignore,
    /// It stops listening, and exits with 0 when nothing is in flight or this time is over.
    Drain(Duration),
}

/// The script of a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens.
    pub port: u16,
    /// Before it listens.
    pub boot_delay: Duration,
    /// When it is ready.
    pub ready: Windows,
    /// When it is alive.
    pub live: Windows,
    /// Before each answer.
    pub answer_delay: Duration,
    /// What SIGTERM does.
    pub on_term: OnTerm,
    /// When it ends by itself.
    pub exit_after: Option<Duration>,
    /// The exit code it then has.
    pub exit_code: u8,
    /// Processor time it uses up, in thousandths of a core.
    pub burn_millicores: u32,
    /// When it stops to.
    pub burn_until: Duration,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            port: super::PORT,
            boot_delay: Duration::ZERO,
            ready: Windows::always(),
            live: Windows::always(),
            answer_delay: Duration::ZERO,
            on_term: OnTerm::Exit,
            exit_after: None,
            exit_code: 0,
            burn_millicores: 0,
            burn_until: Duration::MAX,
        }
    }
}

/// The script of a prober.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `host:port`.
    pub target: String,
    /// Between two connections.
    pub every: Duration,
    /// After how many it ends.
    pub count: Option<u64>,
    /// Whether all requests share one connection.
    pub keep_alive: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    Serve(Serve),
    Probe(Probe),
}

pub(super) fn parse(arguments: &[String]) -> Result<Role, String> {
    match arguments.split_first() {
        Some((role, rest)) if role == "probe" => parse_probe(rest).map(Role::Probe),
        _ => parse_serve(arguments).map(Role::Serve),
    }
}

fn parse_serve(arguments: &[String]) -> Result<Serve, String> {
    let mut script = Serve::default();
    let mut words = arguments.iter();
    while let Some(option) = words.next() {
        let word = words
            .next()
            .ok_or_else(|| format!("{option} needs a value, or is unknown"))?;
        let understood = match option.as_str() {
            "--port" => word.parse().map(|port| script.port = port).ok(),
            "--boot-delay" => duration(word).map(|time| script.boot_delay = time),
            "--ready" => Windows::parse(word).map(|windows| script.ready = windows),
            "--live" => Windows::parse(word).map(|windows| script.live = windows),
            "--answer-delay" => duration(word).map(|time| script.answer_delay = time),
            "--on-term" => on_term(word).map(|behaviour| script.on_term = behaviour),
            "--exit-after" => duration(word).map(|time| script.exit_after = Some(time)),
            "--exit-code" => word.parse().map(|code| script.exit_code = code).ok(),
            "--burn" => word.parse().map(|load| script.burn_millicores = load).ok(),
            "--burn-until" => duration(word).map(|time| script.burn_until = time),
            _ => return Err(format!("there is no option {option}")),
        };
        understood.ok_or_else(|| format!("{option} cannot be {word:?}"))?;
    }
    Ok(script)
}

fn parse_probe(arguments: &[String]) -> Result<Probe, String> {
    let mut script = Probe {
        target: String::new(),
        every: Duration::from_millis(20),
        count: None,
        keep_alive: false,
    };
    let mut words = arguments.iter();
    while let Some(option) = words.next() {
        if option == "--keep-alive" {
            script.keep_alive = true;
            continue;
        }
        let word = words
            .next()
            .ok_or_else(|| format!("{option} needs a value, or is unknown"))?;
        let understood = match option.as_str() {
            "--target" => {
                script.target = word.clone();
                Some(())
            }
            "--every" => duration(word).map(|time| script.every = time),
            "--count" => word.parse().map(|count| script.count = Some(count)).ok(),
            _ => return Err(format!("there is no option {option}")),
        };
        understood.ok_or_else(|| format!("{option} cannot be {word:?}"))?;
    }
    if script.target.is_empty() {
        return Err("probe needs --target HOST:PORT".to_owned());
    }
    Ok(script)
}

fn on_term(word: &str) -> Option<OnTerm> {
    match word {
        "none" => Some(OnTerm::None),
        "exit" => Some(OnTerm::Exit),
        "ignore" => Some(OnTerm::Ignore),
        _ => {
            let limit = word.strip_prefix("drain:")?;
            duration(limit).map(OnTerm::Drain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Role, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn scripts_are_understood() {
        let script = Serve {
            ready: Windows::never(),
            on_term: OnTerm::Drain(Duration::from_secs(5)),
            exit_after: Some(Duration::from_millis(200)),
            exit_code: 3,
            ..Serve::default()
        };
        let line = "--ready never --on-term drain:5s --exit-after 200ms --exit-code 3";
        assert_eq!(of(line), Ok(Role::Serve(script)));
        assert_eq!(of(""), Ok(Role::Serve(Serve::default())));
        let probe = Probe {
            target: "10.0.0.1:80".to_owned(),
            every: Duration::from_millis(5),
            count: Some(4000),
            keep_alive: true,
        };
        let line = "probe --target 10.0.0.1:80 --keep-alive --every 5ms --count 4000";
        assert_eq!(of(line), Ok(Role::Probe(probe)));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("--redy never", "--redy"),
            ("--ready sometimes", "sometimes"),
            ("--port", "--port"),
            ("--on-term drain", "drain"),
            ("probe --every 5ms", "--target"),
        ] {
            let mistake = of(line).unwrap_err();
            assert!(mistake.contains(word), "{line}: {mistake}");
        }
    }
}
