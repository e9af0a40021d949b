#!/usr/bin/env bash
# Runs a cluster until it ends, and cleans up after it: `cluster.sh`, with what the test kit has written in $STATE.
#
# The cluster is the processes of one set of namespaces. Whoever ends the first of them, node.sh, ends all of them, and
# their mounts, addresses and routes with them; nothing of the cluster is to be seen outside but the port of its API.
#
#   STATE     folder of the cluster: pki/ and conf/ are there, the rest is made here
#   PROGRAMS  folder of the programs
#   NAME      name of its control group
#   PORT      port of the API, on 127.0.0.1 here and inside
#   USERS     file on which whoever uses the cluster holds a shared lock
#   IDLE      seconds without a user after which the cluster ends; it never does while $STATE/keep exists
set -uo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export STATE PROGRAMS NAME PORT USERS IDLE
mkdir -p "$STATE"/{run,log,volumes,etcd,lib/{kubelet,containerd,cni},varlog}
echo "$$ $(cut -d ' ' -f 22 /proc/$$/stat)" > "$STATE/run/supervisor"

unshare --mount --uts --ipc --net --pid --fork --kill-child=KILL --mount-proc --propagation private \
  bash "$here/node.sh" > "$STATE/log/node.log" 2>&1 &
outer=$!
first=
while [ -z "$first" ] && kill -0 $outer 2>/dev/null; do
  first=$(tr -d ' ' < "/proc/$outer/task/$outer/children")
  sleep 0.02
done
# With its time of start, because a process id is given to others later.
echo "$first $(cut -d ' ' -f 22 "/proc/$first/stat")" > "$STATE/run/.first" && mv "$STATE/run/.first" "$STATE/run/first"

"$PROGRAMS/tool" forward -listen "127.0.0.1:$PORT" -dial-in "$first" -dial "127.0.0.1:$PORT" \
  > "$STATE/log/api-forward.log" 2>&1 &
forwarders=($!)
# The addresses have to be there before one can listen on them.
while [ ! -e "$STATE/run/network" ] && kill -0 $outer 2>/dev/null; do sleep 0.02; done
"$PROGRAMS/tool" forward -listen-in "$first" -listen 172.30.0.1:4444 -dial 127.0.0.1 \
  > "$STATE/log/host-forward.log" 2>&1 &
forwarders+=($!)

wait $outer
kill "${forwarders[@]}" 2>/dev/null

# Control groups go from the leaves up, and only once their processes are gone.
for group in /sys/fs/cgroup/"$NAME" /sys/fs/cgroup/*/"$NAME"; do
  for _ in $(seq 100); do
    [ -d "$group" ] || break
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
    sleep 0.05
  done
done
# Only the logs stay, until the next start.
find "$STATE" -xdev -mindepth 1 -maxdepth 1 ! -name log ! -name run -exec rm -rf --one-file-system {} +
rm -rf "$STATE/run"
