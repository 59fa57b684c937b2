//! `saal-impair` as it is run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::process::{Child, Command};
use std::time::Duration;

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_on_loopback_sees_clients_at_the_address_that_they_send_to() {
    let server = UdpSocket::bind("127.0.0.2:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let front = UdpSocket::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
    let to = server.local_addr().unwrap();
    let arguments = ["--listen".to_owned(), front.to_string(), "--to".to_owned(), to.to_string()];
    let _proxy = Proxy(Command::new(env!("CARGO_BIN_EXE_saal-impair")).args(arguments).spawn().unwrap());

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 64];
    // Until the proxy is there.
    let (len, seen) = std::iter::repeat_with(|| {
        client.send_to(b"check", front).unwrap();
        server.recv_from(&mut buffer).ok()
    })
    .take(200)
    .find_map(|came| came)
    .expect("within ten seconds");
    assert_eq!(&buffer[..len], b"check");
    assert_eq!(seen.ip(), front.ip());
    server.send_to(b"answer", seen).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (len, _) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"answer");
}
