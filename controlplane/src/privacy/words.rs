//! Sentences that the notice and the papers for the data protection officer share.

use super::{Language, Text, text};
use crate::config::{Basis, Config, LegalBasis};

/// A function's legal basis, with the law that gives the task where there is one.
pub(crate) fn basis(basis: Basis, bases: &LegalBasis, language: Language) -> String {
    let article = match basis {
        Basis::A => {
            text("Art. 6 Abs. 1 Buchst. a DSGVO: Ihre Einwilligung", "Art. 6(1)(a) GDPR: your consent")
        }
        Basis::B => text(
            "Art. 6 Abs. 1 Buchst. b DSGVO: ein Vertrag mit Ihnen",
            "Art. 6(1)(b) GDPR: a contract with you",
        ),
        Basis::E => text(
            "Art. 6 Abs. 1 Buchst. e DSGVO: eine Aufgabe im öffentlichen Interesse",
            "Art. 6(1)(e) GDPR: a task in the public interest",
        ),
    };
    let law = bases.law.as_ref().filter(|_| basis == Basis::E);
    let with =
        law.map(|law| format!("{}{law}", text(", in Verbindung mit ", ", together with ").to(language)));
    format!("{}{}", article.to(language), with.unwrap_or_default())
}

/// How data gets here, which depends on where TLS ends.
pub(crate) fn transport(config: &Config) -> Text {
    if config.has_tls() {
        return text(
            "Alles zwischen Ihrem Browser und diesem Server ist verschlüsselt: Seite und Signale mit TLS, Ton und Bild mit \
             DTLS-SRTP. Unverschlüsselte Verbindungen nimmt er nicht an.",
            "Everything between your browser and this server is encrypted: page and signalling with TLS, sound and picture \
             with DTLS-SRTP. It accepts no connection in the clear.",
        );
    }
    if config.is_for_others() {
        return text(
            "Alles zwischen Ihrem Browser und diesem Betreiber ist verschlüsselt: Ton und Bild gehen mit DTLS-SRTP direkt an \
             diesen Server; Seite und Signale mit TLS an einen vorgeschalteten Server desselben Betreibers, der sie \
             weiterreicht und dabei Ihre IP-Adresse sieht.",
            "Everything between your browser and this operator is encrypted: sound and picture go straight to this server \
             with DTLS-SRTP; page and signalling go with TLS to a server of the same operator in front of it, which passes \
             them on and sees your IP address in doing so.",
        );
    }
    text(
        "Dieser Server ist nur auf diesem Rechner zu erreichen; Ton und Bild sind auch hier verschlüsselt (DTLS-SRTP).",
        "This server can be reached on this computer only; sound and picture are encrypted here as well (DTLS-SRTP).",
    )
}

pub(crate) const NO_THIRD_PARTIES: Text = text(
    "Dritte bekommen nichts: Der Server stellt von sich aus keine Verbindung her, es gibt keinen fremden \
     Vermittlungsserver (STUN, TURN), und die Seite lädt nichts von anderen Servern. Daten gehen in kein Drittland.",
    "Third parties get nothing: the server makes no connection by itself, there is no foreign relay server (STUN, TURN), and \
     the page loads nothing from other servers. No data goes to a third country.",
);

pub(crate) const NO_PEER_TO_PEER: Text = text(
    "Eine direkte Verbindung zwischen Teilnehmenden gibt es nicht, auch nicht zu zweit. Niemand erfährt von uns die Adresse, \
     den Gerätenamen oder den Browser einer anderen Person.",
    "There is no direct connection between participants, not even between two. Nobody learns another person’s address, \
     device name or browser from us.",
);

pub(crate) const NOT_END_TO_END: Text = text(
    "Der Server entschlüsselt Ton und Bild im Arbeitsspeicher, um sie weiterzuleiten. Das ist keine \
     Ende-zu-Ende-Verschlüsselung: Wer den Server betreibt, muss vertrauenswürdig sein.",
    "The server decrypts sound and picture in memory in order to pass them on. This is no end-to-end encryption: whoever runs \
     the server has to be trusted.",
);

pub(crate) const NO_PERSON_IN_NUMBERS: Text = text(
    "Für den Betrieb zählt der Server, ohne Personen zu unterscheiden: Räume, Teilnehmende, Pakete, Fehler. Protokolle und \
     Kennzahlen enthalten keine Namen, Adressen, Raumnamen oder Nachrichten.",
    "For operation the server counts without telling people apart: rooms, participants, packets, errors. Logs and metrics hold \
     no names, addresses, room names or messages.",
);

pub(crate) const OUT_OF_OUR_HANDS: Text = text(
    "Andere Personen im Raum können aufnehmen, was sie sehen und hören. Das kann keine Technik verhindern, und wir haben \
     darauf keinen Einfluss. Wer das nichtöffentlich gesprochene Wort unbefugt aufnimmt, kann sich nach § 201 StGB strafbar \
     machen.",
    "Other people in the room can record what they see and hear. No technology prevents that, and we have no influence on it. \
     Recording the spoken word of others without permission can be a crime (§ 201 of the German Criminal Code).",
);

/// A right: its name, and how to have it.
pub(crate) struct Right {
    pub(crate) name: Text,
    pub(crate) how: Text,
}

/// Those that hold whatever the legal basis is; [`objection`] and [`withdrawal`] depend on it.
pub(crate) const RIGHTS: &[Right] = &[
    Right {
        name: text("Auskunft (Art. 15)", "Access (Art. 15)"),
        how: text(
            "im Gespräch zeigt „Meine Daten“ alles, was der Server über Sie hält; von Schlüsseln, Prüfwerten und Paketen, \
             was es ist und bis wann. Über Gäste ist nach dem Gespräch nichts mehr da, worüber Auskunft zu geben wäre. Ihr \
             Konto und Ihre Anmeldungen stehen auf der Startseite.",
            "in the meeting, “My data” shows everything that the server holds on you; of keys, hashes and packets what it is \
             and until when. About guests nothing is left after the meeting that access could be given to. Your account \
             and your sign-ins are on the start page.",
        ),
    },
    Right {
        name: text("Berichtigung (Art. 16)", "Rectification (Art. 16)"),
        how: text(
            "Ihren Namen ändern Sie jederzeit im Gespräch unter „Einstellungen“ oder „Meine Daten“.",
            "you change your name at any time in the meeting, under “Settings” or “My data”.",
        ),
    },
    Right {
        name: text("Löschung (Art. 17)", "Erasure (Art. 17)"),
        how: text(
            "Auflegen löscht, was der Server über Sie hält, und was die Seite in Ihrem Browser abgelegt hat; Sie bekommen \
             eine unterschriebene Quittung. Ihre Chat-Nachrichten nehmen Sie unter „Meine Daten“ zurück. Ihr Konto löschen \
             Sie auf der Startseite.",
            "hanging up erases what the server holds about you, and what the page left in your browser; you get a signed \
             receipt. You take back your chat messages under “My data”. Your account you delete on the start page.",
        ),
    },
    Right {
        name: text("Einschränkung (Art. 18)", "Restriction (Art. 18)"),
        how: text(
            "unter „Meine Daten“ halten Sie an: Der Server leitet nichts mehr von Ihnen weiter und wertet nichts von Ihnen \
             aus, bis Sie fortsetzen. Mikrofon, Kamera und Bildschirm sind auch einzeln abzuschalten.",
            "under “My data” you pause: the server passes on nothing of you and looks at nothing of you until you resume. \
             Microphone, camera and screen can be switched off one by one as well.",
        ),
    },
    Right {
        name: text("Datenübertragbarkeit (Art. 20)", "Data portability (Art. 20)"),
        how: text(
            "„Meine Daten“ gibt es Ihnen im Gespräch als Datei (JSON), Ihr Konto auf der Startseite.",
            "“My data” gives it to you as a file (JSON) in the meeting, and your account on the start page.",
        ),
    },
    Right {
        name: text("Beschwerde (Art. 77)", "Complaint (Art. 77)"),
        how: text(
            "bei einer Aufsichtsbehörde, zum Beispiel der oben genannten.",
            "with a supervisory authority, for instance the one named above.",
        ),
    },
];

/// Article 21 is about processing by the letter e.
pub(crate) fn objection(bases: &LegalBasis) -> Option<Right> {
    let LegalBasis { meetings, accounts, journal, protection, .. } = bases;
    [meetings, accounts, journal, protection].contains(&&Basis::E).then_some(Right {
        name: text("Widerspruch (Art. 21)", "Objection (Art. 21)"),
        how: text(
            "Sie können aus Gründen, die sich aus Ihrer besonderen Situation ergeben, jederzeit der Verarbeitung \
             widersprechen, die auf einer Aufgabe im öffentlichen Interesse beruht. Der Erkennung, wer spricht, \
             und der Auskunft über Ihre Leitung widersprechen Sie unter „Meine Daten“ mit je einem Klick und ohne Gründe; \
             gehört werden Sie weiter.",
            "on grounds relating to your particular situation, you can object at any time to processing that rests on a \
             task in the public interest. To the detection of who speaks, and to being told of your line, you object \
             under “My data”, with one click each and without giving grounds; you are heard all the same.",
        ),
    })
}

/// Article 7(3): as easy as giving it, and in the same place.
pub(crate) fn withdrawal(bases: &LegalBasis) -> Option<Right> {
    let LegalBasis { meetings, accounts, journal, protection, .. } = bases;
    [meetings, accounts, journal, protection].contains(&&Basis::A).then_some(Right {
        name: text("Widerruf der Einwilligung (Art. 7 Abs. 3)", "Withdrawal of consent (Art. 7(3))"),
        how: text(
            "Sie willigen ein, indem Sie beitreten und Mikrofon, Kamera oder Bildschirm einschalten, und widerrufen mit \
             einem Klick an derselben Stelle: ausschalten oder auflegen. Das wirkt sofort und für die Zukunft.",
            "you consent by joining and by switching on microphone, camera or screen, and withdraw with one click in the \
             same place: switch off or hang up. That takes effect at once and for the future.",
        ),
    })
}
