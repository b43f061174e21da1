//! Admins: the accounts that may manage users.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use poa_core::config::Secret;

use crate::config::{AdminConfig, Role};
use crate::mac::{Mac, Tag};
use crate::name::generate_password;
use crate::open::OpenError;
use crate::password::{self, dummy_like};
use crate::secret_file::read_or_generate;

const GENERATED_NAME: &str = "admin";
const GENERATED_FILE: &str = "admin_password";

/// The admin that exists because the configuration names none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GeneratedAdmin {
    /// The name: `admin`.
    pub name: String,
    /// The password, generated at the first start.
    pub password: Secret,
    /// The path of the file with the password.
    pub file: PathBuf,
}

/// The verifier of an admin's password.
enum Proof {
    Tag(Tag),
    Hash(Secret),
}

pub(crate) struct Admins {
    proofs: HashMap<String, Proof>,
    /// One hash without a known password, of each cost that occurs.
    dummies: Vec<String>,
    mac: Mac,
    generated: Option<GeneratedAdmin>,
    /// Those who may not change anything.
    readers: HashSet<String>,
}

impl Admins {
    /// Reads password files; generates an admin if none is configured.
    /// `dummy` has the cost of an ordinary hash.
    pub(crate) fn open(
        admins: &[AdminConfig],
        data_dir: &Path,
        dummy: String,
    ) -> Result<Self, OpenError> {
        let mac = Mac::new();
        let generated = admins.is_empty().then(|| generated(data_dir)).transpose()?;
        let mut proofs = HashMap::new();
        for admin in admins {
            proofs.insert(admin.name.clone(), proof(admin, &mac)?);
        }
        if let Some(admin) = &generated {
            proofs.insert(admin.name.clone(), Proof::Tag(mac.tag(admin.password.expose())));
        }
        let mut dummies = vec![dummy];
        dummies.extend(proofs.values().filter_map(Proof::hash).filter_map(dummy_like));
        dummies.sort();
        dummies.dedup();
        let readers = admins.iter().filter(|admin| admin.role == Role::Read);
        let readers = readers.map(|admin| admin.name.clone()).collect();
        Ok(Self { proofs, dummies, mac, generated, readers })
    }

    pub(crate) fn generated(&self) -> Option<&GeneratedAdmin> {
        self.generated.as_ref()
    }

    /// The role of an admin who has proved to be one.
    pub(crate) fn role(&self, name: &str) -> Role {
        if self.readers.contains(name) { Role::Read } else { Role::Manage }
    }

    /// Whether these are the credentials of an admin whose password is known as text.
    pub(crate) fn knows(&self, name: &str, password: &str) -> bool {
        matches!(self.proofs.get(name), Some(Proof::Tag(tag)) if self.mac.matches(tag, password))
    }

    /// The hashes that a password for this name is compared with: one of each cost, among them that of the admin, if there
    /// is one.
    pub(crate) fn hashes_to_check(&self, name: &str) -> impl Iterator<Item = &str> {
        let own = self.proofs.get(name).and_then(Proof::hash);
        let like = own.and_then(dummy_like);
        self.dummies.iter().map(move |dummy| match own {
            Some(own) if like.as_ref() == Some(dummy) => own,
            _ => dummy,
        })
    }

    /// Whether this is the hash of the password of this admin.
    pub(crate) fn is_hash_of(&self, name: &str, hash: &str) -> bool {
        self.proofs.get(name).and_then(Proof::hash) == Some(hash)
    }
}

impl Proof {
    fn hash(&self) -> Option<&str> {
        match self {
            Self::Hash(hash) => Some(hash.expose()),
            Self::Tag(_) => None,
        }
    }
}

fn generated(data_dir: &Path) -> Result<GeneratedAdmin, OpenError> {
    let file = data_dir.join(GENERATED_FILE);
    let password = read_or_generate(&file, generate_password)
        .map_err(|source| OpenError::SecretFile { path: file.display().to_string(), source })?;
    Ok(GeneratedAdmin { name: GENERATED_NAME.to_owned(), password: Secret::new(password), file })
}

fn proof(admin: &AdminConfig, mac: &Mac) -> Result<Proof, OpenError> {
    if let Some(password) = &admin.password {
        return Ok(Proof::Tag(mac.tag(password.expose())));
    }
    if let Some(hash) = &admin.password_hash {
        return Ok(Proof::Hash(hash.clone()));
    }
    let path = admin.password_file.as_deref().unwrap_or(Path::new(""));
    let password = first_line(path).map_err(|source| OpenError::PasswordFile {
        admin: admin.name.clone(),
        path: path.display().to_string(),
        source,
    })?;
    Ok(Proof::Tag(mac.tag(&password)))
}

fn first_line(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().next().unwrap_or_default();
    if password::check_length(line).is_err() {
        let message = "its first line must be a password of at least 8 characters";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(memory_kib: u32, admin: char) -> String {
        let hash = admin.to_string().repeat(43);
        format!("$argon2id$v=19$m={memory_kib},t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA${hash}")
    }

    /// A costlier hash takes longer. If only its owner's name took that long, the time would reveal that the name exists.
    #[test]
    fn every_name_costs_the_same_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = |name: &str, hash: String| AdminConfig {
            name: name.to_owned(),
            password_hash: Some(Secret::new(hash)),
            ..AdminConfig::default()
        };
        let admins = [
            hashed("costly", hash(64, 'E')),
            hashed("cheap", hash(8, 'I')),
            AdminConfig::new("text", "password"),
        ];
        let admins = Admins::open(&admins, dir.path(), hash(16, 'A')).unwrap();
        let costs = |name: &str| {
            let hashes = admins.hashes_to_check(name);
            let costs = hashes.map(|hash| hash.split('$').nth(3).unwrap().to_owned());
            costs.collect::<Vec<_>>()
        };
        let all = costs("nobody");
        assert_eq!(all.len(), 3);
        for name in ["costly", "cheap", "text"] {
            assert_eq!(costs(name), all, "{name}");
        }
        assert!(admins.hashes_to_check("costly").any(|one| admins.is_hash_of("costly", one)));
        assert!(!admins.hashes_to_check("nobody").any(|one| admins.is_hash_of("costly", one)));
    }
}
