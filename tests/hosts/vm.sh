#!/bin/sh
# vm.sh KERNEL SCRIPT [WORD]...: runs a script as root in a virtual machine that has another Linux and the files of this
# machine, with cgroup v2 alone, and exits with its code. What it writes goes with the machine.
#
# KERNEL is a folder with `boot/vmlinuz-*` and `lib/modules/*`: a Debian package (not one for clouds, which has no 9p) after
# `dpkg -x linux-image-….deb KERNEL`. WORDs go to the kernel's command line. QEMU and BUSYBOX (a static one) say what else
# to take than the programs of these names, ACCEL what else than KVM: `tcg` works everywhere, 20 times slower.
set -eu

kernel=$1 script=$(realpath "$2")
shift 2
QEMU=${QEMU:-qemu-system-x86_64} BUSYBOX=${BUSYBOX:-$(command -v busybox)} ACCEL=${ACCEL:-kvm}
version=$(ls "$kernel/lib/modules")
modules=$kernel/lib/modules/$version
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/root/bin" "$state/root/modules"
for folder in proc sys dev below above new; do mkdir "$state/root/$folder"; done
cp "$BUSYBOX" "$state/root/bin/busybox"

# The modules that it takes to see this machine's files.
"$BUSYBOX" depmod -b "$kernel" "$version" 2> /dev/null
for name in virtio_pci 9pnet_virtio 9p overlay; do
  for file in $(grep -E "/$name\.ko(\.xz)?:" "$modules/modules.dep" | tr -d :); do
    cp "$modules/$file" "$state/root/modules/"
  done
done
find "$state/root/modules" -name '*.xz' -exec xz -d {} +

cat > "$state/root/init" <<'END'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
# Whatever order they need each other in.
for turn in 1 2 3 4 5 6; do for module in /modules/*; do insmod "$module" 2> /dev/null; done; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose files /below
mount -t tmpfs -o size=75% above /above; mkdir /above/files /above/work
mount -t overlay -o lowerdir=/below,upperdir=/above/files,workdir=/above/work files /new
cp /script /new/.script
for folder in proc sys dev; do mount --move /$folder /new/$folder; done
exec switch_root /new /bin/sh /.script init
END
# The script begins by making a machine of it.
cat > "$state/root/script" <<'END'
if [ "${1:-}" = init ]; then
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
  mkdir -p /dev/shm /dev/pts
  mount -t devpts -o ptmxmode=666,mode=620 pts /dev/pts
  for folder in /dev/shm /tmp /var/tmp /run; do mount -t tmpfs -o mode=1777 tmp $folder; done
  mount -t cgroup2 none /sys/fs/cgroup
  ip link set lo up
  sh /.script < /dev/null > /dev/ttyS0 2>&1
  echo "exit code of the script: $?" > /dev/ttyS0
  echo o > /proc/sysrq-trigger
  while :; do sleep 1; done
fi
END
cat "$script" >> "$state/root/script"
chmod +x "$state/root/init"
(cd "$state/root" && find . | "$BUSYBOX" cpio -o -H newc 2> /dev/null) | gzip -1 > "$state/initrd"

cpu=max
[ "$ACCEL" != kvm ] || cpu=host
# shellcheck disable=SC2086 # words
$QEMU -accel "$ACCEL" -cpu $cpu -smp 2 -m 4096 -nodefaults -no-reboot -display none -serial stdio \
  -kernel "$(echo "$kernel"/boot/vmlinuz-*)" -initrd "$state/initrd" -append "console=ttyS0 quiet panic=-1 $*" \
  -fsdev local,id=files,path=/,security_model=none,readonly=on,multidevs=remap \
  -device virtio-9p-pci,fsdev=files,mount_tag=files < /dev/null | sed -u 's,\r$,,' | tee "$state/said"
exit "$(sed -n 's/^exit code of the script: //p' "$state/said" | tail -n 1 | grep . || echo 70)"
