//! Checks of the documentation: API pages build without warnings, links between files lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use regex::Regex;

use crate::checks::{select_packages, single};
use crate::commands::{cargo, root};
use crate::suites::{Counts, Options};

/// Builds the API pages and follows every relative link of every Markdown file.
pub(crate) fn check(options: &Options) -> Result<Counts> {
    let mut command = cargo();
    command.args(["doc", "--locked", "--no-deps", "--document-private-items"]);
    // Private items are documented, too, so links to them lead somewhere.
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    command.env("RUSTDOCFLAGS", flags);
    select_packages(&mut command, options);
    let mut counts = single(&mut command)?;

    let root = root();
    for file in markdown_files(&root)? {
        let text = fs::read_to_string(&file)?;
        let broken = broken_links(&file, &text)?;
        for link in &broken {
            eprintln!("{}: the link {link} leads nowhere", file.display());
        }
        let file = Counts::single(broken.is_empty());
        counts.passed += file.passed;
        counts.failed += file.failed;
    }
    Ok(counts)
}

fn markdown_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                files.extend(markdown_files(&path)?);
            }
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The relative links of a Markdown text that name no file or folder.
fn broken_links(file: &Path, text: &str) -> Result<Vec<String>> {
    let link = Regex::new(r"\]\(([^)\s]+)\)")?;
    let folder = file.parent().context("a file has a folder")?;
    let mut broken = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for found in link.captures_iter(line) {
            let target = &found[1];
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !folder.join(path).exists() {
                broken.push(target.to_owned());
            }
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_to_missing_files_are_broken() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("there.md"), "")?;
        let text = "[a](there.md#part) [b](#here) [c](https://kafka.apache.org) [d](gone.md)\n\
                    ```\n[e](code.md)\n```\n";
        assert_eq!(
            broken_links(&folder.path().join("a.md"), text)?,
            ["gone.md"]
        );
        Ok(())
    }

    /// A test that is renamed or removed must not go on to be promised.
    #[test]
    fn the_page_on_reliability_names_tests_that_exist() -> Result<()> {
        let root = root();
        let page = fs::read_to_string(root.join("docs/reliability.md"))?;
        let mut sources = String::new();
        let mut folders = vec![root.join("crates")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    sources.push_str(&fs::read_to_string(&path)?);
                }
            }
        }
        // Names of tests are the only words with underscores in tables.
        let name = Regex::new("`([a-z0-9]+(_[a-z0-9]+)+)`")?;
        let rows = page.lines().filter(|line| line.starts_with('|'));
        let named: Vec<&str> = rows
            .flat_map(|row| name.captures_iter(row))
            .map(|found| found.get(1).expect("it is in the pattern").as_str())
            .collect();
        assert!(named.len() > 50, "{named:?}");
        for test in named {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "{test} is no test"
            );
        }
        Ok(())
    }
}
