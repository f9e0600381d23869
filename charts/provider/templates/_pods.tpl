{{/* What the daemon's pod and the pods that run `check` have in common: the same configuration, secrets and volume. */}}

{{- define "provider.security.pod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# Once it is right, the modes of keys on the volume are left alone.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "provider.security.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "provider.env" -}}
{{- $v := .Values -}}
- name: BERTH_LOG
  value: {{ $v.log.filter | quote }}
- name: BERTH_LOG_FORMAT
  value: {{ $v.log.format }}
{{- with $v.chain.rpcSecret }}
{{- if .name }}
- name: BERTH_CHAIN_RPC
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with $v.wallet.remoteSecret }}
{{- if .name }}
- name: BERTH_WALLET_REMOTE
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- if not $v.provider }}
- name: BERTH_PROVIDER
  valueFrom:
    secretKeyRef: {name: {{ $v.wallet.existingSecret | quote }}, key: {{ $v.wallet.providerKey | quote }}}
{{- end }}
{{- with $v.database }}
{{- if .existingSecret }}
- name: BERTH_DATABASE
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with $v.daemon.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "provider.mounts" -}}
{{- $v := .Values -}}
# A folder, not one file of it: so that a changed tariff reaches the daemon.
- name: config
  mountPath: /etc/berth
  readOnly: true
{{- if and $v.wallet.existingSecret (not (or $v.wallet.remote $v.wallet.remoteSecret.name)) }}
- name: wallet
  mountPath: /run/secrets/berth/wallet
  readOnly: true
{{- end }}
{{- if $v.gateway.tls.existingSecret }}
- name: tls
  mountPath: /run/secrets/berth/tls
  readOnly: true
{{- end }}
{{- if $v.dataKey.existingSecret }}
- name: data-key
  mountPath: /run/secrets/berth/data
  readOnly: true
{{- end }}
{{- if $v.persistence.enabled }}
- name: data
  mountPath: /var/lib/berth
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with $v.daemon.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "provider.volumes" -}}
{{- $v := .Values -}}
- name: config
  configMap:
    name: {{ include "provider.config.name" . }}
{{- if and $v.wallet.existingSecret (not (or $v.wallet.remote $v.wallet.remoteSecret.name)) }}
- name: wallet
  secret:
    secretName: {{ $v.wallet.existingSecret | quote }}
    defaultMode: 256 # 0400, as every reader of YAML reads it
    items:
      - {key: {{ $v.wallet.keystoreKey | quote }}, path: {{ $v.wallet.keystoreKey | quote }}}
      - {key: {{ $v.wallet.passwordKey | quote }}, path: {{ $v.wallet.passwordKey | quote }}}
{{- end }}
{{- with $v.gateway.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 256 # 0400, as every reader of YAML reads it
    items:
      - {key: tls.key, path: tls.key}
{{- end }}
{{- with $v.dataKey }}
{{- if .existingSecret }}
- name: data-key
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 256 # 0400, as every reader of YAML reads it
    items:
      - {key: {{ .key | quote }}, path: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- if $v.persistence.enabled }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "provider.claim" . }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- with $v.daemon.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A pod that runs `check` beside the daemon: on its node, because its volume may be mounted on one node only. */}}
{{- define "provider.check.spec" -}}
restartPolicy: Never
serviceAccountName: {{ include "provider.daemon.account" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "provider.security.pod" . | nindent 2 }}
{{- with .Values.daemon.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.persistence.enabled }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{ include "provider.daemon.selector" . | nindent 12 }}
{{- end }}
containers:
  - name: check
    image: {{ include "provider.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/bin/berth-provider]
    args: [check]
    env: {{ include "provider.env" . | nindent 6 }}
    resources: {{ toYaml .Values.daemon.resources | nindent 6 }}
    securityContext: {{ include "provider.security.container" . | nindent 6 }}
    volumeMounts: {{ include "provider.mounts" . | nindent 6 }}
volumes: {{ include "provider.volumes" . | nindent 2 }}
{{- end -}}
