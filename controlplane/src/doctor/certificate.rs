//! The page's certificate, the organizers' accounts and who runs this: readable, fit, not about to end, not open to others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::Finding;
use crate::accounts::Accounts;
use crate::config::{Config, origin_of};
use crate::tls;

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let mut findings = match (&config.http.tls_certificate, &config.http.tls_key) {
        (Some(certificate), Some(key)) => match tls::acceptor(config) {
            Ok(_) => {
                let mut findings = vec![open_to("TLS key", key, mode(key), 0o007, "640")];
                let first = CertificateDer::from_pem_file(certificate).ok();
                let end = first.as_ref().and_then(|first| not_after(first));
                findings.insert(0, time_left(certificate, end, now()));
                let host = config.http.public_url.as_deref().and_then(host_of);
                if let (Some(first), Some(host)) = (first, host) {
                    findings.push(names(&first, host));
                }
                findings
            }
            Err(why) => vec![
                Finding::fail("certificate", why)
                    .means("The server does not start: browsers give camera and microphone to secure pages only.")
                    .mend(format!("ls -l {} {}   # the service's user must read both", certificate.display(), key.display())),
            ],
        },
        _ => vec![without_certificate(config)],
    };
    findings.push(organizers(config));
    findings.push(operator(config));
    findings
}

fn without_certificate(config: &Config) -> Finding {
    let name = "certificate";
    if config.http.self_signed {
        return Finding::warn(name, "made at start, for trials")
            .means("Every browser warns of the page, and again after each restart.")
            .mend("http.tls_certificate = \"/etc/saal/fullchain.pem\" and http.tls_key = \"/etc/saal/privkey.pem\"");
    }
    if config.http.public_url.as_deref().is_some_and(|url| url.starts_with("https://")) {
        return Finding::ok(name, "none: a reverse proxy in front has it");
    }
    Finding::warn(name, "none: plain http on loopback")
        .means("Only browsers on this very machine can join.")
        .mend("http.listen = \"[::]:443\", http.tls_certificate and http.tls_key   # docs/operations.md, \"Configure\"")
}

fn mode(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.permissions().mode() & 0o777)
}

fn open_to(name: &str, path: &Path, mode: Option<u32>, forbidden: u32, wanted: &str) -> Finding {
    match mode {
        Some(mode) if mode & forbidden == 0 => {
            Finding::ok(name, format!("{} has mode {mode:03o}", path.display()))
        }
        Some(mode) => Finding::warn(name, format!("{} has mode {mode:03o}", path.display()))
            .means("Other accounts of this machine can read or change it.")
            .mend(format!("chmod {wanted} {}", path.display())),
        None => Finding::note(name, format!("{}: its mode is not known", path.display())),
    }
}

/// ACME clients renew a month before the end; two weeks mean that it did not work.
const DAYS_LEFT_MIN: i64 = 14;

fn time_left(path: &Path, end: Option<i64>, now: i64) -> Finding {
    let name = "certificate";
    let Some(end) = end else {
        return Finding::note(name, format!("{}: its end cannot be read", path.display()))
            .mend(format!("openssl x509 -noout -enddate -in {}", path.display()));
    };
    let days = (end - now).div_euclid(24 * 3600);
    let renew = "certbot renew && systemctl reload saal   # or your ACME client";
    match days {
        ..0 => Finding::fail(name, format!("{} ended {} days ago", path.display(), -days))
            .means("Browsers refuse the page: nobody can join.")
            .mend(renew),
        0..DAYS_LEFT_MIN => Finding::warn(name, format!("{} ends in {days} days", path.display()))
            .means("When it has ended, browsers refuse the page; renewing seems not to work by itself.")
            .mend(renew),
        DAYS_LEFT_MIN.. => Finding::ok(name, format!("{} is good for {days} days", path.display())),
    }
}

fn host_of(url: &str) -> Option<String> {
    let origin = origin_of(url)?;
    let host = origin.split("://").nth(1)?;
    let is_port = |tail: &str| tail.bytes().all(|byte| byte.is_ascii_digit());
    let host = host.rsplit_once(':').filter(|(_, tail)| is_port(tail)).map_or(host, |(host, _)| host);
    Some(host.trim_matches(['[', ']']).to_owned())
}

fn names(certificate: &CertificateDer<'_>, host: String) -> Finding {
    let verified = ServerName::try_from(host.clone()).is_ok_and(|name| {
        ParsedCertificate::try_from(certificate)
            .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    });
    match verified {
        true => Finding::ok("certificate name", host),
        false => Finding::fail("certificate name", format!("the certificate is not for {host}"))
            .means("Browsers that open http.public_url refuse the page.")
            .mend(format!("certbot certonly --domain {host}   # or another http.public_url")),
    }
}

/// `notAfter` of an X.509 certificate in seconds since 1970 (RFC 5280 §4.1).
fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version is optional; then come serial number, signature algorithm, issuer.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    let text = std::str::from_utf8(time).ok()?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        _ => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
    };
    let part = |index: usize| rest.get(2 * index..2 * index + 2)?.parse::<i64>().ok();
    Some(days_since_1970(year, part(0)?, part(1)?) * 86_400 + part(2)? * 3600 + part(3)? * 60 + part(4)?)
}

/// Tag, content and what follows a DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length) = (*der.first()?, usize::from(*der.get(1)?));
    let (length, begin) = match length {
        ..=0x7f => (length, 2),
        0x81 => (usize::from(*der.get(2)?), 3),
        0x82 => (usize::from(u16::from_be_bytes([*der.get(2)?, *der.get(3)?])), 4),
        _ => return None,
    };
    let content = der.get(begin..begin + length)?;
    Some((tag, content, &der[begin + length..]))
}

/// In the Gregorian calendar, with years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let of_year = (153 * since_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn organizers(config: &Config) -> Finding {
    let name = "organizers";
    let Some(path) = &config.organizers.file else {
        return Finding::warn(name, "no file: a demo account is made at start")
            .means("Its password is another at every start, and one account serves everybody.")
            .mend("organizers.file = \"/var/lib/saal/organizers.toml\", then: saal organizer add NAME --config FILE");
    };
    match Accounts::open(path) {
        Ok(accounts) if accounts.names().next().is_none() => {
            Finding::warn(name, format!("{} holds nobody", path.display()))
                .means("Nobody may open rooms.")
                .mend("saal organizer add NAME --config FILE")
        }
        Ok(_) => open_to(name, path, mode(path), 0o077, "600"),
        Err(why) => Finding::fail(name, why)
            .means("The server does not start.")
            .mend(format!("ls -l {}   # the service's user must read and write it", path.display())),
    }
}

fn operator(config: &Config) -> Finding {
    match &config.operator {
        Some(_) => Finding::ok("operator", "the privacy notice and the imprint say who runs this server"),
        None => Finding::warn("operator", "nobody: the privacy notice calls this a demonstration")
            .means("For others than this machine's own people the server does not start without it.")
            .mend("[operator]   # docs/operations.md, \"Who answers for it\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_from_its_bytes() {
        let made = rcgen::generate_simple_self_signed(["saal.example".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let with_end = |year, month, day| {
            let mut params = rcgen::CertificateParams::new(["saal.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, month, day);
            params.self_signed(&key).unwrap()
        };
        // `date -u -d DATE +%s`
        for (year, month, day, seconds) in [
            (2027, 3, 1, 1_803_859_200),
            (2028, 2, 29, 1_835_395_200),
            (2049, 12, 31, 2_524_521_600),
            (2100, 1, 1, 4_102_444_800),
        ] {
            assert_eq!(not_after(with_end(year, month, day).der()), Some(seconds), "{year}-{month}-{day}");
        }
        let der = made.cert.der();
        for length in 0..100 {
            assert_eq!(not_after(&der[..length]), None);
        }
    }

    #[test]
    fn a_certificate_near_its_end_is_renewed_in_time() {
        let left = |days: i64| time_left(Path::new("chain.pem"), Some(days * 86_400 + 60), 0).mark;
        assert_eq!((left(-1), left(0), left(13), left(14)), (Mark::Fail, Mark::Warn, Mark::Warn, Mark::Ok));
        assert_eq!(time_left(Path::new("chain.pem"), Some(0), 1).mark, Mark::Fail);
    }

    #[test]
    fn the_certificate_must_be_for_the_public_name() {
        let made = rcgen::generate_simple_self_signed(["saal.example".to_owned()]).unwrap();
        assert_eq!(names(made.cert.der(), "saal.example".into()).mark, Mark::Ok);
        assert_eq!(names(made.cert.der(), "other.example".into()).mark, Mark::Fail);
        assert_eq!(host_of("https://saal.example:8443/").as_deref(), Some("saal.example"));
        assert_eq!(host_of("https://[2001:db8::1]:8443").as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn files_that_others_may_read_are_closed() {
        let file = |mode| open_to("organizers", Path::new("o.toml"), Some(mode), 0o077, "600");
        assert_eq!(file(0o600).mark, Mark::Ok);
        assert_eq!((file(0o640).mark, file(0o640).mend.as_str()), (Mark::Warn, "chmod 600 o.toml"));
    }

    #[test]
    fn a_page_without_tls_is_for_this_machine_or_behind_a_proxy() {
        let mut config = Config::default();
        assert_eq!(without_certificate(&config).mark, Mark::Warn);
        config.http.public_url = Some("https://saal.example".into());
        assert_eq!(without_certificate(&config).mark, Mark::Ok);
        config.http.self_signed = true;
        assert_eq!(without_certificate(&config).mark, Mark::Warn);
    }
}
