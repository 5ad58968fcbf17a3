//! `connections`, `http`, `redirects` and `tls`: how requests travel.

use super::Surroundings;
use crate::experiment::{Connections, HttpVersion, Redirects, Transport, Trust};
use crate::spec::problems::{Fields, Problems};
use crate::spec::tree::Node;

pub(super) fn read(
    load: &Fields<'_>,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Transport> {
    let connections = word(
        load,
        "connections",
        &[
            ("perRequest", Connections::PerRequest),
            ("keepAlive", Connections::KeepAlive),
        ],
        problems,
    );
    let http = match load.get("http") {
        Some(node) => {
            let words = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
            problems.one_of(node, "version of HTTP", &words, &[])
        }
        None => Some(HttpVersion::default()),
    };
    let redirects = word(
        load,
        "redirects",
        &[("answer", Redirects::Answer), ("follow", Redirects::Follow)],
        problems,
    );
    let tls = match load.get("tls") {
        Some(node) => trust(node, surroundings, problems),
        None => Some(Trust::System),
    };
    Some(Transport {
        connections: connections?,
        http: http?,
        redirects: redirects?,
        tls: tls?,
    })
}

fn word<T: Copy + Default>(
    load: &Fields<'_>,
    field: &'static str,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    match load.get(field) {
        Some(node) => problems.one_of(node, field, words, &[]),
        None => Some(T::default()),
    }
}

fn trust(node: &Node, surroundings: Surroundings<'_>, problems: &mut Problems) -> Option<Trust> {
    let names = ["authorities", "trust"];
    let fields = problems.fields(node, "tls", &names, &[])?;
    let (name, value) = fields.exactly_one(&names, problems)?;
    if name == "authorities" {
        return surroundings
            .file(value, "authorities", problems)
            .map(Trust::Authorities);
    }
    let words = [("system", Trust::System), ("anything", Trust::Anything)];
    let words: Vec<(&str, &Trust)> = words.iter().map(|(word, trust)| (*word, trust)).collect();
    problems.one_of(value, "trust", &words, &[]).cloned()
}
