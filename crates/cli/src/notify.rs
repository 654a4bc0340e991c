//! Telling systemd (`Type=notify`) that the server takes requests, and that it stops.

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// It takes requests.
pub const READY: &str = "READY=1";
/// It finishes what it took.
pub const STOPPING: &str = "STOPPING=1";

/// Tells whoever started the server, if that one asked for it.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the service manager can't be told");
    }
}

fn send(socket: &OsString, state: &str) -> io::Result<()> {
    // A name that begins with @ is in no directory.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("sceau-test-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, asked) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstracted).unwrap(), OsString::from(format!("@{name}"))),
        ] {
            send(&asked, READY).unwrap();
            let mut bytes = [0; 64];
            let count = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], READY.as_bytes());
        }
        assert!(send(&dir.path().join("nobody").into_os_string(), READY).is_err());
    }
}
