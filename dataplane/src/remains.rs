//! Looks for what should be gone: searches the memory of a process, of this one or of a server under test, for secrets.
//!
//! Pages that are neither in memory nor swapped out hold nothing and are not read. Memory that cannot be written holds
//! nothing that a client sent. The kernel's own buffers are out of reach.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What is looked for. Kept inverted, so that a search of one's own memory does not find the question.
pub struct Secret(Vec<u8>);

/// One place of one secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Index of the secret.
    pub secret: usize,
    pub address: u64,
    /// The name of the mapping in /proc/PID/maps; empty for anonymous memory.
    pub mapping: String,
}

/// Shorter ones would be found by chance.
const SECRET_BYTES_MIN: usize = 4;

/// Read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Bit 63: in memory; bit 62: swapped out (Documentation/admin-guide/mm/pagemap.rst).
const HOLDS_SOMETHING: u64 = 0b11 << 62;
const PAGE_BYTES: u64 = 4096;

impl Secret {
    pub fn new(bytes: &[u8]) -> Secret {
        assert!(bytes.len() >= SECRET_BYTES_MIN, "what is so short would be found by chance");
        Secret(bytes.iter().map(|byte| !byte).collect())
    }

    fn stands_at(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.0.len() && self.0.iter().zip(bytes).all(|(inverted, byte)| !inverted == *byte)
    }

    fn begins_with(&self) -> u16 {
        u16::from_ne_bytes([!self.0[0], !self.0[1]])
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// All places of all `secrets` in the memory of a process: `self` or a number, as under /proc.
pub fn search(process: &str, secrets: &[Secret]) -> io::Result<Vec<Found>> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let pages = File::open(format!("/proc/{process}/pagemap"))?;
    let mappings = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut by_beginning: HashMap<u16, Vec<usize>> = HashMap::new();
    for (index, secret) in secrets.iter().enumerate() {
        by_beginning.entry(secret.begins_with()).or_default().push(index);
    }
    let beginnings: Vec<bool> = (0..=u16::MAX).map(|pair| by_beginning.contains_key(&pair)).collect();
    let overlap = secrets.iter().map(|secret| secret.0.len()).max().unwrap_or(1) - 1;
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    for (range, mapping) in mappings.lines().filter_map(writable) {
        for held in held(&pages, range)? {
            let mut at = held.start;
            while at < held.end {
                let len = PIECE_BYTES.min((held.end - at) as usize);
                // A mapping may have gone meanwhile, and devices cannot be read.
                let Ok(len) = memory.read_at(&mut piece[..len], at) else { break };
                for (offset, pair) in piece[..len].windows(2).enumerate() {
                    if !beginnings[usize::from(u16::from_ne_bytes([pair[0], pair[1]]))] {
                        continue;
                    }
                    let candidates = &by_beginning[&u16::from_ne_bytes([pair[0], pair[1]])];
                    let here =
                        candidates.iter().filter(|&&index| secrets[index].stands_at(&piece[offset..len]));
                    found.extend(here.map(|&secret| Found {
                        secret,
                        address: at + offset as u64,
                        mapping: mapping.to_owned(),
                    }));
                }
                if len <= overlap || at + len as u64 >= held.end {
                    break;
                }
                at += (len - overlap) as u64;
            }
        }
    }
    found.sort_by_key(|found| (found.secret, found.address));
    found.dedup();
    Ok(found)
}

/// Address range and name of a line of /proc/PID/maps that can be read and written.
fn writable(line: &str) -> Option<(Range<u64>, &str)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    fields.next()?.starts_with("rw").then(|| (range, fields.nth(3).unwrap_or_default()))
}

/// The parts of a range that hold something.
fn held(pages: &File, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
    const ENTRY_BYTES: u64 = size_of::<u64>() as u64;
    let first = range.start / PAGE_BYTES;
    let mut entries = vec![0; ((range.end / PAGE_BYTES - first) * ENTRY_BYTES) as usize];
    let len = pages.read_at(&mut entries, first * ENTRY_BYTES)?;
    let mut parts: Vec<Range<u64>> = Vec::new();
    for (nth, entry) in entries[..len].as_chunks().0.iter().enumerate() {
        if u64::from_ne_bytes(*entry) & HOLDS_SOMETHING == 0 {
            continue;
        }
        let start = (first + nth as u64) * PAGE_BYTES;
        match parts.last_mut() {
            Some(part) if part.end == start => part.end += PAGE_BYTES,
            _ => parts.push(start..start + PAGE_BYTES),
        }
    }
    Ok(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// So that the word is in no writable memory but where it is put.
    fn word(seed: u8) -> [u8; 32] {
        std::array::from_fn(|nth| (nth as u8).wrapping_mul(41).wrapping_add(seed) ^ 0x5C)
    }

    #[test]
    fn what_is_in_memory_is_found_where_it_stands_and_its_question_is_not() {
        let mut held = vec![0_u8; 3 * PIECE_BYTES];
        // Across the border of two pieces of whatever alignment, and at the very end.
        let places = [PIECE_BYTES - 7, 2 * PIECE_BYTES + 1, 3 * PIECE_BYTES - 32];
        for place in places {
            held[place..place + 32].copy_from_slice(&word(1));
        }
        let base = std::hint::black_box(&held).as_ptr() as u64;
        // A search for several at once tells them apart.
        let secrets = [Secret::new(&word(2)), Secret::new(&word(1))];
        let found = search("self", &secrets).unwrap();
        for place in places {
            let here = |found: &Found| found.secret == 1 && found.address == base + place as u64;
            assert!(found.iter().any(here), "{found:?}");
        }
        let question = secrets[1].0.as_ptr() as u64;
        assert!(found.iter().all(|found| found.address != question));
        drop(held);
    }

    #[test]
    fn only_writable_mappings_are_looked_at() {
        let line = "7f00-7fff rw-p 00000000 00:00 0                          [stack]";
        assert_eq!(writable(line), Some((0x7f00..0x7fff, "[stack]")));
        assert_eq!(writable("7f00-7fff r-xp 00000000 00:00 0 /usr/bin/saal"), None);
        assert_eq!(writable("7f00-7fff rw-p 00000000 00:00 0"), Some((0x7f00..0x7fff, "")));
    }
}
