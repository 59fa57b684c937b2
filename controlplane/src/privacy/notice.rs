//! `/privacy` and `/imprint` as HTML, in both languages, made once at start from the configuration that is in force.

use hyper::body::Bytes;

use super::inventory::{CATEGORIES, Category, Function};
use super::page::Page;
use super::words::{self, Right};
use super::{Language, Stamp, Text, text};
use crate::config::{Config, LegalBasis, Operator};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Document {
    Privacy,
    Imprint,
}

/// The documents of this process.
pub(crate) struct Notices {
    privacy: [Bytes; 2],
    imprint: [Bytes; 2],
    not_found: [Bytes; 2],
    stamp: Stamp,
}

const STYLES: [&str; 3] = ["/assets/style.css", "/assets/pages.css", "/assets/notice.css"];

impl Notices {
    pub(crate) fn new(config: &Config) -> Notices {
        let stamp = Stamp::new(config);
        Notices {
            privacy: Language::ALL.map(|language| privacy(config, &stamp, language).into()),
            imprint: Language::ALL.map(|language| imprint(config, &stamp, language).into()),
            not_found: Language::ALL.map(|language| not_found(config, language).into()),
            stamp,
        }
    }

    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    pub(crate) fn of(&self, document: Document, language: Language) -> Bytes {
        let pages = match document {
            Document::Privacy => &self.privacy,
            Document::Imprint => &self.imprint,
        };
        pages[language as usize].clone()
    }

    /// What stands where there is no page.
    pub(crate) fn not_found(&self, language: Language) -> Bytes {
        self.not_found[language as usize].clone()
    }
}

impl Document {
    pub(crate) fn at(path: &str) -> Option<Document> {
        [Document::Privacy, Document::Imprint].into_iter().find(|document| document.path() == path)
    }

    fn path(self) -> &'static str {
        match self {
            Document::Privacy => "/privacy",
            Document::Imprint => "/imprint",
        }
    }

    fn title(self) -> Text {
        match self {
            Document::Privacy => text("Datenschutzhinweise", "Privacy notice"),
            Document::Imprint => text("Impressum", "Imprint"),
        }
    }
}

pub(super) fn privacy(config: &Config, stamp: &Stamp, language: Language) -> String {
    let say = |text: Text| text.to(language);
    let demo = LegalBasis::default();
    let bases = config.operator.as_ref().map_or(&demo, |operator| &operator.legal_basis);
    let mut page = begin(Document::Privacy.title(), Document::Privacy.path(), config, language);
    page.element("p class=\"stamp\"", &stamp.line(language));
    page.element(
        "p class=\"lead\"",
        say(text(
            "Saal ist dafür gebaut, möglichst wenig zu wissen und nichts zu behalten. Diese Seite entsteht aus der \
             Konfiguration, mit der dieser Server läuft: Ändert sich die eine, ändert sich die andere.",
            "Saal is built to know as little as possible and to keep nothing. This page is made from the configuration that \
             this server runs with: if the one changes, so does the other.",
        )),
    );
    glance(&mut page, language);

    page.heading("controller", say(text("Wer verantwortlich ist", "Who is responsible")));
    match &config.operator {
        Some(operator) => contacts(&mut page, operator, language),
        None => {
            page.element("p", say(DEMO));
        }
    }

    page.heading("data", say(text("Welche Daten, wofür, wie lange", "Which data, what for, how long")));
    for function in Function::ALL {
        page.element("h3", say(function.name())).element("p", say(function.purpose()));
        page.raw("<p class=\"basis\">")
            .element("strong", say(text("Rechtsgrundlage:", "Legal basis:")))
            .text(" ")
            .text(&words::basis(function.basis(bases), bases, language))
            .raw("</p>");
        for category in CATEGORIES.iter().filter(|category| category.function == function) {
            datum(&mut page, category, config, language);
        }
    }
    page.element("p", say(words::NO_PERSON_IN_NUMBERS));

    page.heading("way", say(text("Welchen Weg sie nehmen", "Which way they take")));
    page.raw("<ul>");
    let way =
        [words::transport(config), words::NO_PEER_TO_PEER, words::NOT_END_TO_END, words::NO_THIRD_PARTIES];
    for sentence in way {
        page.element("li", say(sentence));
    }
    page.raw("</ul>");

    page.heading("others", say(text("Was wir nicht in der Hand haben", "What is out of our hands")));
    page.element("p class=\"fill\"", say(words::OUT_OF_OUR_HANDS));

    page.heading("rights", say(text("Ihre Rechte", "Your rights")));
    page.element(
        "p",
        say(text(
            "Nach der Datenschutz-Grundverordnung haben Sie diese Rechte. Die meisten nehmen Sie im Gespräch selbst wahr, \
             ohne jemanden zu fragen; sonst wenden Sie sich an die oben genannten Stellen.",
            "Under the General Data Protection Regulation you have these rights. Most of them you exercise yourself in the \
             meeting, without asking anybody; otherwise turn to those named above.",
        )),
    );
    page.raw("<ul>");
    let rights = words::RIGHTS.iter();
    rights.for_each(|right| one_right(&mut page, right, language));
    words::withdrawal(bases).iter().for_each(|right| one_right(&mut page, right, language));
    page.raw("</ul>");
    if let Some(objection) = words::objection(bases) {
        // Article 21(4): apart from all other information.
        page.raw("<p class=\"fill\">")
            .element("strong", say(objection.name))
            .text(": ")
            .text(say(objection.how))
            .raw("</p>");
    }

    page.heading("more", say(text("Was noch zu sagen ist", "What else there is to say")));
    for sentence in [
        text(
            "Sie sind nicht verpflichtet, Daten anzugeben. Ohne IP-Adresse und einen Namen, den Sie frei wählen, ist eine \
             Teilnahme technisch nicht möglich; Mikrofon, Kamera und Bildschirm sind freiwillig.",
            "You are not obliged to provide any data. Without an IP address and a name, which you choose freely, taking part \
             is technically impossible; microphone, camera and screen are voluntary.",
        ),
        text(
            "Es gibt keine automatisierte Entscheidung und kein Profiling.",
            "There is no automated decision-making and no profiling.",
        ),
        text(
            "Was im Browser gespeichert wird, ist für den Dienst nötig, den Sie aufrufen (§ 25 Abs. 2 Nr. 2 TDDDG).",
            "What is stored in the browser is needed for the service that you ask for (§ 25(2) no. 2 of the German TDDDG).",
        ),
        text(
            "Diese Hinweise können sich ändern. Welche Fassung gilt, sagen Stand, Version und Prüfwert der Konfiguration am \
             Anfang der Seite.",
            "This notice may change. Which version is in force is told by date, version and hash of the configuration at \
             the top of the page.",
        ),
    ] {
        page.element("p", say(sentence));
    }
    end(page, language)
}

pub(super) fn imprint(config: &Config, stamp: &Stamp, language: Language) -> String {
    let say = |text: Text| text.to(language);
    let mut page = begin(Document::Imprint.title(), Document::Imprint.path(), config, language);
    match &config.operator {
        Some(operator) => {
            page.raw("<dl class=\"contacts\">");
            page.row(say(OPERATOR), |page| {
                page.lines(&operator.name).raw("<br>").lines(&operator.address);
            });
            if let Some(by) = &operator.represented_by {
                page.row(say(text("Vertreten durch", "Represented by")), |page| {
                    page.lines(by);
                });
            }
            page.row(say(text("Kontakt", "Contact")), |page| reach(page, operator));
            if let Some(more) = &operator.imprint {
                page.row(say(text("Weitere Angaben", "Further information")), |page| {
                    page.lines(more);
                });
            }
            page.raw("</dl>");
        }
        None => {
            page.element("p", say(DEMO));
        }
    }
    page.heading("software", say(text("Die Software", "The software")));
    page.element(
        "p",
        say(text(
            "Saal ist freie Software unter den Lizenzen Apache-2.0 oder MIT. Die Autorinnen und Autoren der Software \
             betreiben diesen Server nicht und haben keinen Zugriff auf ihn.",
            "Saal is free software under the licences Apache-2.0 or MIT. The authors of the software do not run this server \
             and have no access to it.",
        )),
    );
    page.element("p class=\"stamp\"", &stamp.line(language));
    end(page, language)
}

/// Nothing of the address that was asked for is said again.
fn not_found(config: &Config, language: Language) -> String {
    let mut page = begin(text("Diese Seite gibt es nicht", "There is no such page"), "", config, language);
    page.element(
        "p",
        text(
            "Vielleicht ist der Link nicht vollständig, oder es hängt ein Zeichen zu viel daran, etwa ein Punkt. Namen von \
             Räumen haben nur Buchstaben, Ziffern, „-“ und „_“.",
            "Perhaps the link is not complete, or has a character too many, a full stop for example. Names of rooms have \
             letters, digits, “-” and “_” only.",
        )
        .to(language),
    );
    end(page, language)
}

const PROCESSOR: Text = text(
    "Betreibt den Rechner in unserem Auftrag (Art. 28 DSGVO)",
    "Runs the machine on our behalf (Art. 28 GDPR)",
);

const OPERATOR: Text = text("Betreiber", "Operator");

const DEMO: Text = text(
    "Dies ist eine Vorführung auf diesem Rechner: In der Konfiguration steht noch nicht, wer den Server betreibt. Für andere \
     startet er erst, wenn das eingetragen ist.",
    "This is a demonstration on this computer: the configuration does not say yet who runs the server. It does not start for \
     others before that is filled in.",
);

/// `path` is the page's own, for the links to the other language.
fn begin(title: Text, path: &str, config: &Config, language: Language) -> Page {
    let say = |text: Text| text.to(language);
    let title = say(title);
    let mut page = Page::begin(language, &format!("{title} · Saal"), &STYLES);
    page.element("a class=\"skip\" href=\"#main\"", say(text("Zum Inhalt springen", "Skip to content")));
    page.raw("<header class=\"site-header\"><a class=\"brand\" href=\"/\" aria-label=\"")
        .text(say(text("Saal, Startseite", "Saal, start page")))
        .raw("\"><img src=\"/assets/img/mark.svg\" alt=\"\" width=\"32\" height=\"32\"><span>Saal</span></a>")
        .languages(path, language)
        .raw("</header>\n<main id=\"main\" class=\"narrow\"><article class=\"card prose\">")
        .element("h1", title);
    if config.operator.is_none() {
        page.element("p class=\"demo\" role=\"note\"", say(text("Vorführung", "Demonstration")));
    }
    page
}

fn end(mut page: Page, language: Language) -> String {
    page.raw("</article></main>\n<footer class=\"site-footer\"><nav>");
    for document in [Document::Imprint, Document::Privacy] {
        page.link(&format!("{}?lang={}", document.path(), language.code()), document.title().to(language));
    }
    page.link("/", text("Startseite", "Start page").to(language)).raw("</nav></footer>");
    page.end()
}

/// The shortest true answer, and the way to the long ones.
fn glance(page: &mut Page, language: Language) {
    page.raw("<ul class=\"glance\">");
    for sentence in [
        text(
            "Gäste brauchen kein Konto und bekommen keine Cookies.",
            "Guests need no account and get no cookies.",
        ),
        text(
            "Nichts wird aufgezeichnet. Mit der letzten Person ist ein Raum mit allen Daten gelöscht.",
            "Nothing is recorded. With the last person a room is deleted with all its data.",
        ),
        text(
            "Niemand im Gespräch erfährt Ihre IP-Adresse; der Server kennt sie nur, solange Sie da sind.",
            "Nobody in the meeting learns your IP address; the server knows it only while you are there.",
        ),
        text("Dritte bekommen nichts.", "Third parties get nothing."),
    ] {
        page.element("li", sentence.to(language));
    }
    page.raw("</ul><nav class=\"contents\" aria-label=\"")
        .text(text("Inhalt", "Contents").to(language))
        .raw("\">");
    for (target, name) in [
        ("#controller", text("Verantwortlich", "Responsible")),
        ("#data", text("Daten und Fristen", "Data and deadlines")),
        ("#way", text("Weg", "Way")),
        ("#others", text("Aufnahmen", "Recording")),
        ("#rights", text("Rechte", "Rights")),
    ] {
        page.link(target, name.to(language));
    }
    page.raw("</nav>");
}

fn contacts(page: &mut Page, operator: &Operator, language: Language) {
    let say = |text: Text| text.to(language);
    page.raw("<dl class=\"contacts\">");
    page.row(say(OPERATOR), |page| {
        page.lines(&operator.name).raw("<br>").lines(&operator.address).raw("<br>");
        reach(page, operator);
    });
    page.row(say(text("Datenschutzbeauftragte Person", "Data protection officer")), |page| {
        page.lines(&operator.data_protection_officer);
    });
    page.row(say(text("Aufsichtsbehörde", "Supervisory authority")), |page| {
        page.lines(&operator.supervisory_authority);
    });
    if let Some(processor) = &operator.processor {
        page.row(say(PROCESSOR), |page| {
            page.lines(processor);
        });
    }
    page.raw("</dl>");
}

fn reach(page: &mut Page, operator: &Operator) {
    page.lines(&operator.email);
    if let Some(phone) = &operator.phone {
        page.raw("<br>").text(phone);
    }
}

fn datum(page: &mut Page, category: &Category, config: &Config, language: Language) {
    let say = |text: Text| text.to(language);
    page.raw("<section class=\"datum\">").element("h4", say(category.name)).element("p", say(category.what));
    page.raw("<dl>");
    let rows = [
        (text("Wofür", "What for"), say(category.purpose).to_owned()),
        (text("Wie lange", "How long"), category.kept.says(config, language)),
        (text("Wo", "Where"), say((category.place)(config).name()).to_owned()),
        (text("Wer es bekommt", "Who gets it"), say(category.recipients(config).name()).to_owned()),
    ];
    for (term, says) in rows {
        page.row(say(term), |page| {
            page.text(&says);
        });
    }
    page.raw("</dl></section>");
}

fn one_right(page: &mut Page, right: &Right, language: Language) {
    page.raw("<li>")
        .element("strong", right.name.to(language))
        .text(": ")
        .text(right.how.to(language))
        .raw("</li>");
}
