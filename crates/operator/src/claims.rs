//! Volume claims that a pod needs.

use armory_resources::Needs;
use kube::ResourceExt as _;

use crate::names::{STORAGE_LABEL, label_value};
use crate::reason::Reason;
use crate::resolve::Refusal;
use crate::world::{World, find, label};

/// The claims of a pod, all of which exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// That of the Storage, if it is a volume.
    pub(crate) storage: Option<String>,
    /// Those that pods of one node only can use at a time.
    pub(crate) single_node: Vec<String>,
}

/// Looks for every claim that is needed; `report` is that of a Restore's report.
pub(crate) fn look(
    world: &World,
    namespace: &str,
    needs: &Needs,
    report: Option<&str>,
) -> Result<Claims, Refusal> {
    let mut claims = Claims::default();
    for name in needs.claims.iter().map(String::as_str).chain(report) {
        let Some(claim) = find(&world.claims, namespace, name) else {
            let what = match report == Some(name) {
                true => "the annotation io.kannika/report-pvc-name names it",
                false => "a plugin's wasiPluginRef.claimName names it",
            };
            return Err(Refusal::new(
                Reason::ClaimNotFound,
                format!(
                    "PersistentVolumeClaim {name} does not exist in namespace {namespace}, and {what}; create it"
                ),
            ));
        };
        if !claim.is_shared() {
            claims.single_node.push(name.to_owned());
        }
    }
    if let Some(storage) = &needs.storage {
        let claim = find(&world.claims, namespace, storage);
        let ours =
            claim.filter(|claim| label(&**claim, STORAGE_LABEL) == Some(&label_value(storage)));
        let Some(claim) = ours else {
            let message = format!(
                "the volume of Storage {storage} is not there yet; if it stays so, its status says why"
            );
            return Err(Refusal {
                is_passing: true,
                ..Refusal::new(Reason::StorageNotReady, message)
            });
        };
        if !claim.is_shared() {
            claims.single_node.push(claim.name_any());
        }
        claims.storage = Some(claim.name_any());
    }
    claims.single_node.sort();
    claims.single_node.dedup();
    Ok(claims)
}
