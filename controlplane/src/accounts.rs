//! The organizers' accounts: a small TOML file, mode 0600, replaced as a whole so that a crash leaves the old or the new.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::log;
use crate::password::{Hash, Password};

/// Who may open rooms.
pub(crate) struct Accounts {
    source: Source,
    known: Vec<(String, Hash)>,
    /// Found when the file was read again.
    ended: Vec<Ended>,
}

/// What somebody has done to an account beside the server: its sessions are over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Removed { account: String },
    OtherPassword { account: String },
}

enum Source {
    File {
        path: PathBuf,
        modified: Option<SystemTime>,
    },
    /// The demo account: lives in memory only.
    Memory,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    organizer: Vec<Organizer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Organizer {
    name: String,
    hash: String,
}

impl Accounts {
    /// A file that does not exist yet holds nobody.
    pub(crate) fn open(path: &Path) -> Result<Accounts, String> {
        let modified = modified(path);
        let known = read(path)?;
        Ok(Accounts { source: Source::File { path: path.to_owned(), modified }, known, ended: Vec::new() })
    }

    pub(crate) fn demo(name: &str, password: &Password) -> Result<Accounts, String> {
        let known = vec![(name.to_owned(), Hash::of(password)?)];
        Ok(Accounts { source: Source::Memory, known, ended: Vec::new() })
    }

    pub(crate) fn hash_of(&self, name: &str) -> Option<Hash> {
        self.known.iter().find(|(known, _)| known == name).map(|(_, hash)| hash.clone())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|(name, _)| name.as_str())
    }

    /// Reads the file again if somebody has written it.
    pub(crate) fn refresh(&mut self) {
        let Source::File { path, modified: seen } = &mut self.source else { return };
        let modified = modified(path);
        if modified == *seen {
            return;
        }
        *seen = modified;
        let Ok(known) = read(path) else { return log::write(&log::Entry::AccountsUnreadable) };
        for (account, hash) in std::mem::replace(&mut self.known, known) {
            match self.hash_of(&account) {
                None => self.ended.push(Ended::Removed { account }),
                Some(other) if other != hash => self.ended.push(Ended::OtherPassword { account }),
                Some(_) => {}
            }
        }
    }

    /// Since it was asked last.
    pub(crate) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Replaces the password when the name exists.
    pub(crate) fn add(&mut self, name: &str, password: &Password) -> Result<(), String> {
        let hash = Hash::of(password)?;
        let mut known = self.latest()?;
        known.retain(|(known, _)| known != name);
        known.push((name.to_owned(), hash));
        self.store(known)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), String> {
        let mut known = self.latest()?;
        let before = known.len();
        known.retain(|(known, _)| known != name);
        if known.len() == before {
            return Err(format!("there is no organizer named {name:?}"));
        }
        self.store(known)
    }

    /// As the file is: somebody may have written it since it was read.
    fn latest(&self) -> Result<Vec<(String, Hash)>, String> {
        match &self.source {
            Source::File { path, .. } => read(path),
            Source::Memory => Ok(self.known.clone()),
        }
    }

    /// What could not be written does not count.
    fn store(&mut self, known: Vec<(String, Hash)>) -> Result<(), String> {
        self.write(&known)?;
        self.known = known;
        Ok(())
    }

    fn write(&self, known: &[(String, Hash)]) -> Result<(), String> {
        let Source::File { path, .. } = &self.source else { return Ok(()) };
        let organizer = known
            .iter()
            .map(|(name, hash)| Organizer { name: name.clone(), hash: hash.as_phc().to_owned() })
            .collect();
        let text = toml::to_string(&Listing { organizer }).map_err(|error| error.to_string())?;
        replace(path, text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// 1 to 64 letters, digits and `.@_-`, so that a name is one word of one log line.
pub(crate) fn is_account_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '@' | '_' | '-');
    (1..=64).contains(&name.chars().count()) && name.chars().all(allowed)
}

fn read(path: &Path) -> Result<Vec<(String, Hash)>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let listing: Listing =
        toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.message()))?;
    let known = |Organizer { name, hash }: Organizer| {
        let hash = Hash::from_phc(&hash).filter(|_| is_account_name(&name));
        let hash =
            hash.ok_or_else(|| format!("{}: an entry is not NAME and Argon2id hash", path.display()))?;
        Ok((name, hash))
    };
    listing.organizer.into_iter().map(known).collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    // Whoever runs this as root must not take the file away from the service's user.
    if let Ok(owner) = fs::metadata(path).or_else(|_| fs::metadata(parent)) {
        let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn accounts_survive_a_restart_in_a_file_only_the_owner_reads() {
        let directory = std::env::temp_dir().join(format!("saal-accounts-{}", crate::random::u64()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("organizers.toml");
        Accounts::open(&path).unwrap().add("ada", &Password::new("one")).unwrap();
        Accounts::open(&path).unwrap().add("bob", &Password::new("two")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut accounts = Accounts::open(&path).unwrap();
        assert_eq!(accounts.names().collect::<Vec<_>>(), ["ada", "bob"]);
        assert!(accounts.remove("eve").is_err());
        accounts.remove("ada").unwrap();
        assert_eq!(Accounts::open(&path).unwrap().names().collect::<Vec<_>>(), ["bob"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_removal_leaves_what_somebody_else_has_written_meanwhile() {
        let directory = std::env::temp_dir().join(format!("saal-accounts-{}", crate::random::u64()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("organizers.toml");
        let mut of_server = Accounts::open(&path).unwrap();
        of_server.add("ada", &Password::new("one")).unwrap();
        Accounts::open(&path).unwrap().add("bob", &Password::new("two")).unwrap();
        of_server.remove("ada").unwrap();
        assert_eq!(of_server.names().collect::<Vec<_>>(), ["bob"]);
        assert_eq!(Accounts::open(&path).unwrap().names().collect::<Vec<_>>(), ["bob"]);
        fs::remove_dir_all(&directory).unwrap();
        assert!(of_server.remove("bob").is_err(), "nothing can be written");
    }

    #[test]
    fn what_becomes_of_an_account_beside_the_server_is_told_once() {
        let directory = std::env::temp_dir().join(format!("saal-accounts-{}", crate::random::u64()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("organizers.toml");
        let mut by_hand = Accounts::open(&path).unwrap();
        for name in ["ada", "bob", "eve"] {
            by_hand.add(name, &Password::new("one")).unwrap();
        }
        let mut of_server = Accounts::open(&path).unwrap();
        by_hand.remove("ada").unwrap();
        by_hand.add("bob", &Password::new("two")).unwrap();
        // A clock that is too coarse would hide it.
        if let Source::File { modified, .. } = &mut of_server.source {
            *modified = None;
        }
        of_server.refresh();
        let account = String::from;
        let ended =
            [Ended::Removed { account: account("ada") }, Ended::OtherPassword { account: account("bob") }];
        assert_eq!(of_server.take_ended(), ended);
        of_server.refresh();
        of_server.remove("eve").unwrap();
        of_server.refresh();
        assert_eq!(of_server.take_ended(), [], "what the server does itself it knows");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn an_account_added_by_root_leaves_the_file_to_the_service() {
        let directory = std::env::temp_dir().join(format!("saal-accounts-{}", crate::random::u64()));
        fs::create_dir(&directory).unwrap();
        if std::os::unix::fs::chown(&directory, Some(12_345), Some(12_345)).is_ok() {
            let path = directory.join("organizers.toml");
            for name in ["ada", "bob"] {
                Accounts::open(&path).unwrap().add(name, &Password::new("one")).unwrap();
                assert_eq!(fs::metadata(&path).unwrap().uid(), 12_345);
            }
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn account_names_fit_into_one_log_word() {
        assert!(is_account_name("ada.lovelace@example.org"));
        assert!(!is_account_name("x\nINFO login ok"));
        assert!(!is_account_name(""));
    }
}
