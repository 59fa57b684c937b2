//! Randomness from the operating system's generator by way of aws-lc: ids, tokens, passwords, made-up names.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Letters and digits that nobody confuses when read aloud or copied by hand.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

const WORDS: [&str; 32] = [
    "acorn", "alder", "amber", "anchor", "aspen", "badger", "birch", "bridge", "cedar", "cherry", "clover",
    "copper", "coral", "falcon", "garden", "hazel", "heron", "juniper", "lantern", "linden", "maple",
    "meadow", "otter", "pebble", "plover", "quartz", "raven", "river", "rowan", "sparrow", "willow", "wren",
];

pub(crate) fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the operating system's random generator works while the process lives");
}

/// Never zero.
pub(crate) fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes).max(1)
}

/// 256 random bits in lower-case hex.
pub(crate) fn token() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(bytes.as_mut());
    Zeroizing::new(hex(bytes.as_ref()))
}

/// 80 random bits in four groups.
pub(crate) fn password() -> Zeroizing<String> {
    Zeroizing::new([letters(4), letters(4), letters(4), letters(4)].join("-"))
}

pub(crate) fn room_name() -> String {
    let mut pick = [0];
    fill(&mut pick);
    format!("{}-{}", WORDS[usize::from(pick[0]) % WORDS.len()], letters(6))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// In a time that does not tell where two digests differ.
pub(crate) fn are_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn letters(count: usize) -> String {
    let mut bytes = vec![0; count];
    fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_room_names_and_passwords_are_long() {
        assert!(crate::names::RoomName::new(&room_name()).is_some());
        assert_eq!(password().len(), 19);
        assert_eq!(token().len(), 64);
        assert_ne!(*token(), *token());
    }
}
