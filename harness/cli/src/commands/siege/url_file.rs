//! siege's file of URLs: one a line, `#` for comments, `NAME=value` for variables, which later lines
//! use as `$(NAME)` or `${NAME}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::visit::Visit;
use crate::failure::Failure;

/// Reads every URL of a file.
pub(super) fn read(file: &Path) -> Result<Vec<Visit>, Failure> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("cannot read {name}: {error}")))?;
    let lines =
        urls(&text).map_err(|(line, why)| Failure::input(format!("{name}:{line}: {why}")))?;
    if lines.is_empty() {
        return Err(Failure::input(format!("{name} has no URL"))
            .hint("write one a line, e.g. http://localhost:8081/orders POST {\"item\": 1}"));
    }
    lines
        .into_iter()
        .map(|(line, url)| {
            Visit::parse(&url).map_err(|failure| failure.at(format!("{name}:{line}")))
        })
        .collect()
}

/// The lines that are URLs, variables put in, with their numbers from 1.
fn urls(text: &str) -> Result<Vec<(usize, String)>, (usize, String)> {
    let mut variables = BTreeMap::new();
    let mut urls = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = without_comment(line.trim());
        if line.is_empty() {
            continue;
        }
        let line = filled(line, &variables).map_err(|why| (number, why))?;
        match assignment(&line) {
            Some((name, value)) => drop(variables.insert(name.to_owned(), value.to_owned())),
            None => urls.push((number, line)),
        }
    }
    Ok(urls)
}

/// A `#` begins a comment at the beginning of a line or after a blank, so that it can be in a body.
fn without_comment(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or(line).trim_end()
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    is_name(name).then_some((name, value.trim_start()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The line with every `$(NAME)` and `${NAME}` replaced.
fn filled(line: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        let (before, reference) = rest.split_at(at);
        filled.push_str(before);
        let close = match reference.as_bytes().get(1) {
            Some(b'(') => ')',
            Some(b'{') => '}',
            _ => '\0',
        };
        let inner = reference.get(2..).and_then(|inner| inner.split_once(close));
        let Some((name, after)) = inner.filter(|(name, _)| is_name(name)) else {
            filled.push('$');
            rest = &reference[1..];
            continue;
        };
        let value = variables.get(name);
        filled.push_str(value.ok_or_else(|| format!("the variable {name} is used and not set"))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_variables_and_urls() {
        let text = "# what is asked\n\
            HOST=127.0.0.1:8081\n\
            NAME = x y\n\
            \n\
            http://$(HOST)/ok   \n\
            http://${HOST}/orders POST {\"price\": \"$5\", \"by\": \"$(NAME)\"}  # an order\n\
            http://$(HOST)/a#b\n";
        let urls = urls(text).unwrap();
        let expected = [
            (5, "http://127.0.0.1:8081/ok"),
            (
                6,
                "http://127.0.0.1:8081/orders POST {\"price\": \"$5\", \"by\": \"x y\"}",
            ),
            (7, "http://127.0.0.1:8081/a#b"),
        ];
        assert_eq!(urls, expected.map(|(line, url)| (line, url.to_owned())));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_line() {
        let unset = urls("A=1\nhttp://$(B)/").unwrap_err();
        assert_eq!(unset, (2, "the variable B is used and not set".to_owned()));
    }

    #[test]
    fn mistakes_have_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("urls.txt");
        let failure = |text: &str| {
            fs::write(&file, text).unwrap();
            read(&file).unwrap_err().to_string()
        };
        assert!(failure("http://h/\nftp://h/").contains("urls.txt:2: `ftp://h/`"));
        assert!(failure("# nothing").contains("has no URL"));
        assert!(read(Path::new("no/such.txt")).is_err());
    }
}
