{{/* Everything that the values lack or that does not go together, told at once before anything is rendered. */}}

{{- define "provider.problems" -}}
{{- $problems := list -}}
{{- $v := .Values -}}
{{- if and (not $v.chain.rpc) (not $v.chain.rpcSecret.name) -}}
{{- $problems = append $problems "chain.rpc is missing: give the URL of a JSON-RPC endpoint of the chain, or name a secret that holds it in chain.rpcSecret.name" -}}
{{- end -}}
{{- if and $v.chain.rpc $v.chain.rpcSecret.name -}}
{{- $problems = append $problems "chain.rpc stands beside chain.rpcSecret.name: leave one of the two out" -}}
{{- end -}}
{{- if not $v.chain.market -}}
{{- $problems = append $problems "chain.market is missing: give the Market contract with its chain, as eip155:<chain id>:<address>" -}}
{{- end -}}
{{- $remote := or $v.wallet.remote $v.wallet.remoteSecret.name -}}
{{- if and (not $v.wallet.existingSecret) (not $remote) -}}
{{- $problems = append $problems (printf "wallet.existingSecret is missing: make a secret with the operator key (%s), its password (%s) and the provider's address (%s), and name it here; or name a signing service in wallet.remote" $v.wallet.keystoreKey $v.wallet.passwordKey $v.wallet.providerKey) -}}
{{- end -}}
{{- if and $v.wallet.remote $v.wallet.remoteSecret.name -}}
{{- $problems = append $problems "wallet.remote stands beside wallet.remoteSecret.name: leave one of the two out" -}}
{{- end -}}
{{- if and $remote (not $v.wallet.address) -}}
{{- $problems = append $problems "wallet.address is missing: with a signing service, give the account that it signs for" -}}
{{- end -}}
{{- if and $remote (not $v.wallet.existingSecret) (not $v.provider) -}}
{{- $problems = append $problems "provider is missing: without a wallet's secret, give the owner address under which the provider is registered" -}}
{{- end -}}
{{- if not $v.ingress.domain -}}
{{- $problems = append $problems "ingress.domain is missing: give the domain whose wildcard leads to the cluster's Gateway, such as apps.provider.example" -}}
{{- end -}}
{{- if not $v.pricing -}}
{{- $problems = append $problems "pricing is missing: give a price table, with cpuThread, memoryGiB, ephemeralGiB and endpoint at least, in dollars a month and in quotes" -}}
{{- else -}}
{{- range list "cpuThread" "memoryGiB" "ephemeralGiB" "endpoint" -}}
{{- if not (hasKey $v.pricing .) -}}
{{- $problems = append $problems (printf "pricing.%s is missing: say what it costs, in dollars a month and in quotes" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $v.persistence.enabled -}}
{{- range $what, $secret := dict "database.existingSecret" $v.database.existingSecret "dataKey.existingSecret" $v.dataKey.existingSecret "gateway.tls.existingSecret" $v.gateway.tls.existingSecret -}}
{{- if not $secret -}}
{{- $problems = append $problems (printf "%s is missing: without persistence nothing else keeps it" $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.cluster.addressPool (not $v.cluster.addressPool.addresses) -}}
{{- $problems = append $problems "cluster.addressPool.addresses is missing: say how many addresses tenants may lease" -}}
{{- end -}}
{{- range list (list "monitoring.podMonitor.enabled" $v.monitoring.podMonitor.enabled "PodMonitor") (list "monitoring.serviceMonitor.enabled" $v.monitoring.serviceMonitor.enabled "ServiceMonitor") (list "monitoring.rules.enabled" $v.monitoring.rules.enabled "PrometheusRule") -}}
{{- $kind := printf "monitoring.coreos.com/v1/%s" (index . 2) -}}
{{- if and (index . 1) (not ($.Capabilities.APIVersions.Has $kind)) -}}
{{- $problems = append $problems (printf "%s is on, but the cluster has no %s: install the Prometheus operator first, or turn it off; to render without a cluster, add --api-versions %s" (index . 0) (index . 2) $kind) -}}
{{- end -}}
{{- end -}}
{{- if eq $v.gateway.expose "TLSRoute" -}}
{{- $kind := printf "%s/TLSRoute" $v.gateway.route.apiVersion -}}
{{- if not (.Capabilities.APIVersions.Has $kind) -}}
{{- $problems = append $problems (printf "gateway.expose is TLSRoute, but the cluster has no %s: install Gateway API with its TLSRoute, correct gateway.route.apiVersion, or expose the gateway otherwise; to render without a cluster, add --api-versions %s" $kind $kind) -}}
{{- end -}}
{{- end -}}
{{- with $problems -}}
{{- fail (printf "\n\nThe values cannot be used:\n- %s\n" (join "\n- " .)) -}}
{{- end -}}
{{- end -}}
