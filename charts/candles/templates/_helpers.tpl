{{- define "candles.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for suffixes within the 63 characters of a label. */}}
{{- define "candles.fullname" -}}
{{- $name := include "candles.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trunc 43 | trimSuffix "-") -}}
{{- else -}}
{{- printf "%s-%s-operator" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "candles.selector" -}}
app.kubernetes.io/name: candles-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of pods: nothing that a new version of the chart alone would change, since that would restart them. */}}
{{- define "candles.podLabels" -}}
{{- $labels := dict "app.kubernetes.io/component" "operator" "app.kubernetes.io/part-of" "candles" -}}
{{- $own := mergeOverwrite $labels (include "candles.selector" . | fromYaml) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.commonLabels) (deepCopy .Values.podLabels) $own) -}}
{{- end -}}

{{- define "candles.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/component" "operator"
  "app.kubernetes.io/part-of" "candles"
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.commonLabels) $labels (include "candles.selector" . | fromYaml)) -}}
{{- end -}}

{{/* Metadata of an object of the release: (list context name annotations). */}}
{{- define "candles.metadata" -}}
{{- $root := index . 0 -}}
{{- $annotations := merge (deepCopy (index . 2)) $root.Values.commonAnnotations -}}
name: {{ index . 1 }}
labels:
  {{- include "candles.labels" $root | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Findings of checkov and kube-score that are meant: `make scan` has no others. */}}
{{- define "candles.exceptions" -}}
checkov.io/skip1: CKV_K8S_15=the tag is a version, and nodes of kind have no registry to ask; image.pullPolicy sets it
checkov.io/skip2: CKV_K8S_38=an operator talks to the API server, for which it needs the token
checkov.io/skip3: CKV_K8S_43=the digest is known when the image is pushed; image.digest sets it
# The same, and: pipelines run on without the operator, so that one that is started again is enough.
kube-score/ignore: container-image-pull-policy,deployment-replicas
{{- end -}}

{{- define "candles.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "candles.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "candles.lease" -}}
{{- default (include "candles.fullname" .) .Values.leaderElection.leaseName -}}
{{- end -}}

{{- define "candles.namespaces" -}}
{{- if and .Values.watchAllNamespaces .Values.watchNamespaces -}}
{{- fail "watchAllNamespaces: true needs an empty watchNamespaces" -}}
{{- end -}}
{{- default (list .Release.Namespace) .Values.watchNamespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Reference of an image: (list context image). */}}
{{- define "candles.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $root.Values.image.registry $image.registry -}}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Where the key of a Secret is mounted. */}}
{{- define "candles.secretFile" -}}
/etc/candles-operator/secrets/{{ .name }}/{{ .key }}
{{- end -}}

{{/* Secrets that kafka.clusters names, as a JSON list of {name, key}. */}}
{{- define "candles.kafkaSecrets" -}}
{{- $refs := list -}}
{{- range .Values.kafka.clusters -}}
  {{- with .tls -}}
    {{- range $ref := list .caSecretRef .certificateSecretRef .keySecretRef -}}
      {{- if $ref -}}{{- $refs = append $refs $ref -}}{{- end -}}
    {{- end -}}
  {{- end -}}
  {{- with .sasl -}}{{- $refs = append $refs .passwordSecretRef -}}{{- end -}}
{{- end -}}
{{- uniq $refs | toJson -}}
{{- end -}}
