#!/bin/sh
# A machine behind ssh, on loopback: ssh.sh PORT [SETENV]. The keys are made here, so whoever has them may log in to this
# one only. As root it has processes of its own, as another machine would, and ends as a whole; it was also switched on a day
# before ours, where the kernel can pretend that. SETENV is what sshd gives to every session: `NAME=value`, separated by
# spaces.
. "$(dirname "$0")/keep.sh"
port=$1
setenv=${2:-}
sshd=$(PATH=$PATH:/usr/sbin command -v sshd)

end() {
  [ -z "${pid:-}" ] || kill -KILL "$pid" 2> /dev/null || :
  [ -z "${pid:-}" ] || until_so 5 gone "$pid" || :
}

for key in host user other; do ssh-keygen -q -t ed25519 -N '' -C "fleet-test-$key" -f "$state/$key"; done
cp "$state/user.pub" "$state/authorized_keys"
# The host also has a certificate, which many clients like better than the plain key. Its authority is the other key.
ssh-keygen -q -s "$state/other" -I fleet-test -h -n 127.0.0.1 "$state/host.pub"
cat > "$state/sshd_config" << CONF
Port $port
ListenAddress 127.0.0.1
HostKey $state/host
HostCertificate $state/host-cert.pub
PidFile none
AuthorizedKeysFile $state/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
MaxSessions 64
MaxStartups 100:30:200
ClientAliveInterval 2
ClientAliveCountMax 2
PrintMotd no
CONF
[ -z "$setenv" ] || echo "SetEnv $setenv" >> "$state/sshd_config"

space=
if [ "$(id -u)" = 0 ]; then
  mkdir -p /run/sshd
  for more in '--time --monotonic 100000 --boottime 100000' ''; do
    # shellcheck disable=SC2086 # no words or several
    if makespace --pid --fork --mount-proc $more; then
      space="unshare --pid --fork --kill-child --mount-proc $more"
      break
    fi
  done
fi
# shellcheck disable=SC2086 # no words or several
$space "$sshd" -D -e -f "$state/sshd_config" < /dev/null > "$state/sshd.log" 2>&1 &
pid=$!
# What it offers must be the key that was made above: another program may have taken the port.
offers() {
  ! gone "$pid" || return 0
  ssh-keyscan -t ed25519 -p "$port" 127.0.0.1 2> /dev/null | cut -d' ' -f3 | grep -qxF "$(cut -d' ' -f2 "$state/host.pub")"
}
until_so 10 offers || fail "nothing answers on port $port: $(tail -n 3 "$state/sshd.log")"
! gone "$pid" || fail "sshd does not start: $(tail -n 3 "$state/sshd.log")"

for key in host other; do
  printf '[127.0.0.1]:%s %s\n' "$port" "$(cut -d' ' -f1,2 "$state/$key.pub")" > "$state/known_hosts.$key"
  tell "${key}_fingerprint" "$(ssh-keygen -lf "$state/$key.pub" | cut -d' ' -f2)"
done
printf '@cert-authority [127.0.0.1]:%s %s\n' "$port" "$(cut -d' ' -f1,2 "$state/other.pub")" > "$state/known_hosts.authority"
# An account without a shell is let in nowhere.
ssh -F /dev/null -o BatchMode=yes -o GlobalKnownHostsFile=/dev/null -o "UserKnownHostsFile=$state/known_hosts.host" \
  -i "$state/user" -p "$port" 127.0.0.1 true < /dev/null 2> "$state/why" ||
  fail "$(id -un) cannot log in to this machine by ssh: $(cat "$state/why")"
mkdir "$state/work"
tell user "$(id -un)"
tell identity "$state/user"
tell known_hosts "$state/known_hosts.host"
tell known_hosts_wrong "$state/known_hosts.other"
tell known_hosts_authority "$state/known_hosts.authority"
tell working_directory "$state/work"
tell log "$state/sshd.log"
serve
