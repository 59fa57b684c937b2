//! The house rules that a machine can check: layering, where `unsafe` may be, names, sizes, links, and what no file of
//! this repository may hold.

mod layers;
mod source;

use std::collections::BTreeSet;

use saal_dataplane::counters::Dropped;
use source::{Source, has_word, line_of, positions_of_word, root, rust, tracked, words};

/// A file longer than this is two files.
const LINES_MAX: usize = 800;

/// Each with what to write instead.
const BANNED: [(&str, &str); 8] = [
    ("manager", "say what it owns"),
    ("handler", "on_x"),
    ("helper", "say what it does"),
    ("helpers", "say what it does"),
    ("util", "put it beside its user"),
    ("utils", "put it beside its user"),
    ("common", "put it where it belongs"),
    ("misc", "split it by meaning"),
];

/// A test that stands in for the allocator, which is an unsafe trait.
const ALLOCATOR: &str = "tests/tests/allocation.rs";

#[test]
fn unsafe_is_only_in_io_and_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for source in rust() {
        let code = source::without_comments_and_literals(&source.text);
        let lines: Vec<&str> = source.text.lines().collect();
        for at in positions_of_word(&code, "unsafe") {
            let line = line_of(&code, at);
            if source.path == ALLOCATOR {
                continue;
            }
            if !source.path.starts_with("dataplane/src/io/") {
                broken.push(format!("{}:{line}: unsafe outside dataplane/src/io/", source.path));
            } else if !explained(&lines, line - 1) {
                broken.push(format!("{}:{line}: unsafe without a SAFETY comment above", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whether a SAFETY comment stands above the statement that line `at` belongs to.
fn explained(lines: &[&str], at: usize) -> bool {
    let above = lines[..at].iter().rev().take(8);
    above
        .take_while(|line| !line.trim_end().ends_with([';', '}']))
        .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

#[test]
fn no_file_or_type_is_named_for_nothing() {
    let mut broken = Vec::new();
    let mut check = |what: &str, name: &str| {
        for (banned, instead) in BANNED {
            if words(name).iter().any(|word| word == banned) {
                broken.push(format!("{what}: \"{banned}\" names nothing; {instead}"));
            }
        }
    };
    for source in tracked() {
        check(&source.path, &source.path);
        let keywords: &[&str] = match source.path.rsplit('.').next() {
            Some("rs") => &["struct", "enum", "trait", "type", "mod", "union"],
            Some("js" | "mjs") => &["class"],
            _ => continue,
        };
        let code = source::without_comments_and_literals(&source.text);
        for keyword in keywords {
            for at in positions_of_word(&code, keyword) {
                let rest = code[at + keyword.len()..].trim_start();
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                check(&format!("{}: {keyword} {name}", source.path), name);
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<String> = rust()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "no //! in the first line of {silent:?}");
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let code = |path: &str| [".rs", ".js", ".mjs", ".css", ".sh"].iter().any(|end| path.ends_with(end));
    let long: Vec<String> = tracked()
        .into_iter()
        .filter(|source| code(&source.path))
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines, limit {LINES_MAX}"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_reason_to_drop_is_provoked_by_a_test() {
    let tests: Vec<String> =
        rust().iter().filter(|source| !source.path.ends_with("counters.rs")).map(Source::test_code).collect();
    let untested: Vec<String> = Dropped::ALL
        .iter()
        .map(|reason| format!("Dropped::{reason:?}"))
        .filter(|reason| !tests.iter().any(|code| has_word(code, reason)))
        .collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
}

#[test]
fn every_package_is_under_the_licences_that_lie_beside_it() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("it is in the repository");
    let workspace = read("Cargo.toml");
    assert!(workspace.contains("license = \"Apache-2.0 OR MIT\""));
    assert!(read("LICENSE-APACHE").contains("Apache License") && read("LICENSE-MIT").contains("MIT License"));
    let members = workspace.lines().find(|line| line.starts_with("members = ")).expect("a workspace");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 5, "{members:?}");
    for member in members {
        assert!(read(&format!("{member}/Cargo.toml")).contains("\nlicense.workspace = true\n"), "{member}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    let documents: Vec<Source> =
        tracked().into_iter().filter(|source| source.path.ends_with(".md")).collect();
    for document in &documents {
        for target in link_targets(&document.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                root().join(&document.path)
            } else {
                root().join(&document.path).parent().expect("a file lies in a directory").join(file)
            };
            if !path.exists() {
                broken.push(format!("{}: {target} does not exist", document.path));
            } else if !anchor.is_empty()
                && !anchors(&std::fs::read_to_string(&path).unwrap_or_default()).contains(anchor)
            {
                broken.push(format!("{}: {target}: there is no such heading", document.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The targets of `[text](target)` outside code.
fn link_targets(markdown: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            if let (false, Some(length)) = (in_code, line[at + 2..].find(')')) {
                targets.push(&line[at + 2..at + 2 + length]);
            }
        }
    }
    targets
}

/// The names under which a document's headings are linked to.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn the_page_names_no_foreign_origin() {
    // A name of a vocabulary, never fetched.
    const VOCABULARIES: [&str; 2] = ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"];
    let mut broken = Vec::new();
    for source in tracked().into_iter().filter(|source| source.path.starts_with("controlplane/web/")) {
        for scheme in ["http://", "https://", "ws://", "wss://", "src=\"//", "href=\"//", "url(//"] {
            for (at, _) in source.text.match_indices(scheme) {
                let rest = &source.text[at..];
                let named = rest[scheme.len()..].starts_with(|c: char| c.is_alphanumeric());
                if named && !VOCABULARIES.iter().any(|vocabulary| rest.starts_with(vocabulary)) {
                    let line = line_of(&source.text, at);
                    broken.push(format!(
                        "{}:{line}: {}",
                        source.path,
                        rest.lines().next().unwrap_or_default()
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "a page must load and name its own origin only:\n{}", broken.join("\n"));
}

#[test]
fn one_file_of_the_page_uses_the_browsers_storage() {
    for storage in ["localStorage", "sessionStorage"] {
        let users: Vec<String> = tracked()
            .into_iter()
            .filter(|source| source.path.starts_with("controlplane/web/") && source.path.ends_with(".js"))
            .filter(|source| has_word(&source::without_comments_and_literals(&source.text), storage))
            .map(|source| source.path)
            .collect();
        assert!(users.len() <= 1, "{storage} is used in {users:?}");
    }
}

#[test]
fn no_file_names_the_machine_that_it_was_written_on() {
    let here = root();
    let beside = here.parent().map(|path| format!("{}/", path.display())).unwrap_or_default();
    let mut foreign =
        vec!["/Users/".to_owned(), concat!("/ro", "ot/").to_owned(), concat!("registry.", "npm").to_owned()];
    foreign.extend([concat!("index.", "crates.io").to_owned(), concat!("static.", "crates.io").to_owned()]);
    if !["/", "//", "/tmp/", "/home/", "/opt/", "/srv/", "/var/tmp/", "/usr/src/"].contains(&beside.as_str())
    {
        foreign.push(beside);
    }
    let mut broken = Vec::new();
    for source in tracked() {
        if source.path.ends_with("Cargo.lock") || source.path == "tests/tests/tidy/main.rs" {
            continue;
        }
        for name in &foreign {
            if let Some(at) = source.text.find(name.as_str()) {
                broken.push(format!("{}:{}: {name}", source.path, line_of(&source.text, at)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README.md");
    let commands: Vec<&str> =
        fenced_lines(&readme).filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(
        commands.iter().any(|command| command.starts_with("cargo ")),
        "no cargo command among {commands:?}"
    );
    assert!(
        commands.iter().any(|command| command.contains("saal")),
        "the server is not started by any of {commands:?}"
    );
    for command in commands {
        let program = command.split_whitespace().next().unwrap_or_default();
        let program = program.trim_start_matches("./");
        let built = program.strip_prefix("target/release/");
        let known = match built {
            Some(binary) => {
                ["saal"].contains(&binary) || root().join(format!("tools/src/bin/{binary}.rs")).exists()
            }
            None if program.contains('/') => root().join(program).exists(),
            None => true,
        };
        assert!(known, "README.md: {command}: there is no {program}");
    }
}

/// The lines of a document's shell blocks.
fn fenced_lines(markdown: &str) -> impl Iterator<Item = &str> {
    let mut shell = false;
    markdown.lines().filter(move |line| {
        if let Some(language) = line.strip_prefix("```") {
            shell = !shell && ["sh", "bash", "console", ""].contains(&language.trim());
            return false;
        }
        shell
    })
}

/// Rows of the policy that docs/privacy.md has to answer.
const POLICY_ROWS: u32 = 49;

#[test]
fn every_promise_names_the_files_that_keep_it_and_the_tests_that_prove_it() {
    let document =
        std::fs::read_to_string(root().join("docs/privacy.md")).expect("there is a docs/privacy.md");
    let rust: Vec<String> = rust().iter().map(Source::test_code).collect();
    let browser: Vec<Source> =
        tracked().into_iter().filter(|source| source.path.starts_with("tests/browser/")).collect();
    let mut broken = Vec::new();
    let mut rows = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| SR-") || line.starts_with("| DS-")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [row, _, files, tests] = cells[..] else {
            broken.push(format!("{line}: four cells"));
            continue;
        };
        if !rows.insert(row.to_owned()) {
            broken.push(format!("{row}: twice"));
        }
        let (files, tests) = (quoted(files), quoted(tests));
        if files.is_empty() || tests.is_empty() {
            broken.push(format!("{row}: kept nowhere or proven by nothing"));
        }
        broken.extend(
            files
                .iter()
                .filter(|file| !root().join(file).exists())
                .map(|file| format!("{row}: there is no {file}")),
        );
        let exists = |test: &str| match test.split_once(": ") {
            Some((file, name)) => browser.iter().any(|source| {
                source.path.ends_with(&format!("/{file}")) && source.text.contains(&format!("'{name}'"))
            }),
            None => rust.iter().any(|code| has_word(code, &format!("fn {test}"))),
        };
        broken.extend(
            tests.iter().filter(|test| !exists(test)).map(|test| format!("{row}: there is no test {test}")),
        );
    }
    let missing = (1..=POLICY_ROWS).map(|row| format!("SR-{row:02}")).filter(|row| !rows.contains(row));
    broken.extend(missing.map(|row| format!("{row} is missing")));
    assert!(broken.is_empty(), "docs/privacy.md:\n{}", broken.join("\n"));
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
