//! The line to the NAS: a login that is kept between batches, and made anew when it was lost.

use std::sync::Arc;

use super::client::{Client, ClientConfig};
use crate::error::Result;

/// At most one login.
#[derive(Debug)]
pub(super) struct Line {
    config: ClientConfig,
    client: Option<Arc<Client>>,
}

impl Line {
    /// Nothing is connected yet.
    pub fn new(config: ClientConfig) -> Self {
        Self { config, client: None }
    }

    /// The NAS and the account and program there, as one word: what is known about a NAS is known about that.
    pub fn target(&self) -> String {
        let ssh = &self.config.ssh;
        format!("{}@{}:{} {}", ssh.user, ssh.host, ssh.port, self.config.rsync_path)
    }

    /// Whether there is a login that lives.
    pub fn is_up(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.ssh().lost().is_none())
    }

    /// The login, made where there is none.
    pub async fn client(&mut self) -> Result<Arc<Client>> {
        if !self.is_up() {
            self.client = None;
        }
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::connect(&self.config).await?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Says goodbye, where there is somebody to say it to.
    pub async fn hang_up(&mut self) {
        if let Some(client) = self.client.take() {
            client.ssh().disconnect().await;
        }
    }
}
