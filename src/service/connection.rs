//! The line to the NAS: a login that is kept between batches, and made anew when it was lost.

use sha2::{Digest as _, Sha256};

use crate::client::{Client, ClientConfig};
use crate::error::Result;
use crate::secret::aside;
use crate::text;
use crate::transport::ssh::Identity;

/// At most one login.
#[derive(Debug)]
pub(crate) struct NasConnection {
    config: ClientConfig,
    folder: String,
    client: Option<Client>,
}

impl NasConnection {
    /// To this folder there. Nothing is connected yet.
    pub fn new(config: ClientConfig, folder: &str) -> Self {
        Self { config, folder: folder.to_owned(), client: None }
    }

    /// The account, the key, the program and the folder there, as one text: what is known about a NAS is known about
    /// that. Another key may be allowed more, and another folder may have room.
    pub fn target(&self) -> String {
        let ssh = &self.config.ssh;
        let key = match &ssh.identity {
            Identity::Default => String::from("-"),
            Identity::Agent => String::from("agent"),
            Identity::Files(files) => files.iter().map(|file| text::escape(&file.to_string_lossy())).collect(),
            Identity::Text(secret) => match (secret.file(), secret.text()) {
                (Some(file), _) => text::escape(&file.to_string_lossy()),
                (None, Ok(held)) => {
                    let digest = aside(|| Sha256::digest(held.as_bytes()));
                    digest.iter().take(8).fold(String::new(), |word, byte| format!("{word}{byte:02x}"))
                }
                (None, Err(_)) => String::from("-"),
            },
        };
        let way = self.way();
        format!("{way}{}@{}:{} {} {key} {}", ssh.user, ssh.host, ssh.port, self.config.rsync_path, self.folder)
    }

    /// Behind another host the same name may be another NAS.
    fn way(&self) -> String {
        let way: Vec<String> =
            self.config.ssh.jumps.iter().map(|jump| format!("{}:{} ", jump.host, jump.port)).collect();
        way.concat()
    }

    /// Where documents are sent to: whoever sends them, and however, they are at the same place. Foreign text.
    pub fn place(&self) -> String {
        let ssh = &self.config.ssh;
        let way = self.way();
        // Such a folder is below the user's own.
        let user = if self.folder.starts_with('/') { String::new() } else { format!("{}@", ssh.user) };
        let port = if ssh.port == 22 { String::new() } else { format!(":{}", ssh.port) };
        let folder = match self.folder.trim_end_matches('/') {
            "" => "/",
            folder => folder,
        };
        format!("{way}{user}{}{port}:{folder}", ssh.host)
    }

    /// Whether there is a login that lives.
    pub fn is_up(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.ssh().lost().is_none())
    }

    /// The login, made where there is none.
    pub async fn client(&mut self) -> Result<Client> {
        if !self.is_up() {
            self.client = None;
        }
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.config).await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Says goodbye, where there is somebody to say it to.
    pub async fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            client.ssh().disconnect().await;
        }
    }
}
