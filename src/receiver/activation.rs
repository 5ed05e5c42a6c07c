//! Sockets that somebody else opened and keeps open while the program restarts: systemd's socket activation
//! (systemd.socket(5), sd_listen_fds(3)). Clients that connect meanwhile wait in them and notice nothing.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::ConfigError;
use crate::receiver::listen::Listener;

/// Sockets that were handed over and that nobody has taken yet.
#[derive(Default)]
pub struct Activation {
    tcp: Vec<(SocketAddr, std::net::TcpListener)>,
    unix: Vec<(PathBuf, std::os::unix::net::UnixListener)>,
}

impl Activation {
    /// Takes what `LISTEN_FDS` tells of out of the environment: before there are other threads.
    pub fn from_environment() -> Result<Activation, ConfigError> {
        let mut sockets = ListenFd::from_env();
        let mut activation = Activation::default();
        for number in 0..sockets.len() {
            let taken = activation.take(&mut sockets, number);
            taken.map_err(|error| wrong(format_args!("socket {number} of LISTEN_FDS: {error}")))?;
        }
        Ok(activation)
    }

    fn take(&mut self, sockets: &mut ListenFd, number: usize) -> io::Result<()> {
        // Each kind is an error for the other, which leaves the socket where it is.
        if let Ok(Some(socket)) = sockets.take_unix_listener(number) {
            listens(SockRef::from(&socket))?;
            socket.set_nonblocking(true)?;
            let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
            let path = path.ok_or_else(|| io::Error::other("a Unix socket without a path"))?;
            self.unix.push((path, socket));
        } else if let Some(socket) = sockets.take_tcp_listener(number)? {
            listens(SockRef::from(&socket))?;
            socket.set_nonblocking(true)?;
            self.tcp.push((socket.local_addr()?, socket));
        }
        Ok(())
    }

    /// The socket that was handed over for this address, or one that is opened now.
    pub fn tcp(&mut self, address: SocketAddr) -> anyhow::Result<Listener> {
        match self.tcp.iter().position(|(at, _)| *at == address) {
            Some(found) => Listener::handed_over_tcp(self.tcp.swap_remove(found).1),
            None => Listener::tcp(address),
        }
    }

    /// The same for a path.
    pub fn unix(&mut self, path: &Path) -> anyhow::Result<Listener> {
        let absolute = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
        match self.unix.iter().position(|(at, _)| *at == absolute) {
            Some(found) => Listener::handed_over_unix(self.unix.swap_remove(found).1),
            None => Listener::unix(path),
        }
    }

    /// An error when there is a socket that no setting asked for: its clients would wait for ever.
    pub fn all_taken(self) -> Result<(), ConfigError> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|(path, _)| path.display().to_string());
        match tcp.chain(unix).next() {
            None => Ok(()),
            Some(place) => Err(wrong(format_args!(
                "a socket was handed over for {place}, which is neither server.http nor server.grpc nor server.unix: set one of them to exactly that"
            ))),
        }
    }
}

/// A connection instead, or a socket that is only bound, could never be accepted from.
fn listens(socket: SockRef<'_>) -> io::Result<()> {
    match socket.is_listener() {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other("not listening; a unit needs Accept=no")),
        Err(error) => Err(error),
    }
}

fn wrong(wrong: impl Display) -> ConfigError {
    ConfigError::new("server", wrong)
}
