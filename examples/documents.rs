//! Sends files to a NAS without a database, and prints what is proved about each.
//!
//! Run it with `cargo run --example documents -- HOST USER FOLDER FILE…`; NAS_PORT, NAS_KEY_FILE and NAS_KNOWN_HOSTS count.

use std::path::PathBuf;
use std::sync::Arc;

use nas_sync::{
    Client, ClientConfig, Environment, ErrorKind, Flags, NasSyncError, OutgoingDocument, RemoteName, SendDocuments,
    Settings, Unmonitored,
};

#[tokio::main]
async fn main() -> Result<(), NasSyncError> {
    let mut words = std::env::args().skip(1);
    let (Some(host), Some(user), Some(folder)) = (words.next(), words.next(), words.next()) else {
        return Err(NasSyncError::new(ErrorKind::Usage, "usage: documents HOST USER FOLDER FILE…"));
    };
    let settings = Settings::resolve(&Flags::default(), &Environment::of_process()?)?.nas(host, user, &folder);
    let document = |(number, path): (i64, PathBuf)| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        Ok(OutgoingDocument::new(number, &path, RemoteName::new(name)?))
    };
    let documents = (1..).zip(words.map(PathBuf::from)).map(document).collect::<Result<_, NasSyncError>>()?;

    let client = Client::connect(&ClientConfig::of(&settings)?).await?;
    for outcome in client.send_documents(SendDocuments::new(folder, documents), Arc::new(Unmonitored)).await? {
        match outcome.result {
            Ok(stored) => {
                println!("{}: {} is {}, {} bytes", outcome.id, stored.name, stored.level.as_str(), stored.bytes);
            }
            Err(error) => println!("{}: {error}", outcome.id),
        }
    }
    client.disconnect().await;
    Ok(())
}
