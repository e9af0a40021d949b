{{- define "armory.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything: the release's, with the chart's behind it unless it is in there already. */}}
{{- define "armory.fullname" -}}
{{- $name := include "armory.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the operator's pods; never changed, because a Deployment's selector cannot be. */}}
{{- define "armory.selector" -}}
app.kubernetes.io/name: {{ include "armory.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "armory.labels" -}}
{{ include "armory.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "armory.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "armory.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A name of an image, of a dict with repository, tag and digest. */}}
{{- define "armory.reference" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "armory.image" -}}
{{- include "armory.reference" (dict "repository" .Values.image.repository "digest" .Values.image.digest "tag" (default .Chart.AppVersion .Values.image.tag)) }}
{{- end }}

{{/* A tag or a digest of the workers' own stands for itself: the operator's digest is not another image's. */}}
{{- define "armory.workerImage" -}}
{{- $own := .Values.workers.image }}
{{- $digest := $own.digest }}
{{- if not (or $own.digest $own.tag $own.repository) }}
{{- $digest = .Values.image.digest }}
{{- end }}
{{- include "armory.reference" (dict "repository" (default .Values.image.repository $own.repository) "digest" $digest "tag" (default .Chart.AppVersion (default .Values.image.tag $own.tag))) }}
{{- end }}

{{/* The namespaces that are watched, as a JSON list. */}}
{{- define "armory.namespaces" -}}
{{- default (list .Release.Namespace) .Values.watch.namespaces | toJson }}
{{- end }}

{{/* What the operator may do where it looks for resources. It cannot read Secrets: pods mount them by name. */}}
{{- define "armory.rules" -}}
# Everything is watched, and none of these is looked up one by one.
- apiGroups: [kannika.io]
  resources: [backups, restores, storages, eventhubs, credentials, schemaregistrybackups, schemaregistryrestores]
  verbs: [list, watch]
- apiGroups: [kannika.io]
  resources: [backups/status, restores/status, storages/status, eventhubs/status, schemaregistrybackups/status, schemaregistryrestores/status]
  verbs: [patch]
# The finalizer that keeps a volume until nobody uses it, and the class that it was made with.
- apiGroups: [kannika.io]
  resources: [storages]
  verbs: [patch]
# Where the cluster demands it of whoever makes owner references.
- apiGroups: [kannika.io]
  resources: [backups/finalizers, restores/finalizers, storages/finalizers]
  verbs: [update]
# Those of Backups are deleted by the cluster, with the Backup. Before one is made, it is looked whether somebody else's has its name.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
# A ConfigMap of the user's: the map of schema ids that a Restore names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# Why a StatefulSet or a Job gets no pod is told by events alone.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
