//! The receipt that a participant gets when everything that was held on them is erased: moments and numbers, no name, no
//! id, no room, signed with a key that is made at start, never written down, and gone with the process.

use std::time::{Instant, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;

use crate::date::rfc3339;
use crate::random::hex;
use crate::rooms::Departed;
use crate::signal::message::ServerMessage;

/// Signs receipts.
pub(crate) struct Receipts {
    key: Ed25519KeyPair,
}

/// A stay that is over.
#[derive(Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) departed: Departed,
    pub(crate) left: Instant,
    /// The media plane knew the participant.
    pub(crate) had_media: bool,
}

/// What is signed, as JSON text.
#[derive(Serialize)]
struct Receipt {
    receipt: &'static str,
    joined_at: String,
    left_at: String,
    erased_at: String,
    erased: Erased,
    chat_lines_relayed: u32,
}

/// How many records of each category were held at the end.
#[derive(Serialize)]
struct Erased {
    names: u8,
    /// What was switched on, the pause and the objection.
    states: u8,
    rate_counters: u8,
    /// Of the media plane: addresses, keys, buffers.
    media_connections: u8,
    /// Lines are relayed and not kept.
    chat_lines: u8,
}

const FORMAT: &str = "saal-receipt-1";

/// Of chat lines, of messages, of offers.
const RATE_COUNTERS: u8 = 3;

impl Receipts {
    pub(crate) fn new() -> Result<Receipts, String> {
        let key = Ed25519KeyPair::generate();
        Ok(Receipts { key: key.map_err(|_| "cannot make the key that signs receipts")? })
    }

    /// The 32 bytes of RFC 8032 in hex.
    pub(crate) fn public_key(&self) -> String {
        hex(self.key.public_key().as_ref())
    }

    /// To be called when both planes have erased the participant. `wall` is what the clock on the wall says at `now`.
    pub(crate) fn issue(&self, stay: &Stay, now: Instant, wall: SystemTime) -> ServerMessage {
        let before = |at: Instant| {
            let ago = now.saturating_duration_since(at);
            rfc3339(wall.checked_sub(ago).unwrap_or(wall))
        };
        let receipt = Receipt {
            receipt: FORMAT,
            joined_at: before(stay.departed.joined),
            left_at: before(stay.left),
            erased_at: rfc3339(wall),
            erased: Erased {
                names: 1,
                states: 1,
                rate_counters: RATE_COUNTERS,
                media_connections: stay.had_media.into(),
                chat_lines: 0,
            },
            chat_lines_relayed: stay.departed.chat_lines,
        };
        let receipt = serde_json::to_string(&receipt).expect("a plain struct always serialises");
        let signature = hex(self.key.sign(receipt.as_bytes()).as_ref());
        ServerMessage::Receipt { receipt, signature }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
    }

    fn issued(receipts: &Receipts) -> (String, Vec<u8>) {
        let left = Instant::now();
        let departed = Departed { joined: left - Duration::from_secs(90), chat_lines: 3 };
        let stay = Stay { departed, left, had_media: true };
        let issued = receipts.issue(&stay, left + Duration::from_secs(1), SystemTime::now());
        let ServerMessage::Receipt { receipt, signature } = issued else { panic!("{issued:?}") };
        (receipt, bytes(&signature))
    }

    #[test]
    fn a_receipt_is_signed_with_the_key_of_its_process_and_no_other() {
        let (receipts, restarted) = (Receipts::new().unwrap(), Receipts::new().unwrap());
        let (receipt, signature) = issued(&receipts);
        let verifies = |key: &Receipts, text: &str| {
            UnparsedPublicKey::new(&ED25519, bytes(&key.public_key()))
                .verify(text.as_bytes(), &signature)
                .is_ok()
        };
        assert!(verifies(&receipts, &receipt));
        assert!(!verifies(&receipts, &receipt.replace("\"chat_lines\":0", "\"chat_lines\":1")));
        assert!(!verifies(&restarted, &receipt));
    }

    #[test]
    fn a_receipt_holds_moments_and_numbers_only() {
        let (receipt, _) = issued(&Receipts::new().unwrap());
        let value: serde_json::Value = serde_json::from_str(&receipt).unwrap();
        let fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["chat_lines_relayed", "erased", "erased_at", "joined_at", "left_at", "receipt"]);
        assert!(value["erased"].as_object().unwrap().values().all(serde_json::Value::is_u64));
        assert_eq!(value["chat_lines_relayed"], 3);
        assert!(value["joined_at"].as_str() < value["left_at"].as_str());
    }
}
