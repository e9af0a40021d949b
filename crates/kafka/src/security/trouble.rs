//! What TLS errors mean to somebody who sets up a client.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What is wrong with the TLS of a connection, with the remedy. `None` for an error that has nothing to do with who is who:
/// the connection may succeed when it is tried again.
///
/// `certificate` is the subject of the certificate that we showed, if we have one.
pub(crate) fn explain(error: &io::Error, host: &str, certificate: Option<&str>) -> Option<String> {
    match tls_error(error) {
        Some(error) => explain_tls(error, host, certificate),
        None => None,
    }
}

/// The handshake broke off without a TLS error.
pub(crate) const NO_HANDSHAKE: &str = "it broke off the TLS handshake, as a listener without TLS does; use the port of its SSL or SASL_SSL listener, or set security.protocol to PLAINTEXT or SASL_PLAINTEXT";

/// The error of rustls inside one of the operating system's, or inside one of those inside it (which its `source` leaves out).
pub(crate) fn tls_error(error: &io::Error) -> Option<&Error> {
    let mut source: &(dyn std::error::Error + 'static) = error.get_ref()?;
    loop {
        if let Some(error) = source.downcast_ref::<Error>() {
            return Some(error);
        }
        if let Some(error) = source.downcast_ref::<io::Error>() {
            return tls_error(error);
        }
        source = source.source()?;
    }
}

fn explain_tls(error: &Error, host: &str, certificate: Option<&str>) -> Option<String> {
    match error {
        Error::InvalidCertificate(why) => Some(explain_certificate(why, host)),
        Error::AlertReceived(alert) => explain_alert(*alert, certificate),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => Some(NO_HANDSHAKE.to_owned()),
        Error::PeerIncompatible(why) => Some(format!(
            "it and armory have no TLS version or cipher in common ({why:?}); armory speaks TLS 1.2 and 1.3"
        )),
        _ => None,
    }
}

fn explain_certificate(why: &CertificateError, host: &str) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let when = match why {
                CertificateError::ExpiredContext { not_after, .. } => {
                    format!(" ({} s after 1970)", not_after.as_secs())
                }
                _ => String::new(),
            };
            format!(
                "its certificate has expired{when}; renew it on the broker, or set this machine's clock right"
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; set the clocks of the broker and of this machine right"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not trusted here; give the authority's certificate in ssl.ca.location or ssl.ca.pem".to_owned()
        }
        CertificateError::NotValidForName => not_for_name(host, &[]),
        CertificateError::NotValidForNameContext { presented, .. } => not_for_name(host, presented),
        CertificateError::Revoked => {
            "its certificate was revoked; give the broker a new one".to_owned()
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}

fn not_for_name(host: &str, names: &[String]) -> String {
    let names = match names {
        [] => "other names".to_owned(),
        names => names.join(", "),
    };
    format!(
        "its certificate is for {names}, and not for {host}; reach it (bootstrap.servers, advertised.listeners) by a name that the certificate has, or renew the certificate with this one"
    )
}

fn explain_alert(alert: AlertDescription, certificate: Option<&str>) -> Option<String> {
    use AlertDescription as Alert;
    let about_ours = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    );
    // Java has no better word for it than this in TLS 1.2.
    let wants_one = certificate.is_none() && (about_ours || alert == Alert::HandshakeFailure);
    if wants_one {
        return Some(format!(
            "it wants a client certificate (alert {alert:?}); give one in ssl.certificate.location and ssl.key.location, or as .pem properties"
        ));
    }
    match certificate.filter(|_| about_ours) {
        Some(subject) => Some(format!(
            "it does not accept the client certificate {subject} (alert {alert:?}); see that it has not expired and that the broker trusts its issuer (ssl.truststore of the listener)"
        )),
        None => match alert {
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
                Some(format!(
                    "it and armory have no TLS version or cipher in common (alert {alert:?}); armory speaks TLS 1.2 and 1.3"
                ))
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_rustls_is_found_inside_errors_of_the_system() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError);
        let outer = io::Error::other(inner);
        assert_eq!(tls_error(&outer), Some(&Error::DecryptError));
        assert_eq!(tls_error(&io::ErrorKind::BrokenPipe.into()), None);
    }
}
