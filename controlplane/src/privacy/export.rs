//! `saal compliance export`: what a data protection officer has to keep about this server, as Markdown: record of processing
//! activities, measures, data flow, retention, and what an impact assessment starts from.

use super::inventory::{CATEGORIES, Category, Function, Recipients};
use super::{Language, Stamp, Text, text, words};
use crate::config::{Config, LegalBasis};

/// All of it, in one language.
pub(crate) fn markdown(config: &Config, language: Language) -> String {
    let mut paper = Paper { out: String::new(), language };
    let stamp = Stamp::new(config);
    paper.title(text("Saal: Unterlagen zum Datenschutz", "Saal: papers on data protection"));
    paper.plain(&stamp.line(language));
    paper.say(text(
        "Aus der Konfiguration erzeugt, die `saal check` zeigt; der Prüfwert ist der Anfang der SHA-256-Summe dieser Ausgabe. \
         In eckigen Klammern steht, was nur der Betreiber wissen kann.",
        "Made from the configuration that `saal check` shows; the hash is the beginning of the SHA-256 of that output. What \
         only the operator can know stands in square brackets.",
    ));
    record(&mut paper, config);
    measures(&mut paper, config);
    flow(&mut paper, config);
    retention(&mut paper, config);
    assessment(&mut paper, config);
    places(&mut paper);
    paper.out
}

/// Markdown that grows.
struct Paper {
    out: String,
    language: Language,
}

impl Paper {
    fn to(&self, text: Text) -> &'static str {
        text.to(self.language)
    }

    fn plain(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push_str("\n\n");
    }

    fn title(&mut self, title: Text) {
        self.plain(&format!("# {}", self.to(title)));
    }

    fn part(&mut self, title: Text) {
        self.plain(&format!("## {}", self.to(title)));
    }

    fn section(&mut self, title: Text) {
        self.plain(&format!("### {}", self.to(title)));
    }

    fn say(&mut self, sentence: Text) {
        self.plain(self.to(sentence));
    }

    fn list(&mut self, items: &[Text]) {
        items.iter().for_each(|item| self.out.push_str(&format!("- {}\n", self.to(*item))));
        self.out.push('\n');
    }

    fn table<const N: usize>(&mut self, head: [Text; N], rows: impl IntoIterator<Item = [String; N]>) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head = head.map(|text| self.to(text).to_owned());
        self.out.push_str(&line(&head));
        self.out.push_str(&line(&[const { String::new() }; N].map(|_| "---".to_owned())));
        rows.into_iter().for_each(|row| self.out.push_str(&line(&row.map(|cell| one_line(&cell)))));
        self.out.push('\n');
    }
}

/// A text of several lines in a table's cell.
fn one_line(text: &str) -> String {
    text.trim().lines().map(str::trim).collect::<Vec<_>>().join("<br>").replace('|', "\\|")
}

fn of_function(function: Function) -> impl Iterator<Item = &'static Category> {
    CATEGORIES.iter().filter(move |category| category.function == function)
}

fn record(paper: &mut Paper, config: &Config) {
    let language = paper.language;
    paper.part(text(
        "1. Verzeichnis der Verarbeitungstätigkeiten (Art. 30 DSGVO)",
        "1. Record of processing activities (Art. 30 GDPR)",
    ));
    let open = |text: Text| text.to(language).to_owned();
    let missing = open(text(
        "[fehlt: Tabelle [operator] der Konfiguration]",
        "[missing: table [operator] of the configuration]",
    ));
    let operator = config.operator.as_ref();
    let of = |value: Option<String>| value.unwrap_or_else(|| missing.clone());
    let controller = operator.map(|operator| {
        let phone = operator.phone.iter().map(|phone| format!("\n{phone}")).collect::<String>();
        format!("{}\n{}\n{}{phone}", operator.name, operator.address, operator.email)
    });
    paper.table(
        [text("Angabe", "Item"), text("Inhalt", "Content")],
        [
            [open(text("Verantwortlicher", "Controller")), of(controller)],
            [
                open(text("Datenschutzbeauftragte Person", "Data protection officer")),
                of(operator.map(|operator| operator.data_protection_officer.clone())),
            ],
            [
                open(text("Aufsichtsbehörde", "Supervisory authority")),
                of(operator.map(|operator| operator.supervisory_authority.clone())),
            ],
            [
                open(text("Gemeinsam Verantwortliche, Auftragsverarbeiter", "Joint controllers, processors")),
                operator.and_then(|operator| operator.processor.clone()).unwrap_or_else(|| {
                    open(text(
                        "keine durch die Software; [Rechenzentrum oder Hoster, falls nicht selbst betrieben: operator.processor]",
                        "none by the software; [data centre or hoster, unless run by the operator itself: operator.processor]",
                    ))
                }),
            ],
        ],
    );
    let demo = LegalBasis::default();
    let bases = operator.map_or(&demo, |operator| &operator.legal_basis);
    for (number, function) in Function::ALL.into_iter().enumerate() {
        paper.plain(&format!("### 1.{} {}", number + 1, paper.to(function.name())));
        let join = |each: fn(&Category) -> Text| {
            let mut all: Vec<&str> =
                of_function(function).map(|category| each(category).to(language)).collect();
            all.dedup();
            all.join("; ")
        };
        let mut recipients: Vec<&str> =
            of_function(function).map(|category| category.recipients(config).name().to(language)).collect();
        recipients.sort_unstable();
        recipients.dedup();
        if recipients.len() > 1 {
            recipients.retain(|recipient| *recipient != Recipients::Nobody.name().to(language));
        }
        let deadlines = of_function(function).map(|category| {
            format!("{}: {}", category.name.to(language), category.kept.says(config, language))
        });
        paper.table(
            [text("Angabe", "Item"), text("Inhalt", "Content")],
            [
                [open(text("Zweck", "Purpose")), open(function.purpose())],
                [
                    open(text("Rechtsgrundlage", "Legal basis")),
                    words::basis(function.basis(bases), bases, language),
                ],
                [open(text("Betroffene Personen", "Data subjects")), open(function.data_subjects())],
                [open(text("Kategorien von Daten", "Categories of data")), join(|category| category.name)],
                [open(text("Empfänger", "Recipients")), recipients.join("; ")],
                [open(text("Drittland", "Third countries")), open(text("keine Übermittlung", "no transfer"))],
                [
                    open(text("Löschfristen", "Time limits for erasure")),
                    deadlines.collect::<Vec<_>>().join("\n"),
                ],
                [open(text("Maßnahmen", "Measures")), open(text("Abschnitt 2", "section 2"))],
            ],
        );
    }
}

fn measures(paper: &mut Paper, config: &Config) {
    paper.part(text(
        "2. Technische und organisatorische Maßnahmen (Art. 32 DSGVO)",
        "2. Technical and organisational measures (Art. 32 GDPR)",
    ));
    paper.section(text("Verschlüsselung", "Encryption"));
    paper.list(&[
        words::transport(config),
        text(
            "Medien: DTLS 1.2 oder 1.3 mit Prüfung des angekündigten Zertifikats, SRTP mit AES-GCM, wo der Browser es kann; je \
             Person und Richtung eigene Schlüssel, die mit dem Aufenthalt enden.",
            "Media: DTLS 1.2 or 1.3 with the announced certificate checked, SRTP with AES-GCM where the browser can; keys of \
             their own for each person and direction, which end with the stay.",
        ),
        words::NOT_END_TO_END,
        text(
            "Passwörter von Konten und Räumen liegen nur als Argon2id-Prüfwert vor, Zugangskennungen als SHA-256.",
            "Passwords of accounts and rooms exist as Argon2id hashes only, tokens as SHA-256.",
        ),
    ]);
    paper.section(text("Zugang und Trennung", "Access and separation"));
    paper.list(&[
        text(
            "Räume öffnet nur, wer ein Konto hat; ein Raum bekommt ohne Zutun ein erzeugtes Passwort, das im Fragment des Links \
             steht und so keinen Server und kein Protokoll erreicht.",
            "Only people with an account open rooms; a room gets a generated password by itself, which stands in the link’s \
             fragment and so reaches no server and no log.",
        ),
        text(
            "Räume sind getrennt: Jeder hat eigene Kennungen und Schlüssel; einer, der später denselben Namen trägt, ist ein \
             anderer.",
            "Rooms are separate: each has identifiers and keys of its own; a later one of the same name is another.",
        ),
        text(
            "Wessen Verbindung abreißt, kommt mit einem Token auf denselben Platz zurück: 256 zufällige Bits, einmal gültig, nur \
             in diesem Raum und nur, solange der Platz gehalten wird; der Server hat davon einen Prüfwert, der Browser hebt es \
             nur im Arbeitsspeicher auf.",
            "Whose connection breaks comes back to the same place with a token: 256 random bits that count once, in this room and \
             while the place is kept; the server has a hash of it, and the browser holds it in memory only.",
        ),
        text(
            "Der Teil, der Pakete weiterleitet, kennt keine Namen; der Teil, der Namen kennt, keine Medienadressen. Zwischen \
             beiden gibt es keine Nachricht, die eine Adresse tragen könnte.",
            "The part that forwards packets knows no names; the part that knows names knows no media addresses. Between the two \
             there is no message that could carry an address.",
        ),
        text(
            "Die Verwaltung sieht Zahlen (eigener Zugang nur auf dem Rechner selbst), keine Namen, Räume, Adressen oder \
             Nachrichten.",
            "The administration sees numbers (on a listener of its own, on the machine itself only), no names, rooms, addresses \
             or messages.",
        ),
    ]);
    paper.section(text("Datensparsamkeit", "Data minimisation"));
    paper.list(&[
        words::NO_PEER_TO_PEER,
        words::NO_THIRD_PARTIES,
        words::NO_PERSON_IN_NUMBERS,
        text(
            "Der Server hat keine Aufzeichnung, keine Datenbank, keine Teilnahmelisten; auf der Festplatte liegen nur die Konten \
             der Organisation und was Abschnitt 4 dort nennt.",
            "The server has no recording, no database, no lists of attendance; on disk are only the organizers’ accounts and \
             what section 4 names there.",
        ),
        text(
            "Browser erfragen Kamera und Mikrofon erst auf Knopfdruck; eine strenge Content-Security-Policy verbietet der Seite \
             jede fremde Adresse.",
            "Browsers ask for camera and microphone only when a button is pressed; a strict Content Security Policy forbids the \
             page every foreign address.",
        ),
    ]);
    paper.section(text("Integrität, Verfügbarkeit, Belastbarkeit", "Integrity, availability, resilience"));
    paper.list(&[
        text(
            "Speichersichere Sprache (Rust); ein kleiner Teil für die Schnittstelle zum Betriebssystem ausgenommen. Alles, was ein \
             Netz schicken kann, ist in Größe und Zahl begrenzt.",
            "A memory-safe language (Rust), but for a small part at the interface to the operating system. Everything that a \
             network can send is bounded in size and number.",
        ),
        text(
            "Falsche Passwörter und Verbindungen je Adresse sind begrenzt, gezählt unter einem Prüfwert, dessen Schlüssel verworfen \
             wird: der für Passwörter nach 10 Minuten, der für Verbindungen, sobald keine mehr offen ist.",
            "Wrong passwords and connections of an address are limited, counted under a hash whose key is thrown away: that for \
             passwords after 10 minutes, that for connections as soon as none is open.",
        ),
        text(
            "Nach einem Neustart ist der Dienst ohne Wiederherstellung da, denn außer Konten und Konfiguration gibt es nichts zu \
             sichern.",
            "After a restart the service is there without a restore, for beside accounts and configuration there is nothing to \
             back up.",
        ),
        text(
            "[Zutritt, Aktualisierungen des Betriebssystems, Sicherung der Konfiguration, Schulung: durch den Betreiber]",
            "[Physical access, updates of the operating system, backup of the configuration, training: by the operator]",
        ),
    ]);
    paper.section(text("Regelmäßige Überprüfung", "Regular testing"));
    paper.list(&[
        text(
            "`saal doctor` prüft Rechner und Rechte der Dateien; die Statusseite der Verwaltung zeigt, ob so viele Räume und \
             Teilnehmende gelöscht wie angelegt wurden, wie alt die älteste Zeile des Protokolls ist, und ob ein Proberaum, den der \
             Server stündlich öffnet und schließt, etwas im Arbeitsspeicher zurückgelassen hat.",
            "`saal doctor` checks the machine and the permissions of files; the administration’s status page shows whether as many \
             rooms and participants were deleted as were made, how old the oldest line of the journal is, and whether a room that \
             the server opens and closes every hour has left anything in memory.",
        ),
        text(
            "Jede Zusage steht mit dem Test, der sie beweist, in docs/privacy.md der Quellen.",
            "Each promise stands with the test that proves it in docs/privacy.md of the sources.",
        ),
    ]);
}

fn flow(paper: &mut Paper, config: &Config) {
    paper.part(text("3. Datenfluss", "3. Data flow"));
    let behind_proxy = config.is_for_others() && !config.has_tls();
    let [browser, others, server, memory, disk, proxy] = [
        text("Browser", "browser"),
        text("Browser der anderen im Raum", "browsers of the others in the room"),
        text("Saal", "Saal"),
        text("Arbeitsspeicher: Räume, Namen, Medien, Adressen", "memory: rooms, names, media, addresses"),
        match (config.organizers.file.is_some(), config.organizers.journal().is_some()) {
            (_, true) => {
                text("Festplatte: Konten, Protokoll der Anmeldungen", "disk: accounts, journal of sign-ins")
            }
            (true, false) => text("Festplatte: Konten", "disk: accounts"),
            (false, false) => text("Festplatte: nichts", "disk: nothing"),
        },
        text("vorgeschalteter Server", "server in front"),
    ]
    .map(|text| paper.to(text));
    let hop =
        if behind_proxy { format!("[{proxy}] ── HTTP, WebSocket ──▶ ") } else { String::new() };
    let sealed = if config.is_for_others() || config.has_tls() { "TLS" } else { "HTTP" };
    let drawing = format!(
        "```text\n\
         {browser} ── {sealed} ──▶ {hop}{server}\n\
         {browser} ◀── DTLS-SRTP (UDP) ──▶ {server} ◀── DTLS-SRTP (UDP) ──▶ {others}\n\
         \n\
         {server}: {memory}\n\
         {server}: {disk}\n\
         ```"
    );
    paper.plain(&drawing);
    paper.list(&[
        words::NO_PEER_TO_PEER,
        words::NO_THIRD_PARTIES,
        text(
            "Programme, die mit dem Zugang eines Raums senden oder zusehen (WHIP, WHEP), nehmen denselben Weg und stehen in der \
             Liste der Personen.",
            "Programs that send or watch with a room’s token (WHIP, WHEP) take the same way and stand in the list of people.",
        ),
    ]);
}

fn retention(paper: &mut Paper, config: &Config) {
    let language = paper.language;
    paper.part(text("4. Löschfristen", "4. Retention"));
    let rows = CATEGORIES.iter().map(|category| {
        [
            category.name.to(language).to_owned(),
            category.kept.says(config, language),
            (category.place)(config).name().to(language).to_owned(),
            category.recipients(config).name().to(language).to_owned(),
            category.switches.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
        ]
    });
    paper.table(
        [
            text("Daten", "Data"),
            text("Frist", "Until"),
            text("Ort", "Place"),
            text("Empfänger", "Recipients"),
            text("Schlüssel der Konfiguration", "Keys of the configuration"),
        ],
        rows,
    );
    paper.say(text(
        "Konten entfernt, wer sie hat oder verwaltet. Alle anderen Fristen hält die Software selbst ein; es gibt keinen \
         Auftrag, den der Betreiber ausführen müsste.",
        "Accounts are removed by their owners or the administration. The software itself keeps all other deadlines; there is no \
         job that the operator would have to run.",
    ));
}

fn assessment(paper: &mut Paper, config: &Config) {
    let language = paper.language;
    paper.part(text(
        "5. Angaben für eine Datenschutz-Folgenabschätzung (Art. 35 DSGVO)",
        "5. Input for a data protection impact assessment (Art. 35 GDPR)",
    ));
    paper.section(text("Beschreibung, Notwendigkeit", "Description, necessity"));
    paper.say(Function::Meetings.purpose());
    paper.say(text(
        "Übertragen wird nur, was die Person einschaltet. Ein Gespräch ohne IP-Adresse und ohne einen Namen für die anderen ist \
         nicht möglich; alles Weitere hängt vom Willen der Person ab.",
        "Only what the person switches on is transmitted. A meeting without an IP address and without a name for the others is \
         impossible; everything else depends on the person’s will.",
    ));
    paper.say(words::transport(config));
    paper.section(text("Risiken und was dagegen getan ist", "Risks, and what is done against them"));
    let to = |text: Text| text.to(language).to_owned();
    paper.table(
        [text("Risiko", "Risk"), text("Maßnahme", "Measure"), text("Was bleibt", "What remains")],
        [
            [
                text("Mitlesen auf dem Weg", "Interception on the way"),
                text("TLS, DTLS-SRTP, geprüfte Zertifikate", "TLS, DTLS-SRTP, checked certificates"),
                text("gering", "low"),
            ],
            [
                text("Einsicht beim Betreiber", "Insight at the operator"),
                text(
                    "nur Arbeitsspeicher, keine Aufzeichnung, keine Ansicht für die Verwaltung, Speicherabbilder aus",
                    "memory only, no recording, no view for the administration, core dumps off",
                ),
                text(
                    "wer den Rechner beherrscht, könnte das Programm ändern",
                    "whoever controls the machine could change the program",
                ),
            ],
            [
                text("Unbefugte im Raum", "Intruders in the room"),
                text(
                    "erzeugtes Passwort, Warteraum, Abschließen, Entfernen, keine Auskunft darüber, ob es einen Raum gibt, Liste \
                     aller Anwesenden",
                    "generated password, lobby, lock, removal, no word about whether a room exists, a list of everybody present",
                ),
                text("weitergegebene Links", "links that are passed on"),
            ],
            [
                text("Aufzeichnung durch Teilnehmende", "Recording by participants"),
                text("Hinweis vor dem Beitreten (§ 201 StGB)", "a notice before joining (§ 201 StGB)"),
                text("technisch nicht zu verhindern", "cannot be prevented by technology"),
            ],
            [
                text("Verhaltens- und Leistungskontrolle", "Monitoring of conduct and performance"),
                text(
                    "keine Teilnahmelisten, keine Redezeiten, keine Zahlen über Personen",
                    "no lists of attendance, no talk time, no figures about persons",
                ),
                text("gering", "low"),
            ],
            [
                text("Rückschluss auf Wohnort oder Netz", "Inference of home or network"),
                text(
                    "Adressen erfährt niemand im Gespräch; kein Protokoll, keine Kennzahl und keine Ansicht hat eine",
                    "nobody in the meeting learns an address; no log, no figure and no view has one",
                ),
                text("gering", "low"),
            ],
        ]
        .map(|row| row.map(to)),
    );
    paper.say(text(
        "[Stellungnahme der datenschutzbeauftragten Person; Beteiligung der Personalvertretung; Bewertung besonderer \
         Kategorien nach Art. 9, falls solche Gespräche geführt werden]",
        "[Opinion of the data protection officer; participation of the staff council; assessment of special categories under \
         Art. 9 if such meetings are held]",
    ));
}

fn places(paper: &mut Paper) {
    let language = paper.language;
    paper.part(text("6. Wo es im Programm steht", "6. Where it stands in the program"));
    let rows = CATEGORIES.iter().flat_map(|category| {
        category.held_in.iter().map(move |(file, kind, fields)| {
            [
                category.name.to(language).to_owned(),
                format!("`{file}`"),
                format!("`{kind}`: {}", fields.join(", ")),
            ]
        })
    });
    paper.table(
        [text("Daten", "Data"), text("Datei", "File"), text("Typ und Felder", "Type and fields")],
        rows,
    );
}
