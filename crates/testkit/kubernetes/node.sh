#!/usr/bin/env bash
# The first process in the cluster's namespaces: makes a node of them, starts every program, and starts again what ends.
# cluster.sh says what the variables mean.
set -uo pipefail
export PATH=$PROGRAMS:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export KUBECONFIG=$STATE/kubeconfig

file_systems() {
  mount --make-rshared /
  # What the cluster's programs write there is theirs alone.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir /run/lock
  local name
  for name in kubelet containerd cni; do
    mkdir -p "/var/lib/$name"
    mount --bind "$STATE/lib/$name" "/var/lib/$name"
  done
  mount --make-rshared /var/lib/kubelet
  mount --bind "$STATE/varlog" /var/log
}

# The kubelet insists on settings of the whole machine. It is shown files that have them, and the machine stays as it is.
settings() {
  mkdir /run/settings
  local name value
  while read -r name value; do
    echo "$value" > "/run/settings/${name//\//.}"
    mount --bind "/run/settings/${name//\//.}" "/proc/sys/$name"
  done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
}

# The kubelet's control group has to exist; in version 1 in every hierarchy, and with processors and memory to give away.
control_groups() {
  local hierarchy setting
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$NAME"
    return
  fi
  for hierarchy in /sys/fs/cgroup/*/; do mkdir -p "$hierarchy$NAME"; done
  for setting in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$setting" > "/sys/fs/cgroup/cpuset/$NAME/cpuset.$setting"
  done
}

# 172.30.0.1 is the node. 172.30.0.2 is the machine outside: whichever port of it is meant, connections go to the
# forwarder, which asks the kernel for the port and connects to it on the machine's loopback.
network() {
  ip link set lo up
  ip link add node0 type veth peer name node0-peer
  ip addr add 172.30.0.1/24 dev node0
  ip addr add 172.30.0.2/24 dev node0
  ip link set node0-peer up
  ip link set node0 up
  # Leads nowhere; without a route, packets to Services are refused before they are rewritten.
  ip route add default dev node0
  echo 1 > /proc/sys/net/ipv4/ip_forward
  nft -f - <<'RULES'
table ip machine {
  chain from-pods { type nat hook prerouting priority dstnat; ip daddr 172.30.0.2 meta l4proto tcp dnat to 172.30.0.1:4444; }
  chain from-node { type nat hook output priority -100; ip daddr 172.30.0.2 meta l4proto tcp dnat to 172.30.0.1:4444; }
}
RULES
  touch "$STATE/run/network"
}

# supervise NAME COMMAND...
supervise() {
  local name=$1; shift
  (
    while :; do
      "$@" >> "$STATE/log/$name.log" 2>&1 &
      echo $! > "$STATE/run/$name"
      wait $!
      echo "$(date -Is) $name ended with $?" >> "$STATE/log/restarts.log"
      sleep 0.5
    done
  ) &
}

until_true() { until "$@" > /dev/null 2>&1; do sleep 0.1; done; }

file_systems
settings
control_groups
hostname node1
network

supervise etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380
supervise containerd containerd --config "$STATE/conf/containerd.toml"
cd "$STATE/pki"
supervise apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=0.0.0.0 --secure-port="$PORT" --advertise-address=172.30.0.1 \
  --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
  --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key --kubelet-certificate-authority=ca.crt \
  --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file=accounts.pub --service-account-signing-key-file=accounts.key \
  --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC \
  --enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement \
  --audit-policy-file="$STATE/conf/audit.yaml" --audit-log-path="$STATE/log/audit.log" \
  --profiling=false --shutdown-delay-duration=0
(
  until_true ctr version
  ctr --namespace k8s.io images import "$PROGRAMS/pause.tar" > "$STATE/log/import.log" 2>&1
  touch "$STATE/run/imported"
) &
until_true kubectl get --raw /readyz
supervise controllers kube-controller-manager --kubeconfig="$STATE/conf/controllers.kubeconfig" \
  --authentication-kubeconfig="$STATE/conf/controllers.kubeconfig" \
  --authorization-kubeconfig="$STATE/conf/controllers.kubeconfig" \
  --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
  --service-account-private-key-file=accounts.key --root-ca-file=ca.crt --profiling=false
supervise scheduler kube-scheduler --kubeconfig="$STATE/conf/scheduler.kubeconfig" \
  --authentication-kubeconfig="$STATE/conf/scheduler.kubeconfig" \
  --authorization-kubeconfig="$STATE/conf/scheduler.kubeconfig" \
  --bind-address=127.0.0.1 --leader-elect=false --profiling=false
until_true test -e "$STATE/run/imported"
supervise kubelet kubelet --config="$STATE/conf/kubelet.yaml" --kubeconfig="$STATE/conf/kubelet.kubeconfig" \
  --hostname-override=node1 --node-ip=172.30.0.1 --v=2
supervise proxy kube-proxy --config="$STATE/conf/proxy.yaml"
supervise provisioner provisioner -kubeconfig "$KUBECONFIG" -folder "$STATE/volumes"
until_true kubectl apply -f "$STATE/conf/storage-class.yaml"

# Everything runs. Children that nobody waits for end here, too, which bash sees to between two sleeps. The shared lock of
# a user is given back by the kernel however the user ends, so none can be forgotten. It is with the lock in hand that the
# cluster ends: a user who comes now gets it only when all is gone, and starts another cluster.
exec 9< "$USERS"
idle=0
while sleep 1; do
  if [ ! -e "$STATE/keep" ] && flock --nonblock --exclusive 9; then
    idle=$((idle + 1))
    [ $idle -lt "$IDLE" ] || exit 0
    flock --unlock 9
  else
    idle=0
  fi
done
