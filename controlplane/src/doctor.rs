//! `saal doctor`: what this machine offers and what stands in the way, tried rather than guessed.
//!
//! Each check is a function from what the kernel's files say to a [`Finding`]; only `gather` functions read. The doctor
//! changes nothing, and holds the ports for a moment only.

mod cards;
mod certificate;
mod cores;
mod ethtool;
mod holder;
mod kernel;
mod listeners;
mod network;
mod print;

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::server::Failure;

pub(crate) use self::listeners::with_cause;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    /// Worth knowing; nothing on this machine mends it, or nothing need be mended.
    Note,
    /// The server runs, but should not run like this in production.
    Warn,
    /// The server would not start, or nobody could use it.
    Fail,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    mark: Mark,
    name: String,
    finding: String,
    /// What it means for the people in a call.
    #[serde(skip_serializing_if = "String::is_empty")]
    means: String,
    /// The command, or the line of the configuration, that mends it.
    #[serde(skip_serializing_if = "String::is_empty")]
    mend: String,
}

impl Finding {
    fn new(mark: Mark, name: impl Into<String>, finding: impl Into<String>) -> Finding {
        let (name, finding) = (name.into(), finding.into());
        Finding { mark, name, finding, means: String::new(), mend: String::new() }
    }

    fn ok(name: impl Into<String>, finding: impl Into<String>) -> Finding {
        Finding::new(Mark::Ok, name, finding)
    }

    fn note(name: impl Into<String>, finding: impl Into<String>) -> Finding {
        Finding::new(Mark::Note, name, finding)
    }

    fn warn(name: impl Into<String>, finding: impl Into<String>) -> Finding {
        Finding::new(Mark::Warn, name, finding)
    }

    fn fail(name: impl Into<String>, finding: impl Into<String>) -> Finding {
        Finding::new(Mark::Fail, name, finding)
    }

    fn means(mut self, means: impl Into<String>) -> Finding {
        self.means = means.into();
        self
    }

    fn mend(mut self, mend: impl Into<String>) -> Finding {
        self.mend = mend.into();
        self
    }
}

/// Prints the findings, the worst at the end beside the prompt; an error when this is not ready for production.
#[expect(clippy::print_stdout, reason = "the findings are what was asked for")]
pub(crate) fn examine(config: &Config, json: bool) -> Result<(), Failure> {
    let mut findings = kernel::gather(config);
    findings.extend(cores::gather(config));
    findings.extend(cards::gather(config));
    findings.extend(network::gather(config));
    findings.extend(certificate::gather(config));
    findings.extend(listeners::gather(config));
    findings.sort_by_key(|finding| finding.mark);
    let count = |mark| findings.iter().filter(|finding| finding.mark == mark).count();
    let (fails, warns) = (count(Mark::Fail), count(Mark::Warn));
    match json {
        true => println!("{}", print::json(&findings).map_err(Failure::Runtime)?),
        false => print!("{}", print::text(&findings)),
    }
    match (fails, warns) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Runtime(format!("works, but is not ready for production: {warns} to mend"))),
        (_, _) => Err(Failure::Runtime(format!("would not work: {fails} failed, {warns} more to mend"))),
    }
}

/// A file of one line, as most below `/proc/sys` and `/sys` are.
fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<usize> {
    line(path)?.parse().ok()
}

/// `0-2,5`, as the kernel and people write it.
fn list(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            Some(_) | None => ranges.push((*number, *number)),
        }
    }
    let range = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_written_as_the_kernel_writes_them() {
        assert_eq!(list(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(list(&[3]), "3");
        assert_eq!(list(&[]), "");
    }
}
