//! The append protocol, on a file that fails on demand.

use std::cell::RefCell;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::testing::Scratch;

/// What the next call does.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The write takes this many bytes.
    Short(usize),
    /// The write, or the sync, fails so.
    Error(io::ErrorKind),
}

thread_local! {
    static WRITES: RefCell<VecDeque<Fault>> = const { RefCell::new(VecDeque::new()) };
    static SYNCS: RefCell<VecDeque<Fault>> = const { RefCell::new(VecDeque::new()) };
}

/// A real file whose writes and syncs fail as the test says.
struct Faulty(File);

impl From<File> for Faulty {
    fn from(file: File) -> Faulty {
        Faulty(file)
    }
}

impl Medium for Faulty {
    fn file(&self) -> &File {
        &self.0
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        match WRITES.with_borrow_mut(VecDeque::pop_front) {
            None => self.file().write(bytes),
            Some(Fault::Short(most)) => self.file().write(&bytes[..most.min(bytes.len())]),
            Some(Fault::Error(kind)) => Err(kind.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match SYNCS.with_borrow_mut(VecDeque::pop_front) {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => self.file().sync_data(),
        }
    }
}

fn write<M: Medium>(path: &Path, slot: &mut Option<Appender<M>>, lines: &str) -> Written {
    lock(path, slot).unwrap().expect("nobody else has the lock").write(lines.as_bytes())
}

#[test]
fn whole_lines_stay_after_a_partial_write_and_the_rest_is_cut() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender<Faulty>>;
    WRITES.with_borrow_mut(|writes| {
        writes.extend([Fault::Short(5), Fault::Error(io::ErrorKind::StorageFull)])
    });
    let written = write(&path, &mut slot, "one\ntwo\n");
    assert_eq!((written.start, written.bytes), (0, 4));
    assert!(matches!(written.error, Some(StoreError::Full(_))));
    assert_eq!(fs::read(&path).unwrap(), b"one\n");
    let written = write(&path, &mut slot, "three\n");
    assert_eq!((written.start, written.bytes, written.epoch), (4, 6, Epoch::of(b"one\n")));
    assert!(written.error.is_none());
    assert_eq!(fs::read(&path).unwrap(), b"one\nthree\n");
}

#[test]
fn an_interrupted_write_goes_on() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender<Faulty>>;
    WRITES.with_borrow_mut(|writes| {
        writes.extend([Fault::Short(2), Fault::Error(io::ErrorKind::Interrupted)])
    });
    assert_eq!(write(&path, &mut slot, "one\ntwo\n").bytes, 8);
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
}

#[test]
fn a_torn_line_of_a_dead_writer_is_cut_off() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    for (before, start) in [("one\nto", 4), ("torn", 0), ("", 0), ("one\n", 4)] {
        fs::write(&path, before).unwrap();
        let written = write(&path, &mut None::<Appender>, "two\n");
        assert_eq!(written.start, start, "{before:?}");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}two\n", &before[..start as usize])
        );
    }
}

#[test]
fn what_others_did_to_the_file_is_noticed() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender>;
    write(&path, &mut slot, "one\n");
    // Another process appends.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(write(&path, &mut slot, "three\n").start, 8);
    // It is copied and truncated, as logrotate does.
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let written = write(&path, &mut slot, "four\n");
    assert_eq!((written.start, written.epoch), (0, Epoch::of(b"four\n")));
    // It is renamed, and another one takes its place.
    fs::rename(&path, scratch.path("a.log.1")).unwrap();
    fs::write(&path, "five\n").unwrap();
    let written = write(&path, &mut slot, "six\n");
    assert_eq!((written.start, written.epoch), (5, Epoch::of(b"five\n")));
    // It is removed.
    fs::remove_file(&path).unwrap();
    assert_eq!(write(&path, &mut slot, "seven\n").start, 0);
    assert_eq!(fs::read(&path).unwrap(), b"seven\n");
    assert_eq!(fs::read(scratch.path("a.log.1")).unwrap(), b"four\n");
}

#[test]
fn a_log_cut_and_grown_longer_than_before_is_another_one() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender>;
    write(&path, &mut slot, "one\n");
    fs::write(&path, "another first line\n").unwrap();
    assert_eq!(write(&path, &mut slot, "two\n").epoch, Epoch::of(b"another first line\n"));
}

#[test]
fn after_a_failed_sync_the_bytes_are_written_again_before_the_next_one() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender<Faulty>>;
    write(&path, &mut slot, "one\n");
    slot.as_mut().unwrap().sync(&path, 0).unwrap();
    write(&path, &mut slot, "two\n");
    SYNCS.with_borrow_mut(|syncs| syncs.push_back(Fault::Error(io::ErrorKind::Other)));
    assert!(slot.as_mut().unwrap().sync(&path, 4).is_err());
    assert_eq!(slot.as_ref().unwrap().doubtful_from, Some(4));
    // A line that a reader may have seen is not taken back.
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    let before = fs::metadata(&path).unwrap().ctime_nsec();
    write(&path, &mut slot, "three\n");
    slot.as_mut().unwrap().sync(&path, 8).unwrap();
    assert_eq!(slot.as_ref().unwrap().doubtful_from, None);
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
    assert_ne!(before, fs::metadata(&path).unwrap().ctime_nsec());
}

#[test]
fn the_lock_is_given_back_whatever_happens() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender<Faulty>>;
    WRITES.with_borrow_mut(|writes| writes.push_back(Fault::Error(io::ErrorKind::Other)));
    assert_eq!(write(&path, &mut slot, "one\n").bytes, 0);
    let other = File::open(&path).unwrap();
    other.try_lock().unwrap();
}

#[test]
fn who_finds_the_file_locked_is_told_and_does_not_wait() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let other = File::create(&path).unwrap();
    other.lock().unwrap();
    let mut slot = None::<Appender>;
    assert!(lock(&path, &mut slot).unwrap().is_none());
    other.unlock().unwrap();
    assert!(lock(&path, &mut slot).unwrap().is_some());
}

#[test]
fn a_log_rewritten_in_place_to_the_same_length_is_another_one() {
    let scratch = Scratch::new();
    let path = scratch.path("a.log");
    let mut slot = None::<Appender>;
    write(&path, &mut slot, "one\n");
    fs::write(&path, "two\n").unwrap();
    assert_eq!(write(&path, &mut slot, "three\n").epoch, Epoch::of(b"two\n"));
}

proptest! {
    #[test]
    fn wherever_a_write_stops_the_log_holds_whole_lines_in_order(
        batches in prop::collection::vec((prop::collection::vec("[a-z]{0,8}", 1..5), prop::option::of(0..40usize)), 1..8),
    ) {
        let scratch = Scratch::new();
        let path = scratch.path("a.log");
        let mut slot = None::<Appender<Faulty>>;
        let mut expected = String::new();
        for (lines, stops) in batches {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            if let Some(at) = stops {
                let faults = [Fault::Short(at), Fault::Error(io::ErrorKind::StorageFull)];
                WRITES.with_borrow_mut(|writes| writes.extend(faults));
            }
            let written = write(&path, &mut slot, &lines);
            WRITES.with_borrow_mut(VecDeque::clear);
            prop_assert_eq!(written.start as usize, expected.len());
            expected += &lines[..written.bytes as usize];
            prop_assert_eq!(&fs::read_to_string(&path).unwrap(), &expected);
            prop_assert!(expected.is_empty() || expected.ends_with('\n'));
        }
        prop_assert_eq!(count_line_ends(&File::open(&path).unwrap(), 0..expected.len() as u64, 1).unwrap().0, expected.len() as u64);
    }

    #[test]
    fn the_last_lines_are_found_from_the_back(lines in prop::collection::vec(prop_oneof![9 => "[a-z]{0,5}", 1 => Just("x".repeat(70_000))], 0..6), count in 0..8u64) {
        let scratch = Scratch::new();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(scratch.path("a.log"), &text).unwrap();
        let file = File::open(scratch.path("a.log")).unwrap();
        let start = count_line_ends(&file, 0..text.len() as u64, count + 1).unwrap().0 as usize;
        let expected: String = lines.iter().skip(lines.len().saturating_sub(count as usize)).map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(&text[start..], expected);
    }
}
