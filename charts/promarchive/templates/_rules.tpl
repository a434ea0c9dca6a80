{{/* What the operator does in a namespace of archives or of Prometheus objects. */}}
{{- define "promarchive.operatorRules" -}}
- apiGroups: [promarchive.dev]
  resources: [metricsarchives]
  verbs: [get, list, watch, patch]
- apiGroups: [promarchive.dev]
  resources: [metricsarchives/status]
  verbs: [patch]
# The admission policy allows changes of remoteWrite alone.
- apiGroups: [monitoring.coreos.com]
  resources: [prometheuses, prometheusagents]
  verbs: [get, list, watch, patch]
# The admission policy allows changes of the operator's own objects alone, in all of the following kinds.
# What an archive owns goes with it; only what it may stop wanting before is deleted by the operator.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# No other Secret can be read. Server-side apply creates it, since a plain create carries no name.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [promarchive-remote-write]
  verbs: [get, list, watch, create, patch, delete]
# Which pods of a Prometheus must have delivered before its entry goes.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What the removal Job does in a namespace of archives or of Prometheus objects. */}}
{{- define "promarchive.removalRules" -}}
- apiGroups: [promarchive.dev]
  resources: [metricsarchives]
  verbs: [get, list, watch, patch]
- apiGroups: [monitoring.coreos.com]
  resources: [prometheuses, prometheusagents]
  verbs: [get, list, watch, patch]
{{- end -}}

{{/* Which kinds of the Prometheus Operator are there. */}}
{{- define "promarchive.definitionRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames:
    - prometheuses.monitoring.coreos.com
    - prometheusagents.monitoring.coreos.com
    - podmonitors.monitoring.coreos.com
  verbs: [list, watch]
{{- end -}}

{{/* Where the rules apply: (dict "root" $ "name" … "account" … "rules" … "metadata" …), as a ClusterRole, or as a Role in each namespace. */}}
{{- define "promarchive.grant" -}}
{{- $clusterWide := empty .root.Values.namespaces -}}
{{- $prefix := ternary "Cluster" "" $clusterWide -}}
{{- range $namespace := ternary (list "") .root.Values.namespaces $clusterWide }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $prefix }}Role
metadata:
  name: {{ $.name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  {{- $.metadata | nindent 2 }}
rules:
  {{- $.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $prefix }}RoleBinding
metadata:
  name: {{ $.name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  {{- $.metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $prefix }}Role
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.account }}
    namespace: {{ $.root.Release.Namespace }}
{{- end }}
{{- end -}}
