{{- define "pavise.suffix" -}}
{{- if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end -}}
{{- end -}}

{{- define "pavise.name" -}}
pavise-control-plane{{ include "pavise.suffix" . }}
{{- end -}}

{{- define "pavise.selector" -}}
app.kubernetes.io/name: pavise
app.kubernetes.io/component: control-plane
pavise.dev/control-plane: {{ .Values.revision | quote }}
{{- end -}}

{{- define "pavise.labels" -}}
{{ include "pavise.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pavise
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{- define "pavise.image" -}}
{{- $i := index . 0 -}}
{{- if $i.digest }}{{ $i.repository }}@{{ $i.digest }}{{ else }}{{ $i.repository }}:{{ $i.tag | default (index . 1) }}{{ end -}}
{{- end -}}

{{- define "pavise.client" -}}
service:
  name: {{ include "pavise.name" (index . 0) }}
  namespace: {{ (index . 0).Release.Namespace }}
  port: 443
  path: {{ index . 1 }}
{{- end -}}

{{- define "pavise.injectRules" -}}
admissionReviewVersions: [v1]
sideEffects: None
matchPolicy: Equivalent
reinvocationPolicy: IfNeeded
failurePolicy: {{ .Values.webhook.failurePolicy }}
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
clientConfig:
  {{- include "pavise.client" (list . "/inject") | nindent 2 }}
rules:
  - { apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [pods], scope: Namespaced }
  - { apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/ephemeralcontainers], scope: Namespaced }
# Of a pod that runs only what could take its shield off is asked about, so that finalizers and
# owners can be changed while nobody answers.
matchConditions:
  - name: takes-off-the-shield
    expression: >-
      request.operation != "UPDATE" || request.?subResource.orValue("") != "" || object.spec != oldObject.spec ||
      object.metadata.?labels[?"pavise.dev/revision"] != oldObject.metadata.?labels[?"pavise.dev/revision"] ||
      object.metadata.?annotations[?"pavise.dev/status"] != oldObject.metadata.?annotations[?"pavise.dev/status"]
{{- end -}}

{{- define "pavise.notOurs" -}}
- { key: pavise.dev/inject, operator: In, values: [enabled] }
- { key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, kube-node-lease, {{ .Release.Namespace }}] }
{{- end -}}
