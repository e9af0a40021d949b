//! What the children of a Backup and of a Restore have in common: whose they are, and the job that their pods read.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_resources::job::JobFile;
use armory_resources::{Bindings, Jobs, Problems, ResourceSet};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::claims::{self, Claims};
use crate::context::Context;
use crate::kinds::{ConfigMap, Subject};
use crate::names::{MANAGED_BY, label_value};
use crate::pod::{Image, PodFields, Template};
use crate::reason::Reason;
use crate::resolve::{Refusal, Related, Resolved, resolve};
use crate::world::{find, labelled};

/// Everything that a pod is made of, and that is there.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) fields: PodFields,
    pub(crate) resolved: Resolved,
    pub(crate) claims: Claims,
}

impl Prepared {
    /// Looks whether everything is there. `report` is the claim of a Restore's report; `jobs` and `file` are those of
    /// [`resolve`].
    pub(crate) fn look<K: Subject, J>(
        object: &K,
        context: &Context,
        related: &Related,
        report: Option<&str>,
        jobs: impl FnOnce(&ResourceSet, &Bindings) -> Result<Jobs<J>, Problems>,
        file: impl FnOnce(J) -> JobFile,
    ) -> Result<Prepared, Refusal> {
        let fields = PodFields::of_spec(object.spec())
            .map_err(|message| Refusal::new(Reason::InvalidSpec, message))?;
        let resolved = resolve(object, related, jobs, file)?;
        let namespace = object.namespace().unwrap_or_default();
        let claims = claims::look(&context.world, &namespace, &resolved.needs, report)?;
        Ok(Prepared {
            fields: fields.over(&context.settings.pod_defaults),
            resolved,
            claims,
        })
    }
}

/// The children of one Backup or Restore.
#[derive(Debug)]
pub(crate) struct Children<'a, K> {
    pub(crate) owner: &'a K,
    /// The label by which they are found, with the owner's name.
    pub(crate) label: &'static str,
    /// `backup` or `restore`.
    pub(crate) component: &'static str,
    pub(crate) prepared: &'a Prepared,
    pub(crate) image: &'a Image,
}

impl<K: Subject> Children<'_, K> {
    pub(crate) fn namespace(&self) -> String {
        self.owner.namespace().unwrap_or_default()
    }

    /// The label that pods are found by. It never changes.
    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        let value = label_value(&self.owner.name_any());
        BTreeMap::from([(self.label.to_owned(), value)])
    }

    /// Labels that nobody overrules.
    fn own_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        let own = [
            MANAGED_BY,
            ("app.kubernetes.io/name", "armory"),
            ("app.kubernetes.io/component", self.component),
        ];
        labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        labels
    }

    pub(crate) fn metadata(&self, name: &str) -> Value {
        let mut labels = self.prepared.fields.labels.clone();
        labels.extend(self.own_labels());
        json!({
            "name": name,
            "namespace": self.owner.namespace(),
            "labels": labels,
            "ownerReferences": [self.owner.controller_owner_ref(&())],
        })
    }

    /// The job that pods read. Its name says what is in it, so it is never another one's.
    fn config_map(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(name),
            "immutable": true,
            "data": {"job.json": self.prepared.resolved.file},
        })
    }

    /// The pod, with the ConfigMap of its job; the rest is the workload's.
    pub(crate) fn template<'t>(&'t self, job: &'t str, restart: &'static str) -> Template<'t> {
        let Prepared {
            fields,
            resolved,
            claims,
        } = self.prepared;
        Template {
            image: self.image,
            fields,
            labels: self.own_labels(),
            annotations: BTreeMap::new(),
            args: Vec::new(),
            job,
            needs: &resolved.needs,
            storage: claims.storage.as_deref(),
            report: None,
            single_node: &claims.single_node,
            restart,
        }
    }

    /// Makes the ConfigMap of a job.
    pub(crate) async fn apply_job(&self, context: &Context, name: &str) -> kube::Result<()> {
        let namespace = self.namespace();
        let live = find(&context.world.config_maps, &namespace, name);
        let writer = &context.writer;
        writer
            .apply::<ConfigMap>(&namespace, &self.config_map(name), live.as_deref())
            .await
    }

    /// Removes the ConfigMaps of all other jobs.
    pub(crate) async fn remove_other_jobs(
        &self,
        context: &Context,
        name: &str,
    ) -> kube::Result<()> {
        let namespace = self.namespace();
        let value = label_value(&self.owner.name_any());
        let all: Vec<Arc<ConfigMap>> =
            labelled(&context.world.config_maps, &namespace, self.label, &value);
        for other in all.iter().filter(|other| other.name_any() != name) {
            let writer = &context.writer;
            writer
                .delete::<ConfigMap>(&namespace, &other.name_any())
                .await?;
        }
        Ok(())
    }
}

/// Whether an object was made for the one that is looked at, and not for an earlier one of its name.
pub(crate) fn owned(object: &impl ResourceExt, by: &impl Resource) -> bool {
    let mut owners = object.owner_references().iter();
    owners.any(|owner| Some(&owner.uid) == by.meta().uid.as_ref())
}
