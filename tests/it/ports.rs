//! Where programs under test listen.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

/// An address that was free a moment ago. A fixed one is needed, so that a restarted collector is found again; below the
/// ports that systems give to outgoing connections, of which the tests have thousands, and never one twice.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Where another process of tests begins elsewhere.
    let begin = (std::process::id() % 199) as u16 * 100;
    for _ in 0..COUNT {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}
