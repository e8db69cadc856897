//! Kept first answers (NFS.md, "duplicate request cache").

use crate::support::Host;
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, FileOk, RequestId, SetAttributes};
use mainstay_protocol::{Caller, FileId, FileRequest, FileResult, Stability, Timestamp};
use mainstay_volume::view::ViewOptions;

fn id(xid: u32) -> RequestId {
    RequestId { client: [4; 16], xid, procedure: 8, checksum: 5 }
}

fn create(host: &mut Host, xid: u32) -> FileResult {
    let how = CreateHow::Guarded(SetAttributes::default());
    let name = Bytes::from(format!("file{xid}"));
    host.execute(&Caller::default(), Some(id(xid)), FileRequest::Create { dir: FileId::ROOT, name, how })
}

#[test]
fn the_first_answer_survives_checkpoints_and_crashes() {
    let mut host = Host::new(ViewOptions::default());
    let first = create(&mut host, 1);
    let position = host.view.point().position;
    for round in 0..4 {
        let kept = host.view.reply(&id(1)).unwrap().unwrap();
        assert_eq!((&kept.result, kept.position, kept.durable), (&first, position, true));
        assert_eq!(host.view.reply(&RequestId { checksum: 6, ..id(1) }).unwrap(), None, "other arguments, other request");
        match round {
            0 => host.checkpoint(),
            1 => host.reopen(),
            _ => drop(create(&mut host, 10 + round)),
        }
    }
    assert_eq!(host.view.oldest_reply(), Some(position));
}

#[test]
fn a_refusal_is_not_kept_and_an_unstable_write_needs_no_disk() {
    let mut host = Host::new(ViewOptions::default());
    let Ok(FileOk::Made { attributes, .. }) = create(&mut host, 1) else { panic!() };
    assert!(create(&mut host, 1).is_err());
    let data = Bytes::from_static(b"data");
    for (xid, stability) in [(2, Stability::Unstable), (3, Stability::DataSync)] {
        let request = FileRequest::Write { file: attributes.file, offset: 0, data: data.clone(), stability };
        host.execute(&Caller::default(), Some(id(xid)), request).unwrap();
    }
    assert!(!host.view.reply(&id(2)).unwrap().unwrap().durable);
    assert!(host.view.reply(&id(3)).unwrap().unwrap().durable);
    assert!(host.view.reply(&id(1)).unwrap().unwrap().result.is_ok());
}

#[test]
fn answers_are_forgotten_by_age_and_never_before() {
    let options = ViewOptions { reply_keep_ms: 1000, reply_keep_min: 0, ..ViewOptions::default() };
    let mut host = Host::new(options);
    let begin = host.wall;
    for xid in 0..40 {
        host.wall = Timestamp::from_millis(begin.as_millis() + xid as i64 * 100);
        create(&mut host, xid).unwrap();
        if xid % 7 == 0 {
            host.checkpoint();
        }
        if xid % 11 == 0 {
            host.reopen();
        }
        for old in 0..=xid {
            let kept = host.view.reply(&id(old)).unwrap().is_some();
            assert_eq!(kept, xid - old <= 10, "request {old} at {xid}");
        }
    }
}

#[test]
fn a_clock_that_jumps_forgets_none_of_the_newest_answers() {
    let options = ViewOptions { reply_keep_ms: 1000, reply_keep_min: 5, ..ViewOptions::default() };
    let mut host = Host::new(options);
    (0..20).for_each(|xid| drop(create(&mut host, xid).unwrap()));
    host.wall = Timestamp::from_millis(host.wall.as_millis() + 3_600_000);
    (20..40).for_each(|xid| drop(create(&mut host, xid).unwrap()));
    assert!(host.view.reply(&id(0)).unwrap().is_none());
    assert!((35..40).all(|xid| host.view.reply(&id(xid)).unwrap().is_some()));
    host.wall = Timestamp::from_millis(host.wall.as_millis() + 3_600_000);
    create(&mut host, 40).unwrap();
    assert!((36..=40).all(|xid| host.view.reply(&id(xid)).unwrap().is_some()), "whatever their age");
}

#[test]
fn answers_never_take_more_than_their_bytes() {
    let options = ViewOptions { reply_bytes_max: 20_000, ..ViewOptions::default() };
    let mut host = Host::new(options);
    for xid in 0..500 {
        create(&mut host, xid).unwrap();
        assert!(host.view.reply_bytes() <= 20_000);
        assert!(host.view.reply(&id(xid)).unwrap().is_some(), "the newest is there");
    }
    assert!(host.view.reply(&id(300)).unwrap().is_none());
    host.checkpoint();
    host.reopen();
    assert!(host.view.reply_bytes() <= 20_000 && host.view.reply_bytes() > 15_000);
}

#[test]
fn an_identity_that_comes_again_has_its_newer_answer() {
    let options = ViewOptions { reply_keep_ms: 1000, reply_keep_min: 0, ..ViewOptions::default() };
    let mut host = Host::new(options);
    create(&mut host, 1).unwrap();
    host.wall = Timestamp::from_millis(host.wall.as_millis() + 900);
    let remove = FileRequest::Remove { dir: FileId::ROOT, name: Bytes::from_static(b"file1") };
    let second = host.execute(&Caller::default(), Some(id(1)), remove);
    host.wall = Timestamp::from_millis(host.wall.as_millis() + 900);
    create(&mut host, 2).unwrap();
    assert_eq!(host.view.reply(&id(1)).unwrap().unwrap().result, second, "the older one's end did not take it along");
}
