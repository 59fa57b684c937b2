//! TLS for the page and the WebSocket: the admin's certificate, or one made at start for a trial.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, origin_of};

/// `None` for plain http on loopback.
pub(crate) fn acceptor(config: &Config) -> Result<Option<TlsAcceptor>, String> {
    let http = &config.http;
    let (chain, key) = match (&http.tls_certificate, &http.tls_key) {
        (Some(certificate), Some(key)) => read(certificate, key)?,
        _ if http.self_signed => self_signed(http.listen, http.public_url.as_deref())?,
        _ => return Ok(None),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls_certificate and tls_key do not work together: {error}"))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No key outlives its connection; a page keeps one connection for the whole call, so little is won by resuming.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain =
        CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("cannot read certificates from {}: {error}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read a private key from {}: {error}", key.display()))?;
    Ok((chain, key))
}

fn self_signed(listen: SocketAddr, public_url: Option<&str>) -> Result<Identity, String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.ip().is_unspecified() {
        names.push(listen.ip().to_string());
    }
    names.extend(crate::addresses::of_this_machine().iter().map(ToString::to_string));
    let host = public_url.and_then(origin_of).and_then(|origin| {
        origin.split("://").nth(1).and_then(|host| host.split(':').next()).map(ToOwned::to_owned)
    });
    names.extend(host.filter(|host| !host.is_empty() && !host.starts_with('[')));
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_certificate_is_made_without_any_file() {
        let http = "[http]\nself_signed = true\npublic_url = \"https://saal.example:8443\"\n";
        let config = Config::parse(&format!("{}{http}", crate::config::tests::OPERATOR)).unwrap();
        assert!(acceptor(&config).unwrap().is_some());
        assert!(acceptor(&Config::default()).unwrap().is_none());
    }
}
