//! Encrypted streams.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::io::split;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::keys;
use super::principal::subject;
use super::secret::{SecretError, SecretValue};
use super::trouble::{NO_HANDSHAKE, explain, tls_error};
use crate::connect::{Address, Connect, ConnectError, Stream, TcpConnect};

/// Which certificates are trusted, which one is shown, and what is checked. By librdkafka's properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) trust: Trust,
    /// `ssl.certificate.pem`, `ssl.certificate.location`
    pub(crate) certificate: Option<SecretValue>,
    /// `ssl.key.pem`, `ssl.key.location`
    pub(crate) key: Option<SecretValue>,
    /// `ssl.key.password`
    pub(crate) key_password: Option<SecretValue>,
    /// `ssl.endpoint.identification.algorithm=none`
    pub(crate) any_host_name: bool,
    /// `enable.ssl.certificate.verification=false`
    pub(crate) no_verification: bool,
}

/// Whose signatures are trusted; the system's authorities where nothing is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// `ssl.ca.pem`
    pub(crate) pem: Option<SecretValue>,
    /// `ssl.ca.location`: a file, or a folder of them.
    pub(crate) location: Option<PathBuf>,
}

/// What the options come to, read just now: the same again makes the same configuration.
#[derive(PartialEq, Eq)]
struct Material {
    trusted: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    key_password: Option<String>,
}

struct Ready {
    material: Material,
    config: Arc<ClientConfig>,
    subject: Option<Arc<str>>,
}

/// TLS over TCP (`security.protocol` SSL and SASL_SSL).
pub struct TlsConnect {
    tcp: TcpConnect,
    options: TlsOptions,
    /// What the last connection was made with; its sessions can be resumed.
    ready: Mutex<Option<Arc<Ready>>>,
}

impl fmt::Debug for TlsConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnect")
            .field("tcp", &self.tcp)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TlsConnect {
    pub(crate) fn new(tcp: TcpConnect, options: TlsOptions) -> TlsConnect {
        TlsConnect {
            tcp,
            options,
            ready: Mutex::new(None),
        }
    }

    async fn ready(&self) -> Result<Arc<Ready>, SecretError> {
        let material = self.options.read().await?;
        let known = self.last().filter(|ready| ready.material == material);
        if let Some(ready) = known {
            return Ok(ready);
        }
        let options = self.options.clone();
        // Opening a key takes some tenths of a second on purpose, and the system's authorities are many files.
        let made = tokio::task::spawn_blocking(move || options.make(material)).await;
        let ready = Arc::new(made.expect("making a configuration does not panic")?);
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ready));
        Ok(ready)
    }

    fn last(&self) -> Option<Arc<Ready>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.clone()
    }
}

impl Connect for TlsConnect {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Stream, ConnectError>> {
        Box::pin(async move {
            let ready = self.ready().await?;
            let host = &*address.host;
            let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
                .map_err(|_| ConnectError::Tls(format!("{host} is no host name that a certificate can have; reach the broker by another name").into()))?;
            let tcp = self.tcp.open(address).await?;
            let connector = TlsConnector::from(Arc::clone(&ready.config));
            let stream = connector.connect(name, tcp).await.map_err(|error| {
                let subject = ready.subject.as_deref();
                if let Some(text) = explain(&error, host, subject) {
                    return ConnectError::Tls(text.into());
                }
                if tls_error(&error).is_none() && error.kind() == std::io::ErrorKind::UnexpectedEof
                {
                    return ConnectError::Tls(NO_HANDSHAKE.into());
                }
                error.into()
            })?;
            let (reader, writer) = split(stream);
            Ok(Stream {
                reader: Box::new(reader),
                writer: Box::new(writer),
                tls: Some(crate::connect::TlsPeer {
                    host: Arc::clone(&address.host),
                    certificate: ready.subject.clone(),
                }),
            })
        })
    }

    fn certificate_subject(&self) -> Option<Arc<str>> {
        self.last()?.subject.clone()
    }
}

impl TlsOptions {
    async fn read(&self) -> Result<Material, SecretError> {
        async fn read(
            value: &Option<SecretValue>,
            property: &'static str,
        ) -> Result<Option<String>, SecretError> {
            match value {
                Some(value) => value.read_if_given(property).await,
                None => Ok(None),
            }
        }
        Ok(Material {
            trusted: self.trust.read("ssl.ca.pem", "ssl.ca.location").await?,
            certificate: read(&self.certificate, "ssl.certificate").await?,
            key: read(&self.key, "ssl.key").await?,
            key_password: read(&self.key_password, "ssl.key.password").await?,
        })
    }

    fn make(&self, material: Material) -> Result<Ready, SecretError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let verifier = self.verifier(material.trusted.as_deref(), provider)?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (config, subject) = match (&material.certificate, &material.key) {
            (Some(certificate), Some(key)) => {
                let chain = keys::certificates(certificate)
                    .map_err(|reason| unusable("ssl.certificate", &self.certificate, reason))?;
                let subject = chain.first().and_then(|first| subject(first));
                let key = keys::private_key(key, material.key_password.as_deref())
                    .map_err(|reason| unusable("ssl.key", &self.key, reason))?;
                let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let reason = format!("it does not go with the certificate ({error})");
                    unusable("ssl.key", &self.key, reason)
                })?;
                (config, subject)
            }
            (None, None) => (builder.with_no_client_auth(), None),
            (Some(_), None) => {
                let reason = "it is missing, and its certificate is there; give both or none";
                return Err(unusable("ssl.key", &self.key, reason.to_owned()));
            }
            (None, Some(_)) => {
                let reason = "it is missing, and its key is there; give both or none";
                return Err(unusable(
                    "ssl.certificate",
                    &self.certificate,
                    reason.to_owned(),
                ));
            }
        };
        Ok(Ready {
            material,
            config: Arc::new(config),
            subject: subject.map(Arc::from),
        })
    }

    fn verifier(
        &self,
        trusted: Option<&str>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, SecretError> {
        if self.no_verification {
            return Ok(Arc::new(Unverified(provider)));
        }
        let roots = Arc::new(self.trust.roots(trusted)?);
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| self.trust.unusable(error.to_string()))?;
        if self.any_host_name {
            return Ok(Arc::new(AnyHostName(inner)));
        }
        Ok(inner)
    }
}

impl Trust {
    /// The certificates of trusted authorities as PEM. `None`: those of the system.
    pub(crate) async fn read(
        &self,
        pem_property: &'static str,
        location_property: &'static str,
    ) -> Result<Option<String>, SecretError> {
        let mut text = match &self.pem {
            Some(pem) => pem.read_if_given(pem_property).await?,
            None => None,
        };
        if let Some(location) = &self.location {
            let read = read_location(location.clone()).await;
            let read = read.map_err(|error| SecretError {
                property: location_property,
                file: Some(location.clone()),
                reason: error.to_string(),
            })?;
            let text = text.get_or_insert_default();
            text.push('\n');
            text.push_str(&read);
        }
        Ok(text)
    }

    /// What is trusted, given what [`Trust::read`] returned.
    pub(crate) fn roots(&self, trusted: Option<&str>) -> Result<RootCertStore, SecretError> {
        let mut roots = RootCertStore::empty();
        match trusted {
            Some(pem) => {
                let certificates =
                    keys::certificates(pem).map_err(|reason| self.unusable(reason))?;
                for certificate in certificates {
                    roots
                        .add(certificate)
                        .map_err(|error| self.unusable(error.to_string()))?;
                }
            }
            None => {
                // Some of a system's many certificates are always of a kind that is not understood.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(self.unusable(
                        "this system has no trusted certificates (ca-certificates is not installed); name a file".to_owned(),
                    ));
                }
            }
        }
        Ok(roots)
    }

    fn unusable(&self, reason: String) -> SecretError {
        SecretError {
            property: "ssl.ca",
            file: self.location.clone(),
            reason,
        }
    }
}

fn unusable(property: &'static str, value: &Option<SecretValue>, reason: String) -> SecretError {
    let file = match value {
        Some(SecretValue::File(file) | SecretValue::OptionalFile(file)) => Some(file.clone()),
        _ => None,
    };
    SecretError {
        property,
        file,
        reason,
    }
}

/// A file, or all files of a folder one after the other.
async fn read_location(location: PathBuf) -> std::io::Result<String> {
    let read = move || {
        if !location.is_dir() {
            return std::fs::read_to_string(&location);
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(&location)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?;
        // Sorted, so that an unchanged folder is the same text again.
        files.sort();
        let is_pem = |text: &String| text.contains("-----BEGIN CERTIFICATE-----");
        let texts: Vec<String> = files
            .iter()
            .filter(|file| Path::is_file(file))
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .filter(is_pem)
            .collect();
        Ok(texts.join("\n"))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(std::io::Error::other)?
}

/// Checks everything but the name: `ssl.endpoint.identification.algorithm=none`.
#[derive(Debug)]
struct AnyHostName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHostName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last, when all the rest is in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Checks nothing but that the server has the key of its certificate: `enable.ssl.certificate.verification=false`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
