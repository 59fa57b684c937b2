//! How browsers reach us: our origin, who may change state, and the headers that every answer carries.

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};

use crate::config::{Config, is_loopback, origin_of};

/// The outward face of the server.
pub(crate) struct Site {
    public_origin: Option<String>,
    scheme: &'static str,
    /// Without TLS on our side only names of this machine are ours: a foreign name that resolves to 127.0.0.1 is an attack.
    loopback_only: bool,
    hsts: bool,
}

/// Only names that Chromium knows: it writes a line to the console of every page for any other.
const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), \
    fullscreen=(self), speaker-selection=(self), screen-wake-lock=(self), picture-in-picture=(self), geolocation=(), \
    accelerometer=(), gyroscope=(), magnetometer=(), midi=(), usb=(), serial=(), hid=(), payment=(), \
    publickey-credentials-get=(), idle-detection=(), local-fonts=(), xr-spatial-tracking=(), browsing-topics=()";

const FIXED: [(&str, &str); 8] = [
    ("permissions-policy", PERMISSIONS),
    ("referrer-policy", "no-referrer"),
    // A link in the chat is looked up when somebody follows it, not when it is shown.
    ("x-dns-prefetch-control", "off"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
];

impl Site {
    pub(crate) fn new(config: &Config) -> Site {
        let public_origin = config.http.public_url.as_deref().and_then(origin_of);
        let has_tls = config.has_tls();
        Site {
            loopback_only: !has_tls,
            scheme: if has_tls { "https" } else { "http" },
            hsts: has_tls && !config.http.self_signed,
            public_origin,
        }
    }

    /// Whether browsers use https, be it by a proxy in front of us.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_origin.as_ref().map_or(self.scheme == "https", |origin| origin.starts_with("https://"))
    }

    /// Where links point to.
    pub(crate) fn base(&self, headers: &HeaderMap) -> Option<String> {
        self.public_origin.clone().or_else(|| self.origin_by_host(headers))
    }

    /// Whether a request that changes state comes from our own page.
    pub(crate) fn is_own_origin(&self, headers: &HeaderMap) -> bool {
        let cross_site = headers.get("sec-fetch-site").is_some_and(|value| value != "same-origin");
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None, false) = (origins.next(), origins.next(), cross_site) else { return false };
        let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
        self.public_origin.as_ref() == Some(&origin) || self.origin_by_host(headers) == Some(origin)
    }

    /// Puts the security headers on an answer.
    pub(crate) fn protect(&self, host: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for (name, value) in FIXED {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if self.hsts {
            headers.insert("strict-transport-security", HeaderValue::from_static("max-age=31536000"));
        }
        // Some browsers do not count ws: into 'self'.
        let host =
            host.and_then(|host| host.to_str().ok()).filter(|host| is_host(host) && !host.starts_with('['));
        let sockets = match (host, self.is_secure()) {
            (Some(host), true) => format!(" wss://{host}"),
            (Some(host), false) => format!(" ws://{host}"),
            (None, _) => String::new(),
        };
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
             media-src 'self' blob:; connect-src 'self'{sockets}; font-src 'self'; worker-src 'self'; \
             manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert("content-security-policy", policy);
        }
    }

    fn origin_by_host(&self, headers: &HeaderMap) -> Option<String> {
        let host = headers.get(HOST)?.to_str().ok()?.to_ascii_lowercase();
        let ours = is_host(&host) && (!self.loopback_only || is_loopback(&host));
        ours.then(|| format!("{}://{host}", self.scheme))
    }
}

fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    (1..=255).contains(&host.len()) && host.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::OPERATOR;

    fn site(text: &str) -> Site {
        Site::new(&Config::parse(text).unwrap())
    }

    fn headers(host: &str, origin: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, host.parse().unwrap()), (ORIGIN, origin.parse().unwrap())])
    }

    #[test]
    fn on_loopback_the_origin_is_this_machine_under_the_name_it_was_asked_by() {
        let site = site("");
        assert!(site.is_own_origin(&headers("localhost:8080", "http://localhost:8080")));
        assert!(site.is_own_origin(&headers("127.0.0.1:8080", "http://127.0.0.1:8080")));
        assert!(site.is_own_origin(&headers("[::1]:8080", "http://[::1]:8080")));
        assert!(!site.is_own_origin(&headers("localhost:8080", "http://localhost:9090")));
        assert!(!site.is_own_origin(&headers("rebound.example:8080", "http://rebound.example:8080")));
        assert!(!site.is_own_origin(&headers("localhost:8080", "null")));
        assert!(!site.is_own_origin(&HeaderMap::from_iter([(HOST, "localhost:8080".parse().unwrap())])));
    }

    #[test]
    fn a_public_url_is_an_origin_of_ours_whatever_the_host() {
        let site = site(&format!("{OPERATOR}[http]\npublic_url = \"https://saal.example/\"\n"));
        assert!(site.is_own_origin(&headers("127.0.0.1:8080", "https://saal.example")));
        assert!(!site.is_own_origin(&headers("127.0.0.1:8080", "https://evil.example")));
        assert!(!site.is_own_origin(&headers("rebound.example:8080", "http://rebound.example:8080")));
        assert!(site.is_secure());
    }

    #[test]
    fn a_cross_site_request_is_not_ours_even_with_our_origin() {
        let mut headers = headers("localhost:8080", "http://localhost:8080");
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(!site("").is_own_origin(&headers));
    }

    #[test]
    fn the_policy_allows_nothing_foreign_and_nothing_inline() {
        let mut headers = HeaderMap::new();
        site("").protect(Some(&HeaderValue::from_static("localhost:8080")), &mut headers);
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(policy.contains("connect-src 'self' ws://localhost:8080;"));
        assert!(!policy.contains("unsafe"));
        assert!(policy.ends_with("require-trusted-types-for 'script'; trusted-types 'none'"));
        site("").protect(Some(&HeaderValue::from_static("a; script-src *")), &mut headers);
        assert!(!headers["content-security-policy"].to_str().unwrap().contains('*'));
    }
}
