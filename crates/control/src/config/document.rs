//! A configuration together with the texts that it is from, so that what changes in them can be told from what
//! does not.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Errors, Warning};
use super::resolved::Config;
use super::{edit, judge, warnings};

/// A configuration and the text that says it. Never changed: [`Self::reloaded`] makes another one, which shares
/// with it what is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    path: PathBuf,
    text: String,
    config: Config,
}

impl Document {
    /// Reads the file at `path`. Its warnings are left to [`Self::warnings`].
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::load_with(path, |path| std::fs::read_to_string(path))
    }

    /// As [`Self::load`]; `read` gives the text of files.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        path: &Path,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Errors> {
        let text = read(path).map_err(|error| Errors::unreadable(path, &error))?;
        let config = judge(&text, path, &read)?;
        Ok(Self { path: path.to_owned(), text, config })
    }

    /// What it says; without warnings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is right in it but most likely not meant. Costs several times as much as reading it.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        warnings::of(&self.config, &self.text, &self.path)
    }

    /// Reads its files again. Costs a comparison of the texts, and a judgement of the rules that have changed;
    /// only when anything else has changed than sets and rules that stand together, of the whole.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub fn reloaded(&self) -> Result<Self, Errors> {
        self.reloaded_with(|path| std::fs::read_to_string(path))
    }

    /// As [`Self::reloaded`]; `read` gives the text of files.
    ///
    /// # Errors
    /// As there.
    pub fn reloaded_with(
        &self,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Errors> {
        let path = &self.path;
        let text = read(path).map_err(|error| Errors::unreadable(path, &error))?;
        let config = match self.edited(&text, &read) {
            Some(config) => config,
            None => judge(&text, path, &read)?,
        };
        Ok(Self { path: path.clone(), text, config })
    }

    /// `None` when the whole has to be judged.
    fn edited(&self, text: &str, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Config> {
        let mut config = self.config.clone();
        for at in 0..config.filters.files.len() {
            let name = config.filters.files[at].name.clone();
            config.filters.reload_set_with(&name, read).ok()?;
        }
        if text != self.text {
            edit::apply(&mut config, &self.text, text)?;
        }
        let at_router = config.router.filter.map(|at| &config.filters.filters()[at]);
        if at_router.is_some_and(|filter| !super::resolve::router_faults(filter).is_empty()) {
            return None;
        }
        Some(config)
    }

    /// Reads the file of one set again, and nothing else.
    ///
    /// # Errors
    /// There is no set of this name with a file; or as
    /// [`Filters::reload_set`](super::Filters::reload_set).
    pub fn with_set(&self, name: &str) -> Result<Self, SetError> {
        self.with_set_of(name, |path| std::fs::read_to_string(path))
    }

    /// As [`Self::with_set`]; `read` gives the text of the file.
    ///
    /// # Errors
    /// As there.
    pub fn with_set_of(
        &self,
        name: &str,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, SetError> {
        let known = self.config.filters.set_files();
        if !known.iter().any(|file| file.name == name) {
            let is_inline = self.config.filters.names().sets.get(name).is_some();
            let known: Vec<String> = known.iter().map(|file| file.name.clone()).collect();
            return Err(SetError::unknown(&self.path, name, is_inline, &known));
        }
        let mut next = self.clone();
        next.config.filters.reload_set_with(name, read).map_err(SetError::Wrong)?;
        Ok(next)
    }
}

/// Why a set could not be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// No set of this name lives in a file.
    Unknown {
        /// What there is no file for.
        message: String,
        /// What may have been meant.
        help: String,
    },
    /// Its file is wrong.
    Wrong(Errors),
}

impl SetError {
    fn unknown(path: &Path, name: &str, is_inline: bool, known: &[String]) -> Self {
        let file = path.display();
        if is_inline {
            let message = format!("the members of set {name} stand in {file} itself");
            let help =
                "`linecard reload` reads them again; to reload them alone, give the set a `file`";
            return Self::Unknown { message, help: help.to_owned() };
        }
        let message = format!("{file} has no set {name}");
        let near = crate::suggestion::nearest(name, known.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => "no set there has a `file`".to_owned(),
            None => format!("sets with a `file`: {}", known.join(", ")),
        };
        Self::Unknown { message, help }
    }
}

impl std::fmt::Display for SetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { message, help } => write!(f, "{message}\n  = help: {help}"),
            Self::Wrong(errors) => errors.fmt(f),
        }
    }
}

impl std::error::Error for SetError {}
