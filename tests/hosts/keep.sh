# What every host of the tests shares. Sourced by a script that is one host: it makes a folder, starts what is needed
# there, says `NAME=value` for what a test has to know and then `ready`, and lives until its standard input ends. That is
# the death of the test, however it died, so nothing stays behind; a test that is killed runs no code of its own.
# A line on standard input is an order, answered by `done`, or by `failed` and a reason.
set -eu

state=$(mktemp -d "${TMPDIR:-/tmp}/fleet-host-XXXXXX")
chmod 755 "$state"

tell() { printf '%s=%s\n' "$1" "$2"; }

fail() {
  printf 'failed %s\n' "$*"
  end 2> /dev/null || :
  rm -rf "$state"
  exit 1
}

# until_so SECONDS COMMAND…: tries until it succeeds.
until_so() {
  tries=$(($1 * 50))
  shift
  until "$@" > /dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.02
  done
}

# Which is gone when nothing but a zombie has this number.
gone() {
  ! kill -0 "$1" 2> /dev/null || grep -q '^State:.[ZX]' "/proc/$1/status" 2> /dev/null
}

# Whether we may make such namespaces: makespace FLAG…
makespace() { unshare "$@" true > /dev/null 2>&1; }

# Obeys until nobody is there to give an order: `obey` is what the host makes of one, `end` how it ends.
serve() {
  echo ready
  while read -r order; do
    # shellcheck disable=SC2086 # an order is words
    if why=$(obey $order 2>&1); then echo done; else echo "failed $why"; fi
  done
  end
  rm -rf "$state"
}

obey() { echo "no such order: $*"; return 1; }
