//! What this server tells about itself: the privacy notice, the imprint, and the papers for the data protection officer,
//! all from one inventory of data and the running configuration. Nothing here ever sees a person's data.

pub(crate) mod export;
mod inventory;
mod notice;
mod page;
#[cfg(test)]
mod tests;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::date;
use crate::random;

pub(crate) use notice::{Document, Notices};
pub(crate) use page::Page;

/// The languages that every text of this module exists in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Language {
    De,
    En,
}

/// The same in both languages, side by side so that neither says more than the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    de: &'static str,
    en: &'static str,
}

pub(crate) const fn text(de: &'static str, en: &'static str) -> Text {
    Text { de, en }
}

impl Text {
    pub(crate) fn to(self, language: Language) -> &'static str {
        match language {
            Language::De => self.de,
            Language::En => self.en,
        }
    }
}

impl Language {
    pub(crate) const ALL: [Language; 2] = [Language::De, Language::En];

    pub(crate) fn code(self) -> &'static str {
        text("de", "en").to(self)
    }

    pub(crate) fn name(self) -> &'static str {
        text("Deutsch", "English").to(self)
    }

    /// `?lang=` decides, then what the browser prefers. Whoever prefers neither gets English.
    pub(crate) fn wanted(query: Option<&str>, accept: Option<&str>) -> Language {
        let of = |code: &str| Language::ALL.into_iter().find(|language| code == language.code());
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let asked = pairs.filter(|(key, _)| *key == "lang").find_map(|(_, code)| of(code));
        let preferred = || {
            let ranges = accept.unwrap_or_default().split(',').map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                (tag, weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)))
            });
            let mut best = None;
            for (tag, weight) in ranges.filter(|(_, weight)| *weight > 0.0) {
                let language = of(tag.split('-').next().unwrap_or_default());
                if let (Some(language), true) = (language, best.is_none_or(|(_, most)| weight > most)) {
                    best = Some((language, weight));
                }
            }
            best.map(|(language, _)| language)
        };
        asked.or_else(preferred).unwrap_or(Language::En)
    }
}

/// Which notice this is: another program, another configuration, another notice.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    version: &'static str,
    /// The day on which the configuration was written, or on which the server started without one.
    date: String,
    /// The beginning of the SHA-256 of the table that `saal check` prints.
    config: String,
}

/// Of the configuration's hash: enough to tell two apart, short enough to read aloud.
const HASH_BYTES: usize = 8;

impl Stamp {
    pub(crate) fn new(config: &Config) -> Stamp {
        let table = config.table().unwrap_or_default();
        Stamp {
            version: env!("CARGO_PKG_VERSION"),
            date: day(config.changed.unwrap_or_else(SystemTime::now)),
            config: random::hex(&random::sha256(table.as_bytes())[..HASH_BYTES]),
        }
    }

    pub(crate) fn line(&self, language: Language) -> String {
        let Stamp { version, date, config } = self;
        match language {
            Language::De => format!("Stand {date} · Saal {version} · Konfiguration {config}"),
            Language::En => format!("As of {date} · Saal {version} · configuration {config}"),
        }
    }
}

/// The day in UTC, as 2026-01-31.
pub(crate) fn day(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    date::day(since.as_secs() / date::DAY_SECONDS)
}
