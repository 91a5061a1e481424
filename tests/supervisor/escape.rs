//! Attacks from inside of a held task. Each is also made by a task that nothing holds, where it has to succeed: an attack
//! that never works shows nothing.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Child, Command};

use fleet::supervisor::frame::{Confine, Layer, Spawn};

use super::confine::{held, layers};
use super::world::{Engine, program, sh};

/// What is attacked: all that does not belong to the task.
struct Victim {
    sleeper: Child,
    tcp: TcpListener,
    udp: UdpSocket,
    _unix: UnixListener,
    _datagram: UnixDatagram,
    _abstract: UnixListener,
    name: String,
    /// The number of a piece of shared memory.
    shm: i32,
}

impl Victim {
    fn new(engine: &Engine) -> Self {
        let dir = engine.dir.path();
        for folder in ["work", "home/.ssh", "other"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for file in ["home/.ssh/id", "home/notes", "other/file", "other/move"] {
            fs::write(dir.join(file), "canary\n").unwrap();
        }
        let name = format!("fleet-test-{}", dir.file_name().unwrap().to_string_lossy());
        let unnamed = SocketAddr::from_abstract_name(&name).unwrap();
        // SAFETY: makes a piece of memory in the kernel, which `drop` gives back.
        #[expect(unsafe_code, reason = "shared memory has no safe wrapper")]
        let shm = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) };
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        Self {
            sleeper: Command::new("/bin/sleep").arg("1000").env("CANARY", "canary").spawn().unwrap(),
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp,
            // In the one place that the task can reach by a path.
            _unix: UnixListener::bind(dir.join("work/socket")).unwrap(),
            _datagram: UnixDatagram::bind(dir.join("work/datagram")).unwrap(),
            _abstract: UnixListener::bind_addr(&unnamed).unwrap(),
            name,
            shm,
        }
    }

    /// Scripts of shell and perl with what they need in variables.
    fn variables(&self, engine: &Engine) -> Vec<(String, String)> {
        let var = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
        vec![
            var("OUT", &engine.dir.path().display()),
            var("VICTIM", &self.sleeper.id()),
            var("SUPERVISOR", &engine.link.pid()),
            var("TCP", &self.tcp.local_addr().unwrap().port()),
            var("UDP", &self.udp.local_addr().unwrap().port()),
            var("ABSTRACT", &self.name),
            var("SHM", &self.shm),
            var("N_PRLIMIT", &libc::SYS_prlimit64),
            var("N_SHMAT", &libc::SYS_shmat),
            var("N_PTRACE", &libc::SYS_ptrace),
            var("N_READV", &libc::SYS_process_vm_readv),
            var("N_UNSHARE", &libc::SYS_unshare),
            var("N_CLONE", &libc::SYS_clone),
            var("N_URING", &libc::SYS_io_uring_setup),
            var("N_KEYCTL", &libc::SYS_keyctl),
            var("N_MOUNT", &libc::SYS_mount),
            var("N_BPF", &libc::SYS_bpf),
            var("N_USERFAULT", &libc::SYS_userfaultfd),
            var("N_PIDFD", &libc::SYS_pidfd_open),
            var("N_GETFD", &libc::SYS_pidfd_getfd),
            var("N_SETXATTR", &libc::SYS_setxattr),
        ]
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
        // SAFETY: removes what `new` made; nothing of ours is mapped from it.
        #[expect(unsafe_code, reason = "shared memory has no safe wrapper")]
        unsafe {
            libc::shmctl(self.shm, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Anyone,
    /// Only root can do it even where nothing holds it.
    Root,
    /// Not even root everywhere, so that it worked without a hold is not asked for.
    Perhaps,
}
use Who::{Anyone, Perhaps, Root};

/// Exits 0 when it has succeeded. `$ENV{X}` in perl, `$X` in shell.
const BY_SHELL: &[(&str, Who, &str)] = &[
    ("a file of the home folder", Anyone, "grep -q canary $OUT/home/notes"),
    ("a key", Anyone, "grep -q canary $OUT/home/.ssh/id"),
    ("the names in the home folder", Anyone, "ls $OUT/home/.ssh | grep -q id"),
    ("the folder of root", Root, "ls -A /root/ >/dev/null"),
    ("password hashes", Root, "grep -q : /etc/shadow"),
    ("another attempt's folder", Anyone, "grep -q canary $OUT/other/file"),
    ("the state directory's log", Anyone, "grep -q . $OUT/here.log"),
    ("the environment of another process", Anyone, "tr '\\0' '\\n' </proc/$VICTIM/environ | grep -q CANARY"),
    ("the environment of the supervisor", Anyone, "grep -q . /proc/$SUPERVISOR/environ"),
    ("the descriptors of another process", Anyone, "ls /proc/$VICTIM/fd/0"),
    ("the root of another process", Anyone, "grep -q canary /proc/$VICTIM/root/$OUT/other/file"),
    ("what the kernel tells of the machine", Anyone, "ls /sys/kernel >/dev/null"),
    ("variable data", Anyone, "ls /var/lib >/dev/null"),
    ("writing beside its folder", Anyone, "echo x >$OUT/other/new"),
    ("appending to what is there", Anyone, "echo x >>$OUT/other/file"),
    ("emptying what is there", Anyone, "truncate -s 0 $OUT/other/file"),
    ("writing to a temporary folder of all", Anyone, "echo x >/var/tmp/fleet-escape-$$ && rm /var/tmp/fleet-escape-$$"),
    ("writing to the system", Root, "echo x >/usr/fleet-escape && rm /usr/fleet-escape"),
    ("writing to settings", Root, "echo x >/etc/fleet-escape && rm /etc/fleet-escape"),
    ("removing", Anyone, "rm $OUT/other/move"),
    ("moving out", Anyone, "echo x >mine && mv mine $OUT/other/mine"),
    ("moving in", Anyone, "mv $OUT/other/move moved"),
    ("a hard link to the outside", Anyone, "rm -f hard; ln $OUT/other/file hard && grep -q canary hard"),
    ("a symbolic link to the outside", Anyone, "ln -sf $OUT/other/file soft && grep -q canary soft"),
    ("writing through a symbolic link", Anyone, "ln -sf $OUT/other/new2 soft2 && echo x >soft2"),
    ("a path with dots", Anyone, "grep -q canary ../other/file"),
    ("the mode of a file outside", Anyone, "chmod 600 $OUT/other/file"),
    (
        "the times of a file outside",
        Anyone,
        "touch -c -d 2001-01-01 $OUT/other/file && [ $OUT/other/file -ot $OUT/home/notes ]",
    ),
    ("a signal to the supervisor", Anyone, "kill -0 $SUPERVISOR"),
    ("a signal to a stranger", Anyone, "kill -CONT $VICTIM"),
    ("a device of its own", Root, "rm -f dev; mknod dev c 1 5 && head -c 1 dev >/dev/null"),
    (
        "a link that is swapped while it is read",
        Anyone,
        "
        echo harmless >in; i=0
        (while :; do ln -sfn in swap; ln -sfn $OUT/other/file swap; done) & p=$!
        while [ $i -lt 300 ]; do i=$((i+1)); grep -q canary swap 2>/dev/null && { kill $p; exit 0; }; done
        kill $p; exit 1",
    ),
];

const BY_PERL: &[(&str, Who, &str)] = &[
    ("a TCP connection", Anyone, "IO::Socket::INET->new(PeerAddr => \"127.0.0.1:$ENV{TCP}\", Timeout => 5)"),
    ("a TCP server", Anyone, "IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')"),
    (
        "a UDP packet",
        Anyone,
        "my $s = IO::Socket::INET->new(Proto => 'udp', PeerAddr => \"127.0.0.1:$ENV{UDP}\"); $s && $s->send('canary')",
    ),
    ("IPv6", Perhaps, "socket(my $s, 10, 1, 0)"),
    ("a raw socket", Root, "socket(my $s, 2, 3, 1)"),
    ("a netlink socket", Anyone, "socket(my $s, 16, 3, 0)"),
    ("a virtual machine's socket", Perhaps, "socket(my $s, 40, 1, 0)"),
    ("the kernel's cipher socket", Perhaps, "socket(my $s, 38, 5, 0)"),
    ("a unix socket in its own folder", Anyone, "IO::Socket::UNIX->new(Peer => \"$ENV{OUT}/work/socket\")"),
    ("an abstract socket", Anyone, "IO::Socket::UNIX->new(Peer => \"\\0$ENV{ABSTRACT}\")"),
    (
        "a pair of sockets pointed elsewhere",
        Anyone,
        "socketpair(A, B, 1, 2, 0) && connect(A, Socket::pack_sockaddr_un(\"$ENV{OUT}/work/datagram\"))",
    ),
    (
        "the same by its other name",
        Anyone,
        "socketpair(A, B, 1, 3, 0) && connect(A, Socket::pack_sockaddr_un(\"$ENV{OUT}/work/datagram\"))",
    ),
    ("tracing another process", Root, "syscall($ENV{N_PTRACE}, 0x4206, $ENV{VICTIM}+0, 0, 0) == 0"),
    ("the memory of another process", Root, "open(my $m, '<', \"/proc/$ENV{VICTIM}/mem\")"),
    (
        "memory without a file",
        Root,
        "my $b = 'x' x 8; my $l = pack('PQ', $b, 8); my $r = pack('QQ', 0x400000, 0); syscall($ENV{N_READV}, $ENV{VICTIM}+0, $l, 1, $r, 1, 0) >= 0",
    ),
    (
        "the bounds of another process",
        Anyone,
        "my $l = \"\\0\" x 16; syscall($ENV{N_PRLIMIT}, $ENV{VICTIM}+0, 7, 0, $l) == 0",
    ),
    ("the priority of another process", Anyone, "setpriority(0, $ENV{VICTIM}, 5)"),
    ("memory that is shared by a number", Anyone, "my $s = syscall($ENV{N_SHMAT}, $ENV{SHM}+0, 0, 0); $s != -1"),
    ("a user namespace", Perhaps, "syscall($ENV{N_UNSHARE}, 0x10000000) == 0"),
    ("a mount namespace", Root, "syscall($ENV{N_UNSHARE}, 0x20000) == 0"),
    (
        "a process in a new namespace",
        Root,
        "my $p = syscall($ENV{N_CLONE}, 0x10000000|17, 0, 0, 0, 0); exit 9 if $p == 0; $p > 0",
    ),
    (
        "a mount",
        Root,
        "syscall($ENV{N_UNSHARE}, 0x20000); my ($n, $to, $t) = ('none', '/mnt', 'tmpfs'); syscall($ENV{N_MOUNT}, $n, $to, $t, 0, 0) == 0",
    ),
    ("a ring of requests", Perhaps, "my $p = \"\\0\" x 120; syscall($ENV{N_URING}, 1, $p) >= 0"),
    ("the keys of the session", Perhaps, "syscall($ENV{N_KEYCTL}, 0, -3, 1) >= 0"),
    (
        "a program in the kernel",
        Perhaps,
        "my $a = pack('LLLL', 1, 4, 4, 1) . \"\\0\" x 56; syscall($ENV{N_BPF}, 0, $a, 72) >= 0",
    ),
    ("page faults by hand", Perhaps, "syscall($ENV{N_USERFAULT}, 1) >= 0"),
    (
        "the descriptors of another process by number",
        Root,
        "my $f = syscall($ENV{N_PIDFD}, $ENV{VICTIM}+0, 0); $f >= 0 && syscall($ENV{N_GETFD}, $f, 0, 0) >= 0",
    ),
    ("a new root", Root, "chroot('/usr')"),
    ("another user", Root, "$> = 1; $> == 1 && open(my $f, '<', \"$ENV{OUT}/../\")"),
    (
        "attributes of a file outside",
        Perhaps,
        "syscall($ENV{N_SETXATTR}, \"$ENV{OUT}/other/file\", 'user.x', 'y', 1, 0) == 0",
    ),
];

fn perl(code: &str) -> Spawn {
    program(&["/usr/bin/perl", "-MIO::Socket", "-MIO::Socket::UNIX", "-e", &format!("exit(({}) ? 0 : 1)", block(code))])
}

/// The last of several statements decides.
fn block(code: &str) -> String {
    format!("do {{ {code} }}")
}

fn attacks() -> impl Iterator<Item = (&'static str, Who, Spawn)> {
    let shell = BY_SHELL.iter().map(|(name, who, script)| (*name, *who, sh(script)));
    shell.chain(BY_PERL.iter().map(|(name, who, code)| (*name, *who, perl(code))))
}

#[test]
fn every_attack_works_without_a_hold() {
    let root = rustix::process::geteuid().is_root();
    let mut failed = Vec::new();
    for (name, who, spawn) in attacks() {
        let mut engine = Engine::start();
        let victim = Victim::new(&engine);
        let cwd = engine.dir.path().join("work").display().to_string();
        let spawn = Spawn { set: victim.variables(&engine), cwd, ..spawn };
        let heard = engine.run(1, &spawn);
        if heard.exited().code != Some(0) && (who == Anyone || who == Root && root) {
            failed.push((name, heard.exited().code, heard.text().to_owned()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn no_attack_works_from_inside() {
    for layer in layers() {
        let mut engine = Engine::start();
        let victim = Victim::new(&engine);
        let mut succeeded = Vec::new();
        for (name, _, spawn) in attacks() {
            let spawn = Spawn { set: victim.variables(&engine), ..held(&engine, layer, spawn) };
            let heard = engine.run(1, &spawn);
            if heard.exited().code == Some(0) {
                succeeded.push((name, heard.text().to_owned()));
            }
        }
        assert!(succeeded.is_empty(), "{layer:?}: {succeeded:#?}");
        let dir = engine.dir.path();
        let mut names: Vec<_> =
            fs::read_dir(dir.join("other")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "move"], "{layer:?}");
        assert_eq!(fs::read_to_string(dir.join("other/file")).unwrap(), "canary\n", "{layer:?}");
        assert!(victim.udp.recv(&mut [0; 16]).is_err(), "{layer:?}: a packet got out");
        // What it may have made in a folder of that name was its own.
        assert!(!fs::exists("/dev/shm/fleet-escape").unwrap());
    }
}

#[test]
fn what_is_its_own_works_as_ever() {
    let script = "set -e
        mkdir -p a/b; echo x >a/b/c; mv a/b/c a/d; rm -r a/b; ln a/d a/e; ln -s d a/f; cat a/f
        echo 'echo script' >s; sh s; (sleep 0.01 & wait); { sleep 5 & kill $!; wait $! || :; } 2>/dev/null
        echo $(echo sub | cat); echo fd | cat /dev/fd/0; head -c 4 /dev/zero | wc -c; echo x >/dev/null
        date >/dev/null; id -u >/dev/null; getent passwd root >/dev/null; ls /usr/bin >/dev/null";
    for layer in layers() {
        let mut engine = Engine::start();
        let spawn = held(&engine, layer, sh(script));
        let heard = engine.run(1, &spawn);
        assert_eq!((heard.text(), heard.exited().code), ("x\nscript\nsub\nfd\n4\n", Some(0)), "{layer:?}");
        let pair = "socketpair(A, B, 1, 1, 0) && syswrite(A, 'x') && sysread(B, my $x, 1)";
        assert_eq!(engine.run(2, &held(&engine, layer, perl(pair))).exited().code, Some(0), "{layer:?}");
    }
}

#[test]
fn what_is_given_can_be_read_and_no_more() {
    for layer in layers() {
        let mut engine = Engine::start();
        let _victim = Victim::new(&engine);
        let out = engine.dir.path().display().to_string();
        let mut spawn = held(&engine, layer, sh("cat $OUT/home/notes; echo x >>$OUT/home/notes; cat $OUT/other/file"));
        spawn.set = vec![("OUT".to_owned(), out.clone())];
        spawn.confine.as_mut().unwrap().read = Some(vec![format!("{out}/home"), "/no/such".to_owned()]);
        let heard = engine.run(1, &spawn);
        assert!(heard.text().starts_with("canary\n") && heard.exited().code == Some(1), "{layer:?} {}", heard.text());
        assert_eq!(fs::read_to_string(format!("{out}/home/notes")).unwrap(), "canary\n", "{layer:?}");
    }
}

#[test]
fn a_network_that_is_granted_is_reached() {
    for layer in layers() {
        let mut engine = Engine::start();
        let victim = Victim::new(&engine);
        for (granted, code) in [(true, Some(0)), (false, Some(1))] {
            let mut spawn = held(&engine, layer, perl(BY_PERL[0].2));
            spawn.confine.as_mut().unwrap().network = granted;
            spawn.set = victim.variables(&engine);
            assert_eq!(engine.run(1, &spawn).exited().code, code, "{layer:?}");
            let unix = BY_PERL.iter().filter(|(name, ..)| name.contains("abstract"));
            for (name, _, attack) in unix {
                let mut spawn = Spawn { argv: perl(attack).argv, ..spawn.clone() };
                spawn.set = victim.variables(&engine);
                assert_eq!(engine.run(2, &spawn).exited().code, Some(1), "{layer:?} {name}");
            }
        }
    }
}

#[test]
fn writes_alone_are_held_when_that_is_asked() {
    if !layers().contains(&Layer::Landlock) {
        return;
    }
    let mut engine = Engine::start();
    let victim = Victim::new(&engine);
    let out = engine.dir.path().display().to_string();
    let confine = Confine {
        write: vec![format!("{out}/work")],
        network: true,
        private: Some(format!("{out}/private")),
        ..Confine::default()
    };
    let confined = |spawn: Spawn| Spawn {
        cwd: format!("{out}/work"),
        set: victim.variables(&engine),
        confine: Some(Box::new(confine.clone())),
        ..spawn
    };
    let works = [
        sh("grep -q canary $OUT/other/file && echo x >in && echo x >$OUT/private/home/a && echo x >$OUT/private/tmp/a"),
        sh("ls /proc/$VICTIM/fd >/dev/null; echo x >/dev/null; mkdir -p a && mv in a/ && truncate -s 0 a/in"),
        perl(BY_PERL[0].2),
        perl("IO::Socket::UNIX->new(Peer => \"$ENV{OUT}/work/socket\")"),
    ];
    let fails = [
        sh("echo x >$OUT/other/new"),
        sh("echo x >>$OUT/other/file"),
        sh("truncate -s 0 $OUT/other/file"),
        sh("rm $OUT/other/move"),
        sh("mv $OUT/other/move ."),
        sh("ln $OUT/other/file hard"),
        sh("ln -sf $OUT/other/new soft; echo x >soft"),
        sh("mkdir /var/tmp/fleet-escape"),
    ];
    let works = works.map(confined);
    let fails = fails.map(confined);
    for spawn in &works {
        let heard = engine.run(1, spawn);
        assert_eq!(heard.exited().code, Some(0), "{:?} {}", spawn.argv, heard.text());
        assert_eq!(heard.mechanisms, ["landlock", "no_new_privs", "private_tmp"]);
    }
    for spawn in &fails {
        let heard = engine.run(1, spawn);
        assert_ne!(heard.exited().code, Some(0), "{:?} {}", spawn.argv, heard.text());
    }
    let mut text = String::new();
    fs::File::open(format!("{out}/other/file")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "canary\n");
}
