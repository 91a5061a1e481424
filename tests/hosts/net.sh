#!/bin/sh
# A machine on a cable of its own: net.sh. A network, a mount and a process namespace with an sshd in it, reached over a
# pair of virtual interfaces that belongs to no other. Its disk is a file system of its own, so it shares no file with us
# that a test did not mean to share.
# Orders: `cut` pulls the cable at its end, so that frames are lost and nobody is told, `heal` puts it back, `slow` lets 25 MB
# a second through each way, `fast` as many as there are, `off` takes its power (the cable first: a machine without power says
# no goodbye), `on` gives it back; the disk stays. `tight` leaves 4 MiB free on a second disk, its small one.
. "$(dirname "$0")/keep.sh"
sshd=$(PATH=$PATH:/usr/sbin command -v sshd)
[ "$(id -u)" = 0 ] || fail "only root can make network namespaces"

end() {
  off 2> /dev/null || :
  [ -z "${holder:-}" ] || kill -KILL "$holder" 2> /dev/null || :
  # The namespace takes the interfaces with it, but not at once.
  [ -z "${link:-}" ] || ip link del "$link" 2> /dev/null || :
}

within() { nsenter --target "$holder" --net --mount -- "$@"; }

# Who holds the namespaces while the machine is off.
unshare --net --mount --propagation private sh -c "
  mkdir '$state/disk' && mount -t tmpfs -o size=1g tmpfs '$state/disk' && mkdir '$state/disk/work' '$state/disk/small' &&
  mount -t tmpfs -o size=256m tmpfs '$state/disk/small' && : > '$state/held' && exec sleep 2147483" < /dev/null > /dev/null 2>&1 &
holder=$!
until_so 10 test -e "$state/held" || fail "no namespaces"

# Making the interface is what takes the number: there cannot be two of one name.
n=$((($$ * 7919) % 8192))
tries=64
until ip link add "flt$n" type veth peer name eth0 netns "$holder" 2> /dev/null; do
  n=$(((n + 1) % 8192))
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || fail "$(ip link add "flt$n" type veth peer name eth0 netns "$holder" 2>&1)"
done
link=flt$n
net=10.231.$((n / 64)).$((n % 64 * 4))
ours=${net%.*}.$((${net##*.} + 1))
theirs=${net%.*}.$((${net##*.} + 2))
ip addr add "$ours/30" dev "$link"
ip link set "$link" up
within ip addr add "$theirs/30" dev eth0
within ip link set lo up
within ip link set eth0 up

for key in host user; do ssh-keygen -q -t ed25519 -N '' -C "fleet-test-$key" -f "$state/$key"; done
cp "$state/user.pub" "$state/authorized_keys"
mkdir -p /run/sshd
cat > "$state/sshd_config" << CONF
Port 22
ListenAddress 0.0.0.0
HostKey $state/host
PidFile none
AuthorizedKeysFile $state/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 64
MaxStartups 100:30:200
PrintMotd no
CONF

# Its clock began when it was switched on, which is not when ours did, where the kernel can pretend that.
clock='--time --monotonic 200000 --boottime 200000'
# shellcheck disable=SC2086 # words
makespace $clock || clock=

answers() { ssh-keyscan -t ed25519 "$theirs" 2> /dev/null | grep -q .; }

# Its first process is no sshd, so that sshd can die alone.
on() {
  # shellcheck disable=SC2086 # words
  nsenter --target "$holder" --net --mount -- unshare $clock --pid --fork --kill-child --mount-proc -- sh -c "
    '$sshd' -D -e -f '$state/sshd_config' < /dev/null >> '$state/sshd.log' 2>&1
    while :; do sleep 3600; done" < /dev/null > /dev/null 2>&1 &
  pid=$!
  echo "$pid" > "$state/pid"
  heal
  until_so 10 answers || { tail -n 3 "$state/sshd.log"; return 1; }
}

# Orders run in a subshell, so the process is known by a file.
off() {
  [ -s "$state/pid" ] || return 0
  cut_
  kill -KILL "$(cat "$state/pid")" 2> /dev/null || :
  until_so 5 gone "$(cat "$state/pid")" || :
  rm -f "$state/pid"
}

cut_() { within ip link set eth0 down; }
heal() { within ip link set eth0 up; }

slow() {
  within tc qdisc add dev eth0 root tbf rate 200mbit burst 256kb latency 100ms
  tc qdisc add dev "$link" root tbf rate 200mbit burst 256kb latency 100ms
}

fast() {
  within tc qdisc del dev eth0 root
  tc qdisc del dev "$link" root
}

tight() {
  used=$(within df -k "$state/disk/small" | awk 'NR == 2 { print $3 }')
  within mount -o "remount,size=$((used + 4096))k" "$state/disk/small"
}

obey() {
  case $1 in
    on | off | heal | slow | fast | tight) "$1" ;;
    cut) cut_ ;;
    *) echo "no such order: $*"; return 1 ;;
  esac
}

on > "$state/why" || fail "no sshd: $(cat "$state/why")"
printf '%s %s\n' "$theirs" "$(cut -d' ' -f1,2 "$state/host.pub")" > "$state/known_hosts"
tell host_fingerprint "$(ssh-keygen -lf "$state/host.pub" | cut -d' ' -f2)"
tell address "$theirs"
tell user root
tell identity "$state/user"
tell known_hosts "$state/known_hosts"
tell working_directory "$state/disk/work"
tell small_directory "$state/disk/small"
tell holder "$holder"
tell log "$state/sshd.log"
serve
