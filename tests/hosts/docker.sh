#!/bin/sh
# A docker engine of our own, on a socket of its own: docker.sh IMAGE.tar. Nothing of it is in the engine of the machine, if
# there is one, and it needs no registry and no network. It and all it starts are a process and a mount namespace, so they
# end together.
. "$(dirname "$0")/keep.sh"
[ "$(id -u)" = 0 ] || fail "only root can start dockerd"
dockerd=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v dockerd)
export DOCKER_HOST="unix://$state/docker.sock"

end() {
  # Containers first, since their control groups outlive a dockerd that is killed.
  all=$(docker ps --all --quiet 2> /dev/null) || :
  # shellcheck disable=SC2086 # one word each
  [ -z "$all" ] || docker rm --force $all > /dev/null 2>&1 || :
  [ -z "${pid:-}" ] || kill -KILL "$pid" 2> /dev/null || :
  [ -z "${pid:-}" ] || until_so 10 gone "$pid" || :
}

echo '{}' > "$state/daemon.json"
unshare --pid --mount --propagation private --fork --kill-child --mount-proc -- \
  "$dockerd" --config-file "$state/daemon.json" --data-root "$state/data" --exec-root "$state/exec" \
  --pidfile "$state/dockerd.pid" --host "$DOCKER_HOST" --bridge none --iptables=false --ip-forward=false \
  --ip-masq=false < /dev/null > "$state/dockerd.log" 2>&1 &
pid=$!
answers() { gone "$pid" || docker version; }
until_so 30 answers || fail "dockerd does not answer: $(tail -n 3 "$state/dockerd.log")"
! gone "$pid" || fail "dockerd does not start: $(tail -n 3 "$state/dockerd.log")"
docker load --quiet --input "$1" > "$state/why" 2>&1 || fail "the image is not taken: $(cat "$state/why")"
tell docker_host "$DOCKER_HOST"
tell log "$state/dockerd.log"
serve
