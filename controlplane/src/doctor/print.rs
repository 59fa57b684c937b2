//! The findings for people at a terminal of 80 columns, and for machines.

use super::{Finding, Mark};

const COLUMNS: usize = 80;

/// Where the finding begins: behind the mark and the name.
const NAME_COLUMNS: usize = 18;

pub(super) fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    let mut last = None;
    for finding in findings {
        // What asks for something stands apart from the long list of what is well.
        if last.is_some_and(|last| last != finding.mark) {
            out.push('\n');
        }
        last = Some(finding.mark);
        let head = format!("{:<6}{:<NAME_COLUMNS$} ", mark(finding.mark), finding.name);
        wrap(&mut out, &head, &" ".repeat(6 + NAME_COLUMNS + 1), &finding.finding);
        if !finding.means.is_empty() {
            wrap(&mut out, "      ", "      ", &finding.means);
        }
        // Never broken, so that it can be copied.
        for line in finding.mend.lines() {
            out.push_str(&format!("      > {line}\n"));
        }
    }
    out
}

pub(super) fn json(findings: &[Finding]) -> Result<String, String> {
    let ready = findings.iter().all(|finding| finding.mark <= Mark::Note);
    let report = serde_json::json!({ "ready": ready, "findings": findings });
    serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
}

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "ok",
        Mark::Note => "note",
        Mark::Warn => "warn",
        Mark::Fail => "FAIL",
    }
}

fn wrap(out: &mut String, head: &str, indent: &str, text: &str) {
    out.push_str(head);
    let mut column = head.chars().count();
    let mut is_first = true;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if !is_first && column + 1 + width > COLUMNS {
            out.push('\n');
            out.push_str(indent);
            column = indent.chars().count();
        } else if !is_first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        is_first = false;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_mend_can_be_copied() {
        let findings = [
            Finding::ok("kernel", "6.8.0"),
            Finding::warn("net.core.rmem_max", "212992; media.receive_buffer_bytes asks for 4194304")
                .means("When a worker is busy for a moment, packets that wait for it are lost, which people hear.")
                .mend("sysctl -w net.core.rmem_max=4194304"),
        ];
        let wanted = "\
ok    kernel             6.8.0

warn  net.core.rmem_max  212992; media.receive_buffer_bytes asks for 4194304
      When a worker is busy for a moment, packets that wait for it are lost,
      which people hear.
      > sysctl -w net.core.rmem_max=4194304
";
        assert_eq!(text(&findings), wanted);
    }

    #[test]
    fn machines_read_the_same_findings() {
        let report: serde_json::Value =
            serde_json::from_str(&json(&[Finding::ok("kernel", "6.8.0")]).unwrap()).unwrap();
        assert_eq!(report["ready"], true);
        assert_eq!(report["findings"][0]["mark"], "ok");
        assert!(report["findings"][0].get("mend").is_none());
        let report: serde_json::Value =
            serde_json::from_str(&json(&[Finding::fail("ports", "taken")]).unwrap()).unwrap();
        assert_eq!(report["ready"], false);
    }
}
