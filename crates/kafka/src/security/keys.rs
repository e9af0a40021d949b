//! Certificates and keys from PEM text.

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use base64::Engine as _;
use pkcs8::EncryptedPrivateKeyInfo;

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The certificates of a PEM text, in its order.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(not_pem(
            pem,
            "there is no certificate in it (a PEM block that begins with -----BEGIN CERTIFICATE-----)",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it is not PEM: {error}")),
    }
}

/// The private key of a PEM text, opened with the password if it is encrypted.
pub(super) fn private_key(
    pem: &str,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(encrypted) = block(pem, ENCRYPTED) {
        return decrypt(&encrypted?, password);
    }
    if pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("it is encrypted in OpenSSL's old way; convert it: openssl pkcs8 -topk8 -in old.pem -out key.pem".to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
        not_pem(
            pem,
            "there is no private key in it (a PEM block that begins with -----BEGIN PRIVATE KEY-----)",
        )
    })
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let password = password.ok_or("it is encrypted; give its password in ssl.key.password")?;
    let unreadable = |error: &dyn std::fmt::Display| {
        format!(
            "it is encrypted in a way that armory does not know ({error}); convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out key.pem"
        )
    };
    let info = EncryptedPrivateKeyInfo::try_from(der).map_err(|error| unreadable(&error))?;
    let key = info
        .decrypt(password)
        .map_err(|_| "ssl.key.password does not open it".to_owned())?;
    let key = key.as_bytes().to_vec();
    Ok(PrivatePkcs8KeyDer::from(key).into())
}

/// The content of the first PEM block with this label.
fn block(pem: &str, label: &str) -> Option<Result<Vec<u8>, String>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let body = rest.split_once(&format!("-----END {label}-----"));
    let decoded = body.map(|(body, _)| {
        let compact: String = body.split_ascii_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(compact)
    });
    Some(match decoded {
        Some(Ok(der)) => Ok(der),
        _ => Err(format!("its {label} block is damaged")),
    })
}

/// Why a text without the block that was wanted is of no use.
fn not_pem(pem: &str, otherwise: &str) -> String {
    if pem.contains("-----BEGIN") {
        return otherwise.to_owned();
    }
    format!(
        "{otherwise}; a PKCS#12 or Java key store is converted with: openssl pkcs12 -in keystore.p12 -nodes -out keystore.pem"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One key, made by OpenSSL for these tests, plain and encrypted with the password `hush`.
    const PLAIN: &str = include_str!("../../tests/keys/plain.pem");
    const AES: &str = include_str!("../../tests/keys/encrypted-aes.pem");
    const DES3: &str = include_str!("../../tests/keys/encrypted-des3.pem");
    const OLD: &str = include_str!("../../tests/keys/encrypted-old.pem");

    #[test]
    fn encrypted_keys_are_opened() {
        let plain = private_key(PLAIN, None).unwrap();
        for encrypted in [AES, DES3] {
            let opened = private_key(encrypted, Some("hush")).unwrap();
            assert_eq!(opened.secret_der(), plain.secret_der());
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_told_from_one_another() {
        #[track_caller]
        fn check(pem: &str, password: Option<&str>, words: &str) {
            let why = private_key(pem, password).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        check(AES, None, "give its password in ssl.key.password");
        check(AES, Some("wrong"), "ssl.key.password does not open it");
        check(OLD, Some("hush"), "openssl pkcs8 -topk8");
        check(
            "\u{0}\u{1}keystore",
            None,
            "openssl pkcs12 -in keystore.p12",
        );
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(certificate, None, "there is no private key in it");
        let why = certificates(PLAIN).unwrap_err();
        assert!(why.contains("there is no certificate in it"), "{why}");
    }
}
