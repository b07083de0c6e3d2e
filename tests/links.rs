//! Links between the project's pages lead to files and headings that are there.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Folders whose pages are not the project's own, or are made by tools.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", "fixtures"];

/// A page: the anchors of its headings, and where its links lead.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

fn pages(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !LEFT_OUT.contains(&name.as_str()) {
                pages(&path, out);
            }
        } else if name.ends_with(".md") {
            out.push(path);
        }
    }
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

fn read(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let name = anchor(&heading.take().unwrap_or_default());
                let times = seen.entry(name.clone()).or_default();
                page.anchors.insert(match *times {
                    0 => name,
                    n => format!("{name}-{n}"),
                });
                *times += 1;
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    page
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    pages(root, &mut all);
    let all: BTreeMap<PathBuf, Page> = all
        .into_iter()
        .map(|path| {
            let page = read(&fs::read_to_string(&path).unwrap());
            (path, page)
        })
        .collect();
    assert!(all.len() > 20, "{}", all.len());
    let mut wrong = Vec::new();
    for (path, page) in &all {
        let folder = path.parent().unwrap();
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => plain(&folder.join(file)),
            };
            let there = target.exists();
            let found = fragment.is_empty()
                || all
                    .get(&target)
                    .is_none_or(|page| page.anchors.contains(fragment));
            if !there || !found {
                let page = path.strip_prefix(root).unwrap_or(path);
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} links:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn anchors_are_those_of_github() {
    let page = read("# A `b`, c\n\n## A `b`, c\n\n[x](y.md#z)\n");
    let want = ["a-b-c", "a-b-c-1"].map(str::to_owned);
    assert_eq!(page.anchors, BTreeSet::from(want));
    assert_eq!(page.links, ["y.md#z"]);
}
