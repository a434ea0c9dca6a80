//! The shape of the operator's source: folders know each other in one direction, and no files know each other in a circle.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder knows those before it. The files beside the folders know all of them.
const FOLDERS: [&str; 5] = ["names", "process", "kubernetes", "senders", "archive"];

/// A module: its path from the root of the crate.
type Module = Vec<String>;

/// A `use`, from the root of the crate: a module, and perhaps an item in it.
type Used = Vec<String>;

struct Source {
    used: Vec<Used>,
    /// What the file gives others under its own name, and where that is.
    exported: BTreeMap<String, Used>,
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, all),
            false if path.extension().is_some_and(|extension| extension == "rs") => all.push(path),
            false => {}
        }
    }
}

fn module(path: &Path) -> Module {
    let mut parts: Module = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    parts.pop_if(|last| last == "mod");
    parts
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let (mut depth, mut begin) = (0, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[begin..]);
    let names = |text: &str| {
        text.split("::").map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((before, inner)) => {
                let inner = inner.strip_suffix('}').unwrap();
                all.extend(paths(inner).into_iter().map(|after| [names(before), after].concat()));
            }
            None => all.push(names(part.split(" as ").next().unwrap())),
        }
    }
    all
}

/// From the root of the crate; none for other crates.
fn absolute(of: &Module, path: &[String], modules: &BTreeSet<Module>) -> Option<Used> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([of.as_slice(), rest].concat()),
        "super" => {
            let supers = path.iter().take_while(|name| *name == "super").count();
            Some([&of[..of.len() - supers], &path[supers..]].concat())
        }
        _ => {
            let child = [of.as_slice(), std::slice::from_ref(first)].concat();
            modules.contains(&child).then(|| [of.as_slice(), path].concat())
        }
    }
}

fn read(of: &Module, text: &str, modules: &BTreeSet<Module>) -> Source {
    let without_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String =
        without_tests.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut source = Source { used: Vec::new(), exported: BTreeMap::new() };
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let public = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "));
        let Some(begin) = public.unwrap_or(line).strip_prefix("use ") else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = begin.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(lines.next().unwrap().trim());
        }
        for path in paths(tree.trim_end_matches(';')) {
            let Some(used) = absolute(of, &path, modules) else { continue };
            match public {
                Some(_) => drop(source.exported.insert(path.last().unwrap().clone(), used)),
                None => source.used.push(used),
            }
        }
    }
    for prefix in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(prefix) {
            let end =
                rest[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len() - at);
            let path: Vec<String> =
                rest[at..at + end].split("::").filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
            source.used.extend(absolute(of, &path, modules));
        }
    }
    source
}

/// The file that `used` leads to, through what others export.
fn home(used: &Used, sources: &BTreeMap<Module, Source>) -> Option<Module> {
    let mut used = used.clone();
    used.pop_if(|last| last == "self");
    loop {
        let depth = (1..=used.len()).rev().find(|depth| sources.contains_key(&used[..*depth]))?;
        let (module, item) = (used[..depth].to_vec(), used.get(depth));
        match item.and_then(|item| sources[&module].exported.get(item)) {
            Some(further) => used.clone_from(further),
            None => return Some(module),
        }
    }
}

/// Which file knows which.
fn knows() -> BTreeMap<Module, BTreeSet<Module>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    let texts: BTreeMap<Module, String> = all
        .iter()
        .map(|path| (module(path.strip_prefix(&root).unwrap()), fs::read_to_string(path).unwrap()))
        .filter(|(module, _)| !module.iter().any(|part| part == "tests") && *module != ["lib"] && *module != ["main"])
        .collect();
    let modules = texts.keys().cloned().collect();
    let sources: BTreeMap<Module, Source> =
        texts.iter().map(|(module, text)| (module.clone(), read(module, text, &modules))).collect();
    let known = |module: &Module| {
        let homes = sources[module].used.iter().filter_map(|used| home(used, &sources));
        homes.filter(|home| home != module).collect()
    };
    sources.keys().map(|module| (module.clone(), known(module))).collect()
}

#[test]
fn folders_know_those_before_them_only() {
    let rank = |module: &Module| FOLDERS.iter().position(|folder| *folder == module[0]).unwrap_or(FOLDERS.len());
    let knows = knows();
    assert!(knows.len() > 80, "{} files", knows.len());
    let count: usize = knows.values().map(BTreeSet::len).sum();
    assert!(count > 300, "{count} uses");
    let wrong: Vec<String> = knows
        .iter()
        .flat_map(|(of, all)| all.iter().map(move |one| (of, one)))
        .filter(|(of, one)| rank(one) > rank(of))
        .map(|(of, one)| format!("{} knows {}", of.join("/"), one.join("/")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let mut knows = knows();
    // What knows nobody that is left is in no circle; what nobody knows is in none either.
    loop {
        let left: BTreeSet<Module> = knows.keys().cloned().collect();
        let known: BTreeSet<Module> = knows.values().flatten().cloned().collect();
        knows.retain(|module, all| {
            all.retain(|one| left.contains(one));
            !all.is_empty() && known.contains(module)
        });
        if knows.len() == left.len() {
            break;
        }
    }
    let left: Vec<String> = knows
        .iter()
        .map(|(module, all)| {
            let all: Vec<String> = all.iter().map(|one| one.join("/")).collect();
            format!("{} knows {}", module.join("/"), all.join(", "))
        })
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}
