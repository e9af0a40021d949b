//! Credentials that are read again while they are used, so that renewed ones are taken up without a restart.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;

/// How often it is looked whether a secret was renewed. It is a small file in memory, and requests are many.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Read = Arc<dyn Fn() -> io::Result<String> + Send + Sync>;

/// A secret of a storage: its value, or how it is read. Never in debug output.
#[derive(Clone)]
pub struct StorageSecret(Read);

impl StorageSecret {
    /// A secret that may change while it is used: it is read again every now and then.
    pub fn read_by(read: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> StorageSecret {
        StorageSecret(Arc::new(read))
    }

    pub(super) fn reveal(&self) -> io::Result<String> {
        (self.0)()
    }
}

impl From<String> for StorageSecret {
    fn from(value: String) -> StorageSecret {
        StorageSecret::read_by(move || Ok(value.clone()))
    }
}

impl fmt::Debug for StorageSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageSecret(…)")
    }
}

type Provider<C> = Arc<dyn CredentialProvider<Credential = C>>;
type Make<C> = Box<dyn Fn(&[String]) -> object_store::Result<Provider<C>> + Send + Sync>;

/// Gives a store the credentials that its secrets make, as they are now.
///
/// What cannot be read or understood is told, and the last ones that could are used: whoever renews a secret may take it
/// away for a moment.
pub(super) struct Renewed<C> {
    secrets: Vec<StorageSecret>,
    make: Make<C>,
    /// The storage, for messages.
    display: String,
    state: Mutex<State<C>>,
}

struct State<C> {
    values: Vec<String>,
    provider: Provider<C>,
    looked: Instant,
    /// What was told to be wrong with the secrets, since they were last well.
    told: Option<String>,
}

impl<C> Renewed<C> {
    /// Reads the secrets, which have to be well now.
    pub(super) fn new(
        secrets: Vec<StorageSecret>,
        display: String,
        make: impl Fn(&[String]) -> object_store::Result<Provider<C>> + Send + Sync + 'static,
    ) -> object_store::Result<Renewed<C>> {
        let values = read(&secrets).map_err(|error| object_store::Error::Generic {
            store: "credentials",
            source: error.into(),
        })?;
        let state = State {
            provider: make(&values)?,
            values,
            looked: Instant::now(),
            told: None,
        };
        Ok(Renewed {
            secrets,
            make: Box::new(make),
            display,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to look; whoever is told so looks.
    fn is_due(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked.elapsed() >= LOOK_EVERY;
        if is_due {
            state.looked = Instant::now();
        }
        is_due
    }

    fn take_up(&self, read: io::Result<Vec<String>>) {
        let mut state = self.state();
        let made = match read {
            Ok(values) if values == state.values => {
                state.told = None;
                return;
            }
            Ok(values) => (self.make)(&values)
                .map(|provider| (values, provider))
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok((values, provider)) => {
                (state.values, state.provider, state.told) = (values, provider, None);
                tracing::info!("the credentials of {} were renewed", self.display);
            }
            Err(why) if state.told.as_ref() != Some(&why) => {
                tracing::warn!(
                    "the credentials of {} cannot be read again, going on with the last ones: {why}",
                    self.display
                );
                state.told = Some(why);
            }
            Err(_) => {}
        }
    }
}

fn read(secrets: &[StorageSecret]) -> io::Result<Vec<String>> {
    secrets.iter().map(StorageSecret::reveal).collect()
}

/// Several secrets belong together, and may be renewed between one and the next: they are read until they are the same twice.
fn read_settled(secrets: &[StorageSecret]) -> io::Result<Vec<String>> {
    let mut values = read(secrets)?;
    for _ in 0..3 {
        let again = read(secrets)?;
        if again == values {
            break;
        }
        values = again;
    }
    Ok(values)
}

impl<C> fmt::Debug for Renewed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed")
            .field("display", &self.display)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<C: Send + Sync + 'static> CredentialProvider for Renewed<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        if self.is_due() {
            let secrets = self.secrets.clone();
            let values = tokio::task::spawn_blocking(move || read_settled(&secrets)).await;
            self.take_up(values.unwrap_or_else(|error| Err(io::Error::other(error))));
        }
        let provider = Arc::clone(&self.state().provider);
        provider.get_credential().await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use object_store::StaticCredentialProvider;

    use super::*;

    fn file(path: PathBuf) -> StorageSecret {
        StorageSecret::read_by(move || fs::read_to_string(&path))
    }

    /// A pair of files, renewed as a Secret's volume is: a link is set to another folder.
    #[tokio::test]
    async fn renewed_secrets_are_taken_up_and_missing_ones_borne() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let publish = |version: &str, id: &str, key: &str| {
            let data = folder.join(version);
            fs::create_dir(&data).expect("a folder");
            fs::write(data.join("id"), id).expect("written");
            fs::write(data.join("key"), key).expect("written");
            let link = folder.join("..new");
            std::os::unix::fs::symlink(version, &link).expect("a link");
            fs::rename(link, folder.join("..data")).expect("renamed");
        };
        publish("1", "a", "b");
        let secrets = ["id", "key"].map(|name| file(folder.join("..data").join(name)));
        let make = |values: &[String]| {
            if values[1] == "half" {
                return Err(object_store::Error::NotImplemented {
                    operation: "half a key".to_owned(),
                    implementer: "test".to_owned(),
                });
            }
            let joined = values.join("/");
            Ok(Arc::new(StaticCredentialProvider::new(joined)) as Provider<String>)
        };
        let provider =
            Renewed::new(secrets.to_vec(), "s3://b".to_owned(), make).expect("it is well");
        let get = async || {
            // As if a second had passed.
            provider.state().looked -= LOOK_EVERY;
            provider
                .get_credential()
                .await
                .expect("one")
                .as_str()
                .to_owned()
        };
        assert_eq!(get().await, "a/b");
        publish("2", "c", "d");
        // Not looked at again so soon.
        assert_eq!(*provider.get_credential().await.expect("one"), "a/b");
        assert_eq!(get().await, "c/d");
        fs::remove_file(folder.join("2/key")).expect("removed");
        assert_eq!(get().await, "c/d");
        publish("3", "e", "half");
        assert_eq!(get().await, "c/d");
        publish("4", "e", "f");
        assert_eq!(get().await, "e/f");
        assert!(!format!("{provider:?} {secrets:?}").contains("e/f"));
    }
}
