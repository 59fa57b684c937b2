//! The notice against the program: what the types hold is in the inventory, what the inventory holds is in the notice, and
//! what the configuration changes changes the text.

use std::collections::BTreeSet;
use std::path::Path;

use super::inventory::{CATEGORIES, Function, Held, Place};
use super::*;
use crate::config::tests::OPERATOR;

/// Fields of types in the inventory that say nothing about a person: settings, places in tables, rates, the program's own
/// numbers.
const NOT_PERSONAL: &[Held] = &[
    ("controlplane/src/rooms.rs", "Participant", &["chat"]),
    (
        "controlplane/src/rooms.rs",
        "Room",
        &["has_deposed", "waits_until", "password_wishes", "token_is_void", "rules"],
    ),
    ("controlplane/src/hall.rs", "Member", &["room", "has_media"]),
    ("controlplane/src/hall.rs", "Leaving", &["room"]),
    ("controlplane/src/limit.rs", "Table", &["budget", "window", "window_began", "hasher_made"]),
    ("controlplane/src/limit.rs", "Connections", &["max", "per_client_max", "open"]),
    ("controlplane/src/whip.rs", "Session", &["door", "place"]),
    ("controlplane/src/signal/seat.rs", "Seat", &["server", "room", "frames"]),
    ("controlplane/src/signal/seat.rs", "Said", &["count", "bytes", "asked"]),
    ("controlplane/src/signal/call.rs", "Call", &["server", "room", "messages", "offers"]),
    ("controlplane/src/signal/call.rs", "Negotiated", &["port", "session", "version"]),
    ("dataplane/src/rooms.rs", "Rooms", &["rooms", "room_ids", "shared", "has_left", "door", "random"]),
    (
        "dataplane/src/rooms.rs",
        "Shared",
        &["counters", "events", "padding_percent", "relief", "limits", "epoch"],
    ),
    (
        "dataplane/src/sfu/transport.rs",
        "Transport",
        &["knocks", "knocks_per_second_max", "events", "setup_by", "ssrcs_max", "is_closed"],
    ),
    (
        "dataplane/src/sfu/participant.rs",
        "Participant",
        &["transport", "connected", "reported", "resend", "intake", "sound_intake", "padding", "patience"],
    ),
];

/// Keys that change nothing for the people whose data it is.
const SILENT_KEYS: &[&str] = &[
    "http.listen",
    "http.tls_key",
    "http.connections_max",
    "http.connections_per_address_max",
    "admin.listen",
    "media.cores",
    "media.port",
    "media.bind",
    "media.announce",
    "media.io",
    "media.segments_max",
    "media.tick_max_us",
    "media.padding_max_percent",
    "media.receive_buffer_bytes",
    "media.send_buffer_bytes",
    "rooms.participants_max",
    "rooms.rooms_max",
    "rooms.rooms_per_organizer_max",
    "rooms.audio_slots",
    "rooms.video_slots",
    "rooms.viewer_audio_slots",
    "rooms.viewer_video_slots",
    "rooms.drain_minutes",
    "organizers.journal",
    "log.level",
];

/// Keys that the notice or the imprint speaks of, each with another value.
const TELLING_KEYS: &[(&str, &str)] = &[
    ("http.tls_certificate", "http.tls_certificate = \"c.pem\"\nhttp.tls_key = \"k.pem\""),
    ("http.self_signed", "http.self_signed = true"),
    ("http.public_url", "http.public_url = \"https://saal.example\""),
    ("media.consent_seconds", "media.consent_seconds = 21"),
    ("rooms.waiting_minutes", "rooms.waiting_minutes = 33"),
    ("organizers.file", "organizers.file = \"o.toml\""),
    ("organizers.journal_days", "organizers.file = \"o.toml\"\norganizers.journal_days = 3"),
    ("operator.name", "operator.name = \"Another University\""),
    ("operator.address", "operator.address = \"Side Street 2\""),
    ("operator.email", "operator.email = \"other@example.org\""),
    ("operator.phone", "operator.phone = \"+49 30 1234\""),
    ("operator.processor", "operator.processor = \"The data centre\""),
    ("operator.represented_by", "operator.represented_by = \"The Rector\""),
    ("operator.imprint", "operator.imprint = \"Register 12\""),
    ("operator.data_protection_officer", "operator.data_protection_officer = \"Ms Doe\""),
    ("operator.supervisory_authority", "operator.supervisory_authority = \"Another office\""),
    ("operator.legal_basis.law", "operator.legal_basis.law = \"§ 4 of an act\""),
    ("operator.legal_basis.meetings", "operator.legal_basis.meetings = \"a\""),
    ("operator.legal_basis.accounts", "operator.legal_basis.accounts = \"b\""),
    ("operator.legal_basis.journal", "operator.legal_basis.journal = \"b\""),
    ("operator.legal_basis.protection", "operator.legal_basis.protection = \"b\""),
];

fn config(more: &str) -> Config {
    let mut lines: Vec<String> = OPERATOR
        .lines()
        .filter(|line| !line.starts_with('['))
        .map(|line| format!("operator.{line}"))
        .collect();
    for line in more.lines() {
        let key = line.split(" = ").next().unwrap();
        lines.retain(|other| other.split(" = ").next() != Some(key));
        lines.push(line.to_owned());
    }
    Config::parse(&lines.join("\n")).unwrap()
}

fn stamp() -> Stamp {
    Stamp { version: "1", date: "2026-01-31".into(), config: "0123".into() }
}

/// Both documents in one language, with the same stamp whatever the configuration is.
fn documents(config: &Config, language: Language) -> String {
    notice::privacy(config, &stamp(), language) + &notice::imprint(config, &stamp(), language)
}

fn source(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names and types of a struct's fields, as they stand in the source.
fn fields_of(source: &str, name: &str) -> Vec<(String, String)> {
    let head = format!("struct {name} {{");
    let at = source.find(&head).unwrap_or_else(|| panic!("no {head}"));
    let body = source[at + head.len()..].split("\n}").next().unwrap();
    let declared = body.lines().map(str::trim).filter(|line| !line.starts_with(['/', '#']));
    declared
        .filter_map(|line| {
            line.trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub ")
                .split_once(": ")
        })
        .map(|(name, kind)| (name.to_owned(), kind.trim_end_matches(',').to_owned()))
        .collect()
}

#[test]
fn every_field_that_holds_something_of_a_person_is_in_the_inventory() {
    let held: Vec<&Held> = CATEGORIES.iter().flat_map(|category| category.held_in).collect();
    let types: BTreeSet<(&str, &str)> = held.iter().map(|(file, kind, _)| (*file, *kind)).collect();
    for (file, kind) in types {
        let of = |list: &[&Held]| -> BTreeSet<String> {
            let entries = list.iter().filter(|entry| (entry.0, entry.1) == (file, kind));
            entries.flat_map(|entry| entry.2).map(|field| (*field).to_owned()).collect()
        };
        let listed: BTreeSet<String> =
            of(&held).union(&of(&NOT_PERSONAL.iter().collect::<Vec<_>>())).cloned().collect();
        let declared: BTreeSet<String> =
            fields_of(&source(file), kind).into_iter().map(|(name, _)| name).collect();
        let unlisted: Vec<_> = declared.difference(&listed).collect();
        assert!(
            unlisted.is_empty(),
            "{file}: {kind} holds {unlisted:?}: enter them into their category of privacy/inventory.rs, so that the notice \
             tells people of them, or into NOT_PERSONAL"
        );
        let gone: Vec<_> = listed.difference(&declared).collect();
        assert!(gone.is_empty(), "{file}: {kind} has no {gone:?} any more, but the inventory says so");
    }
}

/// A type that only says what is not personal would be looked at by nobody.
#[test]
fn what_is_not_personal_belongs_to_types_of_the_inventory() {
    for (file, kind, _) in NOT_PERSONAL {
        let known = CATEGORIES.iter().flat_map(|category| category.held_in);
        assert!(known.into_iter().any(|held| (held.0, held.1) == (*file, *kind)), "{file}: {kind}");
    }
}

#[test]
fn the_notice_tells_of_every_category_with_its_deadline_place_and_recipients() {
    for language in Language::ALL {
        let config = config("");
        let page = documents(&config, language);
        for category in CATEGORIES {
            let name = category.name.to(language);
            let section = page
                .split("<section class=\"datum\">")
                .find(|section| section.contains(&format!(">{name}</h4>")));
            let section = section.unwrap_or_else(|| panic!("{name} is missing"));
            for says in [
                category.what.to(language),
                category.purpose.to(language),
                &category.kept.says(&config, language),
                (category.place)(&config).name().to(language),
                category.recipients(&config).name().to(language),
            ] {
                assert!(!says.trim().is_empty() && section.contains(says), "{name}: {says}");
            }
        }
        for function in Function::ALL {
            assert!(page.contains(function.purpose().to(language)));
            assert!(
                CATEGORIES.iter().any(|category| category.function == function),
                "{function:?} holds nothing"
            );
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_told_of_or_concerns_nobody() {
    let config_rs = source("controlplane/src/config.rs");
    let mut keys = BTreeSet::new();
    let mut sections: Vec<(String, String)> = fields_of(&config_rs, "Config");
    sections.retain(|(name, _)| name != "changed");
    while let Some((section, kind)) = sections.pop() {
        let kind = kind.trim_start_matches("Option<").trim_end_matches('>').to_owned();
        for (name, kind) in fields_of(&config_rs, &kind) {
            let key = format!("{section}.{name}");
            match config_rs.contains(&format!("struct {kind} {{")) {
                true => sections.push((key, kind)),
                false => drop(keys.insert(key)),
            }
        }
    }
    let known: BTreeSet<String> = SILENT_KEYS
        .iter()
        .copied()
        .chain(TELLING_KEYS.iter().map(|(key, _)| *key))
        .map(str::to_owned)
        .collect();
    let undecided: Vec<_> = keys.symmetric_difference(&known).collect();
    assert!(
        undecided.is_empty(),
        "decide whether the notice speaks of {undecided:?}: TELLING_KEYS or SILENT_KEYS"
    );
    let switches = CATEGORIES.iter().flat_map(|category| category.switches);
    for key in switches {
        assert!(TELLING_KEYS.iter().any(|(telling, _)| telling == key), "{key} decides about a category");
    }
}

#[test]
fn nobody_is_told_of_an_end_to_end_encryption_that_is_not_there() {
    for (language, file, badge, end_to_end) in [
        (Language::De, "de.js", "'call.badge': 'Transport-verschlüsselt", "Ende-zu-Ende"),
        (Language::En, "en.js", "'call.badge': 'Transport-encrypted", "end-to-end"),
    ] {
        let page = source(&format!("controlplane/web/js/lang/{file}"));
        assert!(page.contains(badge) && !page.contains(end_to_end), "{file}");
        let config = config("");
        let papers = [notice::privacy(&config, &stamp(), language), export::markdown(&config, language)];
        for paper in papers {
            let says = words::NOT_END_TO_END.to(language);
            assert!(paper.contains(says));
            assert_eq!(paper.matches(end_to_end).count(), paper.matches(says).count());
        }
    }
}

#[test]
fn what_the_configuration_switches_changes_the_text() {
    for language in Language::ALL {
        let before = documents(&config(""), language);
        for (key, value) in TELLING_KEYS {
            assert_ne!(documents(&config(value), language), before, "{key} changes nothing");
        }
    }
}

#[test]
fn accounts_are_said_to_be_on_disk_only_where_they_are() {
    let account = CATEGORIES.iter().find(|category| category.switches.contains(&"organizers.file")).unwrap();
    assert_eq!((account.place)(&config("")), Place::Memory);
    assert_eq!((account.place)(&config("organizers.file = \"o.toml\"")), Place::Disk);
}

#[test]
fn sign_ins_are_said_to_be_kept_as_long_as_they_are() {
    for (days, says) in [
        (7, "7 days at most"),
        (3, "3 days at most"),
        (1, "1 day at most"),
        (0, "is not recorded on this server"),
    ] {
        let config = config(&format!("organizers.file = \"o.toml\"\norganizers.journal_days = {days}"));
        assert!(documents(&config, Language::En).contains(says), "{days}");
    }
}

#[test]
fn deadlines_are_those_of_the_configuration() {
    let page = documents(&config("media.consent_seconds = 21\nrooms.waiting_minutes = 33"), Language::En);
    assert!(page.contains("21 seconds after your connection is lost"));
    assert!(page.contains("if nobody comes, 33 minutes after it was opened"));
}

#[test]
fn each_legal_basis_is_named_with_what_follows_from_it() {
    for (letter, article, objection, withdrawal) in [
        (
            "e",
            "Art. 6 Abs. 1 Buchst. e DSGVO: eine Aufgabe im öffentlichen Interesse, in Verbindung mit § 4 HSG",
            true,
            false,
        ),
        ("a", "Art. 6 Abs. 1 Buchst. a DSGVO: Ihre Einwilligung", false, true),
        ("b", "Art. 6 Abs. 1 Buchst. b DSGVO: ein Vertrag mit Ihnen", false, false),
    ] {
        let keys = ["meetings", "accounts", "journal", "protection"];
        let lines = keys.map(|key| format!("operator.legal_basis.{key} = \"{letter}\""));
        let page = documents(
            &config(&format!("operator.legal_basis.law = \"§ 4 HSG\"\n{}", lines.join("\n"))),
            Language::De,
        );
        assert_eq!(page.matches(&format!("{article}</p>")).count(), Function::ALL.len(), "{letter}");
        assert_eq!(page.contains("Widerspruch (Art. 21)"), objection, "{letter}");
        assert_eq!(page.contains("Widerruf der Einwilligung"), withdrawal, "{letter}");
    }
}

#[test]
fn the_documents_name_the_operator_the_officer_and_the_authority() {
    let config = config("operator.phone = \"+49 30 1234\"");
    for language in Language::ALL {
        let page = notice::privacy(&config, &stamp(), language);
        for says in [
            "Example University",
            "Main Street 1<br>Exampletown",
            "dpo@example.org",
            "+49 30 1234",
            "commissioner",
        ] {
            assert!(page.contains(says), "{says}");
        }
        assert!(page.contains("<a href=\"mailto:conference@example.org\">"));
        assert!(page.contains(&stamp().line(language)) && page.contains("201"));
        let imprint = notice::imprint(&config, &stamp(), language);
        assert!(
            imprint.contains("Main Street 1<br>Exampletown") && imprint.contains("conference@example.org")
        );
    }
}

#[test]
fn without_an_operator_both_documents_say_that_this_is_a_demonstration() {
    let config = Config::default();
    for (language, word) in [(Language::De, "Vorführung"), (Language::En, "demonstration")] {
        for page in
            [notice::privacy(&config, &stamp(), language), notice::imprint(&config, &stamp(), language)]
        {
            assert!(page.contains("class=\"demo\"") && page.contains(word));
        }
    }
    assert!(!documents(&tests::config(""), Language::De).contains("class=\"demo\""));
}

#[test]
fn what_the_operator_writes_is_text_and_never_markup() {
    let config = config(
        "operator.name = \"<script>alert(1)</script> & \\\"Söhne\\\"\"\noperator.address = \"<b>Street</b>\"\n\
         operator.imprint = \"https://example.org/\\\"onclick=x x@y.example\\\"><img>\"",
    );
    for language in Language::ALL {
        let page = documents(&config, language);
        for markup in ["<script", "<b>", "<img>", "\"onclick"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;Söhne&quot;"));
        assert!(!export::markdown(&config, language).contains("\n<script"));
    }
}

#[test]
fn another_configuration_is_another_version_of_the_notice() {
    let (one, other) = (Stamp::new(&config("")), Stamp::new(&config("rooms.waiting_minutes = 33")));
    assert_eq!(one.config, Stamp::new(&config("")).config);
    assert_ne!(one.config, other.config);
    assert!(
        one.line(Language::De).contains(&one.config)
            && one.line(Language::De).contains(env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_papers_tell_in_both_languages_of_all_functions_categories_and_measures() {
    let config = config("organizers.file = \"o.toml\"");
    let [german, english] = Language::ALL.map(|language| {
        let paper = export::markdown(&config, language);
        for category in CATEGORIES {
            assert!(paper.contains(&category.kept.says(&config, language)));
            let row = format!("| {} |", category.name.to(language));
            assert!(paper.matches(&row).count() > usize::from(!category.held_in.is_empty()), "{row}");
        }
        for function in Function::ALL {
            assert!(paper.contains(&format!(" {}\n", function.name().to(language))));
        }
        assert!(
            !paper.contains("|  |  |")
                && paper.contains("Example University<br>Main Street 1<br>Exampletown")
        );
        paper
    });
    let shape = |paper: &str| -> Vec<usize> {
        let lines = paper.lines().filter(|line| line.starts_with(['#', '|', '-']));
        lines.map(|line| line.matches(" | ").count() + 10 * line.matches('#').count()).collect()
    };
    assert_eq!(shape(&german), shape(&english), "the same paper in two languages");
    for chapter in ["Art. 30", "Art. 32", "Datenfluss", "Löschfristen", "Art. 35"] {
        assert!(german.lines().any(|line| line.starts_with("## ") && line.contains(chapter)), "{chapter}");
    }
}

#[test]
fn the_language_is_what_was_asked_for_then_what_the_browser_prefers() {
    let (de, en) = (Language::De, Language::En);
    for (query, accept, language) in [
        (Some("lang=de"), Some("en"), de),
        (Some("x=1&lang=en"), Some("de"), en),
        (Some("lang=fr"), Some("de-AT,en;q=0.8"), de),
        (None, Some("en-GB, de;q=0.9"), en),
        (None, Some("fr, en;q=0.3, DE;q=0.4"), de),
        (None, Some("de;q=0, *"), en),
        (None, Some("de;q=x"), en),
        (None, None, en),
    ] {
        assert_eq!(Language::wanted(query, accept), language, "{query:?} {accept:?}");
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    for (seconds, says) in [
        (0, "1970-01-01"),
        (951_782_399, "2000-02-28"),
        (951_782_400, "2000-02-29"),
        (1_798_675_199, "2026-12-30"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(day(UNIX_EPOCH + Duration::from_secs(seconds)), says);
    }
}
