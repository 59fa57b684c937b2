//! HTML without a template engine: markup is what the program itself says, every other text is escaped.

use std::fmt::Write;

use super::Language;

/// A document under construction.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Our own markup; a `'static` text cannot have come from the configuration.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Page {
        self.0.push_str(markup);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Page {
        self.0.push_str(&escaped(text));
        self
    }

    /// `<tag>text</tag>`; `tag` may have attributes.
    pub(crate) fn element(&mut self, tag: &'static str, text: &str) -> &mut Page {
        let name = tag.split(' ').next().unwrap_or_default();
        let _ = write!(self.0, "<{tag}>{}</{name}>", escaped(text));
        self
    }

    pub(crate) fn heading(&mut self, id: &'static str, text: &str) -> &mut Page {
        let _ = write!(self.0, "<h2 id=\"{id}\">{}</h2>", escaped(text));
        self
    }

    pub(crate) fn link(&mut self, href: &str, text: &str) -> &mut Page {
        let _ = write!(self.0, "<a href=\"{}\">{}</a>", escaped(href), escaped(text));
        self
    }

    /// What the operator wrote: its lines stay lines, its e-mail and web addresses can be followed.
    pub(crate) fn lines(&mut self, text: &str) -> &mut Page {
        for (index, line) in text.trim().lines().enumerate() {
            self.raw(if index == 0 { "" } else { "<br>" });
            for (index, word) in line.trim().split(' ').enumerate() {
                self.raw(if index == 0 { "" } else { " " });
                let bare = word.trim_end_matches([',', ';', '.', ')']);
                let rest = &word[bare.len()..];
                match bare {
                    _ if bare.starts_with("https://") => self.link(bare, bare).text(rest),
                    _ if is_email(bare) => self.email(bare).text(rest),
                    _ => self.text(word),
                };
            }
        }
        self
    }

    /// In a narrow column it breaks behind the sign.
    fn email(&mut self, address: &str) -> &mut Page {
        let (whom, host) = address.split_once('@').unwrap_or((address, ""));
        let _ = write!(self.0, "<a href=\"mailto:{}\">", escaped(address));
        self.text(whom).raw("@<wbr>").text(host).raw("</a>")
    }

    /// A row of a description list.
    pub(crate) fn row(&mut self, term: &str, says: impl FnOnce(&mut Page)) -> &mut Page {
        self.raw("<div>").element("dt", term).raw("<dd>");
        says(self);
        self.raw("</dd></div>")
    }

    /// The head of a document of ours, up to the opened body.
    pub(crate) fn begin(language: Language, title: &str, styles: &[&'static str]) -> Page {
        let mut page = Page::default();
        let _ = write!(
            page.0,
            "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n",
            language.code()
        );
        page.raw(
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1, viewport-fit=cover\">\n",
        )
        .raw("<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"robots\" content=\"noindex\">\n")
        .raw("<meta name=\"theme-color\" content=\"#0b434c\">\n")
        .element("title", title)
        .raw("\n<link rel=\"icon\" href=\"/assets/img/mark.svg\" type=\"image/svg+xml\">\n");
        for style in styles {
            page.raw("<link rel=\"stylesheet\" href=\"").raw(style).raw("\">\n");
        }
        page.raw("</head>\n<body>\n");
        page
    }

    /// The switch of languages: two links to the same page.
    pub(crate) fn languages(&mut self, path: &str, current: Language) -> &mut Page {
        self.raw("<nav class=\"languages\" aria-label=\"Sprache, language\">");
        for language in Language::ALL {
            let state = if language == current { " aria-current=\"true\"" } else { "" };
            let (code, name) = (language.code(), language.name());
            let _ = write!(
                self.0,
                "<a href=\"{}?lang={code}\" lang=\"{code}\" hreflang=\"{code}\"{state}>{name}</a>",
                escaped(path)
            );
        }
        self.raw("</nav>")
    }

    pub(crate) fn end(mut self) -> String {
        self.raw("\n</body>\n</html>\n");
        self.0
    }
}

fn is_email(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '@');
    let parts = word.split_once('@');
    parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
        && word.chars().all(allowed)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
