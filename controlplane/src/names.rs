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
        let allowed = |c: char| (c.is_alphanumeric() && is_plain(&c)) || c == '-' || c == '_';
        if !(1..=64).contains(&name.chars().count()) || !name.chars().all(allowed) {
            return None;
        }
        Some(RoomName { shown: name.to_owned(), key: RoomKey(folded(name)) })
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

/// Small and capital letters alike, the two small forms of sigma too.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase().replace('ς', "σ")
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

/// A display name of 1 to 64 characters that shows something, without control and direction-changing characters, spaces
/// squeezed.
pub(crate) fn display_name(wanted: &str) -> Option<String> {
    let printable: String =
        wanted.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(is_plain).collect();
    let name = printable.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let name = without_towers(&name);
    let is_seen = name.chars().any(|c| !is_mark(c) && !is_joiner(c));
    ((1..=64).contains(&name.chars().count()) && is_seen).then_some(name)
}

/// A chat text of 1 to 2000 characters; line breaks and tabs stay.
pub(crate) fn chat_text(wanted: &str) -> Option<String> {
    let text: String = wanted.chars().filter(|c| matches!(c, '\n' | '\t') || is_plain(c)).collect();
    let text = text.trim();
    (1..=2000).contains(&text.chars().count()).then(|| text.to_owned())
}

/// Accents on one letter: Vietnamese has two; whoever piles up more writes over the neighbours' lines.
const MARKS_MAX: usize = 3;

fn without_towers(text: &str) -> String {
    let mut height = 0;
    let fits = |c: &char| {
        height = if is_mark(*c) { height + 1 } else { 0 };
        height <= MARKS_MAX
    };
    text.chars().filter(fits).collect()
}

/// Marks that stand above or below any letter.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Of emoji and of several scripts, invisible by themselves.
fn is_joiner(c: char) -> bool {
    matches!(c, ' ' | '\u{200c}' | '\u{200d}' | '\u{2800}' | '\u{fe00}'..='\u{fe0f}')
}

/// Letters that can neither move text around nor hide in it. The zero-width joiner stays: emoji and several scripts
/// need it.
fn is_plain(c: &char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
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
        let greek = ["ΟΔΟΣ", "οδος", "οδοσ"].map(|name| RoomName::new(name).unwrap().key().clone());
        assert!(greek[0] == greek[1] && greek[1] == greek[2]);
        assert!(RoomName::new("STRASSE").unwrap().key() == RoomName::new("straße").unwrap().key());
        assert!(RoomName::new("\u{3164}").is_none());
        for bad in ["", "a b", "a/b", "a.b", "a\u{202e}b", "<b>", &"x".repeat(65)] {
            assert!(RoomName::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn display_names_lose_control_and_direction_characters() {
        assert_eq!(display_name("  Ada\t\nLovelace\u{0} ").as_deref(), Some("Ada Lovelace"));
        assert_eq!(display_name("a\u{202e}b\u{2066}c\u{1b}[2J").as_deref(), Some("abc[2J"));
        for unseen in [" \u{202e} ", "\u{200d}", "\u{3164}", "\u{2800}", "\u{ad}", "\u{301}", "\u{fe0f}"] {
            assert_eq!(display_name(unseen), None, "{unseen:?}");
        }
        assert_eq!(display_name("\u{61c}a\u{e0041}b").as_deref(), Some("ab"));
        let tower = format!("a{}b", "\u{301}".repeat(60));
        assert_eq!(display_name(&tower).as_deref(), Some("a\u{301}\u{301}\u{301}b"));
        assert_eq!(display_name("👩‍🔬 Ệ").as_deref(), Some("👩‍🔬 Ệ"));
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
