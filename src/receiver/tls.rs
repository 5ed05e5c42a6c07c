//! TLS on both ports: rustls with the files that the configuration names, read again when they change.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::Tls;

/// The files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// HTTP/2 first: gRPC needs it.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a handshake uses; a handshake under way keeps what it began with.
pub type Current = watch::Receiver<Arc<ServerConfig>>;

/// The contents of the files at one time.
#[derive(PartialEq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    fn read(paths: &Tls) -> anyhow::Result<Files> {
        let read = |setting: &str, path: &str| fs::read(path).with_context(|| format!("{setting}: {path}"));
        Ok(Files {
            cert: read("tls.cert", &paths.cert)?,
            key: read("tls.key", &paths.key)?,
            client_ca: match paths.client_ca.as_str() {
                "" => None,
                path => Some(read("tls.client_ca", path)?),
            },
        })
    }

    fn server_config(&self) -> anyhow::Result<ServerConfig> {
        let chain = certificates("tls.cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| anyhow::anyhow!("tls.key: expected a private key in PEM: {error}"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("tls.client_ca", pem)? {
                    roots.add(authority).context("tls.client_ca")?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).context("tls.cert and tls.key do not fit together")?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn certificates(setting: &str, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| anyhow::anyhow!("{setting}: expected certificates in PEM: {error}"))?;
    anyhow::ensure!(!found.is_empty(), "{setting}: expected certificates in PEM, found none");
    Ok(found)
}

/// Reads the files, now and whenever they change, as long as the program runs. New connections use the new ones, those
/// that stand are not touched. Files that cannot be used leave the last good ones in place, with a line in the log.
pub fn watch_files(paths: Tls) -> anyhow::Result<Current> {
    let mut files = Files::read(&paths)?;
    let (sender, current) = watch::channel(Arc::new(files.server_config()?));
    tokio::spawn(async move {
        while !sender.is_closed() {
            tokio::time::sleep(LOOK_EVERY).await;
            let read = tokio::task::block_in_place(|| Files::read(&paths));
            match read {
                Ok(now) if now == files => continue,
                Ok(now) => {
                    files = now;
                    match files.server_config() {
                        Ok(config) => {
                            sender.send_replace(Arc::new(config));
                            tracing::info!("the TLS files changed and are used from now on");
                        }
                        Err(error) => tracing::error!(
                            error = format!("{error:#}"),
                            "the changed TLS files cannot be used, the old ones stay in use"
                        ),
                    }
                }
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the TLS files cannot be read, the old ones stay in use"
                ),
            }
        }
    });
    Ok(current)
}
