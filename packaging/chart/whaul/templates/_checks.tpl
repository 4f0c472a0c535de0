{{/* What cannot work, said before anything is installed. */}}
{{- define "whaul.checks" -}}
{{- with .Values }}
{{- if eq .database "sqlite" }}
{{- if or .autoscaling.enabled (gt (int .replicaCount) 1) }}
{{- fail "SQLite is for one pod: set replicaCount to 1 and leave autoscaling off, or use database: postgresql" }}
{{- end }}
{{- else if not (or .existingSecret .extraEnvFrom) }}
{{- $given := keys (default dict .secretFiles) }}
{{- range .extraEnv }}{{ $given = append $given .name }}{{ end }}
{{- range list "WHAUL_DATABASE_URL" "WHAUL_SECRET_KEY" }}
{{- if not (has . $given) }}
{{- fail (printf "PostgreSQL needs %s: name a Secret that has it in existingSecret or secretFiles, or set database to sqlite and replicaCount to 1" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $config := default dict .config }}
{{- range $name, $_ := $config }}
{{- if has $name (list "WHAUL_PORT" "WHAUL_WEBHOOK_PORT" "WHAUL_CONSOLE_LISTEN") }}
{{- fail (printf "config.%s: the ports in the pod are fixed; set service.port, webhooks.service.port or console.service.port" $name) }}
{{- end }}
{{- if regexMatch "^(WHAUL_(DATABASE_URL|SECRET_KEY|APP_SECRETS|WEBHOOK_VERIFY_TOKENS|ROOT_SECRET_ACCESS_KEY|OIDC_CLIENT_SECRET)|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN)$" $name }}
{{- fail (printf "config.%s: a secret does not belong into the values; put it into a Secret and name that in existingSecret or secretFiles" $name) }}
{{- end }}
{{- end }}
{{- $stop := addf (get $config "WHAUL_SHUTDOWN_NOTICE" | default 10 | float64) (get $config "WHAUL_DEADLINE" | default 55 | float64) 5 }}
{{- if lt (float64 .terminationGracePeriodSeconds) $stop }}
{{- fail (printf "terminationGracePeriodSeconds must be at least %v: WHAUL_SHUTDOWN_NOTICE, WHAUL_DEADLINE and 5 seconds" $stop) }}
{{- end }}
{{- with .console }}
{{- if and .enabled (eq $.Values.database "sqlite") }}
{{- fail "console needs PostgreSQL: with SQLite, run it in the pod itself: kubectl exec -it POD -- whaul console" }}
{{- end }}
{{- if and .ingress.enabled (not .enabled) }}
{{- fail "console.ingress needs console.enabled" }}
{{- end }}
{{- if .ingress.enabled }}
{{- if not .ingress.host }}
{{- fail "console.ingress.host: give the name by which browsers call the console" }}
{{- end }}
{{- if not (without .trustedProxies "127.0.0.1" "::1") }}
{{- fail "console.trustedProxies: add the addresses or networks of your Ingress controller's pods" }}
{{- end }}
{{- end }}
{{- end }}
{{- with .webhooks }}
{{- if and (not .enabled) (or .ingress.enabled .httpRoute.enabled) }}
{{- fail "webhooks.ingress and webhooks.httpRoute need webhooks.enabled" }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.host) }}
{{- fail "webhooks.ingress.host: give the name under which Meta reaches you" }}
{{- end }}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) }}
{{- fail "webhooks.httpRoute.parentRefs: name the Gateway that Meta reaches" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
