//! Which rules load.

use sceau_detect::{RuleFile, RuleSet, Settings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All files below a directory with one of the endings, sorted.
pub fn walk(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            walk(&entry, ending, found);
        } else if entry.to_string_lossy().ends_with(ending) {
            found.push(entry);
        }
    }
}

/// The rules of SigmaHQ, with the shipped mappings.
pub fn load(sigma: &Path) -> RuleSet {
    let mut paths = Vec::new();
    walk(&sigma.join("rules"), ".yml", &mut paths);
    let file = |path: &PathBuf| RuleFile {
        path: path.strip_prefix(sigma).unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    let files: Vec<RuleFile> = paths.iter().map(file).collect();
    RuleSet::load(&files, &RuleSet::builtin_files().1, &Settings::default()).unwrap()
}

pub fn print(set: &RuleSet, verbose: bool) {
    let mut kinds = BTreeMap::<&str, Vec<String>>::new();
    for refusal in set.refusals() {
        let text = format!("{}:{}: {}: {}", refusal.path, refusal.line, refusal.rule, refusal.reason);
        kinds.entry(refusal.kind).or_default().push(text);
    }
    println!("sigma rules: {} load, {} are refused", set.rules().len(), set.refusals().len());
    for (kind, refusals) in kinds {
        println!("    {kind:24} {:5}", refusals.len());
        for refusal in refusals.iter().filter(|_| verbose) {
            println!("        {refusal}");
        }
    }
}
