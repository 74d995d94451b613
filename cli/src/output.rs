//! Outputs that appear whole or not at all.
//!
//! A result is built in a temporary place beside its target, synced to disk and
//! renamed. A command that fails, is interrupted or killed leaves the old
//! target as it was. [`OutputFile`] and [`OutputFolder`] are created before the
//! work begins, so that a bad target is reported at once, not after an hour.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::{NamedTempFile, TempDir};

/// Exit status of a command that was interrupted, as shells give it.
const INTERRUPTED: i32 = 130;

/// The file whose presence marks a folder as one that semid wrote.
const MANIFEST: &str = "manifest.json";

/// Temporary places of this process. Whoever holds the lock may make, rename or
/// remove them, so an interrupt comes before any of that or after it.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths is whole even if another thread panicked while it held it.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the process ends when it is asked to, unless at once.
static ENDING: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Makes the first Ctrl-C or SIGTERM do this; the second ends the process as ever.
#[cfg(feature = "serve")]
pub(crate) fn on_interrupt(end: impl FnOnce() + Send + 'static) {
    *ENDING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(end));
}

/// Makes Ctrl-C and SIGTERM remove what is unfinished before the process ends.
pub(crate) fn discard_unfinished_on_interrupt() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle interrupts")?;
    std::thread::spawn(move || {
        signals.forever().next();
        let end = ENDING.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = end {
            end();
            signals.forever().next();
        }
        let unfinished = unfinished();
        for path in unfinished.iter() {
            // There is nobody left to tell.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
        // Not `std::process::exit`: that would take libtorch down under a training that runs.
        signal_hook::low_level::exit(INTERRUPTED);
    });
    Ok(())
}

/// The entry of a temporary place in [`UNFINISHED`].
#[derive(Debug)]
struct Entry(PathBuf);

impl Entry {
    /// Makes a temporary place and enters it, as one step to an interrupt.
    fn make<T>(
        make: impl FnOnce() -> io::Result<T>,
        path: impl FnOnce(&T) -> &Path,
    ) -> io::Result<(T, Self)> {
        let mut unfinished = unfinished();
        let made = make()?;
        let path = path(&made).to_owned();
        unfinished.insert(path.clone());
        Ok((made, Self(path)))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// A file in the making; dropped without [`OutputFile::commit`] it leaves no trace.
#[derive(Debug)]
pub(crate) struct OutputFile {
    target: PathBuf,
    hasher: blake3::Hasher,
    file: BufWriter<NamedTempFile>,
    // Last, so that the file is gone before its entry.
    _entry: Entry,
}

impl OutputFile {
    /// Prepares to write `target`, which may exist as a file.
    pub(crate) fn create(target: &Path) -> anyhow::Result<Self> {
        if let Ok(old) = fs::metadata(target) {
            let path = target.display();
            ensure!(old.is_file(), "cannot write {path}: it is not a file");
        }
        let target = resolve(target);
        let permissions = Permissions::from_mode(0o666);
        let make = || {
            discard_abandoned(parent(&target));
            locked_file(parent(&target), &permissions)
        };
        let (file, entry) =
            Entry::make(make, NamedTempFile::path).with_context(|| cannot_write(&target))?;
        Ok(Self {
            hasher: blake3::Hasher::new(),
            file: BufWriter::new(file),
            target,
            _entry: entry,
        })
    }

    /// Puts the finished file in its place and returns the hash of its bytes.
    pub(crate) fn commit(self) -> anyhow::Result<blake3::Hash> {
        let place = || -> io::Result<()> {
            let file = self.file.into_inner().map_err(IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            let _no_interrupt = unfinished();
            file.persist(&self.target)?;
            sync(parent(&self.target))
        };
        place().with_context(|| cannot_write(&self.target))?;
        Ok(self.hasher.finalize())
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let message = format!("{}: {error}", cannot_write(&self.target));
        io::Error::new(error.kind(), message)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes).map_err(|error| self.failed(error))?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.failed(error))
    }
}

/// A folder in the making; dropped without [`OutputFolder::commit`] it leaves no trace.
#[derive(Debug)]
pub(crate) struct OutputFolder {
    target: PathBuf,
    folder: TempDir,
    _entry: Entry,
}

impl OutputFolder {
    /// Prepares to write `target`, which may exist as an empty folder or as one
    /// that semid wrote; anything else is not ours to replace.
    pub(crate) fn create(target: &Path) -> anyhow::Result<Self> {
        if target.exists() && !is_replaceable(target) {
            bail!(
                "{} is there and holds no {MANIFEST}, so semid did not write it; \
                 remove it or choose another name",
                target.display()
            );
        }
        let target = resolve(target);
        let permissions = Permissions::from_mode(0o777);
        let make = || {
            temporary()
                .permissions(permissions)
                .tempdir_in(parent(&target))
        };
        let (folder, entry) =
            Entry::make(make, TempDir::path).with_context(|| cannot_write(&target))?;
        Ok(Self {
            target,
            folder,
            _entry: entry,
        })
    }

    /// Where to write the files.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the finished folder in its place.
    pub(crate) fn commit(self) -> anyhow::Result<()> {
        let place = || -> io::Result<()> {
            sync_all(self.folder.path())?;
            let _no_interrupt = unfinished();
            replace_folder(self.folder.path(), &self.target)?;
            sync(parent(&self.target))
        };
        // The old folder, if any, is now the temporary one and goes with `self`.
        place().with_context(|| cannot_write(&self.target))
    }
}

fn is_replaceable(folder: &Path) -> bool {
    let is_empty = || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    folder.join(MANIFEST).is_file() || is_empty()
}

/// Renames `new` to `target`; an old `target` takes the name of `new`.
fn replace_folder(new: &Path, target: &Path) -> io::Result<()> {
    if !target.exists() {
        return fs::rename(new, target);
    }
    match renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE) {
        // Not every file system can exchange; there a kill between the two
        // renames leaves the old folder beside the target.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let aside = new.with_extension("old");
            fs::rename(target, &aside)?;
            fs::rename(new, target)?;
            fs::rename(&aside, new)
        }
        exchanged => Ok(exchanged?),
    }
}

/// How the names of temporary places begin.
const TEMPORARY: &str = ".semid-";

fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    builder
}

/// A temporary file whose lock tells others that its maker lives.
fn locked_file(folder: &Path, permissions: &Permissions) -> io::Result<NamedTempFile> {
    loop {
        let file = temporary()
            .permissions(permissions.clone())
            .tempfile_in(folder)?;
        // Where files cannot be locked, none is taken for abandoned either.
        let _ = file.as_file().lock();
        // Another process may have taken it for abandoned before it was locked.
        if file.as_file().metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

/// Removes the temporary files of processes that were killed: nobody holds their lock.
fn discard_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if is_ours
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // It may be gone by now, or not be ours to remove.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the unfinished files that a killed command left in a folder of ours, if there is one.
pub(crate) fn discard_unfinished(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if is_ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn cannot_write(target: &Path) -> String {
    format!("cannot write {}", target.display())
}

/// The place a target stands for: a rename must not replace a symbolic link.
fn resolve(target: &Path) -> PathBuf {
    target.canonicalize().unwrap_or_else(|_| target.to_owned())
}

pub(crate) fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => sync(&entry.path())?,
        }
    }
    sync(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("entry").file_name();
        entries
            .map(|e| name(e).into_string().expect("UTF-8"))
            .collect()
    }

    #[test]
    fn a_file_appears_whole_when_it_is_committed() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let target = scratch.path().join("out.txt");
        fs::write(&target, "old")?;

        let mut file = OutputFile::create(&target)?;
        file.write_all(b"new")?;
        assert_eq!(fs::read_to_string(&target)?, "old");

        assert_eq!(file.commit()?, blake3::hash(b"new"));
        assert_eq!(fs::read_to_string(&target)?, "new");
        assert_eq!(names(scratch.path()), ["out.txt"]);
        Ok(())
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_no_trace() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        OutputFile::create(&scratch.path().join("out.txt"))?.write_all(b"half")?;
        assert!(names(scratch.path()).is_empty());
        assert!(
            unfinished()
                .iter()
                .all(|path| !path.starts_with(scratch.path()))
        );
        Ok(())
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_a_living_one_makes_stays() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let living = OutputFile::create(&scratch.path().join("living"))?;
        fs::write(scratch.path().join(".semid-left"), "half")?;
        OutputFile::create(&scratch.path().join("new"))?.commit()?;
        living.commit()?;
        let mut left = names(scratch.path());
        left.sort();
        assert_eq!(left, ["living", "new"]);
        Ok(())
    }

    #[test]
    fn a_bad_target_is_reported_before_the_work() {
        let missing = OutputFile::create(Path::new("/no/such/folder/out.txt"));
        let message = format!("{:#}", missing.expect_err("no folder"));
        assert!(
            message.starts_with("cannot write /no/such/folder/out.txt: "),
            "{message}"
        );
        OutputFile::create(Path::new("/dev/null")).expect_err("a device is not replaced");
        OutputFile::create(Path::new("/tmp")).expect_err("a folder is not replaced");
    }

    #[test]
    fn a_link_is_kept_and_its_file_replaced() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let (file, link) = (scratch.path().join("file"), scratch.path().join("link"));
        fs::write(&file, "old")?;
        std::os::unix::fs::symlink(&file, &link)?;
        OutputFile::create(&link)?.commit()?;
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file)?, "");
        Ok(())
    }

    #[test]
    fn a_folder_replaces_only_what_semid_wrote() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let target = scratch.path().join("model");
        for generation in ["1", "2"] {
            let folder = OutputFolder::create(&target)?;
            fs::write(folder.path().join(MANIFEST), generation)?;
            folder.commit()?;
            assert_eq!(fs::read_to_string(target.join(MANIFEST))?, generation);
        }
        assert_eq!(names(scratch.path()), ["model"]);

        fs::rename(target.join(MANIFEST), target.join("thesis.tex"))?;
        OutputFolder::create(&target).expect_err("not ours");
        assert_eq!(names(&target), ["thesis.tex"]);
        Ok(())
    }
}
