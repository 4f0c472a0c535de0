{{- define "whaul.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is added to it. */}}
{{- define "whaul.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "whaul.selectorLabels" -}}
app.kubernetes.io/name: {{ include "whaul.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "whaul.labels" -}}
{{ include "whaul.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "whaul.serverLabels" -}}
{{ include "whaul.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "whaul.consoleLabels" -}}
{{ include "whaul.selectorLabels" . }}
app.kubernetes.io/component: console
{{- end }}

{{- define "whaul.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "whaul.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "whaul.scheme" -}}
{{- hasKey (default dict .Values.config) "WHAUL_TLS_CERT_FILE" | ternary "https" "http" }}
{{- end }}

{{/* What a container of this image has in common with the others. */}}
{{- define "whaul.container" -}}
{{- with .Values.image -}}
image: {{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* The settings, and the files and folders that they need: of the server and of the migration. */}}
{{- define "whaul.settings" -}}
{{- $env := dict "WHAUL_HOST" "0.0.0.0" "WHAUL_PORT" "8080" "WHAUL_SHUTDOWN_NOTICE" "10" }}
{{- if .Values.webhooks.enabled }}{{ $_ := set $env "WHAUL_WEBHOOK_PORT" "8081" }}{{ end -}}
{{- if eq .Values.database "sqlite" }}{{ $_ := set $env "WHAUL_DATABASE_URL" "sqlite:////var/lib/whaul/whaul.db" }}{{ end -}}
{{- range $name, $_ := .Values.secretFiles }}{{ $_ := set $env (printf "%s_FILE" $name) (printf "/run/secrets/whaul/%s" $name) }}{{ end -}}
env:
  {{- range $name, $value := mergeOverwrite $env (default dict .Values.config) }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- with .Values.extraEnv }}{{ tpl (toYaml .) $ | nindent 2 }}{{ end }}
{{- if or .Values.existingSecret .Values.extraEnvFrom }}
envFrom:
  {{- with .Values.existingSecret }}
  - secretRef: {name: {{ tpl . $ }}}
  {{- end }}
  {{- with .Values.extraEnvFrom }}{{ tpl (toYaml .) $ | nindent 2 }}{{ end }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if eq .Values.database "sqlite" }}
  - {name: data, mountPath: /var/lib/whaul}
  {{- end }}
  {{- if .Values.secretFiles }}
  - {name: secrets, mountPath: /run/secrets/whaul, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}{{ tpl (toYaml .) $ | nindent 2 }}{{ end }}
{{- end }}

{{/* What every pod has; without a token of the Kubernetes API, which whaul never asks. */}}
{{- define "whaul.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "whaul.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if eq .Values.database "sqlite" }}
- name: data
  persistentVolumeClaim: {claimName: {{ default (include "whaul.fullname" .) .Values.sqlite.existingClaim }}}
{{- end }}
{{- with .Values.secretFiles }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $from := . }}
      - secret:
          name: {{ tpl $from.secret $ }}
          items: [{key: {{ $from.key | quote }}, path: {{ $name }}}]
      {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end }}
