{{/* The daemon's configuration, in two parts: what needs a restart, and the tariff, which is read again while it runs. */}}

{{/* A map without what is empty: there the daemon's own default holds. */}}
{{- define "provider.said" -}}
{{- $said := dict -}}
{{- range $key, $value := . -}}
{{- if or (kindIs "bool" $value) (and (not (kindIs "invalid" $value)) (ne (toString $value) "") (not (and (kindIs "map" $value) (empty $value))) (not (and (kindIs "slice" $value) (empty $value)))) -}}
{{- $_ := set $said $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $said -}}
{{- end -}}

{{- define "provider.settings" -}}
{{- $v := .Values -}}
{{- $market := splitList ":" $v.chain.market -}}
{{- if $v.provider }}
provider: {{ $v.provider | quote }}
{{- end }}
{{- if not $v.database.existingSecret }}
database: sqlite:///var/lib/berth/provider.db
{{- end }}
dataKeyFile: {{ ternary (printf "/run/secrets/berth/data/%s" $v.dataKey.key) "/var/lib/berth/data.key" (not (empty $v.dataKey.existingSecret)) }}
chain:
  {{- $chain := dict "rpc" $v.chain.rpc "pollInterval" $v.chain.pollInterval "staleAfter" $v.chain.staleAfter }}
  {{- range $part := list "confirmations" "sweep" "gas" }}
  {{- $_ := set $chain $part (include "provider.said" (get $v.chain $part) | fromYaml) }}
  {{- end }}
  {{- include "provider.said" $chain | nindent 2 }}
  {{- if eq (len $market) 3 }}
  chainId: {{ index $market 1 }}
  market: {{ index $market 2 | quote }}
  {{- end }}
  startBlock: {{ int64 $v.chain.startBlock }}
wallet:
  {{- $wallet := dict "address" $v.wallet.address "dailyGas" $v.wallet.dailyGas "gasReserve" $v.wallet.gasReserve }}
  {{- if or $v.wallet.remote $v.wallet.remoteSecret.name }}
  {{- $_ := set $wallet "remote" $v.wallet.remote }}
  {{- $_ := set $wallet "remoteTimeout" $v.wallet.remoteTimeout }}
  {{- else }}
  {{- $_ := set $wallet "keystore" (printf "/run/secrets/berth/wallet/%s" $v.wallet.keystoreKey) }}
  {{- $_ := set $wallet "passwordFile" (printf "/run/secrets/berth/wallet/%s" $v.wallet.passwordKey) }}
  {{- end }}
  {{- include "provider.said" $wallet | nindent 2 }}
cluster:
  namespace: {{ .Release.Namespace }}
  serviceAccount: {{ include "provider.daemon.account" . }}
  leaseRole: {{ include "provider.leaseRole" . }}
  {{- include "provider.said" $v.cluster | nindent 2 }}
ingress:
  domain: {{ $v.ingress.domain }}
  gateway:
    name: {{ $v.ingress.gateway.name }}
    namespace: {{ default .Release.Namespace $v.ingress.gateway.namespace }}
    {{- with $v.ingress.gateway.section }}
    section: {{ . }}
    {{- end }}
  {{- with $v.ingress.sources }}
  sources: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.ingress.portHost }}
  portHost: {{ . | quote }}
  {{- end }}
gateway:
  listen: "[::]:8443"
  publicUri: {{ include "provider.publicUri" . | quote }}
  tlsDir: {{ ternary "/run/secrets/berth/tls" "/var/lib/berth/tls" (not (empty $v.gateway.tls.existingSecret)) }}
metrics:
  listen: "[::]:9090"
{{- range $part := list "escrow" "bids" "decisions" }}
{{- with include "provider.said" (get $v $part) | fromYaml }}
{{ $part }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $v.manifestTimeout }}
manifestTimeout: {{ . }}
{{- end }}
{{- end -}}

{{- define "provider.tariff" -}}
pricing:
  {{- toYaml .Values.pricing | nindent 2 }}
{{- with .Values.policy }}
policy:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
