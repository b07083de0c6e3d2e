#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write as _;

use proptest::prelude::*;

use super::folder::MOST_PACKS;
use super::*;

const SHOUT: ItemFunction = ItemFunction {
    name: "shout",
    version: 1,
};

fn items(root: &Path) -> Items {
    Items::new(root.to_owned(), PathBuf::new(), "here".to_owned())
}

/// Shouts texts, and returns what it gave and which texts it computed.
fn shout(items: &Items, texts: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut work = items.open(&SHOUT, &["loud"]);
    let parts: Vec<[&str; 1]> = texts.iter().map(|t| [*t]).collect();
    let all: Vec<Item<'_>> = parts
        .iter()
        .map(|p| Item {
            name: p[0],
            parts: p,
        })
        .collect();
    let computed: RefCell<Vec<String>> = RefCell::default();
    let decode = |_: usize, bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let compute = |missing: &[usize]| {
        let one = |i: &usize| {
            computed.borrow_mut().push(texts[*i].to_owned());
            let result = texts[*i].to_uppercase();
            (result.clone(), result.into_bytes())
        };
        Ok(missing.iter().map(one).collect())
    };
    let out = work.obtain(&all, decode, compute).unwrap();
    assert!(work.trouble().is_none());
    drop(work);
    (out, computed.into_inner())
}

fn only(root: &Path) -> Folder {
    let mut all = folders(root);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn names(folder: &Folder) -> Vec<String> {
    let files = std::fs::read_dir(folder.path()).unwrap();
    let mut out: Vec<String> = files
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    out.sort();
    out
}

#[test]
fn what_was_computed_is_not_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(dir.path());
    let (first, computed) = shout(&items, &["a", "b", "", "a"]);
    assert_eq!(first, ["A", "B", "", "A"]);
    // The same text twice in one call is computed twice, and kept once.
    assert_eq!(computed, ["a", "b", "", "a"]);
    let used = items.take_used();
    assert_eq!((used.computed, used.items.len()), (4, 4));
    assert_eq!(used.items[0].id, used.items[3].id);
    assert_eq!(used.folders, [only(dir.path()).name()]);
    let (again, computed) = shout(&items, &["b", "c", "a"]);
    assert_eq!(
        (again.concat(), computed),
        ("BCA".to_owned(), vec!["c".to_owned()])
    );
    assert_eq!(items.take_used().computed, 1);
    assert_eq!(only(dir.path()).packs().len(), 2);
    // Without a folder, all is computed.
    let (third, computed) = shout(&Items::nowhere(), &["a"]);
    assert_eq!((third.concat(), computed.len()), ("A".to_owned(), 1));
}

#[test]
fn an_id_stands_for_everything() {
    let dir = tempfile::tempdir().unwrap();
    let here = items(dir.path());
    let there = Items::new(dir.path().to_owned(), PathBuf::new(), "there".to_owned());
    let next = ItemFunction {
        version: 2,
        ..SHOUT
    };
    let of = |items: &Items, function: &ItemFunction, shared: &[&str], parts: &[&str]| {
        items.open(function, shared).id(parts)
    };
    let all = [
        of(&here, &SHOUT, &["x"], &["ab", ""]),
        of(&here, &SHOUT, &["x"], &["a", "b"]),
        of(&here, &SHOUT, &["x"], &["", "ab"]),
        of(&here, &SHOUT, &["x"], &["ab"]),
        of(&here, &SHOUT, &["y"], &["ab"]),
        of(&here, &SHOUT, &["x", ""], &["ab"]),
        of(&here, &next, &["x"], &["ab"]),
        of(&there, &SHOUT, &["x"], &["ab"]),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(of(&here, &SHOUT, &["x"], &["ab"]), all[3]);
}

#[test]
fn names_are_one_short_line() {
    assert_eq!(shown("a\n b\u{a0}c "), "a b c");
    let long = "wörd ".repeat(100);
    assert_eq!(shown(&long).chars().count(), 81);
    assert_eq!(shown(""), "");
}

/// A killed process leaves its log, whole or with a part of a record.
#[test]
fn a_killed_process_loses_no_finished_item() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(dir.path());
    let mut work = items.open(&SHOUT, &["loud"]);
    let results = ["a", "bb", "ccc"].map(|t| (work.id(&[t]), t.to_uppercase().into_bytes()));
    work.keep(&results[..2]);
    // Another stage sees what is there already, and leaves the log to its process.
    assert_eq!(shout(&items, &["a", "bb"]).1, Vec::<String>::new());
    work.keep(&results[2..]);
    // The kill: the log is neither sealed nor unlocked by this process.
    let log = names(&only(dir.path())).remove(0);
    assert!(log.ends_with(".log"), "{log}");
    let path = only(dir.path()).path().join(&log);
    let whole = std::fs::read(&path).unwrap();
    drop(work);
    for length in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let items = self::items(dir.path());
        drop(items.open(&SHOUT, &["loud"]));
        let folder = Folder::new(dir.path(), "shout", &items.open(&SHOUT, &["loud"]).function);
        std::fs::create_dir_all(folder.path()).unwrap();
        std::fs::write(folder.path().join("1-0.log"), &whole[..length]).unwrap();
        let computed = shout(&items, &["a", "bb", "ccc"]).1;
        let ends = [41, 41 + 42, 41 + 42 + 43];
        let lost = ends.iter().filter(|end| **end > length).count();
        assert_eq!(computed.len(), lost, "{length}");
        assert!(names(&folder).iter().all(|n| n.ends_with(".pack")));
        assert_eq!(folder.check(true).2, []);
    }
}

#[test]
fn what_is_damaged_is_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(dir.path());
    shout(&items, &["first text", "second text"]);
    let folder = only(dir.path());
    let (path, _) = folder.packs().remove(0);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(folder.check(true), (2, 21, Vec::new()));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        // The newest file counts, and clocks of file systems are coarse.
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        // Heads of records are read in logs only.
        let head = at < 40 || (50..90).contains(&at);
        assert_eq!(folder.check(true).2.is_empty(), head, "byte {at}");
        let (got, computed) = shout(&items, &["first text", "second text"]);
        assert_eq!(got, ["FIRST TEXT", "SECOND TEXT"]);
        let first = (40..50).contains(&at) || at >= 101;
        let second = (90..101).contains(&at) || at >= 101;
        let want = usize::from(first) + usize::from(second);
        assert_eq!(computed.len(), want, "byte {at}");
        // What was made again counts from then on.
        assert_eq!(shout(&items, &["first text", "second text"]).1.len(), 0);
        for (other, _) in folder.packs() {
            if other != path {
                std::fs::remove_file(other).unwrap();
            }
        }
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(folder.check(false).2.len(), 1);
        drop(items.open(&SHOUT, &["loud"]));
    }
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let mut bytes = vec![0; 32];
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend(b"abc");
    std::fs::write(&path, &bytes).unwrap();
    let file = pack::open(&path, false).unwrap();
    assert_eq!(pack::scan(&file).unwrap(), (Vec::new(), 0));
    for count in [1, u64::MAX, u64::MAX / 48] {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend(blake3::hash(&[]).as_bytes());
        bytes.extend(b"gfmitem1");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            pack::index(&pack::open(&path, false).unwrap()).unwrap(),
            None
        );
    }
}

/// An index whose entries overlap makes a small file stand for a huge one.
#[test]
fn an_index_has_one_entry_for_each_record() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(dir.path());
    shout(&items, &["a text", "b text"]);
    let folder = only(dir.path());
    let (path, _) = folder.packs().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let (records, rest) = bytes.split_at(2 * (40 + 6));
    let (index, _) = rest.split_at(2 * 48);
    let pack = |records: &[u8], index: &[u8]| {
        let digest = blake3::hash(index);
        let count = (index.len() as u64 / 48).to_le_bytes();
        let all = [records, index, &count, digest.as_bytes(), b"gfmitem1"].concat();
        (format!("{}.pack", digest.to_hex()), all)
    };
    let (name, whole) = pack(records, index);
    assert_eq!(
        (name.as_str(), &whole),
        (path.file_name().unwrap().to_str().unwrap(), &bytes)
    );
    let twice = [&index[..48], &index[..48]].concat();
    for index in [&twice, &index[..48], &index[48..], &[]] {
        let (name, bytes) = pack(records, index);
        assert!(!folder.add(&name, &bytes).unwrap(), "{}", index.len());
    }
    let (name, more) = pack(&[records, b"more"].concat(), index);
    assert!(!folder.add(&name, &more).unwrap());
    assert!(
        !folder
            .add(&format!("{}.pack", "0".repeat(64)), &bytes)
            .unwrap()
    );
    assert!(!folder.was_added(&name));
    assert!(folder.add(&name, &bytes).unwrap() && folder.was_added(&name));
    assert_eq!(Folder::sound(&path).unwrap(), Some(bytes));
}

/// Another process merges packs, or cleans up, while this one has listed them.
#[test]
fn packs_that_are_merged_meanwhile_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let items = items(dir.path());
    for i in 0..MOST_PACKS {
        shout(&items, &[&format!("t{i}")]);
    }
    let mut work = items.open(&SHOUT, &["loud"]);
    let ids: Vec<Id> = (0..MOST_PACKS)
        .map(|i| work.id(&[&format!("t{i}")]))
        .collect();
    shout(&items, &["one more"]);
    assert_eq!(only(dir.path()).packs().len(), 1, "they were merged");
    let mut found = HashSet::new();
    work.read(&ids, |i, bytes| {
        assert_eq!(bytes, format!("T{i}").as_bytes());
        assert!(found.insert(i));
    });
    assert_eq!(found.len(), MOST_PACKS);
}

#[test]
fn a_note_that_was_cut_moves_no_other() {
    let work = tempfile::tempdir().unwrap();
    folder::note_unfinished(work.path(), "f/s", &[[1; 16], [2; 16]]).unwrap();
    let path = work.path().join("items-f-s");
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&[9; 7]).unwrap();
    folder::note_unfinished(work.path(), "f/s", &[[3; 16]]).unwrap();
    let all = [[1; 16], [2; 16], [3; 16]];
    assert_eq!(unfinished(work.path()), HashSet::from(all));
}

#[test]
fn many_may_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let items = items(dir.path());
            scope.spawn(move || {
                for i in 0..20 {
                    let own = format!("{i} of {thread}");
                    shout(&items, &[&format!("{i}"), &own]);
                }
            });
        }
    });
    let all: Vec<String> = (0..20)
        .flat_map(|i| {
            (0..4)
                .map(move |t| format!("{i} of {t}"))
                .chain([format!("{i}")])
        })
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(shout(&items(dir.path()), &all).1, Vec::<String>::new());
    let folder = only(dir.path());
    assert!(folder.packs().len() <= 33 + 4, "{}", folder.packs().len());
    assert_eq!(folder.check(true).2, []);
}

#[test]
fn what_nothing_needs_goes() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let root = dir.path().join("items");
    let items = Items::new(root.clone(), work.clone(), "here".to_owned());
    shout(&items, &["a", "secret"]);
    shout(&items, &["b"]);
    let folder = only(&root);
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    // An unfinished stage's folder names what it has.
    let used = items.take_used();
    let all: HashSet<Id> = used.items.iter().map(|u| u.id).collect();
    assert_eq!(unfinished(&work), all);
    assert_eq!(folder.dead(&|id| all.contains(id)).unwrap(), None);
    let secret = used.items[1].id;
    let live = |id: &Id| *id != secret;
    let dead = folder.dead(&live).unwrap().unwrap();
    assert_eq!((dead.items, dead.bytes), (1, 6));
    folder.remove_dead(&live).unwrap();
    assert_eq!(folder.dead(&live).unwrap(), None);
    for (path, _) in folder.packs() {
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"SECRET"));
    }
    assert_eq!(shout(&items, &["a", "b", "secret"]).1, ["secret"]);
    folder.remove_dead(&|_| false).unwrap();
    assert_eq!(names(&folder), ["notes.txt"]);
    std::fs::remove_file(folder.path().join("notes.txt")).unwrap();
    folder.remove_dead(&|_| false).unwrap();
    assert!(folders(&root).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_costs_only_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shout"), "a file").unwrap();
    let items = items(dir.path());
    let mut work = items.open(&SHOUT, &[]);
    let id = work.id(&["a"]);
    work.keep(&[(id, b"A".to_vec())]);
    let told = work.trouble().unwrap().to_string();
    assert!(told.contains("failed to keep"), "{told}");
    work.keep(&[(id, b"A".to_vec())]);
    assert!(work.trouble().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens to packs, logs and live items, a stage gets the right results, and what is
    /// needed is never computed again.
    #[test]
    fn steps_in_any_order_keep_what_is_needed(
        steps in prop::collection::vec((0..4_u8, prop::collection::vec(0..12_u8, 0..6)), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let items = items(dir.path());
        // What is kept, by the text.
        let mut kept: BTreeMap<String, Id> = BTreeMap::new();
        for (place, (step, numbers)) in steps.into_iter().enumerate() {
            let texts: BTreeMap<String, ()> = numbers.iter().map(|n| (format!("t{n}"), ())).collect();
            let texts: Vec<&str> = texts.keys().map(String::as_str).collect();
            match step {
                0 | 1 => {
                    let (got, computed) = shout(&items, &texts);
                    let new: Vec<&str> =
                        texts.iter().copied().filter(|t| !kept.contains_key(*t)).collect();
                    prop_assert_eq!(computed, new);
                    let want: Vec<String> = texts.iter().map(|t| t.to_uppercase()).collect();
                    prop_assert_eq!(got, want);
                    for item in items.take_used().items {
                        kept.insert(item.name, item.id);
                    }
                }
                2 => for folder in folders(dir.path()) {
                    let live: HashSet<Id> = texts.iter().filter_map(|t| kept.get(*t)).copied().collect();
                    folder.remove_dead(&|id| live.contains(id)).unwrap();
                    kept.retain(|_, id| live.contains(id));
                },
                // A killed process: a log that nobody holds.
                _ => for folder in folders(dir.path()) {
                    let mut bytes = Vec::new();
                    for text in &texts {
                        let id = items.open(&SHOUT, &["loud"]).id(&[text]);
                        let at = bytes.len() as u64;
                        pack::record(&mut bytes, at, id, text.to_uppercase().as_bytes());
                        kept.insert((*text).to_owned(), id);
                    }
                    std::fs::write(folder.path().join(format!("1-{place}.log")), bytes).unwrap();
                },
            }
            for folder in folders(dir.path()) {
                prop_assert_eq!(folder.check(true).2, vec![]);
            }
        }
    }
}

/// Answers that cost money.
const ASKED: ItemFunction = ItemFunction {
    name: "paid-asked",
    version: 1,
};

#[test]
fn what_was_paid_for_is_there_at_once_and_for_every_machine() {
    let dir = tempfile::tempdir().unwrap();
    let here = items(dir.path());
    let mut work = here.open(&ASKED, &["model"]);
    let id = work.id(&["question"]);
    assert_eq!(work.get(id), None);
    work.keep_paid(&[(id, b"answer".to_vec())]).unwrap();
    assert_eq!(work.get(id).as_deref(), Some(&b"answer"[..]));
    // A process that is killed now leaves it to the next.
    let elsewhere = Items::new(
        dir.path().to_owned(),
        PathBuf::new(),
        "another kind".to_owned(),
    );
    for others in [elsewhere.clone(), elsewhere.anew(true)] {
        let mut other = others.open(&ASKED, &["model"]);
        assert_eq!(
            other.get(other.id(&["question"])).as_deref(),
            Some(&b"answer"[..])
        );
    }
    drop(work);
    let mut again = here.open(&ASKED, &["model"]);
    assert_eq!(again.get(id).as_deref(), Some(&b"answer"[..]));
    let folder = only(dir.path());
    assert!(folder.is_paid());
    let mut all = Vec::new();
    folder
        .for_each(|id, bytes| all.push((*id, bytes.to_vec())))
        .unwrap();
    assert_eq!(all, [(id, b"answer".to_vec())]);
}

#[test]
fn what_only_reads_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let items = Items::read_only(dir.path().to_owned(), String::new());
    let mut work = items.open(&ASKED, &["model"]);
    let id = work.id(&["question"]);
    work.keep_paid(&[(id, b"answer".to_vec())]).unwrap();
    work.keep(&[(id, b"answer".to_vec())]);
    assert_eq!(work.get(id), None);
    drop(work);
    assert!(folders(dir.path()).is_empty());
}

#[test]
fn an_answer_that_cannot_be_kept_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(ASKED.name), "a file").unwrap();
    let items = items(dir.path());
    let mut work = items.open(&ASKED, &[]);
    let id = work.id(&["question"]);
    let e = work.keep_paid(&[(id, b"answer".to_vec())]).unwrap_err();
    assert!(e.to_string().contains("failed to keep an answer"), "{e}");
}
