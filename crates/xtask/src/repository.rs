//! The files of the repository.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Folders that hold nothing written by us. Hidden ones are left out as well, except [`KEPT`].
const LEFT_OUT: [&str; 4] = ["target", "node_modules", "__pycache__", "data"];

/// Hidden folders that are ours.
const KEPT: [&str; 2] = [".ci", ".github"];

/// The checkout, by its root.
pub(crate) struct Repository {
    root: PathBuf,
}

/// A text file, by its path from the root, with `/` between the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// What follows the last dot of its name, or the whole name where there is none.
    pub(crate) fn kind(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.rsplit('.').next().unwrap_or(name)
    }
}

impl Repository {
    /// The checkout that this tool was built in.
    pub(crate) fn here() -> Repository {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let root = crates.and_then(Path::parent).expect("this crate lies two folders below the root");
        Repository::at(root)
    }

    /// The checkout at this folder.
    pub(crate) fn at(root: &Path) -> Repository {
        Repository { root: root.to_owned() }
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All text files, sorted by path.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<File>> {
        let mut files = Vec::new();
        self.collect(&self.root, &mut files)?;
        files.sort();
        Ok(files)
    }

    /// The text of one file, if it is there.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    /// Writes one file, and the folders above it.
    pub(crate) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn collect(&self, folder: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let hidden = name.starts_with('.') && !KEPT.contains(&name.as_str());
                if !hidden && !LEFT_OUT.contains(&name.as_str()) {
                    self.collect(&entry.path(), files)?;
                }
            } else if kind.is_file() {
                // what is not text is nobody's business here; another program may just have removed the file
                let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
                let path = entry.path();
                let path = path.strip_prefix(&self.root).unwrap_or(&path);
                let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
                files.push(File { path: names.join("/"), text });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_or_hidden_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository::at(folder.path());
        for path in ["a.rs", "target/b.rs", ".git/c", ".ci/run", "docs/d.md"] {
            repository.write(path, "x").expect("written");
        }
        std::fs::write(folder.path().join("picture.png"), [0xff, 0xfe]).expect("written");
        let found = repository.files().expect("files");
        let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".ci/run", "a.rs", "docs/d.md"]);
        assert_eq!((found[0].kind(), found[1].kind()), ("run", "rs"));
    }
}
