//! The sockets: open, accept within bounds, drain on stop.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;

use crate::receiver::connection::{self, Phase, Terms};
use crate::receiver::socket::Socket;

/// `accept` fails when descriptors or buffers run out; it works again later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that the system keeps for us while we are busy.
const BACKLOG: u32 = 4096;
/// A client that takes nothing of its answer for so long, or is gone without a word, is cut off: the answer stands in memory.
/// The kernel looks after that, on Linux alone (tcp(7), TCP_USER_TIMEOUT).
#[cfg(target_os = "linux")]
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// Clients that came during the end have this long to read that they shall come again.
const LATE_GRACE: Duration = Duration::from_millis(100);
/// A Unix socket is for its owner and its group.
const UNIX_MODE: u32 = 0o660;

pub struct Listener {
    socket: Listening,
    /// The file of a Unix socket that is ours: it goes with us.
    file: Option<PathBuf>,
    /// Whoever opened it keeps it open: clients wait in it while nobody accepts.
    is_handed_over: bool,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Port 0 takes a free one.
    pub fn tcp(address: SocketAddr) -> anyhow::Result<Listener> {
        let open = || {
            let socket = match address {
                SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            // A port whose last connections still linger can be taken again at once.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let socket = open().with_context(|| format!("cannot listen on {address}"))?;
        Ok(Listener { socket: Listening::Tcp(socket), file: None, is_handed_over: false })
    }

    /// A socket that a dead process left behind is replaced; one that somebody listens on is an error.
    pub fn unix(path: &Path) -> anyhow::Result<Listener> {
        let shown = path.display();
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            let answers = std::os::unix::net::UnixStream::connect(path).is_ok();
            anyhow::ensure!(!answers, "another process listens on {shown}");
            std::fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))?;
        }
        let socket = UnixListener::bind(path).with_context(|| format!("cannot listen on {shown}"))?;
        let listener = Listener { socket: Listening::Unix(socket), file: Some(path.to_owned()), is_handed_over: false };
        // Who connects before this needs a key as everybody does.
        std::fs::set_permissions(path, Permissions::from_mode(UNIX_MODE))
            .with_context(|| format!("cannot set the mode of {shown}"))?;
        Ok(listener)
    }

    /// One that does not block, and that somebody else keeps open.
    pub fn handed_over_tcp(socket: std::net::TcpListener) -> anyhow::Result<Listener> {
        let socket = TcpListener::from_std(socket).context("cannot listen on a socket that was handed over")?;
        Ok(Listener { socket: Listening::Tcp(socket), file: None, is_handed_over: true })
    }

    /// The same; its file stays.
    pub fn handed_over_unix(socket: std::os::unix::net::UnixListener) -> anyhow::Result<Listener> {
        let socket = UnixListener::from_std(socket).context("cannot listen on a socket that was handed over")?;
        Ok(Listener { socket: Listening::Unix(socket), file: None, is_handed_over: true })
    }

    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }

    pub fn tcp_address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Listening::Tcp(listener) => listener.local_addr(),
            Listening::Unix(_) => Err(io::Error::other("a Unix socket has no address")),
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Socket>, Option<IpAddr>)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                if let Err(error) = prepare(&socket) {
                    tracing::debug!(%error, "options of a connection could not be set");
                }
                Ok((Box::new(socket), Some(peer.ip().to_canonical())))
            }
            Listening::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Box::new(socket), None))
            }
        }
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(UNREAD_MAX))?;
    Ok(())
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.file
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "the file of a Unix socket could not be removed");
        }
    }
}

/// How many connections there may be, over all listeners.
pub struct Bounds {
    all: Arc<Semaphore>,
    by_address: Arc<DashMap<IpAddr, u32>>,
    /// 0: none.
    each_max: u32,
}

impl Bounds {
    pub fn new(all_max: usize, each_max: u32) -> Bounds {
        let all = Arc::new(Semaphore::new(all_max.min(Semaphore::MAX_PERMITS)));
        Bounds { all, by_address: Arc::default(), each_max }
    }

    /// One more connection from `address`, until the place is dropped. `None`: there are enough from there.
    fn place(&self, address: Option<IpAddr>, permit: OwnedSemaphorePermit) -> Option<Place> {
        let counted = match address.filter(|_| self.each_max > 0) {
            None => None,
            Some(address) => {
                let mut count = self.by_address.entry(address).or_insert(0);
                if *count >= self.each_max {
                    return None;
                }
                *count += 1;
                Some((address, self.by_address.clone()))
            }
        };
        Some(Place { _permit: permit, counted })
    }
}

struct Place {
    _permit: OwnedSemaphorePermit,
    counted: Option<(IpAddr, Arc<DashMap<IpAddr, u32>>)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((address, by_address)) = &self.counted {
            by_address.remove_if_mut(address, |_, count| {
                *count -= 1;
                *count == 0
            });
        }
    }
}

/// What every listener shares.
#[derive(Clone)]
pub struct Door {
    pub terms: Arc<Terms>,
    pub bounds: Arc<Bounds>,
}

/// Serves until the phase is `Ending`, then lets requests that are under way finish, at most for `grace`. Meanwhile
/// connections are still accepted, so that who comes late is told to come again: some exporters take a refused
/// connection for the end of the matter. In a socket that was handed over they wait for the next process instead.
pub async fn serve(listener: Listener, door: Door, mut phase: watch::Receiver<Phase>, grace: Duration) {
    let mut connections = JoinSet::new();
    let early_phase = phase.clone();
    tokio::select! {
        never = door.keep_accepting(&listener, &early_phase, &mut connections) => match never {},
        _ = phase.wait_for(|phase| *phase == Phase::Ending) => {}
    }
    let finishing = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} });
    if listener.is_handed_over {
        drop(listener);
        tell_unfinished(finishing.await, grace);
        return;
    }
    // Late connections end after their first answer.
    let (_leaving, late_phase) = watch::channel(Phase::Leaving);
    let mut late = JoinSet::new();
    tokio::select! {
        never = door.keep_accepting(&listener, &late_phase, &mut late) => match never {},
        finished = finishing => tell_unfinished(finished, grace),
    }
    drop(listener);
    let told = async { while late.join_next().await.is_some() {} };
    if tokio::time::timeout(LATE_GRACE, told).await.is_err() {
        tracing::debug!("clients that came late did not read their answers");
    }
}

fn tell_unfinished(finished: Result<(), Elapsed>, grace: Duration) {
    if finished.is_err() {
        tracing::warn!(grace_s = grace.as_secs_f64(), "requests were still under way when the grace period ran out");
    }
}

impl Door {
    async fn keep_accepting(
        &self,
        listener: &Listener,
        phase: &watch::Receiver<Phase>,
        connections: &mut JoinSet<()>,
    ) -> Infallible {
        loop {
            let accepted = self.accept(listener).await;
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok(accepted) => self.admit(accepted, phase.clone(), connections),
                Err(error) => {
                    if let Some(left_out) = self.terms.complaints.due("accept", Instant::now()) {
                        tracing::warn!(%error, left_out, "a connection could not be accepted, going on");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The permit first: who is too many waits in the system's queue, and costs nothing here.
    async fn accept(&self, listener: &Listener) -> io::Result<Accepted> {
        let permit = self.bounds.all.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (socket, peer) = listener.accept().await?;
        Ok((socket, peer, permit))
    }

    fn admit(&self, accepted: Accepted, phase: watch::Receiver<Phase>, connections: &mut JoinSet<()>) {
        let (socket, peer, permit) = accepted;
        let counted = peer.filter(|peer| !self.terms.trusted_proxies.iter().any(|net| net.contains(peer)));
        let Some(place) = self.bounds.place(counted, permit) else {
            if let Some(left_out) = self.terms.complaints.due("connections of an address", Instant::now()) {
                let address = peer.map(tracing::field::display);
                tracing::warn!(address, left_out, "too many connections from one address, closed another");
            }
            return;
        };
        let terms = self.terms.clone();
        connections.spawn(async move {
            connection::serve(socket, peer, terms, phase).await;
            drop(place);
        });
    }
}

type Accepted = (Box<dyn Socket>, Option<IpAddr>, OwnedSemaphorePermit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_address_and_given_back() {
        let bounds = Bounds::new(10, 2);
        let place = |address: Option<&str>| {
            let permit = bounds.all.clone().try_acquire_owned().unwrap();
            bounds.place(address.map(|a| a.parse().unwrap()), permit)
        };
        let first = place(Some("127.0.0.1")).unwrap();
        let _second = place(Some("127.0.0.1")).unwrap();
        assert!(place(Some("127.0.0.1")).is_none());
        let _other = place(Some("127.0.0.2")).unwrap();
        let _local = [place(None).unwrap(), place(None).unwrap(), place(None).unwrap()];
        drop(first);
        let again = place(Some("127.0.0.1"));
        assert!(again.is_some());
        drop(again);
        assert_eq!(bounds.by_address.len(), 2);
        assert_eq!(bounds.all.available_permits(), 10 - 5);
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectoros.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, UNIX_MODE);
        assert!(Listener::unix(&path).is_err());
        drop(listener);
        assert!(!path.exists());
    }
}
