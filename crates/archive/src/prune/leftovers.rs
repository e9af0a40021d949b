//! Files that nobody needs: segments that no manifest can ever name, and unfinished files of long ago.

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::names::PartitionKey;
use crate::storage::TEMPORARY;

/// What a segment's file is to its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A manifest names it, or did before it was pruned.
    Named,
    /// Another commit was made in its place: no writer can ever commit it.
    Dead,
    /// It may be needed, for this reason.
    Unclear(&'static str),
}

impl Archive {
    /// What the segment `name` is to the chain whose manifests begin at `bases` (ascending).
    ///
    /// A manifest is created only if its name is free. So a segment is dead when its manifest's name is taken, or when its
    /// base lies inside of another manifest. At the chain's end it may be about to be committed; and where a link is missing
    /// it may be all that is left of the offsets.
    pub(super) async fn standing(
        &self,
        key: &PartitionKey,
        lineage: u32,
        bases: &[i64],
        name: &str,
    ) -> Result<Standing, ArchiveError> {
        let named = layout::segment_name(name).or_else(|| layout::dead_letters_name(name));
        let Some((base, nonce)) = named else {
            return Ok(Standing::Unclear("it is none of the archive's files"));
        };
        if let Some(folder) = self.storage().folder() {
            let open = format!("{}.{nonce}.{}", layout::digits(base), layout::OPEN);
            let open = layout::segment(key, lineage, &open);
            if folder.path(&open).exists() {
                return Ok(Standing::Unclear("its open segment is still there"));
            }
        }
        let at = bases.partition_point(|other| *other <= base);
        let Some(before) = at.checked_sub(1).map(|at| bases[at]) else {
            return Ok(Standing::Unclear("no manifest comes before it"));
        };
        let manifest = match self.read_manifest(key, lineage, before).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Standing::Unclear("its manifest vanished")),
            Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                return Ok(Standing::Unclear("its manifest cannot be understood"));
            }
            Err(error) => return Err(error),
        };
        if before < base {
            return Ok(match manifest.next > base {
                true => Standing::Dead,
                false if at == bases.len() => Standing::Unclear("it may still be committed"),
                false => Standing::Unclear("its manifest is missing"),
            });
        }
        let segment = manifest.segment.as_ref().map(|segment| &segment.name);
        let pruned = manifest.pruned.as_ref().map(|pruned| &pruned.segment);
        let letters = manifest.dead_letters.as_ref();
        let is_letters = letters.is_some_and(|letters| layout::file_name(&letters.place) == name);
        Ok(
            match is_letters || segment.or(pruned).is_some_and(|named| named == name) {
                true => Standing::Named,
                false => Standing::Dead,
            },
        )
    }
}

/// Whether a name is that of an unfinished file of this program.
pub(super) fn is_temporary(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(TEMPORARY) else {
        return false;
    };
    let nonced = stem
        .rsplit_once('.')
        .is_some_and(|(_, nonce)| layout::is_nonce(nonce));
    nonced || layout::segment_name(stem).is_some() || layout::dead_letters_name(stem).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_unfinished_files_are_known() {
        for own in [
            "armory.json.0123456789abcdef.tmp",
            "00000000000000000017.0123456789abcdef.log.zst.tmp",
        ] {
            assert!(is_temporary(own), "{own}");
        }
        for other in ["notes.tmp", "x.0123456789ABCDEF.tmp", "orders", ".tmp"] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
