//! The configuration: what is set, where it was set, and whether it makes sense.
//!
//! Guarantees: a flag beats the environment, that beats the `.env` file of the working directory, that beats the
//! default; a value is checked before anything is done, and the error names the flag or variable it came from and what
//! it may be; an empty value counts as unset; a secret is wiped from memory when it is dropped and never appears in an
//! error or in `Debug`. Every variable may also be given as `…_FILE`, the path of a file that holds the value; for
//! `NAS_KEY` that is the private key file itself.
//!
//! Never: the process environment is not changed, and nothing is opened except `.env` and `…_FILE` files, and OpenSSH's
//! configuration where somebody asks what it says about the NAS.

mod dot_env;
#[cfg(feature = "cli")]
mod env_file;
mod environment;
mod listen;
mod origin;
mod settings;
mod ssh;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod web_url;

#[cfg(feature = "cli")]
pub use self::env_file::EnvFile;
pub use self::environment::Environment;
pub use self::listen::Listen;
pub use self::settings::{ConfigStatus, Flags, KeySource, LogFormat, Settings};
pub(crate) use self::ssh::local_user;
#[cfg(feature = "cli")]
pub use self::table::secret_variables;
#[cfg(feature = "cli")]
pub use self::values::whole_seconds;
pub use self::web_url::WebUrl;
