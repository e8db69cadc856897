//! The real Linux NFS client, in a guest of its own, copies a tree into the volume and works on while the primary is killed, its
//! successor approved and the dead node started again. Nothing is remounted. What the guest reads back must be what it wrote.
//!
//! Needs `tests/guest/prepare` once (root, Debian or Ubuntu) and the demo's addresses. Where that is missing the test says so and
//! does nothing, unless MAINSTAY_REQUIRE_ALL=1 asks for everything.

#[path = "support/guest.rs"]
mod guest;

use guest::{Guest, HOST_IN_GUEST};
use mainstay::demo::cluster::{Cluster, SERVICE, volume};
use mainstay::launch::Launcher;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILES: usize = 5_000;
const FSX_OPERATIONS: usize = 20_000;
/// Software emulation on two busy cores is slow; this is a bound against hanging, not a measure.
const LIMIT: Duration = Duration::from_secs(900);

fn script(port: u16) -> String {
    let mount = format!("vers=3,tcp,nolock,port={port},mountport={port},addr={HOST_IN_GUEST}");
    format!(
        r#"
mount -t nfs -o {mount} {HOST_IN_GUEST}:/files /mnt
echo "guest: mounted"
fsx -N {FSX_OPERATIONS} -S 7 -f /fsx.toml /mnt/fsx.dat >/tmp/fsx.out 2>&1 & fsx=$!
mkdir /mnt/copy
for part in /tree/*; do cp -a $part /mnt/copy/; echo "guest: copied $part"; done
echo "guest: copy done"
wait $fsx || {{ tail -20 /tmp/fsx.out; exit 1; }}
echo "guest: fsx done"
echo 3 > /proc/sys/vm/drop_caches
diff -r /tree /mnt/copy
echo "guest: trees equal"
mv /mnt/copy /mnt/renamed
rm -r /mnt/renamed/d1
test ! -e /mnt/renamed/d1
sync
umount /mnt
"#
    )
}

/// Files of many sizes, directories, symbolic and hard links, odd names and modes: the same in every run.
fn make_tree(root: &Path) {
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for number in 0..FILES {
        let dir = root.join(format!("d{}", number % 61)).join(format!("e{}", number % 7));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let path = dir.join(format!("file {number}.äöü"));
        let len = if number % 50 == 0 { draw(200_000) } else { draw(6_000) };
        let bytes: Vec<u8> = (0..len).map(|_| draw(256) as u8).collect();
        std::fs::write(&path, bytes).expect("written");
        if number % 100 == 0 {
            std::os::unix::fs::symlink(&path, dir.join(format!("link {number}"))).expect("a link");
            std::fs::hard_link(&path, dir.join(format!("hard {number}"))).expect("a link");
        }
    }
}

fn required() -> bool {
    std::env::var_os("MAINSTAY_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// A cluster of this build's processes, at the demo's addresses.
async fn cluster() -> Cluster {
    let launcher = Launcher { program: PathBuf::from(env!("CARGO_BIN_EXE_mainstay")), segment_mib: 16 };
    Cluster::start_with(launcher, None, |step| eprintln!("cluster: {step}")).await.expect("the cluster starts")
}

#[test]
fn a_kernel_client_goes_on_over_kill_approval_and_return() {
    let prepared = match guest::prepared() {
        Ok(prepared) => prepared,
        Err(why) if required() => panic!("{why}"),
        Err(why) => return eprintln!("not run: {why}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let tree = std::env::temp_dir().join(format!("mainstay-tree-{}", std::process::id()));
    make_tree(&tree);
    let config = std::env::temp_dir().join(format!("mainstay-fsx-{}.toml", std::process::id()));
    std::fs::write(&config, FSX_CONFIG).expect("written");
    let mut cluster = runtime.block_on(cluster());
    let fsx = prepared.join("bin/fsx");
    let port = guest::forward(SERVICE.parse().expect("an address"));
    let mut guest = Guest::boot(&script(port), &[("tree", &tree), ("fsx.toml", &config)], &[&fsx]);
    guest.wait_for("guest: mounted", LIMIT);
    // In the middle of the copy and of fsx.
    guest.wait_for("guest: copied /tree/d2", LIMIT);
    runtime.block_on(async {
        cluster.kill("a");
        let proposal = cluster.proposal(Duration::from_secs(60)).await.expect("b proposes itself");
        cluster.admin.approve(proposal.id, &proposal.evidence_hash).await.expect("approved");
        let serving =
            |status: &_| volume(status).is_some_and(|volume| volume.primary.as_deref() == Some("b") && volume.state == "serving");
        cluster.until("b serves", serving).await.expect("b serves");
        cluster.spawn("a").expect("a starts");
        let in_sync = |status: &_| volume(status).is_some_and(|volume| volume.in_sync.len() == 2);
        cluster.until("a is in sync", in_sync).await.expect("a is in sync");
    });
    for step in ["copy done", "fsx done", "trees equal", "passed"] {
        guest.wait_for(&format!("guest: {step}"), LIMIT);
    }
    drop(guest);
    let verified = runtime.block_on(cluster.admin.verify("files")).expect("verified");
    assert!(verified.equal, "{verified:?}");
    runtime.block_on(cluster.stop());
    std::fs::remove_dir_all(&tree).expect("removed");
    std::fs::remove_file(&config).expect("removed");
}

/// Sizes and a mix that suit a file over NFS; punching holes and the like are not in NFSv3.
const FSX_CONFIG: &str = r#"
flen = 262144
[weights]
truncate = 1
read = 10
write = 10
mapread = 0
mapwrite = 0
invalidate = 0
fsync = 1
fdatasync = 1
posix_fallocate = 0
punch_hole = 0
sendfile = 0
posix_fadvise = 0
copy_file_range = 0
close_open = 1
"#;
