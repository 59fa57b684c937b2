//! The web page: files of web/ inside the binary, or of a directory while somebody works on it.

use std::borrow::Cow;
use std::path::PathBuf;

use rust_embed::RustEmbed;

use crate::random;

/// Where files come from.
pub(crate) enum Assets {
    Embedded,
    /// Read anew for each request.
    Directory(PathBuf),
}

pub(crate) struct Asset {
    pub(crate) bytes: Cow<'static, [u8]>,
    pub(crate) content_type: &'static str,
    pub(crate) etag: String,
}

#[derive(RustEmbed)]
#[folder = "web/"]
struct Embedded;

impl Assets {
    /// `path` relative to web/. Dot files, unknown endings and every trick with the path are `None`.
    pub(crate) fn find(&self, path: &str) -> Option<Asset> {
        let content_type = content_type(path)?;
        if !path.split('/').all(is_plain) {
            return None;
        }
        let (bytes, hash) = match self {
            Assets::Embedded => {
                let file = Embedded::get(path)?;
                (file.data, file.metadata.sha256_hash())
            }
            Assets::Directory(root) => {
                let bytes = std::fs::read(root.join(path)).ok()?;
                let hash = random::sha256(&bytes);
                (bytes.into(), hash)
            }
        };
        Some(Asset { bytes, content_type, etag: format!("\"{}\"", random::hex(&hash[..12])) })
    }
}

/// A file or directory name that cannot lead anywhere else.
fn is_plain(segment: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !segment.is_empty() && !segment.starts_with('.') && segment.chars().all(allowed)
}

fn content_type(path: &str) -> Option<&'static str> {
    let (_, ending) = path.rsplit_once('.')?;
    Some(match ending {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_directory() {
        let assets = Assets::Directory(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"));
        for path in [
            "../Cargo.toml",
            "..",
            "",
            "/etc/passwd",
            "a/../main.js",
            ".git/x.js",
            "main.rs",
            "a\0.js",
            "a%2f.js",
        ] {
            assert!(assets.find(path).is_none(), "{path:?}");
        }
    }
}
