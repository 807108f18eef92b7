//! A folder for the logs and data of one run. Removed when the run was declared done and nobody panics;
//! kept, and its path printed, in every other case. Lies under `CANDLES_RUN_DIR`, else in the system's
//! temporary folder, where of the kept ones of ended processes only the newest few stay.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use super::error::{Error, Result};

/// Names the folder in which run folders are made.
pub const RUN_DIR_VARIABLE: &str = "CANDLES_RUN_DIR";
/// Kept folders of ended runs in the default place; older ones are removed by the next run.
const KEPT_MAX: usize = 5;
/// Locked for as long as the run lives, so that others can tell.
const OWNER_FILE: &str = ".owner";

/// Shared handle of a run's folder; the last one dropped decides whether the folder stays.
#[derive(Debug, Clone)]
pub struct RunDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    done: AtomicBool,
    _owner: File,
}

impl RunDir {
    /// Makes `<parent>/<name>-<pid>-<n>`.
    pub fn new(name: &str) -> Result<Self> {
        if std::env::var_os(RUN_DIR_VARIABLE).is_none() {
            sweep(&parent(), KEPT_MAX);
        }
        Self::under(&parent(), name)
    }

    fn under(parent: &Path, name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{name}-{}-{count}", std::process::id()));
        // For this user only: it holds private keys and the control socket.
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(Error::io(format!("create {}", path.display())))?;
        let path = path.canonicalize().map_err(Error::io(format!("resolve {}", path.display())))?;
        let lock = || {
            let owner = File::create(path.join(OWNER_FILE))?;
            owner.lock()?;
            Ok(owner)
        };
        let owner = lock().map_err(Error::io(format!("lock {}", path.display())))?;
        Ok(Self(Arc::new(Inner { path, done: AtomicBool::new(false), _owner: owner })))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Declares the run a success: the folder goes when the last handle does.
    pub fn finish(&self) {
        self.0.done.store(true, Ordering::Relaxed);
    }

    /// Makes a subfolder, with all above it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.path.join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("create {}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.path);
        } else {
            eprintln!("testbed: logs and data kept in {}", self.path.display());
        }
    }
}

/// Where run folders lie.
pub(crate) fn parent() -> PathBuf {
    let default =
        || std::env::temp_dir().join(format!("candles-runs-{}", rustix::process::getuid().as_raw()));
    std::env::var_os(RUN_DIR_VARIABLE).map_or_else(default, PathBuf::from)
}

/// Removes the kept folders of all ended runs, and tells which.
pub fn remove_ended() -> Vec<PathBuf> {
    sweep(&parent(), 0)
}

/// Removes all but the newest `keep` folders whose owner is gone.
fn sweep(parent: &Path, keep: usize) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut ended: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| File::open(path.join(OWNER_FILE)).is_ok_and(|owner| owner.try_lock().is_ok()))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    ended.sort();
    let old = ended.into_iter().rev().skip(keep).map(|(_, path)| path);
    old.filter(|path| std::fs::remove_dir_all(path).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_removed_only_when_the_run_was_declared_done() {
        let parent = tempfile::tempdir().unwrap();
        let kept = RunDir::under(parent.path(), "kept").unwrap();
        let done = RunDir::under(parent.path(), "done").unwrap();
        let (kept_path, done_path) = (kept.path().to_owned(), done.path().to_owned());
        done.finish();
        drop((kept, done));
        assert!(kept_path.is_dir());
        assert!(!done_path.exists());
    }

    #[test]
    fn sweep_spares_the_newest_and_the_living() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            drop(RunDir::under(parent.path(), name).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let living = RunDir::under(parent.path(), "living").unwrap();
        std::fs::create_dir(parent.path().join("not-a-run")).unwrap();
        sweep(parent.path(), 1);
        let mut names: Vec<String> = std::fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().chars().take(5).collect())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[0].starts_with("c-"), "{names:?}");
        living.finish();
    }
}
