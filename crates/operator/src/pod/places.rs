//! What workers call by its place in the pod, in the words of the cluster.

use armory_resources::pod;

use super::REPORTS;

/// What ends a path in a worker's sentence.
const AFTER_A_PATH: &[char] = &[' ', ':', ';', ',', ')', '"', '\''];

/// The claims that a pod has at places without their names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// That of the Storage, which has the same name.
    pub(crate) storage: &'a str,
    /// That of a Restore's report.
    pub(crate) report: Option<&'a str>,
}

impl Places<'_> {
    /// A worker's sentence with Secrets and claims in it instead of paths in the pod.
    pub(crate) fn in_words(&self, sentence: &str) -> String {
        let mut words = String::new();
        let mut rest = sentence;
        while let Some(start) = rest.find('/') {
            let (before, path) = rest.split_at(start);
            let end = path.find(AFTER_A_PATH).unwrap_or(path.len());
            let (path, after) = path.split_at(end);
            words.push_str(before);
            // A slash inside a word begins no path.
            let is_path = !before.ends_with(|one: char| !AFTER_A_PATH.contains(&one) && one != '(');
            match is_path.then(|| self.name(path)).flatten() {
                Some(name) => words.push_str(&name),
                None => words.push_str(path),
            }
            rest = after;
        }
        words + rest
    }

    fn name(&self, path: &str) -> Option<String> {
        let below = |folder: &str| {
            let rest = path.strip_prefix(folder)?;
            match rest {
                "" => Some(rest),
                rest => rest.strip_prefix('/'),
            }
        };
        if let Some((secret, key)) = below(pod::SECRETS).and_then(|rest| rest.split_once('/')) {
            return Some(format!("key {key} of Secret {secret}"));
        }
        let (claim, file) = if let Some(rest) = below(pod::CLAIMS) {
            rest.split_once('/').unwrap_or((rest, ""))
        } else if let Some(rest) = below(pod::STORAGE) {
            (self.storage, rest)
        } else {
            (self.report?, below(REPORTS)?)
        };
        Some(match file.trim_end_matches('/') {
            "" => format!("PersistentVolumeClaim {claim}"),
            file => format!("{file} on PersistentVolumeClaim {claim}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_pod_are_what_was_mounted_there() {
        let places = Places {
            storage: "disk",
            report: Some("reports"),
        };
        for (sentence, words) in [
            ("everything is stored", "everything is stored"),
            (
                "the credentials cannot be read: /etc/armory/secrets/keys/id: No such file",
                "the credentials cannot be read: key id of Secret keys: No such file",
            ),
            (
                "property sasl.password (/etc/armory/secrets/k/sasl.password) cannot be used",
                "property sasl.password (key sasl.password of Secret k) cannot be used",
            ),
            (
                "cannot read /var/lib/armory/claims/plugins/a/b.wasm: gone",
                "cannot read a/b.wasm on PersistentVolumeClaim plugins: gone",
            ),
            (
                "cannot write /var/lib/armory/storage/topics/t/0.log: full; \"/var/lib/armory/storage/\" or /var/lib/armory/reports",
                "cannot write topics/t/0.log on PersistentVolumeClaim disk: full; \"PersistentVolumeClaim disk\" or PersistentVolumeClaim reports",
            ),
            (
                "cannot create s3://b/var/lib/armory/storage/x, /var/lib/armory/storages or 1/2 of /tmp",
                "cannot create s3://b/var/lib/armory/storage/x, /var/lib/armory/storages or 1/2 of /tmp",
            ),
        ] {
            assert_eq!(places.in_words(sentence), words);
        }
    }
}
