{{/* The user names of the two ServiceAccounts that the policies are about. */}}
{{- define "promarchive.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "promarchive.serviceAccountName" . }}
{{- end -}}

{{- define "promarchive.removalUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "promarchive.removal" . }}
{{- end -}}

{{/* Head of a policy and its binding: (dict "root" $ "name" …). */}}
{{- define "promarchive.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "promarchive.operator" .root }}-{{ .name }}
  labels:
    {{- include "promarchive.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "promarchive.operator" .root }}-{{ .name }}
  validationActions: [Deny]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "promarchive.operator" .root }}-{{ .name }}
  labels:
    {{- include "promarchive.labels" .root | nindent 4 }}
{{- end -}}

{{/* The kinds that a policy is asked about, from the list of kinds: (dict "policy" … "operations" … "subresources" …). */}}
{{- define "promarchive.guardedKinds" -}}
{{- range include "promarchive.kinds" . | fromYamlArray }}
{{- if and (has $.policy .policies) (not (contains "/" .resource)) }}
- apiGroups: [{{ .group | quote }}]
  apiVersions: ["*"]
  operations: [{{ join ", " $.operations }}]
  resources: [{{ .resource }}{{ if $.subresources }}, {{ .resource }}/*{{ end }}]
{{- end }}
{{- end }}
{{- end -}}
