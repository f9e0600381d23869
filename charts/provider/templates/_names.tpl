{{/* Names and labels. */}}

{{- define "provider.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "provider.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "provider.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "provider.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "provider.agent.fullname" -}}
{{- printf "%s-agent" (include "provider.fullname" .) -}}
{{- end -}}

{{/* For what has no namespace: two releases of one name in two namespaces must not share it. */}}
{{- define "provider.clusterName" -}}
{{- printf "%s.%s" (include "provider.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* The ClusterRole that the daemon holds in the namespaces of its leases. */}}
{{- define "provider.leaseRole" -}}
{{- printf "%s.leases" (include "provider.clusterName" .) -}}
{{- end -}}

{{- define "provider.daemon.account" -}}
{{- default (include "provider.fullname" .) .Values.serviceAccounts.daemon.name -}}
{{- end -}}

{{- define "provider.agent.account" -}}
{{- default (include "provider.agent.fullname" .) .Values.serviceAccounts.agent.name -}}
{{- end -}}

{{- define "provider.config.name" -}}
{{- printf "%s-config" (include "provider.fullname" .) -}}
{{- end -}}

{{- define "provider.claim" -}}
{{- default (printf "%s-data" (include "provider.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* What selects pods never changes; further labels come beside it. */}}
{{- define "provider.selector" -}}
app.kubernetes.io/name: {{ include "provider.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "provider.daemon.selector" -}}
{{ include "provider.selector" . }}
app.kubernetes.io/component: daemon
{{- end -}}

{{- define "provider.agent.selector" -}}
{{ include "provider.selector" . }}
app.kubernetes.io/component: agent
{{- end -}}

{{- define "provider.labels" -}}
{{ include "provider.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "provider.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "provider.daemon.priorityClass" -}}
{{- if .Values.priorityClasses.existing -}}
{{- .Values.priorityClasses.existing -}}
{{- else if .Values.priorityClasses.create -}}
{{- printf "%s.daemon" (include "provider.clusterName" .) -}}
{{- end -}}
{{- end -}}

{{- define "provider.agent.priorityClass" -}}
{{- if .Values.priorityClasses.existing -}}
{{- .Values.priorityClasses.existing -}}
{{- else if .Values.priorityClasses.create -}}
{{- printf "%s.agent" (include "provider.clusterName" .) -}}
{{- end -}}
{{- end -}}

{{/* How tenants reach the daemon: said, or below the domain that they know already. */}}
{{- define "provider.publicUri" -}}
{{- if .Values.gateway.publicUri -}}
{{- .Values.gateway.publicUri -}}
{{- else if eq .Values.gateway.expose "TLSRoute" -}}
{{- printf "https://provider.%s" .Values.ingress.domain -}}
{{- else -}}
{{- printf "https://provider.%s:%d" .Values.ingress.domain (int .Values.gateway.port) -}}
{{- end -}}
{{- end -}}

{{/* The host of that, without port. */}}
{{- define "provider.publicHost" -}}
{{- (urlParse (include "provider.publicUri" .)).hostname -}}
{{- end -}}
