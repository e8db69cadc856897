//! Creates COUNT empty files over NFS, a thousand in a directory, many at once: for looking at what a node's memory does.
//!
//! `cargo run --release -p mainstay --example many_files -- nfs://127.0.0.10:12049/files 1000000`

use mainstay::nfs_client::{Client, Handle, Options, Target};
use mainstay_protocol::file::CreateHow;
use std::time::Instant;

const THREADS: u64 = 16;
const PER_DIRECTORY: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, count] = &arguments[..] else { return Err("usage: many_files nfs://HOST:PORT/EXPORT COUNT".into()) };
    let (target, count): (Target, u64) = (target.parse()?, count.parse()?);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let target = &target;
                    move || fill(target, thread, count)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} files in {seconds:.1} s, {:.0} a second", count as f64 / seconds);
    Ok(())
}

/// Every sixteenth directory.
fn fill(target: &Target, thread: u64, count: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut client = Client::open(target, Options::default())?;
    let root = client.root();
    for directory in (0..count.div_ceil(PER_DIRECTORY)).filter(|directory| directory % THREADS == thread) {
        let parent: Handle = client.mkdir(&root, &format!("d{directory}"), Default::default())?;
        for file in 0..PER_DIRECTORY.min(count - directory * PER_DIRECTORY) {
            client.create(&parent, &format!("file-{file:04}.txt"), CreateHow::Guarded(Default::default()))?;
        }
    }
    Ok(())
}
