#!/bin/sh
# A store of podman's of our own: podman.sh IMAGE.tar. Podman has no engine that could be a separate one, so what is separate
# is told by its flags; a program `podman` in a folder of its own adds them, and whoever has that folder first on PATH calls
# plain `podman`.
. "$(dirname "$0")/keep.sh"
[ "$(id -u)" = 0 ] || fail "these containers need root"
podman=$(command -v podman)

end() {
  [ -x "$state/bin/podman" ] || return 0
  "$state/bin/podman" rm --all --force --time 0 > /dev/null 2>&1 || :
  umount -l "$state/store/overlay" 2> /dev/null || :
}

# The default limits ask for more than the hard ones of a root without CAP_SYS_RESOURCE. runc: crun refuses a machine that
# mounts both versions of control groups.
cat > "$state/containers.conf" << 'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
mkdir "$state/bin"
with_driver() {
  cat > "$state/bin/podman" << PROGRAM
#!/bin/sh
CONTAINERS_CONF='$state/containers.conf' exec '$podman' --root '$state/store' --runroot '$state/run' --storage-driver $1 "\$@"
PROGRAM
  chmod 755 "$state/bin/podman"
  "$state/bin/podman" load --quiet --input "$2" > "$state/why" 2>&1
}
# A machine that is itself a container may have no overlay to lay over its own.
if ! with_driver overlay "$1"; then
  umount -l "$state/store/overlay" 2> /dev/null || :
  rm -rf "$state/store" "$state/run"
  with_driver vfs "$1" || fail "the image is not taken: $(cat "$state/why")"
fi
tell bin "$state/bin"
serve
