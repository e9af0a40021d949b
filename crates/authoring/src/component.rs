//! Making a component of a core module, which is what compilers that know nothing of components leave.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::Error;

/// What a component begins with: the magic number, and a version that tells it from a module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The module that a compiler for the first WASI imports.
const OLD_WASI: &str = "wasi_snapshot_preview1";

/// Makes a component of a module that carries its world in a custom section, as Rust's `wit-bindgen` leaves it.
///
/// What the module imports of the first WASI, it gets by way of an adapter, as the interfaces of WASI 0.2. A component is
/// returned as it is.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Error> {
    if module.starts_with(COMPONENT) {
        return Ok(module.to_vec());
    }
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let encoder = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(OLD_WASI, adapter));
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| Error::Encode {
            reason: format!("{error:#}"),
        })
}

/// Writes the one world of a folder of WIT files into a module, for [`encode`].
pub(crate) fn embed(module: &mut Vec<u8>, wit: &Path) -> Result<(), Error> {
    let unusable = |reason: String| Error::Wit {
        folder: wit.to_owned(),
        reason,
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(wit)
        .map_err(|error| unusable(format!("{error:#}")))?;
    let world = resolve
        .select_world(&[package], None)
        .map_err(|error| unusable(format!("{error:#}")))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(|error| {
        Error::Encode {
            reason: format!("{error:#}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Language, World, create};

    /// The smallest module.
    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_folder_with_both_worlds_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let [one, other] = ["one", "other"].map(|name| parent.path().join(name));
        create(&one, "one", Language::Go, World::Backup).expect("a project");
        create(&other, "other", Language::Go, World::Restore).expect("a project");
        let wit = one.join("wit");
        embed(&mut EMPTY.to_vec(), &wit).expect("one world");
        std::fs::copy(other.join("wit/restore.wit"), wit.join("restore.wit")).expect("a copy");
        let error = embed(&mut EMPTY.to_vec(), &wit).unwrap_err().to_string();
        assert!(error.contains("the file of one world"), "{error}");
        let error = embed(&mut EMPTY.to_vec(), &parent.path().join("absent")).unwrap_err();
        assert!(matches!(error, Error::Wit { .. }), "{error}");
    }

    #[test]
    fn what_is_no_plugin_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let project = parent.path().join("p");
        create(&project, "p", Language::Go, World::Backup).expect("a project");
        let mut without_exports = EMPTY.to_vec();
        embed(&mut without_exports, &project.join("wit")).expect("one world");
        for module in [&without_exports[..], b"", b"text"] {
            let error = encode(module).unwrap_err();
            assert!(matches!(error, Error::Encode { .. }), "{error}");
        }
        // Whether it is a plugin is found out when it is loaded.
        assert_eq!(encode(COMPONENT).expect("as it is"), COMPONENT);
    }
}
