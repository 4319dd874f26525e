//! The address or the socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::blocking;
use crate::config::Listen;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Who may connect to a socket: this user and its group.
const SOCKET_MODE: u32 = 0o660;

/// What connections come from. A socket in the file system is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Opens it. A socket that nobody listens on any more is replaced. Fails with `Usage`, which names the setting.
    pub async fn open(listen: &Listen, setting: &str) -> Result<Self> {
        let opened = match listen {
            Listen::Address(address) => {
                TcpListener::bind(address).await.map(|listener| Self { socket: Socket::Tcp(listener), _file: None })
            }
            Listen::Unix(path) => {
                let path = path.clone();
                let bound = blocking::run(move || Ok(bind(&path).map(|listener| (listener, SocketFile(path))))).await?;
                bound.and_then(|(listener, file)| {
                    Ok(Self { socket: Socket::Unix(UnixListener::from_std(listener)?), _file: Some(file) })
                })
            }
        };
        opened.map_err(|error| {
            NasSyncError::new(ErrorKind::Usage, format!("cannot listen on {listen}: {error}"))
                .with_cause("Another program listens there already, this machine has no such address, or the port or folder is closed to this user.")
                .with_solution(format!("Correct {setting}, or end what listens there."))
                .with_source(error)
        })
    }

    pub async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and awaited.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Socket::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::UnixListener;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether it is a socket that nobody listens on: one that a killed process has left. Anything else stays.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A socket in the file system.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}
