//! Building a project with the toolchain of its language.

mod go;
mod javascript;
mod python;
mod rust;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::io;
use crate::{Error, Language};

/// What came of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The language that was found.
    pub language: Language,
    /// The component: `NAME.wasm` in the project's folder, where NAME is the folder's.
    pub component: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Builds the project in a folder. `say` is told every command before it runs.
pub fn build(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Built, Error> {
    let folder = fs::canonicalize(folder).map_err(io("open", folder))?;
    let language = match Language::found_in(&folder).as_slice() {
        [] => return Err(Error::NoProject { folder }),
        [language] => *language,
        &[first, second, ..] => {
            return Err(Error::SeveralLanguages {
                folder,
                first,
                second,
            });
        }
    };
    let name = folder.file_name().unwrap_or("plugin".as_ref());
    let mut file = name.to_owned();
    file.push(".wasm");
    let component = folder.join(file);
    // What was made before must not be taken for what is made now.
    if component.exists() {
        fs::remove_file(&component).map_err(io("remove", &component))?;
    }
    let mut project = Project { folder, say };
    match language {
        Language::Rust => rust::build(&mut project, &component)?,
        Language::Python => python::build(&mut project, &component)?,
        Language::Go => go::build(&mut project, &component)?,
        Language::Javascript => javascript::build(&mut project, &component)?,
    }
    let found = fs::metadata(&component).map_err(io("find", &component))?;
    Ok(Built {
        language,
        component,
        bytes: found.len(),
    })
}

/// A project's folder, and who wants to know what is done in it.
struct Project<'a> {
    folder: PathBuf,
    say: &'a mut dyn FnMut(&str),
}

impl Project<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Runs a command in the folder; its standard output.
    fn run(&mut self, command: &mut Command, missing: &dyn Fn() -> Error) -> Result<String, Error> {
        let shown = self.show(command);
        (self.say)(&shown);
        let output = match command.current_dir(&self.folder).output() {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(io("run", command.get_program())(error)),
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(Error::Failed {
                command: shown,
                folder: self.folder.clone(),
                status: output.status.to_string(),
                output: format!("{printed}{}", String::from_utf8_lossy(&output.stderr)),
            });
        }
        Ok(printed.into_owned())
    }

    /// A command as one would type it in the project's folder.
    fn show(&self, command: &Command) -> String {
        let inside = format!("{}/", self.folder.display());
        let variables = command.get_envs().filter_map(|(name, value)| {
            let (name, value) = (name.to_str()?, value?.to_str()?);
            Some(format!("{name}={value}"))
        });
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words = words.map(|word| {
            let word = word.to_string_lossy().replace(&inside, "");
            if word.contains(' ') {
                format!("'{word}'")
            } else {
                word
            }
        });
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Does something that depends on a file of the project's alone, unless it was done with the same text of it before.
    /// What it makes lies in `made`, which is removed first.
    fn once_for(
        &mut self,
        file: &str,
        made: &str,
        make: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.path(file);
        let text = fs::read(&path).map_err(io("read", path))?;
        let folder = self.path(made);
        let stamp = folder.join(format!(".made-for-{file}"));
        if fs::read(&stamp).is_ok_and(|made_for| made_for == text) {
            return Ok(());
        }
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", folder)(error));
            }
            _ => {}
        }
        make(self)?;
        fs::write(&stamp, text).map_err(io("write", stamp))
    }
}

fn missing(what: &str, remedy: &str) -> Error {
    Error::Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_project_is_told_how_to_begin_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = build(folder.path(), &mut |_| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("begin one with armory plugin new"),
            "{error}"
        );
        let error = build(&folder.path().join("absent"), &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        fs::write(folder.path().join("go.mod"), "").expect("written");
        fs::write(folder.path().join("app.py"), "").expect("written");
        let error = build(folder.path(), &mut |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("app.py and go.mod"), "{text}");
    }

    #[test]
    fn what_depends_on_a_file_is_done_once_for_each_text_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut say = |_: &str| {};
        let mut project = Project {
            folder: folder.path().to_owned(),
            say: &mut say,
        };
        let mut made = 0;
        for text in ["a", "a", "b", "b"] {
            fs::write(folder.path().join("list"), text).expect("written");
            let make = |project: &mut Project<'_>| {
                made += 1;
                fs::create_dir(project.path("made")).map_err(io("make", "made"))
            };
            project.once_for("list", "made", make).expect("it is made");
        }
        assert_eq!(made, 2);
        // What failed half-way is made again.
        fs::write(folder.path().join("list"), "c").expect("written");
        project
            .once_for("list", "made", |_| Err(missing("x", "y")))
            .unwrap_err();
        project
            .once_for("list", "made", |project| {
                fs::create_dir(project.path("made")).map_err(io("make", "made"))
            })
            .expect("it is made");
    }
}
