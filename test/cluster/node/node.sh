#!/usr/bin/env bash
# The node of a test's cluster, in namespaces and control groups of its own, so that nothing of it stays on the
# machine. First as the machine has it: joins the control groups and makes the namespaces. Then, in them, as the
# first process: with its end all of the node ends.
#
#   node.sh DIR BIN ADDRESSES GATEWAYS CGROUP…
#
# DIR/var becomes the node's /var, BIN holds the programs. The addresses are those of eth0, which whoever called this
# puts into the network namespace of the process that DIR/pid names; they are separated by spaces, as are the gateways.
set -euo pipefail
dir=$1 bin=$2 addresses=$3 gateways=$4

if [[ ${PAVISE_NODE:-} != inside ]]; then
  for group in "${@:5}"; do
    mkdir -p "$group"
    # A new cpuset is empty, and nobody can join an empty one.
    for file in cpuset.cpus cpuset.mems; do
      [[ ! -e $group/$file ]] || cat "${group%/*}/$file" >"$group/$file"
    done
    echo $$ >"$group/cgroup.procs"
  done
  export PAVISE_NODE=inside
  exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child bash "$0" "$@"
fi

# /proc is still the machine's, so this is the number by which the machine knows this process.
read -r pid _ </proc/self/stat
echo "$pid" >"$dir/pid.new"
mv "$dir/pid.new" "$dir/pid"

mount --make-rprivate /
mount --bind "$bin" "$dir/var/pavise/bin"
# From here on all paths are under /var, wherever DIR and BIN lie.
mount --rbind "$dir/var" /var
mount --make-rshared /var # kubelet's mounts have to reach the pods
cd /var/pavise
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /sys/fs/cgroup
while IFS=: read -r _ controllers _; do
  [[ $controllers ]] || continue # version 2, which has no controllers where these have them
  at=/sys/fs/cgroup/${controllers#name=}
  mkdir "$at"
  if [[ $controllers == name=* ]]; then options=none,$controllers; else options=$controllers; fi
  mount -t cgroup -o "$options" cgroup "$at"
  # Programs look for each controller by its name.
  if [[ $controllers == *,* ]]; then
    for name in ${controllers//,/ }; do ln -s "$at" "/sys/fs/cgroup/$name"; done
  fi
done </proc/self/cgroup

# Kubelet sets these for the whole machine; here it writes files that nobody reads.
mkdir /run/sysctl
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  [[ -e /proc/sys/$name ]] || continue
  cat "/proc/sys/$name" >"/run/sysctl/${name//\//.}"
  mount --bind "/run/sysctl/${name//\//.}" "/proc/sys/$name"
done

hostname node
until [[ -e /sys/class/net/eth0 ]]; do sleep 0.02; done
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
for address in $addresses; do
  if [[ $address == *:* ]]; then
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    ip address add "$address" dev eth0 nodad
  else
    ip address add "$address" dev eth0
  fi
done
ip link set eth0 up
for gateway in $gateways; do ip route add default via "$gateway"; done

export PATH=/var/pavise/bin:$PATH
run() { "$@" >>"/var/pavise/log/$1.log" 2>&1 & }
run containerd --config containerd.toml
# Kubelet and kube-proxy would find nobody and wait for longer than the API server takes.
until [[ -S containerd.sock && -e serve ]]; do sleep 0.02; done
run kubelet --config kubelet.yaml --kubeconfig kubelet.kubeconfig --hostname-override node --node-ip "$(sed 's# #,#g; s#/[0-9]*##g' <<<"$addresses")"
run kube-proxy --config kube-proxy.yaml
ended=
wait -n -p ended || true
echo "one of containerd, kubelet and kube-proxy ended (process $ended)" >&2
exit 1
