//! Numbers as people read them. No figure is rounded into a better one: a loss never becomes 0 %, a share never 100 %.

use std::fmt::Write as _;
use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three significant digits, without an exponent: `0.0123`, `1.23`, `12.3`, `1,234`.
pub(crate) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size >= 99.95 {
        return if value < 0.0 {
            format!("-{}", count(size.round() as u64))
        } else {
            count(size.round() as u64)
        };
    }
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn latency(us: u64) -> String {
    match us {
        0..10_000_000 => format!("{} ms", figure(us as f64 / 1e3)),
        _ => format!("{} s", figure(us as f64 / 1e6)),
    }
}

pub(crate) fn rate_bps(bps: u64) -> String {
    match bps {
        0..1_000_000 => format!("{} kbit/s", figure(bps as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} Mbit/s", figure(bps as f64 / 1e6)),
        _ => format!("{} Gbit/s", figure(bps as f64 / 1e9)),
    }
}

pub(crate) fn bytes(n: u64) -> String {
    const KIB: f64 = 1024.0;
    match n as f64 {
        n if n < KIB => format!("{n} bytes"),
        n if n < KIB * KIB => format!("{} KiB", figure(n / KIB)),
        n if n < KIB * KIB * KIB => format!("{} MiB", figure(n / KIB / KIB)),
        n => format!("{} GiB", figure(n / KIB / KIB / KIB)),
    }
}

/// A small share, such as a loss: rounded up, so that only nothing is 0 %.
pub(crate) fn loss(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if !percent.is_finite() => "–".to_owned(),
        _ if percent <= 0.0 => "0 %".to_owned(),
        _ if percent < 0.001 => "< 0.001 %".to_owned(),
        _ if percent < 1.0 => format!("{:.3} %", (percent * 1e3).ceil() / 1e3),
        _ => format!("{:.1} %", (percent * 10.0).ceil() / 10.0),
    }
}

/// A large share, such as what was delivered: rounded down, so that only all is 100 %.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if !percent.is_finite() => "–".to_owned(),
        _ if percent >= 100.0 => "100 %".to_owned(),
        _ if percent >= 99.0 => format!("{:.3} %", (percent * 1e3).floor() / 1e3),
        _ => format!("{:.1} %", (percent * 10.0).floor() / 10.0),
    }
}

/// `1:05`, or `1:02:05` from an hour on.
pub(crate) fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// `23 November 2026, 19:20 UTC`.
pub(crate) fn date(unix_s: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil(unix_s / 86_400);
    let month = MONTHS[month as usize - 1];
    format!("{day} {month} {year}, {:02}:{:02} UTC", unix_s / 3600 % 24, unix_s / 60 % 60)
}

/// Year, month and day of a day since 1970, in the Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year; 146,097 days make 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Text that may not steer a terminal: control characters become U+FFFD.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text inside HTML, between tags or in a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            // Marks that turn the direction of the text after them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(out, "&lt;U+{:04X}&gt;", c as u32).expect("a String takes everything");
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits_and_group_thousands() {
        let cases = [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.84, "0.84"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.94, "99.9"),
            (99.96, "100"),
            (1234.4, "1,234"),
            (1_234_567.0, "1,234,567"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text, "{value}");
        }
    }

    #[test]
    fn no_loss_is_rounded_away_and_no_share_up_to_all() {
        assert_eq!(loss(0.0), "0 %");
        assert_eq!(loss(1e-9), "< 0.001 %");
        assert_eq!(loss(0.000_012), "0.002 %");
        assert_eq!(loss(0.0123), "1.3 %");
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.999_999_9), "99.999 %");
        assert_eq!(share(0.5), "50.0 %");
        assert_eq!(share(f64::NAN), "–");
    }

    #[test]
    fn units_grow_with_the_value() {
        assert_eq!(latency(84), "0.084 ms");
        assert_eq!(latency(1_240), "1.24 ms");
        assert_eq!(latency(12_000_000), "12.0 s");
        assert_eq!(rate_bps(1_900_000_000), "1.90 Gbit/s");
        assert_eq!(rate_bps(32_000), "32.0 kbit/s");
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(64 * 1024), "64.0 KiB");
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1 January 1970, 00:00 UTC");
        assert_eq!(date(951_782_400), "29 February 2000, 00:00 UTC");
        assert_eq!(date(1_709_251_199), "29 February 2024, 23:59 UTC");
        assert_eq!(date(1_795_461_600), "23 November 2026, 19:20 UTC");
        assert_eq!(date(4_107_542_400), "1 March 2100, 00:00 UTC");
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<b a=\"x\" b='y'>&"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
        assert_eq!(escape("a\0b\u{202e}c"), "a\u{fffd}b&lt;U+202E&gt;c");
        assert_eq!(plain("\x1b[2Jx"), "\u{fffd}[2Jx");
    }
}
