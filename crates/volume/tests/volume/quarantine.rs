//! Looking at what was set aside.

use crate::rig::{Rig, options};
use bytes::Bytes;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileId, LogPoint, VolumeId};
use mainstay_volume::quarantine::{FILES_MAX, Image, Names, Part, QuarantineError, Reader, TailRecord, list, path_text, sentence};
use mainstay_volume::volume::peek;
use mainstay_volume::{Disk, MemDisk};
use std::sync::Arc;

struct Case {
    disk: Arc<MemDisk>,
    volume: VolumeId,
    old: FileId,
    at: LogPoint,
    file: String,
}

/// An old file of 300 bytes; then a tail that writes into it, makes a new one, writes that, cuts the old one, and grows it again.
fn case() -> Case {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let old = rig.create("old");
    rig.write(old, 0, Bytes::from(vec![b'o'; 300])).unwrap();
    rig.settle();
    let at = rig.volume.last();
    rig.write(old, 100, Bytes::from_static(b"TAIL")).unwrap();
    let new = rig.create("new");
    rig.write(new, 0, Bytes::from_static(b"hello world")).unwrap();
    rig.write(new, 6, Bytes::from_static(b"there")).unwrap();
    let record = rig.records_after(at.position).unwrap();
    assert_eq!(record.len(), 4);
    let rolled = rig.volume.roll_back(at, "n2-e1").unwrap();
    rig.pump();
    Case { disk, volume: record[0].header.volume, old, at, file: rolled.file.unwrap() }
}

fn records(case: &Case) -> Vec<TailRecord> {
    let mut reader = Reader::open(&*case.disk, case.volume, &case.file).unwrap();
    std::iter::from_fn(|| reader.take_record()).map(Result::unwrap).collect()
}

fn image(case: &Case) -> Image {
    let mut image = Image::default();
    records(case).iter().for_each(|record| image.apply(record).unwrap());
    image
}

#[test]
fn it_is_listed_with_its_range_and_reads_as_sentences() {
    let case = case();
    let listed = list(&*case.disk, case.volume).unwrap();
    let [one] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((one.first, one.last, one.records()), (case.at.position.0 + 1, case.at.position.0 + 4, 4));
    assert_eq!((one.base, one.epoch, &one.damage), (case.at, case.at.epoch.0, &None));
    assert_eq!(one.id, format!("{}-n2-e1-{}-{}", case.volume, one.first, one.last));
    let mut names = Names::default();
    let root = records(&case).iter().flat_map(|record| record.body.changes.clone()).find_map(|change| match change {
        Change::PutEntry { dir, .. } => Some(dir),
        _ => None,
    });
    names.known.insert(root.unwrap(), vec![]);
    let said: Vec<String> = records(&case)
        .iter()
        .map(|record| {
            names.learn(record);
            sentence(record, &names)
        })
        .collect();
    let unknown = format!("write 4 bytes at 100 of inode {} (path not known)", case.old.inode);
    assert_eq!(said, [&unknown, "create file /new", "write 11 bytes at 0 of /new", "write 5 bytes at 6 of /new"]);
}

#[test]
fn files_are_put_together_from_what_the_tail_holds() {
    let case = case();
    let image = image(&case);
    let old = &image.files[&case.old.inode];
    let Part::Tail { extent, .. } = &image.parts(old)[1] else { panic!("{:?}", image.parts(old)) };
    assert_eq!((extent.offset, extent.len), (100, 4));
    assert_eq!((&image.parts(old)[0], &image.parts(old)[2]), (&Part::Before(0..100), &Part::Before(104..300)));
    assert!(!old.made && old.regular() && old.tail_bytes() == 4);
    let new = image.files.values().find(|file| file.made && file.regular()).unwrap();
    let read: Vec<u8> = image.parts(new).iter().flat_map(|part| data(&case, part)).collect();
    assert_eq!(read, b"hello there");
    let root = |inode| (inode == new.names.first().unwrap().0).then(Vec::new);
    assert_eq!(image.path(new.inode, &root).map(|path| path_text(&path)).as_deref(), Some("/new"));
    assert_eq!(image.path(case.old.inode, &|_| None), None, "nobody said where it was");
}

fn data(case: &Case, part: &Part) -> Vec<u8> {
    let Part::Tail { at, extent } = part else { panic!("{part:?}") };
    let mut reader = Reader::open(&*case.disk, case.volume, &case.file).unwrap();
    reader.skip_to(*at);
    let (record, damage) = reader.take().unwrap().unwrap();
    assert_eq!((damage, record.header.position), (None, extent.position));
    let from = extent.payload_offset as usize;
    record.payload[from..from + extent.len as usize].to_vec()
}

#[test]
fn what_lies_behind_a_cut_is_zeros_and_not_older_data() {
    let row = |size| mainstay_protocol::InodeRow {
        file: FileId { inode: 7, generation: 1 },
        kind: mainstay_protocol::FileKind::Regular,
        mode: 0o644,
        links: 1,
        uid: 0,
        gid: 0,
        size,
        used: 0,
        atime: Default::default(),
        mtime: Default::default(),
        ctime: Default::default(),
        parent: 0,
        exclusive: None,
        changed_at: Default::default(),
    };
    let body = |changes| mainstay_protocol::RecordBody { kind: mainstay_protocol::OpKind::SetAttributes, changes, reply: None };
    let record = |position, changes| TailRecord {
        at: 4096,
        position,
        epoch: 1,
        time: Default::default(),
        stable: true,
        payload_bytes: 0,
        body: body(changes),
        damage: None,
    };
    let mut image = Image::default();
    image.apply(&record(50, vec![Change::Truncate { inode: 7, size: 10 }, Change::PutInode(row(10))])).unwrap();
    image.apply(&record(51, vec![Change::PutInode(row(30))])).unwrap();
    assert_eq!(image.parts(&image.files[&7]), [Part::Before(0..10), Part::Zeros(10..30)]);
}

#[test]
fn damage_is_said_with_its_place_and_what_comes_before_stays_readable() {
    let case = case();
    let good = records(&case);
    // A byte of the third record's data: the record stands, its data does not.
    let file = case.disk.open(&case.file).unwrap();
    let len = file.len().unwrap();
    let data_at = good[3].at - 1;
    file.write_at(data_at, &[b"X"]).unwrap();
    let seen = records(&case);
    assert_eq!(seen.len(), 4);
    assert!(seen[2].damage.as_deref().is_some_and(|text| text.contains("block 0")), "{:?}", seen[2].damage);
    assert!(sentence(&seen[2], &Names::default()).ends_with("ITS DATA IS DAMAGED"));
    assert!(image(&case).damaged.contains(&seen[2].position));
    // A byte of the second record's header: from there on nothing is believed.
    file.write_at(good[1].at + 9, &[b"X"]).unwrap();
    let mut reader = Reader::open(&*case.disk, case.volume, &case.file).unwrap();
    assert_eq!(reader.take_record().unwrap().unwrap(), good[0]);
    let error = reader.take_record().unwrap().unwrap_err();
    assert!(matches!(error, QuarantineError::Record { at, .. } if at == good[1].at), "{error}");
    assert!(reader.take_record().is_none());
    // The node stopped while it wrote the second record.
    file.write_at(good[1].at, &[&vec![0; (len - good[1].at) as usize]]).unwrap();
    let mut reader = Reader::open(&*case.disk, case.volume, &case.file).unwrap();
    reader.take_record().unwrap().unwrap();
    assert!(matches!(reader.take_record(), Some(Err(QuarantineError::Unfinished { .. }))));
    // Nothing of it can be read: it is listed, and says so.
    file.write_at(0, &[b"junk"]).unwrap();
    let listed = list(&*case.disk, case.volume).unwrap();
    assert!(listed.len() == 1 && listed[0].damage.as_deref().is_some_and(|text| text.contains("magic")), "{listed:?}");
    assert!(matches!(Reader::open(&*case.disk, case.volume, &case.file), Err(QuarantineError::Header { .. })));
}

#[test]
fn a_file_of_another_volume_or_that_is_cut_short_is_refused() {
    let case = case();
    let other = VolumeId(case.volume.0 + 1);
    assert!(matches!(Reader::open(&*case.disk, other, &case.file), Err(QuarantineError::Header { .. })));
    case.disk.create("quarantine-n9-e1-5-9.log", 100).unwrap();
    assert!(matches!(Reader::open(&*case.disk, case.volume, "quarantine-n9-e1-5-9.log"), Err(QuarantineError::Header { .. })));
    for n in 0..FILES_MAX as u64 {
        case.disk.create(&format!("quarantine-x-{n}-{n}.log"), 100).unwrap();
    }
    assert_eq!(list(&*case.disk, case.volume).unwrap().len(), FILES_MAX);
}

#[test]
fn a_copy_can_be_looked_at_beside_its_own_work() {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let files: Vec<FileId> = (0..5).map(|n| rig.create(&format!("f{n}"))).collect();
    rig.write(files[3], 0, Bytes::from(vec![7; 70_000])).unwrap();
    rig.write(files[3], 100_000, Bytes::from_static(b"end")).unwrap();
    let root = FileId::ROOT.inode;
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let page = rig.volume.names_after(root, cookie, 2).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        cookie = last.cookie;
        names.extend(page.into_iter().map(|entry| (entry.name, entry.inode, entry.directory)));
    }
    let expected = files.iter().enumerate().map(|(n, file)| (Bytes::from(format!("f{n}")), file.inode, false));
    assert_eq!(names, expected.collect::<Vec<_>>());
    assert_eq!(rig.volume.entry(root, &Bytes::from_static(b"f3")).unwrap(), Some(files[3].inode));
    assert_eq!(rig.volume.entry(root, &Bytes::from_static(b"f9")).unwrap(), None);
    assert_eq!(rig.volume.row(files[3].inode).unwrap().map(|row| row.size), Some(100_003));
    let look = |rig: &Rig| peek(rig.volume.peek(files[3].inode, 69_999..100_003).unwrap(), &*disk).unwrap().concat();
    // From memory, and from the disk after a restart; the hole is zeros.
    let whole = [&[7][..], &[0; 30_000], b"end"].concat();
    assert_eq!(look(&rig), whole);
    rig.settle();
    let rig = Rig::open(disk.clone(), options()).unwrap();
    assert_eq!(look(&rig), whole);
    assert_eq!(rig.volume.peek(files[3].inode, 0..u64::MAX).unwrap().bytes(), 1 << 20, "no more than a record's data at once");
}
