//! Every kind of personal data that this server holds: what for, where, until when, who gets it, and which field of which
//! type it is. A test reads the sources and finds fields that nobody has entered here.

use super::{Language, Text, text};
use crate::config::{Basis, Config, LegalBasis};
use crate::signal::session::SILENT_FOR_MAX;

/// What the server does for people; each has a legal basis of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Meetings,
    Accounts,
    Journal,
    Protection,
}

/// One kind of data.
pub(crate) struct Category {
    pub(crate) function: Function,
    pub(crate) name: Text,
    pub(crate) what: Text,
    pub(crate) purpose: Text,
    pub(crate) place: fn(&Config) -> Place,
    pub(crate) kept: Kept,
    pub(crate) recipients: Recipients,
    /// `path of the file`, `type`, `fields`: what of the program holds it.
    pub(crate) held_in: &'static [Held],
    /// Keys of the configuration that decide about it.
    pub(crate) switches: &'static [&'static str],
}

pub(crate) type Held = (&'static str, &'static str, &'static [&'static str]);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Memory,
    Disk,
    Browser,
    /// It is switched off.
    Nowhere,
}

/// Until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// The answer to the request, or the message's delivery.
    Answer,
    Delivery,
    Packets,
    /// The participant's stay.
    Stay,
    Room,
    Window,
    Session,
    Account,
    Journal,
    HangUp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recipients {
    Nobody,
    /// Everybody who is in the room at that time.
    Room,
    /// Those who moderate the room.
    Organizers,
    Administration,
}

impl Function {
    pub(crate) const ALL: [Function; 4] =
        [Function::Meetings, Function::Accounts, Function::Journal, Function::Protection];

    pub(crate) fn name(self) -> Text {
        match self {
            Function::Meetings => text("Gespräche führen", "Holding meetings"),
            Function::Accounts => text("Konten der Organisation", "Organizers’ accounts"),
            Function::Journal => text("Protokoll der Anmeldungen", "Journal of sign-ins"),
            Function::Protection => text("Schutz vor Missbrauch", "Protection against abuse"),
        }
    }

    pub(crate) fn purpose(self) -> Text {
        match self {
            Function::Meetings => text(
                "Ton, Bild, Bildschirm und Chat zwischen den Personen in einem Raum übertragen. Für nichts sonst: keine \
                 Auswertung, keine Statistik über Personen, keine Werbung, kein Training.",
                "Carry sound, picture, screen and chat between the people in a room. For nothing else: no evaluation, no \
                 statistics about people, no advertising, no training.",
            ),
            Function::Accounts => text(
                "Nur wer ein Konto hat, kann Räume öffnen. Gäste brauchen keines.",
                "Only people with an account can open rooms. Guests need none.",
            ),
            Function::Journal => text(
                "Erkennen, wenn jemand ein Konto missbraucht. Das Einzige, was der Server protokolliert und was eine Person \
                 benennt.",
                "Notice when somebody misuses an account. The only thing that the server logs and that names a person.",
            ),
            Function::Protection => text(
                "Das Erraten von Passwörtern und das Überlasten des Servers verhindern und Störungen eines Gesprächs beenden, \
                 ohne eine Adresse festzuhalten.",
                "Prevent guessing of passwords and overload of the server, and end disturbances of a meeting, without \
                 keeping an address.",
            ),
        }
    }

    pub(crate) fn data_subjects(self) -> Text {
        match self {
            Function::Meetings => {
                text("alle, die an einem Gespräch teilnehmen", "everybody who takes part in a meeting")
            }
            Function::Accounts | Function::Journal => {
                text("Organisatorinnen und Organisatoren", "organizers")
            }
            Function::Protection => {
                text("alle, die den Server aufrufen", "everybody who contacts the server")
            }
        }
    }

    pub(crate) fn basis(self, bases: &LegalBasis) -> Basis {
        match self {
            Function::Meetings => bases.meetings,
            Function::Accounts => bases.accounts,
            Function::Journal => bases.journal,
            Function::Protection => bases.protection,
        }
    }
}

impl Category {
    /// Who gets it where this server has it at all.
    pub(crate) fn recipients(&self, config: &Config) -> Recipients {
        match (self.place)(config) {
            Place::Nowhere => Recipients::Nobody,
            Place::Memory | Place::Disk | Place::Browser => self.recipients,
        }
    }
}

impl Place {
    pub(crate) fn name(self) -> Text {
        match self {
            Place::Memory => text("nur im Arbeitsspeicher des Servers", "in the server’s memory only"),
            Place::Disk => text("auf der Festplatte des Servers", "on the server’s disk"),
            Place::Browser => text("nur in Ihrem Browser", "in your browser only"),
            Place::Nowhere => text("nirgends", "nowhere"),
        }
    }
}

impl Recipients {
    pub(crate) fn name(self) -> Text {
        match self {
            Recipients::Nobody => text("niemand", "nobody"),
            Recipients::Room => text(
                "die Personen, die zu dieser Zeit im selben Raum sind",
                "the people who are in the same room at that time",
            ),
            Recipients::Organizers => text("wer den Raum geöffnet hat", "whoever opened the room"),
            Recipients::Administration => {
                text("wer diesen Server verwaltet", "whoever administers this server")
            }
        }
    }
}

impl Kept {
    pub(crate) fn says(self, config: &Config, language: Language) -> String {
        let gone = config.media.consent_seconds.max(SILENT_FOR_MAX.as_secs());
        let waits = config.rooms.waiting_minutes;
        let fixed = |text: Text| text.to(language).to_owned();
        match (self, language) {
            (Kept::Answer, _) => {
                fixed(text("bis die Antwort geschickt ist", "until the answer has been sent"))
            }
            (Kept::Delivery, _) => fixed(text(
                "bis zur Zustellung, meist Sekunden; längstens, bis die Person geht, für die sie bestimmt sind, oder ihr \
                 Platz verfällt",
                "until delivery, mostly seconds; at the longest until the person whom they are for leaves or loses their \
                 place",
            )),
            (Kept::Packets, _) => fixed(text(
                "bis neuere Pakete sie überschreiben, meist wenige Sekunden; was zum Nachliefern aufgehoben ist, bis Sie das \
                 Gerät ausschalten; alles, bis Sie gehen",
                "until newer packets overwrite them, mostly a few seconds; what is kept to be sent again, until you switch \
                 the device off; all of it until you leave",
            )),
            (Kept::Stay, Language::De) => {
                format!("bis Sie gehen; wenn Ihre Verbindung abreißt, spätestens {gone} Sekunden danach")
            }
            (Kept::Stay, Language::En) => {
                format!("until you leave; at the latest {gone} seconds after your connection is lost")
            }
            (Kept::Room, Language::De) => format!(
                "bis die letzte Person geht oder die Organisation den Raum beendet; kommt niemand, {waits} Minuten nach \
                 dem Öffnen"
            ),
            (Kept::Room, Language::En) => format!(
                "until the last person leaves or the organizer ends the room; if nobody comes, {waits} minutes after it \
                 was opened"
            ),
            (Kept::Window, _) => fixed(text(
                "1 Minute, offene Verbindungen, bis sie enden; der Schlüssel der Prüfwerte wird nach 10 Minuten verworfen, der \
                 für Verbindungen, sobald keine mehr offen ist",
                "1 minute, open connections until they end; the key of the hashes is thrown away after 10 minutes, that for \
                 connections as soon as none is open",
            )),
            (Kept::Session, _) => fixed(text(
                "bis zum Abmelden, längstens 12 Stunden oder bis der Server neu startet",
                "until sign-out, 12 hours at the longest, or until the server restarts",
            )),
            (Kept::Account, _) => fixed(text("bis das Konto entfernt wird", "until the account is removed")),
            (Kept::Journal, _) if config.organizers.journal().is_none() => {
                fixed(text("wird auf diesem Server nicht aufgezeichnet", "is not recorded on this server"))
            }
            (Kept::Journal, Language::De) => match config.organizers.journal_days {
                1 => "höchstens 1 Tag".to_owned(),
                days => format!("höchstens {days} Tage"),
            },
            (Kept::Journal, Language::En) => match config.organizers.journal_days {
                1 => "1 day at most".to_owned(),
                days => format!("{days} days at most"),
            },
            (Kept::HangUp, _) => fixed(text(
                "bis Sie auflegen; schließen Sie nur das Fenster, bis Sie auf der Startseite das Vergessen wählen oder die \
                 Daten im Browser löschen",
                "until you hang up; if you only close the window, until you choose to be forgotten on the start page or \
                 delete the data in the browser",
            )),
        }
    }
}

fn in_memory(_: &Config) -> Place {
    Place::Memory
}

fn of_journal(config: &Config) -> Place {
    if config.organizers.journal().is_some() { Place::Disk } else { Place::Nowhere }
}

fn in_browser(_: &Config) -> Place {
    Place::Browser
}

fn of_accounts(config: &Config) -> Place {
    if config.organizers.file.is_some() { Place::Disk } else { Place::Memory }
}

pub(crate) const CATEGORIES: &[Category] = &[
    Category {
        function: Function::Meetings,
        name: text("Ihr Name im Gespräch", "Your name in the meeting"),
        what: text(
            "Der Name, den Sie angeben; er muss nicht Ihr wirklicher sein. Dazu eine zufällige Nummer für diesen \
             Aufenthalt und ob Sie den Raum geöffnet haben.",
            "The name that you enter; it need not be your real one. With it a random number for this stay, and whether \
             you opened the room.",
        ),
        purpose: text("damit die anderen wissen, wer da ist", "so that the others know who is there"),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Room,
        held_in: &[("controlplane/src/rooms.rs", "Participant", &["id", "name", "kind", "organizer"])],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Im Warteraum", "In the lobby"),
        what: text(
            "Ihr Name und dass Sie warten, wenn der Raum einen Warteraum hat. Davon erfährt nur, wer den Raum geöffnet hat.",
            "Your name and that you wait, if the room has a lobby. Only whoever opened the room learns of it.",
        ),
        purpose: text("entscheiden, wer eingelassen wird", "decide who is let in"),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Organizers,
        held_in: &[
            ("controlplane/src/rooms.rs", "Room", &["waiting"]),
            ("controlplane/src/rooms/door.rs", "Waiting", &["id", "name"]),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Ton, Bild, Bildschirm", "Sound, picture, screen"),
        what: text(
            "Was Mikrofon, Kamera und Bildschirmfreigabe senden, und nur, solange Sie sie eingeschaltet haben. Der Server \
             entschlüsselt es im Arbeitsspeicher und verschlüsselt es für jede Person im Raum neu. Er zeichnet nichts auf. \
             Wer dazukommt, bekommt vom Bild bis zu zweieinhalb Sekunden von vorher, weil es sich nur von einem ganzen Bild \
             an zusammensetzen lässt, und nichts aus der Zeit, bevor Sie die Kamera zuletzt eingeschaltet haben.",
            "What microphone, camera and screen share send, and only while you have them switched on. The server decrypts \
             it in memory and encrypts it anew for each person in the room. It records nothing. Whoever joins gets up to \
             two and a half seconds of the picture from before, because it can only be put together from a whole picture \
             on, and nothing of the time before you last switched the camera on.",
        ),
        purpose: text(
            "übertragen und verlorene Pakete nachliefern",
            "transmission, and sending lost packets again",
        ),
        place: in_memory,
        kept: Kept::Packets,
        recipients: Recipients::Room,
        held_in: &[
            ("dataplane/src/sfu/history.rs", "History", &["entries", "newest", "payloads"]),
            ("dataplane/src/rooms.rs", "Shared", &["batch"]),
            ("dataplane/src/sfu/slot/repeat.rs", "Repeat", &["sealed"]),
        ],
        switches: &[],
    },
    Category {
        function: Function::Meetings,
        name: text("Was eingeschaltet ist und wer spricht", "What is switched on, and who speaks"),
        what: text(
            "Ob Mikrofon, Kamera, Bildschirm an oder von der Organisation gesperrt sind und die Hand gehoben ist, ob Sie \
             angehalten haben, und wie laut Ihr Mikrofon gerade ist, wenn Sie dem nicht widersprechen.",
            "Whether microphone, camera and screen are on or blocked by the organizers and the hand is raised, whether you \
             have paused, and how loud your microphone is at the moment unless you object to that.",
        ),
        purpose: text(
            "den anderen zeigen, wer spricht, und die Stimmen auswählen, die alle hören",
            "show the others who speaks, and choose the voices that all hear",
        ),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Room,
        held_in: &[
            ("controlplane/src/rooms.rs", "Participant", &["state", "wishes", "blocked"]),
            ("controlplane/src/rooms.rs", "Room", &["speakers"]),
            ("dataplane/src/sfu/participant.rs", "Participant", &["withheld", "objects"]),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Ihr Aufenthalt", "Your stay"),
        what: text(
            "Seit wann Sie im Raum sind und wie viele Ihrer Nachrichten weitergeleitet wurden.",
            "Since when you are in the room and how many of your messages have been passed on.",
        ),
        purpose: text(
            "Auskunft im Gespräch und die Quittung danach",
            "access in the meeting and the receipt after it",
        ),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Nobody,
        held_in: &[
            ("controlplane/src/rooms.rs", "Participant", &["joined", "chat_lines"]),
            ("controlplane/src/hall.rs", "Member", &["departed"]),
            ("controlplane/src/hall.rs", "Leaving", &["outbox", "stay"]),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Ihr Platz, wenn die Verbindung abreißt", "Your place when the connection breaks"),
        what: text(
            "Ob Ihre Verbindung gerade unterbrochen ist, was Sie als Letztes gehört haben, und ein Prüfwert des Tokens, mit \
             dem nur Ihr Browser auf denselben Platz zurückkommt. Er gilt einmal und nur in diesem Raum.",
            "Whether your connection is interrupted at the moment, what you heard last, and a hash of the token with which \
             your browser alone comes back to the same place. It counts once and in this room only.",
        ),
        purpose: text(
            "eine unterbrochene Verbindung fortsetzen, ohne dass Sie neu eintreten müssen",
            "going on after an interruption, without entering anew",
        ),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Room,
        held_in: &[
            ("controlplane/src/rooms.rs", "Participant", &["presence", "return_sha256"]),
            ("controlplane/src/hall.rs", "Member", &["seat"]),
            (
                "controlplane/src/signal/seat.rs",
                "Seat",
                &["participant", "call", "notes", "heard", "heard_at", "is_silent"],
            ),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Chat", "Chat"),
        what: text(
            "Ihre Nachrichten. Der Server leitet sie weiter und hebt sie nicht auf; wer später kommt, sieht frühere nicht. \
             Bereit hält er sie, bis sie angekommen sind: Wessen Verbindung abreißt, bekommt danach, was inzwischen \
             geschrieben wurde, solange der Platz frei gehalten wird, auch von jemandem, der inzwischen gegangen ist. \
             Ebenso, was er den anderen von Ihnen sagt: dass Sie kommen und gehen, Ihr Name, was eingeschaltet ist.",
            "Your messages. The server passes them on and does not keep them; people who come later do not see earlier \
             ones. It has them ready until they have arrived: whose connection breaks gets afterwards what was written \
             meanwhile, as long as their place is kept, also by somebody who has left since. The same goes for what it \
             tells the others of you: that you come and go, your name, what is switched on.",
        ),
        purpose: text("zustellen", "delivery"),
        place: in_memory,
        kept: Kept::Delivery,
        recipients: Recipients::Room,
        held_in: &[
            ("controlplane/src/hall.rs", "Member", &["outbox"]),
            ("controlplane/src/signal/seat.rs", "Seat", &["said"]),
            ("controlplane/src/signal/seat.rs", "Said", &["unconfirmed"]),
        ],
        switches: &[],
    },
    Category {
        function: Function::Meetings,
        name: text("IP-Adresse", "IP address"),
        what: text(
            "Die öffentliche IP-Adresse und die Ports, von denen Ihr Gerät sendet.",
            "The public IP address and the ports that your device sends from.",
        ),
        purpose: text("Ihnen Daten schicken", "to send you data"),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Nobody,
        held_in: &[
            ("dataplane/src/rooms.rs", "Rooms", &["addresses"]),
            ("dataplane/src/sfu/transport.rs", "Transport", &["ice", "train"]),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Schlüssel und Eigenschaften der Verbindung", "Keys and properties of the connection"),
        what: text(
            "Schlüssel und Kennungen der verschlüsselten Verbindung, welche Formate Ihr Browser beherrscht, der Takt, in dem \
             er sendet, Verluste, Laufzeiten und eine Schätzung, was Ihre Leitung trägt. Die Schätzung erfährt nur Ihre \
             eigene Seite, und auch sie nicht, wenn Sie widersprechen. Keine Gerätenamen, kein Name des Browsers.",
            "Keys and identifiers of the encrypted connection, which formats your browser knows, the clock that it sends by, \
             losses, delays and an estimate of what your line carries. The estimate is told to your own page only, and not \
             even to it if you object. No names of devices, no name of the browser.",
        ),
        purpose: text(
            "verschlüsseln, Ton und Bild zusammenhalten, Bildgrößen wählen, die durch Ihre Leitung passen",
            "encryption, keeping sound and picture together, choosing picture sizes that fit through your line",
        ),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Nobody,
        held_in: &[
            ("dataplane/src/sfu/transport.rs", "Transport", &["fingerprint", "srtp"]),
            ("dataplane/src/rooms.rs", "Rooms", &["ufrags"]),
            (
                "dataplane/src/sfu/participant.rs",
                "Participant",
                &[
                    "id",
                    "extensions",
                    "sources",
                    "streams",
                    "slots",
                    "arrivals",
                    "clock",
                    "downlink",
                    "ssrc",
                    "cname",
                ],
            ),
            (
                "controlplane/src/signal/call.rs",
                "Negotiated",
                &["local", "remote_ufrag", "fingerprint", "cname", "held", "slots"],
            ),
            ("controlplane/src/signal/call.rs", "Call", &["me", "negotiated"]),
        ],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Was Sie ansehen", "What you look at"),
        what: text(
            "Welche Bilder Ihre Seite zeigt, und wie groß. Niemandem wird gesagt, was Sie ansehen. Wer sendet, erfährt nur, \
             in welchen Größen das eigene Bild insgesamt gebraucht wird und wann ein ganzes Bild für jemanden fehlt, der \
             neu hinsieht, nicht für wen; zu zweit kann nur die andere Person gemeint sein.",
            "Which pictures your page shows, and how large. Nobody is told what you look at. Whoever sends learns only in \
             which sizes their own picture is needed in all, and when a whole picture is missing for somebody who begins to \
             look, not for whom; with two people it can only be the other one.",
        ),
        purpose: text("nur schicken, was gezeigt wird", "to send only what is shown"),
        place: in_memory,
        kept: Kept::Stay,
        recipients: Recipients::Nobody,
        held_in: &[("controlplane/src/signal/call.rs", "Call", &["view"])],
        switches: &["media.consent_seconds"],
    },
    Category {
        function: Function::Meetings,
        name: text("Der Raum", "The room"),
        what: text(
            "Sein Name, wer ihn geöffnet hat, und Prüfwerte seines Passworts und seines Zugangs für Programme. Ein Raum, \
             der später denselben Namen trägt, hat mit dem früheren nichts zu tun. Mit dem Zugang für Programme kann, wer \
             den Raum geöffnet hat, auch ohne Browser senden und zusehen lassen (WHIP, WHEP); wer so da ist, steht als \
             „Stream“ oder „Zuschauer“ in der Liste der Personen.",
            "Its name, who opened it, and hashes of its password and of its token for programs. A later room of the same \
             name has nothing to do with the earlier one. With the token for programs, whoever opened the room can let \
             others send and watch without a browser (WHIP, WHEP); who is there that way stands in the list of people as \
             “Stream” or “Viewer”.",
        ),
        purpose: text("nur Eingeladene einlassen", "let in only those who are invited"),
        place: in_memory,
        kept: Kept::Room,
        recipients: Recipients::Room,
        held_in: &[
            (
                "controlplane/src/rooms.rs",
                "Room",
                &["name", "opened_by", "password", "media_token_sha256", "people"],
            ),
            ("controlplane/src/whip.rs", "Session", &["room", "participant"]),
        ],
        switches: &["rooms.waiting_minutes"],
    },
    Category {
        function: Function::Meetings,
        name: text("Anfragen Ihres Browsers", "Requests of your browser"),
        what: text(
            "Die aufgerufene Seite und was Ihr Browser mitschickt. Der Server wertet davon nur aus, was er zum Antworten \
             braucht, und schreibt nichts davon in ein Protokoll.",
            "The page that is asked for and what your browser sends along. The server looks only at what it needs for the \
             answer, and writes nothing of it into a log.",
        ),
        purpose: text("die Seite ausliefern", "deliver the page"),
        place: in_memory,
        kept: Kept::Answer,
        recipients: Recipients::Nobody,
        held_in: &[("controlplane/src/signal/session.rs", "Visitor", &["client", "session", "room"])],
        switches: &[],
    },
    Category {
        function: Function::Meetings,
        name: text("Einstellungen im Browser", "Settings in the browser"),
        what: text(
            "Name, Auflösung, Mikrofon und Kamera an oder aus im lokalen Speicher; Sprache und die Einstellung der Tasten, \
             solange das Fenster offen ist. Gäste bekommen keine Cookies.",
            "Name, resolution, microphone and camera on or off in local storage; language and the setting for keys as \
             long as the window is open. Guests get no cookies.",
        ),
        purpose: text("damit Sie sie nicht neu wählen müssen", "so that you need not choose them again"),
        place: in_browser,
        kept: Kept::HangUp,
        recipients: Recipients::Nobody,
        held_in: &[],
        switches: &[],
    },
    Category {
        function: Function::Accounts,
        name: text("Konto", "Account"),
        what: text(
            "Der Name des Kontos und ein Prüfwert des Passworts (Argon2id), aus dem es sich nicht zurückrechnen lässt.",
            "The account’s name and a hash of its password (Argon2id), from which it cannot be computed.",
        ),
        purpose: text("erkennen, wer Räume öffnen darf", "know who may open rooms"),
        place: of_accounts,
        kept: Kept::Account,
        recipients: Recipients::Administration,
        held_in: &[("controlplane/src/accounts.rs", "Organizer", &["name", "hash"])],
        switches: &["organizers.file"],
    },
    Category {
        function: Function::Accounts,
        name: text("Anmeldung", "Sign-in session"),
        what: text(
            "Ein Cookie in Ihrem Browser und dessen Prüfwert mit dem Namen des Kontos auf dem Server. Es dient nur der \
             Anmeldung.",
            "A cookie in your browser, and its hash with the account’s name on the server. It serves the sign-in only.",
        ),
        purpose: text("angemeldet bleiben", "to stay signed in"),
        place: in_memory,
        kept: Kept::Session,
        recipients: Recipients::Nobody,
        held_in: &[("controlplane/src/auth.rs", "Session", &["account", "hash", "expires"])],
        switches: &[],
    },
    Category {
        function: Function::Journal,
        name: text("Anmeldungen", "Sign-ins"),
        what: text(
            "Zeit, Konto und Ergebnis jeder Anmeldung von Organisatorinnen und Organisatoren, ohne IP-Adresse. Gäste kommen \
             darin nicht vor. Ihre eigenen stehen auf der Startseite unter „Mein Konto und seine Daten“. Wird das Konto \
             gelöscht, bleiben sie bis zu ihrer Frist.",
            "Time, account and result of every sign-in of an organizer, without an IP address. Guests do not appear in it. \
             Your own are on the start page under “My account and its data”. When the account is deleted, they stay until \
             their time is over.",
        ),
        purpose: text("Missbrauch von Konten aufklären", "clear up misuse of accounts"),
        place: of_journal,
        kept: Kept::Journal,
        recipients: Recipients::Administration,
        held_in: &[],
        switches: &["organizers.journal_days"],
    },
    Category {
        function: Function::Protection,
        name: text("Zähler", "Counters"),
        what: text(
            "Wie oft in der letzten Minute von einer Adresse, für ein Konto oder für einen Raumnamen ein falsches Passwort \
             kam und wie viele Verbindungen von einer Adresse offen sind, unter einem Prüfwert statt unter Adresse und \
             Namen. Welche es waren, lässt sich daraus nicht ablesen.",
            "How often a wrong password came from an address, for an account or for a room’s name in the last minute, and \
             how many connections from an address are open, under a hash instead of address and name. Which they were \
             cannot be read from it.",
        ),
        purpose: text("das Durchprobieren von Passwörtern bremsen", "slow down the trying of passwords"),
        place: in_memory,
        kept: Kept::Window,
        recipients: Recipients::Nobody,
        held_in: &[
            ("controlplane/src/limit.rs", "Table", &["rows", "hasher"]),
            ("controlplane/src/limit.rs", "Connections", &["per_client", "hasher"]),
        ],
        switches: &[],
    },
    Category {
        function: Function::Protection,
        name: text("Wer aus einem Raum entfernt wurde", "Who was removed from a room"),
        what: text(
            "Ein Prüfwert der Adresse, von der eine Person kommt, mit einem Schlüssel, der nur in diesem Raum gilt und mit \
             ihm verschwindet. Wird sie entfernt oder abgewiesen, muss eingelassen werden, wer von dort wiederkommt. Welche \
             Adresse es war, wird nicht gespeichert.",
            "A hash of the address that somebody comes from, with a key that counts in this room only and vanishes with \
             it. If they are removed or turned away, whoever comes from there again has to be let in. Which address it was \
             is not stored.",
        ),
        purpose: text("Störungen eines Gesprächs beenden", "end disturbances of a meeting"),
        place: in_memory,
        kept: Kept::Room,
        recipients: Recipients::Nobody,
        held_in: &[
            ("controlplane/src/rooms.rs", "Room", &["marks"]),
            ("controlplane/src/rooms.rs", "Participant", &["mark"]),
            ("controlplane/src/rooms/door.rs", "Waiting", &["mark"]),
            ("controlplane/src/limit.rs", "Marks", &["key", "made"]),
        ],
        switches: &["rooms.waiting_minutes"],
    },
];
