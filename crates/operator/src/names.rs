//! Names, labels and annotations of what the operator makes.

/// Whoever applies what the operator makes.
pub(crate) const FIELD_MANAGER: &str = "armory-operator";

/// Label: everything the operator makes has it, and is watched by it.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "armory-operator");
/// Label with the name of the Backup; scripts wait on it.
pub(crate) const BACKUP_LABEL: &str = "io.kannika/backup";
/// Label with the name of the Restore.
pub(crate) const RESTORE_LABEL: &str = "io.kannika/restore";
/// Label with the name of the Storage, on its volume claim.
pub(crate) const STORAGE_LABEL: &str = "io.kannika/storage";
/// Annotation of a StatefulSet's template: how the partitions are dealt out, `workers/seed/generation`.
pub(crate) const WORK_GROUP: &str = "io.kannika/work-group";
/// Annotation of a Job: the run that it is.
pub(crate) const RUN: &str = "io.kannika/run";

/// A name for a child may have so many characters: a Job's or StatefulSet's pods add eleven to it, and a label takes 63.
const LONGEST: usize = 52;

/// `name` with `suffix`, in at most 52 characters, as the name of a workload or a label's value: a long name is cut, and a hash of
/// the whole keeps it apart from others. Dots become dashes, as the names of Services have none.
pub(crate) fn child(name: &str, suffix: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .collect();
    let starts_well = plain.starts_with(|c: char| c.is_ascii_lowercase());
    let room = LONGEST - suffix.len();
    if plain == name && starts_well && plain.len() <= room {
        return format!("{plain}{suffix}");
    }
    let hash = short_hash(name.as_bytes());
    let mut stem: String = if starts_well {
        plain
    } else {
        format!("a-{plain}")
    };
    stem.truncate(room - hash.len() - 1);
    let stem = stem.trim_end_matches('-');
    format!("{stem}-{hash}{suffix}")
}

/// The value of a label that carries a name: the name itself where it fits.
pub(crate) fn label_value(name: &str) -> String {
    if name.len() <= 63 {
        name.to_owned()
    } else {
        child(name, "")
    }
}

/// Eight hexadecimal digits of a BLAKE3 hash.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_children_fit() {
        assert_eq!(child("orders", ""), "orders");
        assert_eq!(child("orders", "-job"), "orders-job");
        let exact = "x".repeat(52);
        assert_eq!(child(&exact, ""), exact);
        for (name, suffix) in [
            ("x".repeat(53), ""),
            ("x".repeat(50), "-3f"),
            ("x".repeat(253), "-12345678"),
            ("orders.eu".to_owned(), ""),
            ("9lives".to_owned(), ""),
            (format!("{}-{}", "x".repeat(42), "y".repeat(40)), ""),
        ] {
            let child = child(&name, suffix);
            assert!(child.len() <= 52, "{child}");
            assert!(child.ends_with(suffix));
            assert!(
                child.starts_with(|c: char| c.is_ascii_lowercase()),
                "{child}"
            );
            assert!(!child.contains("--") && !child.contains('.'), "{child}");
        }
        assert_ne!(child("a.b", ""), child("a-b", ""));
        assert_ne!(child(&"x".repeat(60), ""), child(&"x".repeat(61), ""));
        assert_eq!(label_value(&"x".repeat(63)), "x".repeat(63));
        assert!(label_value(&"x".repeat(64)).len() <= 63);
    }
}
