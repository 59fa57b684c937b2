//! What people may be called and what rooms may be called.

use std::fmt;

/// A well-formed room name. Two names that differ in case only are the same room.
#[derive(Clone)]
pub(crate) struct RoomName {
    shown: String,
    key: RoomKey,
}

/// What room names are compared by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RoomKey(String);

impl RoomName {
    /// 1 to 64 letters, digits, `-` and `_` of any script.
    pub(crate) fn new(name: &str) -> Option<RoomName> {
        let allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&name.chars().count()) || !name.chars().all(allowed) {
            return None;
        }
        Some(RoomName { shown: name.to_owned(), key: RoomKey(name.to_lowercase()) })
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn key(&self) -> &RoomKey {
        &self.key
    }
}

impl RoomKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomName(redacted)")
    }
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomKey(redacted)")
    }
}

/// A display name of 1 to 64 characters without control and direction-changing characters, spaces squeezed.
pub(crate) fn display_name(wanted: &str) -> Option<String> {
    let printable: String =
        wanted.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(is_plain).collect();
    let name = printable.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (1..=64).contains(&name.chars().count()).then_some(name)
}

/// A chat text of 1 to 2000 characters; line breaks and tabs stay.
pub(crate) fn chat_text(wanted: &str) -> Option<String> {
    let text: String = wanted.chars().filter(|c| matches!(c, '\n' | '\t') || is_plain(c)).collect();
    let text = text.trim();
    (1..=2000).contains(&text.chars().count()).then(|| text.to_owned())
}

/// Letters that can neither move text around nor hide in it. The zero-width joiner stays: emoji and several scripts
/// need it.
fn is_plain(c: &char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_of_any_script_are_compared_without_case() {
        assert!(
            RoomName::new("Mensa-Küche_2").unwrap().key() == RoomName::new("mensa-KÜCHE_2").unwrap().key()
        );
        assert!(RoomName::new("会議室").is_some());
        for bad in ["", "a b", "a/b", "a.b", "a\u{202e}b", "<b>", &"x".repeat(65)] {
            assert!(RoomName::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn display_names_lose_control_and_direction_characters() {
        assert_eq!(display_name("  Ada\t\nLovelace\u{0} ").as_deref(), Some("Ada Lovelace"));
        assert_eq!(display_name("a\u{202e}b\u{2066}c\u{1b}[2J").as_deref(), Some("abc[2J"));
        assert_eq!(display_name(" \u{202e} "), None);
        assert_eq!(display_name(&"é".repeat(65)), None);
        assert!(display_name(&"é".repeat(64)).is_some());
    }

    #[test]
    fn chat_keeps_line_breaks() {
        assert_eq!(chat_text("a\nb\u{7}\u{202e}").as_deref(), Some("a\nb"));
        assert_eq!(chat_text("\n \t"), None);
        assert_eq!(chat_text(&"x".repeat(2001)), None);
    }
}
