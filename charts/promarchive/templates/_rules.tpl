{{/* What the operator does in a namespace of archives or of Prometheus objects. The admission policies allow it less. */}}
{{- define "promarchive.operatorRules" -}}
{{- range include "promarchive.kinds" . | fromYamlArray }}
- apiGroups: [{{ .group | quote }}]
  resources: [{{ .resource }}]
  {{- with .name }}
  resourceNames: [{{ . }}]
  {{- end }}
  verbs: [{{ join ", " .verbs }}]
{{- end }}
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
