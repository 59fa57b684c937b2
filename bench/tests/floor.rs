//! `saal-floor` forwards what it is sent: everybody's packets to every receiver, readable for an SRTP that is not ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

const RECEIVERS: u16 = 3;
const VIDEO_BYTES: usize = 1100;
const AUDIO_BYTES: usize = 90;
const FRAME: u16 = 6;

struct Floor {
    process: Child,
    address: SocketAddr,
}

impl Floor {
    fn start(arguments: &[&str]) -> Floor {
        let mut process = Command::new(env!("CARGO_BIN_EXE_saal-floor"))
            .args(["--receivers", &RECEIVERS.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        Floor { process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// A socket that speaks with the floor, after `greeting` and, for a receiver, its answer.
    fn socket(&self, kind: u8, number: u16) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let [high, low] = number.to_be_bytes();
        socket.send(&[kind, high, low]).unwrap();
        if kind == b'R' {
            let mut answer = [0; 8];
            assert_eq!(socket.recv(&mut answer).unwrap(), 1);
            assert_eq!(answer[0], b'K');
        }
        socket
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // stdin is dropped first when the process is waited for, and its end ends the floor.
        let status = self.process.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "saal-floor ended with {status}");
    }
}

fn context(kind: u8, number: u16) -> Context {
    let (mut key, mut salt) = ([0x10 + kind; 32], [0x20 + kind; 12]);
    key[..2].copy_from_slice(&number.to_be_bytes());
    salt[..2].copy_from_slice(&number.to_be_bytes());
    Context::new(&key, &salt, ProtectionProfile::AeadAes256Gcm, None, None).unwrap()
}

/// As a browser would send it: with a header extension of its own.
fn packet(ssrc: u32, seq: u16, marker: bool, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x90, 96 | u8::from(marker) << 7];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&7_u32.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, b'0', 0, 0]);
    packet.extend((0..payload).map(|at| (at as u16 ^ seq) as u8));
    packet
}

/// (SSRC, sequence number, payload) of what a receiver gets.
fn received(socket: &UdpSocket, context: &mut Context) -> (u32, u16, Vec<u8>) {
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).unwrap();
    let plain = context.decrypt_rtp(&buffer[..len]).unwrap();
    assert_eq!(plain[0], 0x90);
    assert_eq!(plain[12..16], [0xbe, 0xde, 0, 3], "an extension of 16 bytes");
    let ssrc = u32::from_be_bytes(plain[8..12].try_into().unwrap());
    (ssrc, u16::from_be_bytes([plain[2], plain[3]]), plain[28..].to_vec())
}

fn everybody_gets_everything(arguments: &[&str]) {
    let floor = Floor::start(&[&["--publishers", "2"], arguments].concat());
    let receivers: Vec<UdpSocket> = (0..RECEIVERS).map(|number| floor.socket(b'R', number)).collect();
    let mut contexts: Vec<Context> = (0..RECEIVERS).map(|number| context(1, number)).collect();

    for publisher in 0..2 {
        let socket = floor.socket(b'P', publisher);
        let mut sealing = context(0, publisher);
        let mut expected = Vec::new();
        // Two frames across a rollover of the sequence number, then sound.
        for index in 0..2 * FRAME {
            let seq = (u16::MAX - FRAME).wrapping_add(index);
            let plain = packet(50, seq, index % FRAME == FRAME - 1, VIDEO_BYTES);
            socket.send(&sealing.encrypt_rtp(&plain).unwrap()).unwrap();
            expected.push((u32::from(publisher), seq, plain[20..].to_vec()));
        }
        let plain = packet(51, 9, false, AUDIO_BYTES);
        socket.send(&sealing.encrypt_rtp(&plain).unwrap()).unwrap();
        expected.push((u32::from(publisher) + 0x8000, 9, plain[20..].to_vec()));

        for (receiver, (socket, context)) in receivers.iter().zip(&mut contexts).enumerate() {
            for (ssrc, seq, payload) in &expected {
                let base = 0x10000 * (receiver as u32 + 1);
                assert_eq!(received(socket, context), (base + ssrc, *seq, payload.clone()));
            }
        }
    }
}

#[test]
fn every_receiver_gets_every_publishers_packets_over_io_uring() {
    everybody_gets_everything(&["--io", "uring"]);
}

#[test]
fn every_receiver_gets_every_publishers_packets_over_epoll() {
    everybody_gets_everything(&["--io", "mio", "--tick-us", "500"]);
}

#[test]
fn trains_can_be_switched_off() {
    everybody_gets_everything(&["--io", "mio", "--segments-max", "1"]);
}

#[test]
fn with_exclude_own_nobody_gets_what_they_sent() {
    let floor = Floor::start(&["--exclude-own", "--io", "mio"]);
    let (own, other) = (floor.socket(b'R', 0), floor.socket(b'R', 1));
    let mut sealing = context(0, 0);
    // A single publisher needs no registration.
    let publisher = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sealed = sealing.encrypt_rtp(&packet(50, 1, true, VIDEO_BYTES)).unwrap();
    publisher.send_to(&sealed, floor.address).unwrap();
    assert_eq!(received(&other, &mut context(1, 1)).0, 0x20000);
    // Receivers are served in the order of their numbers, so receiver 0 would have been first.
    own.set_nonblocking(true).unwrap();
    assert!(own.recv(&mut [0; 2048]).is_err());
}
