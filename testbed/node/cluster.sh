# shellcheck shell=bash
# A cluster of one real node: etcd, control plane, containerd, kubelet, kube-proxy and CoreDNS, each a process with its
# log in $RUN/logs. In: variables of `e2e`, namespaces of our own. Out: $KUBECONFIG, a ready node, volumes to claim.

NODE=candles-node
# The node's own address, and those of Services and pods.
ADDRESS=10.213.0.1
SERVICES=10.214.0.0/16
PODS=10.215.0.0/24
PKI=$RUN/pki
SOCKET=/run/containerd.sock

start() { # name, command...
    local name=$1
    shift
    "$@" >"$RUN/logs/$name.log" 2>&1 &
}

# Waits for a command to succeed: what, seconds, command...
await() {
    local what=$1 limit=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$limit" ] || { echo "node: $what: not in time; the last try: $("$@" 2>&1 | tail -5)" >&2; return 1; }
        sleep 0.3
    done
}

machine() {
    mkdir -p "$RUN"/{pki,etcd,logs,containerd,kubelet,cni,volumes}
    ip link set lo up
    # A bridge without ports: there is no other kind of address to give a node that has no network.
    ip link add candles0 type bridge
    ip address add "$ADDRESS/24" dev candles0
    ip link set candles0 up
    ip route add default dev candles0
    echo 1 >/proc/sys/net/ipv4/ip_forward
    local folder
    for folder in /run /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet; do
        [ -d "$folder" ] || continue
        mount -t tmpfs tmpfs "$folder"
    done
    mkdir -p /run/netns /run/lock
}

certificate() { # name, subject, alternative names
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
    openssl req -new -key "$PKI/$1.key" -subj "$2" -out "$PKI/$1.csr"
    {
        echo extendedKeyUsage=clientAuth,serverAuth
        [ -z "${3:-}" ] || echo "subjectAltName=$3"
    } >"$PKI/$1.ext"
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 30 \
        -extfile "$PKI/$1.ext" -out "$PKI/$1.crt" 2>/dev/null
    # JSON is YAML.
    cat >"$PKI/$1.kubeconfig" <<END
{"apiVersion": "v1", "kind": "Config", "current-context": "node",
 "clusters": [{"name": "node", "cluster": {"server": "https://$ADDRESS:6443", "certificate-authority": "$PKI/ca.crt"}}],
 "users": [{"name": "user", "user": {"client-certificate": "$PKI/$1.crt", "client-key": "$PKI/$1.key"}}],
 "contexts": [{"name": "node", "context": {"cluster": "node", "user": "user"}}]}
END
}

certificates() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/ca.key"
    openssl req -x509 -new -key "$PKI/ca.key" -subj /CN=candles-node-ca -days 30 -out "$PKI/ca.crt"
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/accounts.key"
    openssl ec -in "$PKI/accounts.key" -pubout -out "$PKI/accounts.pub" 2>/dev/null
    certificate server /CN=kube-apiserver "IP:127.0.0.1,IP:$ADDRESS,IP:10.214.0.1,DNS:kubernetes.default.svc"
    certificate admin /O=system:masters/CN=admin
    certificate controllers /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate dns /CN=candles-dns
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "IP:$ADDRESS,DNS:$NODE"
    export KUBECONFIG=$PKI/admin.kubeconfig
}

control_plane() {
    local user
    start etcd etcd --data-dir "$RUN/etcd" --log-level warn --unsafe-no-fsync
    start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 \
        --advertise-address="$ADDRESS" --service-cluster-ip-range="$SERVICES" --client-ca-file="$PKI/ca.crt" \
        --tls-cert-file="$PKI/server.crt" --tls-private-key-file="$PKI/server.key" \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/accounts.pub" \
        --service-account-signing-key-file="$PKI/accounts.key" --authorization-mode=Node,RBAC --allow-privileged=true \
        --enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement \
        --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
        --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP
    await "the API server is ready" 120 kubectl get --raw /readyz
    for user in controllers scheduler; do
        set -- --kubeconfig="$PKI/$user.kubeconfig" --authentication-kubeconfig="$PKI/$user.kubeconfig" \
            --authorization-kubeconfig="$PKI/$user.kubeconfig" --leader-elect=false
        if [ "$user" = controllers ]; then
            start "$user" kube-controller-manager "$@" --root-ca-file="$PKI/ca.crt" \
                --service-account-private-key-file="$PKI/accounts.key" --use-service-account-credentials=true
        else
            start "$user" kube-scheduler "$@"
        fi
    done
}

runtime() {
    cat >containerd.toml <<END
version = 2
root = "$RUN/containerd"
state = "/run/containerd"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "candles-node-pause:1"
  # Where oom_score_adj may not be lowered, every sandbox would die.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni"
END
    cat >cni/10-candles.conflist <<END
{"cniVersion": "1.0.0", "name": "candles", "plugins": [
  {"type": "bridge", "bridge": "candles1", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
    start containerd containerd --config containerd.toml
    await "containerd answers" 30 ctr --address "$SOCKET" version
    local archive
    for archive in "$ARCHIVES"/*.tar; do
        ctr --address "$SOCKET" --namespace k8s.io images import "$archive" >"$RUN/logs/import.log" 2>&1
    done
}

groups() {
    local controller
    for controller in /sys/fs/cgroup/*/; do mkdir -p "$controller/candles-node" 2>/dev/null || true; done
    # A new group of cpuset has no CPUs.
    local set=/sys/fs/cgroup/cpuset
    [ ! -e $set/cpuset.mems ] || { cat $set/cpuset.cpus >$set/candles-node/cpuset.cpus; cat $set/cpuset.mems >$set/candles-node/cpuset.mems; }
}

node() {
    : >resolv.conf
    cat >kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: /candles-node
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$ADDRESS]
resolvConf: $RUN/resolv.conf
containerRuntimeEndpoint: unix://$SOCKET
# The machine's disk is not this cluster's business.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
END
    start kubelet kubelet --config kubelet.yaml --kubeconfig "$PKI/kubelet.kubeconfig" --hostname-override "$NODE" \
        --node-ip "$ADDRESS" --root-dir "$RUN/kubelet"
    cat >proxy.yaml <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: $NODE
clusterCIDR: $PODS
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
    start proxy kube-proxy --config proxy.yaml
    kubectl apply -f "$HERE/dns.yaml" >/dev/null
    cat >Corefile <<END
.:53 {
  bind $ADDRESS
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $PKI/dns.kubeconfig node
  }
}
END
    start coredns coredns -conf Corefile
    await "the node is there" 60 kubectl get node "$NODE"
    kubectl wait --for=condition=Ready "node/$NODE" --timeout=60s >/dev/null
}

# No provisioner here: folders to claim, as a cluster's own would make them.
volumes() {
    local number
    for number in 1 2 3 4 5 6; do
        mkdir -p "volumes/$number"
        kubectl apply -f - >/dev/null <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-$number}
spec:
  capacity: {storage: 4Gi}
  accessModes: [ReadWriteOnce]
  local: {path: $RUN/volumes/$number}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$NODE]}]}]}}
END
    done
}

cluster() {
    export PATH=$BIN_KUBERNETES:$BIN_NODE:$BIN_COREDNS:$BIN_HELM:$PATH
    export HOME=$RUN
    local begun=$SECONDS
    machine
    certificates
    control_plane
    runtime
    groups
    node
    volumes
    echo "node: a cluster of one real node: done in $((SECONDS - begun)) s"
}
