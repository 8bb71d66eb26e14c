//! TLS as the configuration asks for it: rustls with ring, the authorities of a file or of the system.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{MqttConfig, refuse, unreadable};
use crate::Result;

/// Reads the files that the configuration names. Errors name the file.
pub(super) fn config(config: &MqttConfig) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(format!("TLS cannot be set up: {error}"), "this is a bug; please report it"))?
        .with_root_certificates(roots(config.ca.as_deref())?);
    let client = match (&config.cert, &config.key) {
        (Some(cert), Some(key_file)) => {
            let chain = certificates("`cert`", cert)?;
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| pem_error("`key`", key_file, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                refuse(
                    format!("{} and {} do not do: {error}", cert.display(), key_file.display()),
                    "is this the key of that certificate?",
                )
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(client))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            for certificate in certificates("`ca`", file)? {
                roots.add(certificate).map_err(|error| {
                    refuse(
                        format!("{} holds an unusable certificate: {error}", file.display()),
                        "give the authority's own certificate, as PEM",
                    )
                })?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(refuse(
                    "this system knows no certificate authorities",
                    "install ca-certificates, or name the broker's authority in `ca`",
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| pem_error(what, file, &error))?;
    if found.is_empty() {
        return Err(refuse(
            format!("{what} {} holds no certificate", file.display()),
            "give a PEM file: it has lines that say BEGIN CERTIFICATE",
        ));
    }
    Ok(found)
}

fn pem_error(what: &str, file: &Path, error: &pem::Error) -> crate::Error {
    match error {
        pem::Error::Io(error) => unreadable(what, file, error),
        error => refuse(format!("{what} {} is not sound PEM: {error}", file.display()), "give a PEM file"),
    }
}
