//! The tracked files of the repository, and Rust source with comments, strings or tests taken out.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One tracked text file; `path` is relative to the repository's root and uses `/`.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Every tracked file that is text.
pub(crate) fn tracked() -> Vec<Source> {
    let listed =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is installed");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    names
        .split_terminator('\0')
        // A file that is deleted but not yet committed so is still listed.
        .filter_map(|path| {
            Some(Source { path: path.to_owned(), text: std::fs::read_to_string(root().join(path)).ok()? })
        })
        .collect()
}

pub(crate) fn rust() -> Vec<Source> {
    let sources: Vec<Source> = tracked().into_iter().filter(|source| source.path.ends_with(".rs")).collect();
    assert!(sources.len() > 10, "the Rust sources were not found");
    sources
}

impl Source {
    /// Written for tests only: a test file, or a file of a crate that holds nothing else.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("bench/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// What the product runs: no comments, no literals, no test module. Lines keep their numbers.
    pub(crate) fn product_code(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let code = without_comments_and_literals(&self.text);
        match start_of_tests(&code) {
            Some(end) => code[..end].to_owned(),
            None => code,
        }
    }

    /// The test module, or everything of a test file.
    pub(crate) fn test_code(&self) -> String {
        let code = without_comments_and_literals(&self.text);
        if self.is_test() {
            return code;
        }
        start_of_tests(&code).map(|start| code[start..].to_owned()).unwrap_or_default()
    }
}

/// Where the test module begins, whatever attributes stand between `cfg(test)` and its name.
fn start_of_tests(code: &str) -> Option<usize> {
    let module = code.find("mod tests")?;
    code[..module].rfind("#[cfg(test)]")
}

/// Blanks out comments, strings and character literals, and keeps every line break.
pub(crate) fn without_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'r' if starts_raw_string(bytes, at) => raw_string_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'\'' => char_end(bytes, at),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters are replaced by blanks")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn starts_raw_string(bytes: &[u8], at: usize) -> bool {
    let part_of_a_name =
        at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b';
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    !part_of_a_name && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = at + hashes + 2;
    let length = bytes[start..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| start + length + close.len())
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A lifetime is left as it is.
fn char_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|&byte| byte == b'\'');
        return close.map_or(bytes.len(), |length| at + 3 + length + 1);
    }
    let close = bytes[at + 1..].iter().take(6).position(|&byte| byte == b'\'');
    match close {
        Some(length)
            if length > 0
                && std::str::from_utf8(&bytes[at + 1..at + 1 + length])
                    .is_ok_and(|c| c.chars().count() == 1) =>
        {
            at + length + 2
        }
        _ => at + 1,
    }
}

/// The words of `HandshakeState`, `receive_buffer` or `net-ns`, in lower case.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if !c.is_alphanumeric() {
            words.push(String::new());
        } else {
            if c.is_uppercase() {
                words.push(String::new());
            }
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether `code` holds `word` with no letter, digit or underscore before or behind.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    positions_of_word(code, word).next().is_some()
}

pub(crate) fn positions_of_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(in_name) && !code[at + word.len()..].starts_with(in_name))
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let code =
        without_comments_and_literals("a /* b /* c */ */ \"d\\\"\" r#\"e\"f\"# 'g' '\\'' <'h> // i\nj");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "<'h>", "j"]);
}

#[test]
fn names_fall_into_words() {
    assert_eq!(words("RoomManager"), ["room", "manager"]);
    assert_eq!(words("dtls_helper.rs"), ["dtls", "helper", "rs"]);
}
