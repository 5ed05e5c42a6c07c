//! Certificates made for a test, and clients that trust them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto, version};

use super::client::{Http1, request_bytes, within};
use crate::collector::{Collector, OWN_FILE};

/// An authority, and what it signed for the collector, in files.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = Authority { folder: TempDir::new().unwrap(), issuer: Issuer::new(params, key), certificate };
        std::fs::write(authority.path("ca.pem"), authority.certificate.pem()).unwrap();
        authority.write_server_certificate(1);
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `cert.pem` and `key.pem` for localhost, replaced if they are there; `serial` tells one from another.
    pub fn write_server_certificate(&self, serial: u64) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // Each file is replaced in one step, but not both at once, as certificate managers do it.
        replace(&self.path("key.pem"), &key.serialize_pem());
        replace(&self.path("cert.pem"), &certificate.pem());
    }

    /// A client's certificate and key.
    pub fn client(&self) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec!["agent".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A collector that speaks TLS on both ports, with these settings too.
    pub async fn collector(&self, more: &[(&str, &str)]) -> Collector {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let mut settings =
            vec![("VECTOROS_TLS__CERT", cert.to_str().unwrap()), ("VECTOROS_TLS__KEY", key.to_str().unwrap())];
        settings.extend_from_slice(more);
        let mut collector = Collector::launch(OWN_FILE, &settings);
        let end = std::time::Instant::now() + crate::collector::PATIENCE;
        while !self.is_ready(&collector).await {
            assert!(std::time::Instant::now() < end, "{}", collector.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        collector.key = collector.make_key("default", &[]);
        collector
    }

    async fn is_ready(&self, collector: &Collector) -> bool {
        let config = self.client_config(&[&version::TLS13], &["http/1.1"], true);
        let Ok(stream) = connect(config, collector).await else { return false };
        let mut connection = Http1::over(stream);
        let asked = connection.stream.write_all(&request_bytes("GET", "/readyz", &[], b"")).await;
        asked.is_ok() && within(connection.try_answer()).await.is_ok_and(|answer| answer.status == 200)
    }

    pub fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        with_certificate: bool,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if with_certificate {
            let (certificate, key) = self.client();
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        } else {
            config.with_no_client_auth()
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A client of HTTP that trusts this authority, a new connection for each request when asked to.
    pub fn http_client(&self, is_reusing: bool) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.certificate.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().add_root_certificate(authority);
        builder.pool_max_idle_per_host(if is_reusing { 8 } else { 0 }).build().unwrap()
    }
}

/// A handshake with the collector's HTTP port.
pub async fn connect(config: ClientConfig, collector: &Collector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(collector.http).await?;
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}
