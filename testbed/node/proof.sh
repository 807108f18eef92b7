# shellcheck shell=bash
# What a user does, on the cluster of cluster.sh; each step with its time, each failure with what the cluster says.

NAMESPACE=candles

step() { # what, command...
    local what=$1 begun=$SECONDS
    shift
    "$@" >"$RUN/logs/step.log" 2>&1 || {
        echo "node: $what: FAILED after $((SECONDS - begun)) s" >&2
        tail -20 "$RUN/logs/step.log" >&2
        kubectl -n "$NAMESPACE" get pods,cpl -o wide >&2 || true
        kubectl -n "$NAMESPACE" get events --field-selector type=Warning 2>/dev/null | tail -10 >&2 || true
        kubectl -n "$NAMESPACE" logs -l app.kubernetes.io/part-of=candles --tail 20 --prefix >"$RUN/logs/pods.log" 2>&1 || true
        exit 1
    }
    echo "node: $what: done in $((SECONDS - begun)) s"
}
k() { kubectl -n "$NAMESPACE" "$@"; }
charts() { helm -n "$NAMESPACE" "$@"; }
equal() { [ "$1" = "$2" ] || { echo "found: $1; expected: $2"; return 1; }; }

# Candles of the last finished seconds equal what the exchange says; waits for what is on its way.
exact() { await "candles are exact" 120 python3 "$HERE/exact.py" "$1"; python3 "$HERE/exact.py" "$1"; }
ready_consumers() { [ "$(k get cpl/demo -o jsonpath='{.status.consumer.summary}')" = "$1" ]; }
pods_of() { k get pods -l "$1" -o jsonpath='{range .items[*]}{.metadata.name}={.metadata.uid} {end}'; }
restarted() { k get pods -o jsonpath='{range .items[*]}{range .status.containerStatuses[?(@.restartCount>0)]}{.name} {end}{end}'; }

restricted_namespace() {
    kubectl create namespace "$NAMESPACE"
    kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted
}
scale() { # by an edit of the resource, or by kubectl scale
    if [ "$1" = edit ]; then
        k patch cpl/demo --type merge --patch "{\"spec\": {\"consumer\": {\"replicas\": $2}}}"
    else
        k scale cpl/demo --replicas="$2"
    fi
    await "$2 consumers" 60 ready_consumers "$2/$2"
}
lose_pods() {
    k delete pod stack-kafka-1 --wait=false
    k delete pod --wait=false "$(k get pods -l app.kubernetes.io/component=consumer -o name | head -1 | cut -d/ -f2)"
    k delete pod --wait=false -l app.kubernetes.io/component=operator
    sleep 2
    k wait --for=condition=Ready pod --all --timeout=120s
    k wait --for=condition=Ready cpl/demo --timeout=60s
}
lose_servers() {
    k delete pod stack-influxdb-0 stack-registry-0
    k wait --for=condition=Ready pod/stack-influxdb-0 pod/stack-registry-0 --timeout=120s
}
upgrade_operator() {
    local workers servers
    workers=$(pods_of app.kubernetes.io/name=candles)
    servers=$(pods_of app.kubernetes.io/instance=stack)
    charts upgrade candles "$REPOSITORY/charts/candles" --set log.level=debug --wait --timeout 2m
    equal "$(pods_of app.kubernetes.io/name=candles)" "$workers"
    equal "$(pods_of app.kubernetes.io/instance=stack)" "$servers"
}
upgrade_brokers() {
    local others
    others=$(pods_of 'app.kubernetes.io/name in (influxdb, registry)')
    charts upgrade stack "$REPOSITORY/charts/candles-stack" --values "$HERE/stack-values.yaml" \
        --set-string 'kafka.config.log\.retention\.ms=86400000' --wait --timeout 5m
    equal "$(pods_of 'app.kubernetes.io/name in (influxdb, registry)')" "$others"
}
self_test() {
    charts upgrade candles "$REPOSITORY/charts/candles" --reuse-values --wait --timeout 2m \
        --set-string tests.image.repository=library/candles-node-curl,tests.image.tag=1
    charts test candles --timeout 60s
}
uninstall() {
    k delete cpl --all --timeout=60s
    charts uninstall stack --wait --timeout 2m
    charts uninstall candles --wait --timeout 2m
    k delete pod/exchange service/exchange --wait
    # What is the user's stays: log, schemas and points, the token to read them, the definition.
    equal "$(k get pvc -o name | wc -l)" 5
    k get secret stack-influxdb
    kubectl get crd candlepipelines.candles.dev
}
# As the charts' READMEs say.
clean_up() {
    k delete pvc,secret -l app.kubernetes.io/instance=stack
    k delete lease candles-operator
    kubectl delete crd candlepipelines.candles.dev
    await "pods are gone" 60 nothing_left
}
nothing_left() {
    local kinds=pods,pvc,secret,lease,service,deployment,statefulset,role,rolebinding,networkpolicy,pdb
    equal "$(k get "$kinds" -o name)" ""
    equal "$(k get configmap,serviceaccount -o name | tr '\n' ' ')" "configmap/kube-root-ca.crt serviceaccount/default "
}

proof() {
    step "a namespace of restricted pods" restricted_namespace
    step "helm install candles" charts install candles "$REPOSITORY/charts/candles" --wait --timeout 2m
    step "helm test candles" self_test
    step "helm install stack" charts install stack "$REPOSITORY/charts/candles-stack" --values "$HERE/stack-values.yaml" --wait --timeout 5m
    step "the exchange" k apply -f "$HERE/exchange.yaml"
    step "its pod is ready" k wait --for=condition=Ready pod/exchange --timeout=60s
    step "kubectl apply of a pipeline" k apply -f "$HERE/pipeline.yaml"
    step "kubectl wait --for=condition=Ready cpl/demo" k wait --for=condition=Ready cpl/demo --timeout=2m
    sleep 20
    step "exact candles" exact 30
    step "consumers 1 -> 3 by an edit" scale edit 3
    step "consumers 3 -> 2 by kubectl scale" scale scale 2
    step "a broker, a consumer and the operator deleted" lose_pods
    step "exact candles" exact 60
    step "database and registry deleted" lose_servers
    step "helm upgrade of the operator restarts nothing else" upgrade_operator
    step "helm upgrade of the brokers' settings restarts brokers" upgrade_brokers
    step "exact candles" exact 150
    step "no container ended by itself" equal "$(restarted)" ""
    step "helm uninstall keeps the user's data" uninstall
    step "the documented clean-up leaves nothing" clean_up
}
