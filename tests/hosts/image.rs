//! An image of one static busybox, made without a registry: the archive that `docker save` writes, byte for byte the same
//! each time, so its id is too.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 512;

/// Variables that a container of the image has. A zone fourteen hours ahead, so that an hour of the host's shows.
pub(super) const ENV: [&str; 2] = ["PATH=/bin", "TZ=AHEAD-14"];

/// A program that asks for no loader, so that it runs in an image without libraries.
pub(super) fn is_static(program: &Path) -> bool {
    // The type of a program header that names the loader, in a little-endian ELF of 64 bits.
    const PT_INTERP: u32 = 3;
    let Ok(bytes) = fs::read(program) else { return false };
    let number = |at: usize, size: usize| {
        let part = bytes.get(at..at + size)?;
        Some(part.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers().filter(|_| bytes.starts_with(b"\x7fELF\x02\x01")) else { return false };
    (0..count).all(|n| number(start + n * size, 4).is_some_and(|kind| kind != PT_INTERP as usize))
}

/// Writes the archive and returns the id of the image.
pub(super) fn write(busybox: &Path, archive: &Path) -> io::Result<String> {
    let layer = layer(busybox)?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["/bin/sh"], "Env": ENV },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "fleet's tests" }],
    })
    .to_string();
    let id = hex(config.as_bytes());
    let manifest = json!([{ "Config": format!("{id}.json"), "RepoTags": ["localhost/fleet-test:busybox"], "Layers": ["layer.tar"] }]);
    let mut tar = Tar::default();
    tar.file(&format!("{id}.json"), config.as_bytes(), 0o644);
    tar.file("layer.tar", &layer, 0o644);
    tar.file("manifest.json", manifest.to_string().as_bytes(), 0o644);
    fs::write(archive, tar.end())?;
    Ok(format!("sha256:{id}"))
}

fn layer(busybox: &Path) -> io::Result<Vec<u8>> {
    let mut tar = Tar::default();
    for (folder, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
    ] {
        tar.entry(folder, b'5', mode, "", b"");
    }
    tar.file("bin/busybox", &fs::read(busybox)?, 0o755);
    let list = Command::new(busybox).arg("--list").output()?;
    let mut applets: Vec<&str> = str::from_utf8(&list.stdout).unwrap_or_default().lines().collect();
    applets.sort_unstable();
    for applet in applets.into_iter().filter(|applet| *applet != "busybox") {
        tar.entry(&format!("bin/{applet}"), b'2', 0o777, "busybox", b"");
    }
    tar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644);
    tar.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    Ok(tar.end())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An archive in the form that POSIX calls ustar. Names here are short.
#[derive(Debug, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(&mut self, name: &str, bytes: &[u8], mode: u32) {
        self.entry(name, b'0', mode, "", bytes);
    }

    fn entry(&mut self, name: &str, kind: u8, mode: u32, link: &str, bytes: &[u8]) {
        let mut head = [0; BLOCK];
        let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", bytes.len()));
        put(136, "00000000000");
        // The sum is counted with spaces in its own place.
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        head[156] = kind;
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(head);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }
}
