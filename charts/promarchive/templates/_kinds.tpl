{{- /* Made by the test `kinds` from crates/operator/src/kubernetes/access.rs: UPDATE_REFERENCE=1 cargo test … --test kinds */}}

{{/* What the operator does with which kind of object, and the admission policies that it is held to there. */}}
{{- define "promarchive.kinds" -}}
- {group: "promarchive.dev", resource: metricsarchives, verbs: [get, list, watch, patch], policies: [archives]}
- {group: "monitoring.coreos.com", resource: prometheuses, verbs: [get, list, watch, patch], policies: [prometheuses]}
- {group: "monitoring.coreos.com", resource: prometheusagents, verbs: [get, list, watch, patch], policies: [prometheuses]}
- {group: "", resource: secrets, name: promarchive-remote-write, verbs: [get, list, watch, create, patch, delete], policies: [own-objects]}
- {group: "", resource: serviceaccounts, verbs: [get, list, watch, create, patch], policies: [own-objects]}
- {group: "", resource: services, verbs: [get, list, watch, create, patch], policies: [own-objects]}
- {group: "networking.k8s.io", resource: networkpolicies, verbs: [get, list, watch, create, patch, delete], policies: [own-objects]}
- {group: "", resource: persistentvolumeclaims, verbs: [get, list, watch, create, patch, delete], policies: [own-objects]}
- {group: "", resource: configmaps, verbs: [get, list, watch, create, patch, delete], policies: [own-objects]}
- {group: "apps", resource: deployments, verbs: [get, list, watch, create, patch], policies: [own-objects, receivers]}
- {group: "monitoring.coreos.com", resource: podmonitors, verbs: [get, list, watch, create, patch], policies: [own-objects]}
- {group: "promarchive.dev", resource: metricsarchives/status, verbs: [patch], policies: [archives]}
- {group: "", resource: pods, verbs: [list], policies: []}
- {group: "events.k8s.io", resource: events, verbs: [create, patch], policies: []}
{{- end -}}

{{/* The components of an archive: what the names of their objects end with. */}}
{{- define "promarchive.components" -}}
[receiver]
{{- end -}}
