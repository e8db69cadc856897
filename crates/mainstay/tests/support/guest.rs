//! Boots a Debian kernel under software emulation with a script as its whole user space, so that the real Linux NFS client
//! talks to the cluster under test. `tests/guest/prepare` fetches what it needs.

use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The host's loopback, as the guest sees it.
pub const HOST_IN_GUEST: &str = "10.0.2.2";

/// Carries every connection from the guest on to `service`, so that it reaches whichever process holds that address at the moment,
/// and is broken when that one is. Returns the port on the host's loopback.
pub fn forward(service: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for guest in listener.incoming().flatten() {
            // Nobody holds the address just now: the guest's connection breaks, and it tries again.
            let Ok(server) = TcpStream::connect(service) else { continue };
            for (from, to) in [(guest.try_clone(), server.try_clone()), (Ok(server), Ok(guest))] {
                let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
                let _ = to.set_nodelay(true);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        }
    });
    port
}

const MODULES: &[&str] = &["nfsv3", "nfs", "virtio_net", "virtio_pci"];

const INIT: &str = r#"#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
while read -r module; do insmod "$module" 2>/dev/null; done </modules.order
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
echo "guest: up"
sh -e /script.sh 2>&1 && echo "guest: passed" || echo "guest: failed"
poweroff -f
"#;

pub struct Guest {
    child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
    place: PathBuf,
}

/// Where `tests/guest/prepare` put things; says what to do when it did not.
pub fn prepared() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest");
    let have = ["/bin/busybox", "/usr/bin/qemu-system-x86_64"].iter().all(|path| Path::new(path).exists());
    if have && place.join("kernel").is_dir() && place.join("bin/fsx").is_file() {
        return Ok(place);
    }
    Err("the kernel client is not prepared: run tests/guest/prepare as root".into())
}

impl Guest {
    /// Boots with `script` as `/script.sh`, `trees` copied in as directories and `binaries` on PATH.
    pub fn boot(script: &str, trees: &[(&str, &Path)], binaries: &[&Path]) -> Guest {
        let prepared = prepared().expect("checked by the caller");
        let place = std::env::temp_dir().join(format!("mainstay-guest-{}", std::process::id()));
        let root = place.join("root");
        let kernel = prepared.join("kernel");
        let _ = std::fs::remove_dir_all(&place);
        lay_out(&root, &kernel, script, trees, binaries);
        let image = place.join("initrd");
        let pack = format!("cd {} && find . | cpio -o -H newc --quiet > {}", root.display(), image.display());
        assert!(Command::new("sh").args(["-c", &pack]).status().expect("cpio").success(), "the initial file system is packed");
        std::fs::remove_dir_all(&root).expect("packed");
        let child = start(&kernel, &image);
        Guest::watch(child, place)
    }

    fn watch(mut child: Child, place: PathBuf) -> Guest {
        let (sender, lines) = channel();
        let output = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while reader.by_ref().take(1 << 16).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Guest { child, lines, seen: Vec::new(), place }
    }

    /// Waits until the guest prints a line that contains `text`; panics with its console when it does not.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let until = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    eprintln!("guest | {line}");
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                    assert!(!line.contains("guest: failed"), "the guest's script failed:\n{}", self.console());
                }
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}` within {limit:?}; the guest's console:\n{}", self.console()),
                Err(RecvTimeoutError::Disconnected) => panic!("the guest ended without `{text}`:\n{}", self.console()),
            }
        }
    }

    fn console(&self) -> String {
        let from = self.seen.len().saturating_sub(60);
        self.seen[from..].join("\n")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

fn lay_out(root: &Path, kernel: &Path, script: &str, trees: &[(&str, &Path)], binaries: &[&Path]) {
    for dir in ["bin", "proc", "sys", "dev", "mnt", "tmp", "etc", "modules", "lib64"] {
        std::fs::create_dir_all(root.join(dir)).expect("a temporary directory");
    }
    shell(&format!(
        "cp /bin/busybox {0}/bin/ && for a in $(/bin/busybox --list); do [ $a = busybox ] || ln -s busybox {0}/bin/$a; done",
        root.display()
    ));
    let version =
        std::fs::read_dir(kernel.join("lib/modules")).expect("prepared").flatten().next().expect("one kernel").file_name();
    let modules = shell(&format!(
        "for m in {}; do modprobe -d {} -S {} --show-depends $m 2>/dev/null | awk '$1==\"insmod\"{{print $2}}'; done | awk '!seen[$0]++'",
        MODULES.join(" "),
        kernel.display(),
        version.to_string_lossy()
    ));
    let mut order = String::new();
    for module in modules.lines() {
        let name = Path::new(module).file_name().expect("a file").to_string_lossy().into_owned();
        std::fs::copy(module, root.join("modules").join(&name)).expect("a module");
        order.push_str(&format!("/modules/{name}\n"));
    }
    std::fs::write(root.join("modules.order"), order).expect("written");
    for (name, tree) in trees {
        shell(&format!("cp -a {} {}", tree.display(), root.join(name).display()));
    }
    for binary in binaries {
        shell(&format!(
            "cp {0} {1}/bin/ && ldd {0} | grep -o '/[^ ]*' | while read -r l; do mkdir -p {1}$(dirname $l); cp -n $l {1}$l; done",
            binary.display(),
            root.display()
        ));
    }
    std::fs::write(root.join("script.sh"), script).expect("written");
    std::fs::write(root.join("init"), INIT).expect("written");
    shell(&format!("chmod +x {}/init", root.display()));
}

fn start(kernel: &Path, image: &Path) -> Child {
    let mut boot = std::fs::read_dir(kernel.join("boot")).expect("prepared").flatten().map(|entry| entry.path());
    let vmlinuz = boot.find(|path| path.to_string_lossy().contains("vmlinuz")).expect("a kernel");
    Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-nographic", "-no-reboot"])
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS0 quiet panic=-1", "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("qemu starts")
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
