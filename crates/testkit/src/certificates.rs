//! Certificates made for one test: an authority, and what it issues.

use anyhow::{Context as _, Result};
use pkcs8::PrivateKeyInfo;
use pkcs8::der::pem::LineEnding;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, both as PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS#8).
    pub key: String,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Authority {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate of `CN=<name>` for these hosts (names or IP addresses), good for a long time.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        self.sign(params(name, hosts)?)
    }

    /// One for a client of Kubernetes, which takes the organisation (`O=<group>`) for a group that the user `name` is in.
    pub fn issue_member(&self, name: &str, group: &str, hosts: &[&str]) -> Result<Issued> {
        let mut params = params(name, hosts)?;
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        self.sign(params)
    }

    /// One that ran out long ago.
    pub fn issue_expired(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        let mut params = params(name, hosts)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Issued> {
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Key and certificate in one text, as Kafka's PEM key stores are.
    pub fn key_store(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }

    /// The key, encrypted with a password.
    pub fn encrypted_key(&self, password: &str) -> Result<String> {
        let key = KeyPair::from_pem(&self.key)?.serialize_der();
        let key = PrivateKeyInfo::try_from(key.as_slice())
            .ok()
            .context("it is PKCS#8")?;
        let encrypted = key
            .encrypt(pkcs8::rand_core::OsRng, password)
            .ok()
            .context("it can be encrypted")?;
        let pem = encrypted
            .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
            .ok()
            .context("it can be written")?;
        Ok(pem.to_string())
    }
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = common_name(name);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
