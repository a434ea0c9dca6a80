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
