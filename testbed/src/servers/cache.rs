//! Built or fetched artefacts, one folder each, outside git: `$CANDLES_CACHE`, else `candles` in the XDG cache
//! home. An entry appears whole (built beside it, renamed at the end) or not at all, is built by one process at
//! a time, and is never changed afterwards: its key has the version and a digest of the recipe.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// Names the cache folder.
pub const CACHE_VARIABLE: &str = "CANDLES_CACHE";

const LOCKS: &str = ".locks";
const BUILDING: &str = ".building-";

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The folder that the environment names; not yet created.
    pub fn from_env() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = locate(variable(CACHE_VARIABLE), variable("XDG_CACHE_HOME"), variable("HOME"));
        let nowhere = || std::io::Error::other(format!("set {CACHE_VARIABLE}, XDG_CACHE_HOME or HOME"));
        let root = root.ok_or_else(nowhere).map_err(Error::io("find the cache folder"))?;
        Ok(Self { root: std::path::absolute(&root).unwrap_or(root) })
    }

    /// A cache in a folder of the caller's choice.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry's folder if it is there.
    pub fn get(&self, key: &str) -> Option<PathBuf> {
        Some(self.root.join(key)).filter(|entry| entry.is_dir())
    }

    /// The entry's folder; if it is missing, `build` fills it. `build` gets two empty folders: one for sources
    /// and intermediate files, which is removed, and one that becomes the entry.
    pub fn ensure(&self, key: &str, build: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
        if let Some(entry) = self.get(key) {
            return Ok(entry);
        }
        let _lock = self.lock(key)?;
        if let Some(entry) = self.get(key) {
            return Ok(entry);
        }
        let temporary = self.root.join(format!("{BUILDING}{key}"));
        // Whoever left it is dead: we hold its lock.
        let _ = std::fs::remove_dir_all(&temporary);
        let (work, out) = (temporary.join("work"), temporary.join("out"));
        for folder in [&work, &out] {
            std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
        }
        let entry = self.root.join(key);
        let built = build(&work, &out).and_then(|()| {
            std::fs::rename(&out, &entry).map_err(Error::io(format!("put {} in place", entry.display())))
        });
        let _ = std::fs::remove_dir_all(&temporary);
        built.map(|()| entry)
    }

    /// Removes every entry, of whatever version, and what failed builds left; nothing else. Tells what was removed.
    pub fn clear(&self) -> Result<Vec<PathBuf>> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Ok(Vec::new()) };
        let ours = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours);
        let folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(ours).collect();
        for folder in &folders {
            std::fs::remove_dir_all(folder).map_err(Error::io(format!("remove {}", folder.display())))?;
        }
        Ok(folders)
    }

    fn lock(&self, key: &str) -> Result<File> {
        let folder = self.root.join(LOCKS);
        let path = folder.join(key);
        let action = format!("lock {}", path.display());
        std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let file = File::create(&path).map_err(Error::io(action.as_str()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("testbed: waiting for another process that installs {key}");
                file.lock().map_err(Error::io(action))?;
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(action)(error)),
        }
        Ok(file)
    }
}

/// Whether a name in the cache folder is one of [`key`]'s or was made on the way to it.
fn is_ours(name: &str) -> bool {
    let is_key = |name: &str| {
        let digest = name.rsplit_once('-').map(|(_, digest)| digest);
        digest.is_some_and(|digest| digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    name == LOCKS || is_key(name.strip_prefix(BUILDING).unwrap_or(name))
}

fn locate(cache: Option<PathBuf>, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG specification: a relative path is to be ignored.
    let xdg = xdg.filter(|path| path.is_absolute()).or_else(|| home.map(|home| home.join(".cache")));
    cache.or_else(|| xdg.map(|xdg| xdg.join("candles")))
}

/// `<name>-<version>-<digest>`; the digest (FNV-1a, 64 bit) is of everything that decides what gets built.
pub(crate) fn key<'a>(name: &str, version: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    // The separator keeps ("ab", "c") apart from ("a", "bc").
    for byte in parts.into_iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{name}-{version}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_the_named_one_then_xdg_then_home() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(locate(path("/c"), path("/x"), path("/h")), path("/c"));
        assert_eq!(locate(None, path("/x"), path("/h")), path("/x/candles"));
        assert_eq!(locate(None, path("relative"), path("/h")), path("/h/.cache/candles"));
        assert_eq!(locate(None, None, None), None);
    }

    #[test]
    fn key_changes_with_name_version_and_recipe() {
        let base = key("kafka", "4.3.1", ["ab", "c"]);
        assert!(base.starts_with("kafka-4.3.1-"), "{base}");
        assert_eq!(base, key("kafka", "4.3.1", ["ab", "c"]));
        assert_ne!(base, key("kafka", "4.3.1", ["a", "bc"]));
        assert_ne!(base, key("kafka", "4.3.2", ["ab", "c"]));
    }

    #[test]
    fn failed_build_leaves_no_entry_and_the_next_one_starts_clean() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let failed = cache.ensure("k", |_, out| {
            std::fs::write(out.join("half"), "x").unwrap();
            Err(Error::io("build")(std::io::Error::other("no")))
        });
        assert!(failed.is_err());
        assert_eq!(cache.get("k"), None);
        let entry =
            cache.ensure("k", |_, out| std::fs::write(out.join("whole"), "x").map_err(Error::io("write")));
        let names: Vec<_> =
            std::fs::read_dir(entry.unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["whole"]);
        cache.ensure("k", |_, _| panic!("built twice")).unwrap();
    }

    #[test]
    fn clearing_spares_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let built = key("kafka", "4.3.1", ["x"]);
        cache.ensure(&built, |_, _| Ok(())).unwrap();
        for name in [".building-influxdb-2.9.1-0123456789abcdef", "photos", "kafka-4.3.1"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(cache.clear().unwrap().len(), 3);
        assert_eq!(cache.get(&built), None);
        assert!(folder.path().join("photos").is_dir() && folder.path().join("kafka-4.3.1").is_dir());
    }

    #[test]
    fn two_at_once_build_one_time() {
        let folder = tempfile::tempdir().unwrap();
        let builds = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let built = Cache::at(folder.path()).ensure("k", |_, _| {
                        builds.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        Ok(())
                    });
                    built.unwrap();
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }
}
