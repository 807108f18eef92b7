{{- define "stack.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select a part: (list context part). */}}
{{- define "stack.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end -}}

{{/* Of pods: nothing that a new version of the chart alone would change, since that would restart them. */}}
{{- define "stack.podLabels" -}}
{{- $labels := dict "app.kubernetes.io/component" (index . 1) "app.kubernetes.io/part-of" "candles-stack" -}}
{{- $own := mergeOverwrite $labels (include "stack.selector" . | fromYaml) -}}
{{- toYaml (mergeOverwrite (deepCopy (index . 0).Values.commonLabels) $own) -}}
{{- end -}}

{{- define "stack.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/part-of" "candles-stack"
  "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) $labels (include "stack.selector" . | fromYaml)) -}}
{{- end -}}

{{/* Metadata of an object of a part: (list context part [suffix]). */}}
{{- define "stack.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "stack.fullname" $root }}-{{ index . 1 }}{{ if gt (len .) 2 }}-{{ index . 2 }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "stack.labels" . | nindent 2 }}
{{- end -}}

{{/* Findings of checkov and kube-score that are meant, on every workload: `make scan` has no others. */}}
{{- define "stack.exceptions" -}}
annotations:
  checkov.io/skip1: CKV_K8S_11=no CPU limit, with which a start would take minutes; the request divides a full node
  checkov.io/skip2: CKV_K8S_15=the tag is a version, and nodes of kind have no registry to ask
  checkov.io/skip3: CKV_K8S_40=the user of the upstream image, who owns its files
  checkov.io/skip4: CKV_K8S_43=a digest fits one architecture or moves with each rebuild upstream; the value sets it
  # The same, and: one of each is enough for a first try, and a pod alone needs no name of its own in the DNS.
  kube-score/ignore: container-image-pull-policy,container-security-context-user-group-id,deployment-replicas,statefulset-has-servicename
{{- end -}}

{{- define "stack.image" -}}
{{- $name := ternary (printf "%s/%s" .registry .repository) .repository (ne .registry "") -}}
{{- if .digest }}{{ $name }}@{{ .digest }}{{ else }}{{ $name }}:{{ .tag }}{{ end -}}
{{- end -}}

{{/* What all pods have in common, restricted: (list context part user). */}}
{{- define "stack.pod" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 2 }}
  runAsGroup: {{ index . 2 }}
  fsGroup: {{ index . 2 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "stack.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* The volume claim of a part, or an empty folder: (list context persistence). Goes after a pod's template. */}}
{{- define "stack.claims" -}}
{{- $persistence := index . 1 -}}
{{- if $persistence.enabled }}
persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ $persistence.size }}}}
{{- end }}
{{- end -}}

{{- define "stack.bootstrap" -}}
{{ include "stack.fullname" . }}-kafka:9092
{{- end -}}
{{- define "stack.registryUrl" -}}
http://{{ include "stack.fullname" . }}-registry:8081/apis/ccompat/v7
{{- end -}}
{{- define "stack.influxdbUrl" -}}
http://{{ include "stack.fullname" . }}-influxdb:8086
{{- end -}}
{{- define "stack.influxdbSecret" -}}
{{- default (printf "%s-influxdb" (include "stack.fullname" .)) .Values.influxdb.existingSecret -}}
{{- end -}}
{{- define "stack.grafanaSecret" -}}
{{- default (printf "%s-grafana" (include "stack.fullname" .)) .Values.grafana.existingSecret -}}
{{- end -}}

{{/* A value of a Secret that is there, or a new one: (list context secret key length). */}}
{{- define "stack.kept" -}}
{{- $root := index . 0 -}}
{{- $live := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- $value := index (default dict (default dict $live).data) (index . 2) -}}
{{- default (randAlphaNum (int (index . 3)) | b64enc) $value -}}
{{- end -}}
