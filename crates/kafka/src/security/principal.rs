//! As whom a broker knows us, as far as a client can tell.
//!
//! A broker may map names by rules of its own (`ssl.principal.mapping.rules`, a principal builder), of which a client learns nothing.

use base64::Engine as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// What a broker calls a client that neither authenticates nor shows a certificate.
pub(crate) const ANONYMOUS: &str = "User:ANONYMOUS";

/// The principal of a user name.
pub(crate) fn of_user(name: &str) -> String {
    format!("User:{name}")
}

/// The subject of a certificate as Kafka writes it (RFC 2253): most specific part first.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.subject.to_string())
}

/// The `sub` of a token, if it is a JWT: Kafka takes it for the user's name (`sasl.oauthbearer.sub.claim.name`).
pub(crate) fn of_token(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("sub")?.as_str().map(of_user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is() {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"sub":"alice"}"#);
        assert_eq!(
            of_token(&format!("e30.{payload}.")),
            Some("User:alice".to_owned())
        );
        assert_eq!(of_token("opaque"), None);
    }
}
