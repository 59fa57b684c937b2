//! The administration's page: what the server does at this moment, and whether what it promises holds. Numbers only.

use std::time::{Duration, Instant, SystemTime};

use crate::metrics::Row;
use crate::privacy::{Language, Page, Text, text};
use crate::rooms::Totals;
use crate::self_check::Verdict;
use crate::server::Server;

/// What the page needs of the files of web/.
pub(crate) const ASSETS: [&str; 4] = ["style.css", "pages.css", "notice.css", "img/mark.svg"];

const STYLES: [&str; 3] = ["/assets/style.css", "/assets/pages.css", "/assets/notice.css"];

/// Something that should hold, and whether it does; `None`: nobody has looked yet.
struct Check {
    name: Text,
    holds: Option<bool>,
    says: String,
}

pub(crate) fn page(server: &Server, rows: &[Row], language: Language) -> String {
    let to = |text: Text| text.to(language);
    let (rooms, people, totals, draining) = server
        .hall
        .rooms(|rooms| (rooms.room_count(), rooms.participant_count(), rooms.totals(), rooms.is_draining()));
    let mut checks = checks(rows, (rooms, people), totals, language);
    checks.push(remains(server, language));
    checks.extend(journal(server, language));
    let all_hold = checks.iter().all(|check| check.holds != Some(false));

    let mut page = Page::begin(language, to(text("Saal · Zustand", "Saal · Status")), &STYLES);
    page.raw("<header class=\"site-header\"><span class=\"brand\">")
        .raw("<img src=\"/assets/img/mark.svg\" alt=\"\" width=\"32\" height=\"32\"><span>Saal</span></span>")
        .languages("/", language)
        .raw("</header>\n<main class=\"narrow status-page\"><article class=\"card prose\">")
        .element("h1", to(text("Zustand des Servers", "Status of the server")));
    let verdict = match (all_hold, draining) {
        (false, _) => text(
            "Bitte ansehen: Etwas ist nicht, wie es sein soll.",
            "Please look: something is not as it should be.",
        ),
        (true, true) => text(
            "Der Server läuft aus: Er nimmt keine neuen Räume an und endet mit dem letzten.",
            "The server is draining: it takes no new rooms and ends with the last one.",
        ),
        (true, false) => text("Alles ist, wie es sein soll.", "Everything is as it should be."),
    };
    page.element(if all_hold { "p class=\"verdict good\"" } else { "p class=\"verdict bad\"" }, to(verdict));

    page.heading("now", to(text("Jetzt", "Now"))).raw("<dl class=\"figures\">");
    figure(&mut page, to(text("Räume", "rooms")), &rooms.to_string());
    figure(&mut page, to(text("Teilnehmende", "participants")), &people.to_string());
    figure(
        &mut page,
        to(text("Verbindungen", "connections")),
        &server.connections.borrow().open().to_string(),
    );
    figure(&mut page, to(text("läuft seit", "running for")), &span(server.started.elapsed(), language));
    page.raw("</dl>");

    page.heading("checks", to(text("Selbstprüfung", "Self-check"))).raw("<ul class=\"checks\">");
    for Check { name, holds, says } in &checks {
        let (mark, item) = match holds {
            Some(true) => (text("in Ordnung", "fine"), "<li class=\"good\"><span>"),
            Some(false) => (text("nicht in Ordnung", "not fine"), "<li class=\"bad\"><span>"),
            None => (text("steht aus", "to come"), "<li><span>"),
        };
        page.raw(item)
            .element("strong", to(*name))
            .text(" ")
            .text(says)
            .raw("</span>")
            .element("span class=\"mark\"", to(mark))
            .raw("</li>");
    }
    page.raw("</ul>");

    page.heading("workers", to(text("Worker", "Workers")))
        .raw("<div class=\"wide-table\"><table><thead><tr>");
    for head in [
        text("Nr.", "no."),
        text("Kern", "core"),
        text("E/A", "I/O"),
        text("Räume", "rooms"),
        text("Personen", "people"),
        text("belegt", "busy"),
    ] {
        page.element("th scope=\"col\"", to(head));
    }
    page.raw("</tr></thead><tbody>");
    for (info, snapshot) in rows {
        let core = info.core.map_or_else(|| "–".to_owned(), |core| core.to_string());
        page.raw("<tr>")
            .element("td", &info.id.0.to_string())
            .element("td", &core)
            .element("td", info.backend);
        match snapshot {
            Some(snapshot) => {
                let counters = &snapshot.counters;
                let busy = counters.busy.as_secs_f64() / server.started.elapsed().as_secs_f64().max(1.0);
                page.element("td", &counters.rooms.to_string())
                    .element("td", &counters.participants.to_string())
                    .element("td", &format!("{:.0} %", (100.0 * busy).min(100.0)));
            }
            None => {
                page.element("td colspan=\"3\"", to(text("antwortet nicht", "does not answer")));
            }
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table></div>").element(
        "p class=\"hint\"",
        to(text("Belegt: im Mittel seit dem Start.", "Busy: the mean since the start.")),
    );
    page.raw("<p>");
    for path in ["/metrics", "/healthz", "/readyz"] {
        page.link(path, path).text(" ");
    }
    page.raw("</p>").element("p class=\"stamp\"", &server.notices.stamp().line(language));
    page.raw("</article></main>");
    page.end()
}

fn checks(rows: &[Row], (rooms, people): (usize, usize), totals: Totals, language: Language) -> Vec<Check> {
    let silent = rows.iter().filter(|(_, snapshot)| snapshot.is_none()).count();
    let balance = |made: u64, gone: u64, there: usize| match language {
        Language::De => format!("{made} angelegt, {gone} gelöscht, {there} vorhanden"),
        Language::En => format!("{made} made, {gone} deleted, {there} there"),
    };
    let balanced = |made: u64, gone: u64, there: usize| made.checked_sub(gone) == Some(there as u64);
    let Totals { rooms_created, rooms_destroyed, participants_joined, participants_left } = totals;
    let says = match language {
        Language::De => format!("{} von {} antworten", rows.len() - silent, rows.len()),
        Language::En => format!("{} of {} answer", rows.len() - silent, rows.len()),
    };
    vec![
        Check { name: text("Worker", "Workers"), holds: Some(silent == 0 && !rows.is_empty()), says },
        Check {
            name: text("Räume", "Rooms"),
            holds: Some(balanced(rooms_created, rooms_destroyed, rooms)),
            says: balance(rooms_created, rooms_destroyed, rooms),
        },
        Check {
            name: text("Teilnehmende", "Participants"),
            holds: Some(balanced(participants_joined, participants_left, people)),
            says: balance(participants_joined, participants_left, people),
        },
    ]
}

/// The last search for what a closed room left in memory.
fn remains(server: &Server, language: Language) -> Check {
    let last = server.self_check.last();
    let verdict = last.map(|outcome| outcome.verdict);
    let says = match verdict {
        None => text("noch nicht gesucht", "not searched yet"),
        Some(Verdict::Clean) => text("nichts gefunden", "nothing found"),
        Some(Verdict::Remains) => text("etwas gefunden: bitte melden", "something found: please report it"),
        Some(Verdict::Blind) => {
            text("die Suche sieht nichts: bitte melden", "the search sees nothing: please report it")
        }
        Some(Verdict::Unreadable) => text("eine Sandbox verbietet die Suche", "a sandbox forbids the search"),
        Some(Verdict::Busy) => text("kein Platz für den Proberaum", "no place for the room to search for"),
    };
    let ago = last.map(|outcome| span(outcome.at.elapsed(), language));
    let ago = ago.map(|ago| match language {
        Language::De => format!(", vor {ago}"),
        Language::En => format!(", {ago} ago"),
    });
    Check {
        name: text("Reste eines geschlossenen Raums", "Remains of a closed room"),
        holds: verdict.filter(|verdict| *verdict != Verdict::Busy).map(|verdict| verdict == Verdict::Clean),
        says: says.to(language).to_owned() + &ago.unwrap_or_default(),
    }
}

/// Where sign-ins are written down: how old the oldest is at most.
fn journal(server: &Server, language: Language) -> Option<Check> {
    let oldest = server.auth.journal()?.borrow().oldest_line(SystemTime::now(), Instant::now());
    let says = match oldest {
        None => text("leer", "empty").to(language).to_owned(),
        Some(age) => match language {
            Language::De => format!("keine Zeile älter als {}", span(age, language)),
            Language::En => format!("no line older than {}", span(age, language)),
        },
    };
    let most = Duration::from_secs(server.config.organizers.journal_days * 86_400);
    let name = text("Protokoll der Anmeldungen", "Journal of sign-ins");
    Some(Check { name, holds: Some(oldest.is_none_or(|age| age <= most)), says })
}

fn figure(page: &mut Page, name: &str, value: &str) {
    page.row(name, |page| {
        page.text(value);
    });
}

/// A time as people say it: its two largest units.
pub(crate) fn span(time: Duration, language: Language) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let day = text("T", "d").to(language);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} {day} {hours} h"),
    }
}
