//! Those who may manage users.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use poa_core::config::Secret;

use crate::config::AdminConfig;
use crate::mac::{Mac, Tag};
use crate::name::generate_password;
use crate::open::OpenError;
use crate::password;
use crate::secret_file::read_or_generate;

const GENERATED_NAME: &str = "admin";
const GENERATED_FILE: &str = "admin_password";

/// The admin that exists because the configuration names none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GeneratedAdmin {
    /// The name: `admin`.
    pub name: String,
    /// The password, made at the first start.
    pub password: Secret,
    /// The file that holds the password.
    pub file: PathBuf,
}

/// What shows that somebody is the admin.
enum Proof {
    Tag(Tag),
    Hash(Secret),
}

pub(crate) struct Admins {
    proofs: HashMap<String, Proof>,
    mac: Mac,
    generated: Option<GeneratedAdmin>,
}

impl Admins {
    /// Reads password files; makes an admin when there is none.
    pub(crate) fn open(admins: &[AdminConfig], data_dir: &Path) -> Result<Self, OpenError> {
        let mac = Mac::new();
        let generated = admins.is_empty().then(|| generated(data_dir)).transpose()?;
        let mut proofs = HashMap::new();
        for admin in admins {
            proofs.insert(admin.name.clone(), proof(admin, &mac)?);
        }
        if let Some(admin) = &generated {
            proofs.insert(admin.name.clone(), Proof::Tag(mac.tag(admin.password.expose())));
        }
        Ok(Self { proofs, mac, generated })
    }

    pub(crate) fn generated(&self) -> Option<&GeneratedAdmin> {
        self.generated.as_ref()
    }

    /// Whether these are an admin's credentials. `verify` compares with a hash; whoever is refused has waited for it,
    /// so that the time tells nobody which admins exist.
    pub(crate) fn check(
        &self,
        name: &str,
        password: &str,
        verify: impl FnOnce(Option<&str>) -> bool,
    ) -> bool {
        match self.proofs.get(name) {
            Some(Proof::Tag(tag)) if self.mac.matches(tag, password) => true,
            Some(Proof::Hash(hash)) => verify(Some(hash.expose())),
            _ => verify(None),
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
