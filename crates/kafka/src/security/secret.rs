//! Values that nobody may see, and where they are read from.

use std::fmt;
use std::path::PathBuf;

/// A value that may be secret: the text itself, or a file to read it from each time it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// The value. It does not appear in debug output.
    Text(String),
    /// The value is the file's content, without one line end at its end.
    File(PathBuf),
    /// The same, of a file that may be missing: then it is as if the property had not been given. For certificates, keys and
    /// their passwords; a missing user name or password is an error all the same.
    OptionalFile(PathBuf),
}

/// A certificate, key or password that cannot be read, or is not what it should be: which property, which file, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Kafka property {property}{} cannot be used: {reason}", From(file))]
pub struct SecretError {
    /// librdkafka's name of what it is.
    pub(crate) property: &'static str,
    pub(crate) file: Option<PathBuf>,
    pub(crate) reason: String,
}

struct From<'a>(&'a Option<PathBuf>);

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(file) => write!(f, " ({})", file.display()),
            None => Ok(()),
        }
    }
}

impl SecretValue {
    /// The value, read now; none of a file that may be missing, and is.
    pub(crate) async fn read_if_given(
        &self,
        property: &'static str,
    ) -> Result<Option<String>, SecretError> {
        if let SecretValue::OptionalFile(file) = self
            && matches!(tokio::fs::try_exists(file).await, Ok(false))
        {
            return Ok(None);
        }
        self.read(property).await.map(Some)
    }

    /// The value, read now.
    pub(crate) async fn read(&self, property: &'static str) -> Result<String, SecretError> {
        let file = match self {
            SecretValue::Text(text) => return Ok(text.clone()),
            SecretValue::File(file) | SecretValue::OptionalFile(file) => file,
        };
        match tokio::fs::read_to_string(file).await {
            Ok(mut text) => {
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Ok(text)
            }
            Err(error) => Err(SecretError {
                property,
                file: Some(file.clone()),
                reason: error.to_string(),
            }),
        }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretValue::Text(_) => f.write_str("Text(…)"),
            SecretValue::File(file) => f.debug_tuple("File").field(file).finish(),
            SecretValue::OptionalFile(file) => f.debug_tuple("OptionalFile").field(file).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_anew_each_time_and_lose_one_line_end() {
        let folder = std::env::temp_dir().join(format!("armory-secret-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("password");
        let secret = SecretValue::File(file.clone());
        for (content, value) in [("a\n", "a"), ("b\r\n", "b"), ("c\n\n", "c\n"), ("d", "d")] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(secret.read("sasl.password").await.unwrap(), value);
        }
        std::fs::remove_dir_all(&folder).unwrap();
        let error = secret.read("sasl.password").await.unwrap_err().to_string();
        assert!(
            error.contains("sasl.password") && error.contains("No such file"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_may_be_missing_is_read_as_soon_as_it_is_there() {
        let folder = std::env::temp_dir().join(format!("armory-secret-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("key");
        let read = async |secret: SecretValue| secret.read_if_given("ssl.key").await;
        let (wanted, optional) = (
            SecretValue::File(file.clone()),
            SecretValue::OptionalFile(file.clone()),
        );
        assert_eq!(read(optional.clone()).await.unwrap(), None);
        assert!(read(wanted.clone()).await.is_err());
        std::fs::write(&file, "a\n").unwrap();
        for secret in [optional, wanted] {
            assert_eq!(read(secret).await.unwrap().as_deref(), Some("a"));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn debug_output_does_not_show_it() {
        let secret = SecretValue::Text("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
