//! Logging in: with a public key, and behind the keys with a password where one is set.
//!
//! Guarantees: one key is offered at a time, each once, and at most [`MAX_AGENT_KEYS`] of an agent, because servers count
//! every offer and lock accounts; a refused login is never tried again. RSA keys sign with SHA-2 unless legacy algorithms
//! are allowed. russh never holds a private key. See `protocol-notes/13-ssh.md`.

use std::path::Path;
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::{MethodKind, SendError, Signer};
use tokio::net::UnixStream;

use super::algorithms::key_type;
use super::certificate::UserCertificate;
use super::config::{LegacyAlgorithms, SshConfig};
use super::key_file::{self, Credential};
use super::link::{Callbacks, End, Link};
use super::password::PasswordLogin;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::{self, Secret};

/// Where a password comes from, in the solution of a wrong one.
pub const PASSWORD_SETTINGS: &str = "NAS_PASSWORD, or what stands in the file that NAS_PASSWORD_FILE names";
/// How many keys of an agent are offered.
const MAX_AGENT_KEYS: usize = 3;

/// The keys of an agent, each with its comment.
type AgentKeys = Vec<(PublicKey, String)>;

/// What the server said to one offer.
enum Answer {
    Accepted,
    Refused { methods: Vec<MethodKind>, partial: bool },
}

impl From<AuthResult> for Answer {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::Accepted,
            AuthResult::Failure { remaining_methods, partial_success } => {
                Self::Refused { methods: remaining_methods.to_vec(), partial: partial_success }
            }
        }
    }
}

/// Signs with a key that lies here, as an agent does: russh never holds it, and so cannot keep it.
struct OwnSigner(Arc<PrivateKey>);

/// Why nothing was signed.
enum SignError {
    Send(SendError),
    Sign(NasSyncError),
}

impl From<SendError> for SignError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl Signer for OwnSigner {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let key = Arc::clone(&self.0);
        let signed = blocking::run(move || {
            secret::aside(|| sign(&key, hash, &mut to_sign)).map_err(|error| {
                let message = format!("the key cannot sign: {error}");
                NasSyncError::new(ErrorKind::KeyUnusable, message).with_source(error)
            })?;
            Ok(to_sign)
        });
        signed.await.map_err(SignError::Sign)
    }
}

/// Appends the signature, as it stands behind what was signed.
fn sign(key: &PrivateKey, hash: Option<HashAlg>, to_sign: &mut Vec<u8>) -> ssh_key::Result<()> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(to_sign)?,
        pair => pair.try_sign(to_sign)?,
    };
    let mut bytes = Vec::new();
    signature.encode(&mut bytes)?;
    Ok(bytes.encode(to_sign)?)
}

/// How a key is called in what is said about it.
fn offer(key: &PublicKey, origin: &str) -> String {
    format!("{} {} {origin}", key_type(&key.algorithm()), key.fingerprint(HashAlg::Sha256))
}

/// The same for whatever can be offered, before it is.
pub(super) fn describe(credential: &Credential) -> String {
    match credential {
        Credential::Key { key, origin, .. } => offer(key.public_key(), origin),
        Credential::Locked { public, path } => offer(public, &format!("{} (locked)", path.display())),
        Credential::Agent => String::from("the keys of the ssh-agent"),
        Credential::Password(_) => String::from("a password"),
    }
}

/// A login under way.
pub(super) struct Login<'a> {
    handle: &'a mut Handle<Callbacks>,
    config: &'a SshConfig,
    link: &'a Link,
    offered: Vec<String>,
    methods: Vec<MethodKind>,
    partial: bool,
    refused: Option<RefusedPassword>,
    /// What the server may have against certificates that it refused.
    doubts: Vec<String>,
}

/// What became of the password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefusedPassword {
    /// The server has seen it, and refused it.
    Wrong,
    /// The server asks for no password.
    Unasked,
}

impl<'a> Login<'a> {
    pub(super) fn new(handle: &'a mut Handle<Callbacks>, config: &'a SshConfig, link: &'a Link) -> Self {
        let methods = vec![MethodKind::PublicKey];
        Self { handle, config, link, offered: Vec::new(), methods, partial: false, refused: None, doubts: Vec::new() }
    }

    /// Offers the credentials in order until one is accepted. Fails with `LoginRefused`, `KeyUnusable`,
    /// `NoCommonAlgorithm` or `ConnectionLost`.
    pub(super) async fn run(mut self, credentials: &[Credential]) -> Result<()> {
        for credential in credentials {
            if self.offered.is_empty() && matches!(self.link.end(), Some(End::Broken(_))) {
                // Nothing was offered, and so nothing refused.
                return Err(self.link.lost("during login"));
            }
            let accepted = match credential {
                Credential::Password(password) => self.offer_password(password).await,
                _ if !self.may_offer_more() => continue,
                Credential::Key { key, origin, certificates } => match self.offer_certificates(key, certificates).await
                {
                    Ok(false) if self.may_offer_more() => self.offer_key(key, origin).await,
                    answer => answer,
                },
                Credential::Locked { public, path } => self.offer_locked(public, path).await,
                Credential::Agent => self.offer_agent().await,
            };
            match accepted {
                Ok(true) => return Ok(()),
                // A key that cannot be used is no reason to leave a password unused.
                Err(error) if error.kind() == ErrorKind::KeyUnusable && self.may_go_on_without(credential) => {
                    tracing::debug!(%error, "no key is offered");
                }
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.refused())
    }

    fn may_go_on_without(&self, credential: &Credential) -> bool {
        self.config.password.is_some() && !matches!(credential, Credential::Password(_))
    }

    fn may_offer_more(&self) -> bool {
        self.link.end().is_none() && !self.partial && self.methods.contains(&MethodKind::PublicKey)
    }

    /// The password, by each method that the server has for it, until it has seen it.
    async fn offer_password(&mut self, password: &Secret) -> Result<bool> {
        if self.link.end().is_some() {
            return Ok(false);
        }
        if self.offered.is_empty() {
            // A request for nothing is answered with what the server takes.
            let result = self.handle.authenticate_none(&self.config.user).await.ok();
            if self.note(None, result).await? {
                return Ok(true);
            }
        }
        let mut login = PasswordLogin::new(self.config, password).await?;
        while let Some(kind) = login.next(&self.methods) {
            let result = login.offer(kind, self.handle).await?;
            let is_partial = matches!(&result, Some(AuthResult::Failure { partial_success: true, .. }));
            let name: &str = (&kind).into();
            if self.note(Some(name.to_owned()), result).await? {
                return Ok(true);
            }
            if login.is_given() && !is_partial {
                self.refused = Some(RefusedPassword::Wrong);
                return Ok(false);
            }
        }
        if !self.partial {
            self.refused = Some(RefusedPassword::Unasked);
        }
        Ok(false)
    }

    /// The certificates of a key, before the key itself, as ssh does.
    async fn offer_certificates(&mut self, key: &Arc<PrivateKey>, certificates: &[UserCertificate]) -> Result<bool> {
        for held in certificates {
            // With an unknown server one signature algorithm has to do.
            let hash = self.hashes(key.public_key()).await?[0];
            let (certificate, mut signer) = (held.certificate.clone(), OwnSigner(Arc::clone(key)));
            let user = &self.config.user;
            let result = self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await;
            let offer = format!("certificate {} {}", held.certificate.key_id(), held.origin);
            self.doubts.extend(held.doubt(user));
            if self.note_signed(offer, result).await? {
                return Ok(true);
            }
            if !self.may_offer_more() {
                break;
            }
        }
        Ok(false)
    }

    /// The answer to an offer that was signed here.
    async fn note_signed(&mut self, offer: String, result: Result<AuthResult, SignError>) -> Result<bool> {
        match result {
            Ok(answer) => self.note(Some(offer), Some(answer)).await,
            Err(SignError::Sign(error)) => Err(error),
            Err(SignError::Send(_)) => self.note(Some(offer), None).await,
        }
    }

    async fn offer_key(&mut self, key: &Arc<PrivateKey>, origin: &str) -> Result<bool> {
        for hash in self.hashes(key.public_key()).await? {
            let (public, mut signer) = (key.public_key(), OwnSigner(Arc::clone(key)));
            let result = self.handle.authenticate_publickey_with(&self.config.user, public.clone(), hash, &mut signer);
            let result = result.await;
            if self.note_signed(offer(public, origin), result).await? {
                return Ok(true);
            }
            if !self.may_offer_more() {
                break;
            }
        }
        Ok(false)
    }

    /// An encrypted key whose passphrase is not known: as with OpenSSH, the agent may hold it.
    async fn offer_locked(&mut self, public: &PublicKey, path: &Path) -> Result<bool> {
        let needed = || key_file::passphrase_needed(&path.display().to_string());
        let Ok((mut agent, keys)) = self.open_agent().await else { return Err(needed()) };
        match keys.iter().find(|(key, _)| key.key_data() == public.key_data()) {
            Some((key, _)) => self.offer_with(&mut agent, key, &format!("{} (from the agent)", path.display())).await,
            None => Err(needed()),
        }
    }

    async fn offer_agent(&mut self) -> Result<bool> {
        let (mut agent, mut keys) = self.open_agent().await?;
        if keys.is_empty() {
            return Err(NasSyncError::new(ErrorKind::KeyUnusable, "the ssh-agent holds no keys")
                .with_solution("Add a key with `ssh-add`, or point NAS_KEY_FILE at a private key."));
        }
        keys.sort_by_key(|(key, _)| !matches!(key.key_data(), KeyData::Ed25519(_)));
        for (key, comment) in keys.iter().take(MAX_AGENT_KEYS) {
            if self.offer_with(&mut agent, key, &format!("{comment} (from the agent)")).await? {
                return Ok(true);
            }
            if !self.may_offer_more() {
                break;
            }
        }
        Ok(false)
    }

    /// The agent and its plain keys; certificates are left out. Fails with `KeyUnusable`.
    async fn open_agent(&self) -> Result<(AgentClient<UnixStream>, AgentKeys)> {
        let unusable = |error: russh::keys::Error| {
            NasSyncError::new(ErrorKind::KeyUnusable, format!("the ssh-agent cannot be used: {error}"))
                .with_source(error)
                .with_solution("Start an ssh-agent and set SSH_AUTH_SOCK, or point NAS_KEY_FILE at a private key.")
        };
        let socket = self.config.agent.as_ref().ok_or_else(|| unusable(russh::keys::Error::EnvVar("SSH_AUTH_SOCK")))?;
        let mut agent = AgentClient::connect_uds(socket).await.map_err(unusable)?;
        if let Some(binding) = self.handle.agent_session_binding() {
            // Only agents with keys for certain hosts need it, and old ones refuse it.
            let _ = agent.bind_session(binding, false).await;
        }
        let identities = agent.request_identities().await.map_err(unusable)?;
        let keys = identities.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, comment } => Some((key, comment)),
            AgentIdentity::Certificate { .. } => None,
        });
        Ok((agent, keys.collect()))
    }

    async fn offer_with(&mut self, agent: &mut AgentClient<UnixStream>, key: &PublicKey, origin: &str) -> Result<bool> {
        // With an unknown server one signature algorithm has to do: the agent may ask its owner each time.
        let hash = self.hashes(key).await?[0];
        let result = self.handle.authenticate_publickey_with(&self.config.user, key.clone(), hash, agent).await;
        match result {
            Ok(result) => self.note(Some(offer(key, origin)), Some(result)).await,
            Err(russh::AgentAuthError::Key(error)) => {
                let message = format!("the ssh-agent does not sign with the key {origin}: {error}");
                Err(NasSyncError::new(ErrorKind::KeyUnusable, message).with_source(error))
            }
            Err(russh::AgentAuthError::Send(_)) => self.note(Some(offer(key, origin)), None).await,
        }
    }

    /// The hashes to sign with, best first; one `None` where the key leaves no choice.
    async fn hashes(&self, key: &PublicKey) -> Result<Vec<Option<HashAlg>>> {
        if !key.algorithm().is_rsa() {
            return Ok(vec![None]);
        }
        let legacy = self.config.legacy == LegacyAlgorithms::Allow;
        match self.handle.best_supported_rsa_hash().await {
            Ok(Some(Some(hash))) => Ok(vec![Some(hash)]),
            Ok(Some(None)) if !legacy => Err(NasSyncError::new(
                ErrorKind::NoCommonAlgorithm,
                format!("{} takes RSA keys with SHA-1 signatures only", self.config.address()),
            )
            .with_solution("Use an ed25519 or ECDSA key, or update the NAS; --legacy-ssh allows SHA-1 for this NAS.")),
            Ok(Some(None)) => Ok(vec![None]),
            // The server does not say what it takes.
            Ok(None) if legacy => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256), None]),
            Ok(None) => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)]),
            Err(_) => Err(self.link.lost("during login")),
        }
    }

    /// Remembers an offer and its answer. russh reports a connection that ended meanwhile as a refusal without methods.
    async fn note(&mut self, offer: Option<String>, result: Option<AuthResult>) -> Result<bool> {
        self.offered.extend(offer.filter(|offer| !self.offered.contains(offer)));
        match result.map(Answer::from) {
            Some(Answer::Accepted) => return Ok(true),
            Some(Answer::Refused { methods, partial }) if !methods.is_empty() => {
                self.methods = methods;
                self.partial |= partial;
                return Ok(false);
            }
            _ => {}
        }
        self.methods.clear();
        match self.link.ended().await {
            End::Broken(_) => Err(self.link.lost("during login")),
            // Before a login the banner is the only text that a server writes as it likes.
            End::NotUtf8 => Err(self.unreadable_banner()),
            _ => Ok(false),
        }
    }

    fn unreadable_banner(&self) -> NasSyncError {
        let message = format!("{} shows a login banner that is no UTF-8", self.config.address());
        NasSyncError::new(ErrorKind::NotSsh, message).with_solution(
            "Save the banner of the NAS as UTF-8 or plain ASCII, or switch it off for this user (in sshd_config: `Match User`, then `Banner none`).",
        )
    }

    fn refused(&self) -> NasSyncError {
        let methods: Vec<&str> = self.methods.iter().map(Into::into).collect();
        let (user, address) = (&self.config.user, self.config.address());
        let offered = if self.offered.is_empty() { String::from("nothing") } else { self.offered.join(", ") };
        let accepts = if methods.is_empty() { String::from("nothing else") } else { methods.join(", ") };
        let message = match self.refused {
            Some(RefusedPassword::Wrong) => {
                format!("{address} refused the password of {user}; offered: {offered}; it would accept: {accepts}")
            }
            _ if self.partial => {
                format!("{address} took the key of {user} but asks for more than a key: {accepts}; offered: {offered}")
            }
            _ => format!("{address} refused the login of {user}; offered: {offered}; it would accept: {accepts}"),
        };
        let mut error = NasSyncError::new(ErrorKind::LoginRefused, message);
        if self.refused == Some(RefusedPassword::Wrong) {
            error = error.with_cause("The NAS does not take this password for this user.").with_solution(format!(
                "Correct {PASSWORD_SETTINGS}, and NAS_USER. Many NAS block an address after a few wrong passwords: look at the block list before you try often."
            ));
        } else if self.partial {
            error = error.with_solution(
                "Let this user log in on the NAS with a key alone, or set NAS_PASSWORD_FILE where it asks for a key and a password.",
            );
        } else if self.refused == Some(RefusedPassword::Unasked) {
            error = error.with_solution("Allow login with a password in the SSH settings of the NAS, or use a key that is in ~/.ssh/authorized_keys there.");
        } else if !methods.is_empty() && !self.methods.contains(&MethodKind::PublicKey) {
            error = error.with_solution(
                "Allow login with public keys in the SSH settings of the NAS; where that is not possible, set NAS_PASSWORD_FILE.",
            );
        }
        if !self.doubts.is_empty() {
            error = error.with_solution(format!(
                "Have a certificate signed that holds for {user} and for now (ssh-keygen -s CA -n {user} -V …): {}.",
                self.doubts.join("; ")
            ));
        }
        let mut details = self.link.banner();
        if let Some(End::Server(said)) = self.link.end() {
            details = format!("{details}\n{said}");
        }
        error.with_details(details)
    }
}
