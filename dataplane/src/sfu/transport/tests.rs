//! A client of our own against [`Transport`]: ICE, DTLS 1.2 and 1.3, SRTP both ways, and what attackers try.

use std::sync::Arc;
use std::time::Duration;

use dimpl::{Dtls, DtlsCertificate};

use super::*;
use crate::sfu::doorman::{Doorman, Note};
use crate::sfu::dtls::Certificate;
use crate::sfu::dtls::tests::fragmented;
use crate::sfu::participant::Seat;
use crate::sfu::slab::Slab;
use crate::wire;
use crate::wire::stun::{BindingRequest, Class, Role, TransactionId};

#[test]
fn client_connects_with_dtls_12_and_13_and_media_flows_both_ways() {
    for version in VERSIONS {
        let mut call = Call::new(version);
        assert!(call.check(PORT, true));
        call.run(|datagram| vec![datagram]);
        assert!(call.server.is_connected(), "{version:?}");
        let profile = Profile::AeadAes256Gcm;
        assert_eq!(call.events(), [TransportEvent::Connected { profile }]);
        assert_eq!(call.server.profile(), Some(profile));
        assert_eq!(call.client.keys.as_ref().unwrap().profile(), profile);

        call.expect_media_up(PORT, 1);
        call.expect_media_down(PORT, 1);
    }
}

#[test]
fn split_shuffled_and_repeated_client_hello_connects() {
    for version in VERSIONS {
        let mut call = Call::new(version);
        assert!(call.check(PORT, true));
        let mut is_first = true;
        call.run(|datagram| {
            if !std::mem::take(&mut is_first) {
                return vec![datagram.clone(), datagram];
            }
            let mut parts = fragmented(&datagram, datagram.len() / 4);
            parts.reverse();
            parts.insert(1, parts[0].clone());
            parts.swap(2, 3);
            parts
        });
        assert!(call.server.is_connected(), "{version:?}");
        call.expect_media_up(PORT, 1);
    }
}

#[test]
fn wrong_fingerprint_closes_and_never_gives_keys() {
    for version in VERSIONS {
        let mut call = Call::new(version);
        call.server = call.server_with([7; 32]);
        assert!(call.check(PORT, true));
        call.run(|datagram| vec![datagram]);
        assert_eq!(call.events(), [TransportEvent::Closed(Gone::FingerprintMismatch)], "{version:?}");
        assert!(!call.server.is_connected());
        let mut packet = plain_rtp(1);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(
            call.server.open_rtp(call.now, &path(PORT), &mut packet, &header, true),
            Err(Dropped::BeforeDtls)
        );
        assert_eq!(call.server.seal_rtcp(8, &mut [0; 100]), Err(Dropped::BeforeDtls));
        assert!(!call.check(PORT, true), "nothing is answered after the end");
    }
}

#[test]
fn oversized_client_certificate_is_bounded_and_breaks_nothing() {
    // dimpl's DTLS 1.3 client cannot send more.
    for (version, padding, connects) in
        [(Version::Dtls12, 8_000, true), (Version::Dtls13, 8_000, true), (Version::Dtls12, 30_000, false)]
    {
        let mut call = Call::new(version);
        let (client, fingerprint) = Client::with_padded_certificate(version, call.now, padding);
        call.client = client;
        call.server = call.server_with(fingerprint);
        assert!(call.check(PORT, true));
        call.run(|datagram| vec![datagram]);
        assert_eq!(call.server.is_connected(), connects, "{version:?} {padding}");
        if !connects {
            assert_eq!(call.events(), [TransportEvent::Closed(Gone::HandshakeFailed)]);
        }
    }
}

/// Bits are flipped, ends cut off and datagrams repeated or left out; none of it may reach the worker as a panic.
#[test]
fn mangled_flights_end_no_worker() {
    for (version, seed) in VERSIONS.into_iter().flat_map(|v| (0..200u64).map(move |seed| (v, seed))) {
        let mut state = seed;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut call = Call::new(version);
        assert!(call.check(PORT, true));
        for _ in 0..6 {
            for mut datagram in call.client.outgoing() {
                match random(6) {
                    0 => {
                        let at = random(datagram.len());
                        datagram[at] ^= 1 << random(8);
                    }
                    1 => datagram.truncate(1 + random(datagram.len())),
                    2 => call.client_sends(PORT, &datagram),
                    3 => continue,
                    _ => {}
                }
                call.client_sends(PORT, &datagram);
            }
            for (_, datagram) in call.departures() {
                if wire::classify(&datagram) == Some(wire::Kind::Dtls) {
                    let _ = call.client.dtls.handle_packet(&datagram);
                }
            }
            call.now += Duration::from_millis(1200);
            call.check(PORT, true);
            let _ = call.client.dtls.handle_timeout(call.now);
            call.time_out_at(call.now);
        }
    }
}

#[test]
fn close_notify_closes() {
    for version in VERSIONS {
        let mut call = connected(version);
        call.client.dtls.close().unwrap();
        call.run(|datagram| vec![datagram]);
        assert_eq!(call.events(), [TransportEvent::Closed(Gone::CloseNotify)], "{version:?}");
        assert_eq!(call.server.next_timeout(), None);
    }
}

#[test]
fn lost_server_flight_is_sent_again_when_its_time_comes() {
    for version in VERSIONS {
        let mut call = Call::new(version);
        assert!(call.check(PORT, true));
        for datagram in call.client.outgoing() {
            call.client_sends(PORT, &datagram);
        }
        assert!(!call.departures().is_empty(), "lost");
        let deadline = call.now + Duration::from_secs(5);
        while !call.server.is_connected() {
            assert!(call.now < deadline, "{version:?}");
            call.time_out_at(call.next_timeout().unwrap());
            call.client.dtls.handle_timeout(call.now).unwrap();
            assert!(call.check(PORT, true));
            call.run(|datagram| vec![datagram]);
        }
    }
}

#[test]
fn silence_for_the_consent_time_closes() {
    let mut call = connected(Version::Dtls12);
    let checked = call.now;
    call.now = checked + Duration::from_secs(14);
    assert!(call.check(PORT, false), "without a nomination it refreshes as well");
    for seconds in [20, 28] {
        call.time_out_at(checked + Duration::from_secs(seconds));
        assert_eq!(call.events(), []);
    }
    call.time_out_at(checked + Duration::from_secs(29));
    assert_eq!(
        call.events(),
        [TransportEvent::PathForgotten(path(PORT)), TransportEvent::Closed(Gone::ConsentExpired)]
    );
    assert!(!call.server.is_connected());
}

#[test]
fn setup_that_takes_too_long_closes() {
    let limits = Limits::default();
    let mut call = Call::new(Version::Dtls13);
    let started = call.now;
    assert_eq!(call.server.next_timeout(), Some(started + limits.setup));
    call.time_out_at(started + limits.setup);
    assert_eq!(call.events(), [TransportEvent::Closed(Gone::ConsentExpired)]);

    let mut call = Call::new(Version::Dtls13);
    for seconds in [0, 10, 20, 29] {
        call.now = started + Duration::from_secs(seconds);
        assert!(call.check(PORT, true));
    }
    call.time_out_at(call.now + Duration::from_secs(2));
    assert_eq!(call.events(), [TransportEvent::Closed(Gone::HandshakeFailed)]);
}

#[test]
fn media_survives_an_ice_restart_and_a_new_path() {
    let mut call = connected(Version::Dtls13);
    let fresh = credentials("fresh");
    call.server.restart_ice(fresh.clone());
    assert_eq!(call.server.ufrags().collect::<Vec<_>>(), ["server", "fresh"]);
    assert!(call.check(PORT, true), "the old credentials serve");
    call.expect_media_up(PORT, 1);

    call.credentials = fresh;
    assert!(call.check(PORT + 1, true));
    assert_eq!(call.events(), [TransportEvent::UfragRetired(Ufrag("server".into()))]);
    assert_eq!(call.server.path(), Some(&path(PORT + 1)));
    call.expect_media_up(PORT + 1, 2);
    call.expect_media_down(PORT + 1, 1);
    call.credentials = credentials("server");
    assert!(!call.check(PORT, true));
}

#[test]
fn new_path_gets_no_more_than_three_times_its_bytes_until_srtp_comes_from_it() {
    let mut call = connected(Version::Dtls12);
    call.departures();
    assert!(call.check(PORT + 1, true));
    let came = on_wire(call.last_check_len);
    let mut sent: usize = call.departures().iter().map(|(_, bytes)| on_wire(bytes.len())).sum();
    while call.server.reserve(&mut call.egress, 100).is_ok() {
        call.server.commit(&mut call.egress);
        sent += on_wire(100);
        assert!(sent <= 3 * came);
    }
    assert_eq!(call.server.reserve(&mut call.egress, 100), Err(Dropped::AmplificationCap));
    assert!(sent + on_wire(100) > 3 * came, "the budget is there to be used");

    let mut forged = plain_rtp(5);
    forged.resize(200, 0);
    let header = Header::parse(&forged).unwrap();
    let refused = call.server.open_rtp(call.now, &path(PORT + 1), &mut forged, &header, true);
    assert_eq!(refused, Err(Dropped::SrtpUnauthentic));
    call.expect_media_up(PORT + 1, 6);
    for _ in 0..100 {
        assert!(call.server.reserve(&mut call.egress, 1200).is_ok());
    }
}

#[test]
fn handshake_towards_a_silent_client_stays_below_the_cap() {
    for version in VERSIONS {
        let mut call = Call::new(version);
        assert!(call.check(PORT, true));
        let mut came = on_wire(call.last_check_len);
        for datagram in call.client.outgoing() {
            came += on_wire(datagram.len());
            call.client_sends(PORT, &datagram);
        }
        let end = call.now + Duration::from_secs(14);
        let mut sent = 0;
        while let Some(next) = call.next_timeout().filter(|&next| next < end) {
            sent += call.departures().iter().map(|(_, bytes)| on_wire(bytes.len())).sum::<usize>();
            call.time_out_at(next);
        }
        assert!(sent > 0 && sent <= 3 * came, "{version:?}: {sent} for {came}");
        // The hello of DTLS 1.3 is large enough to pay for all repetitions.
        let is_capped = call.counters.dropped(Dropped::AmplificationCap) > 0;
        assert_eq!(is_capped, matches!(version, Version::Dtls12));
    }
}

#[test]
fn nothing_is_learned_from_or_sent_to_a_path_without_an_authentic_check() {
    let mut call = Call::new(Version::Dtls13);
    for datagram in call.client.outgoing() {
        call.client_sends(PORT, &datagram);
    }
    assert_eq!(call.counters.dropped(Dropped::DtlsBeforeIce), 1);

    let mut forged = call.binding_request(true);
    let last = forged.len() - 9;
    forged[last] ^= 1;
    assert!(!call.stun(PORT, &forged));
    assert_eq!(call.counters.dropped(Dropped::StunUnauthentic), 1);
    assert!(call.departures().is_empty() && call.server.path().is_none());
    assert_eq!(call.server.reserve(&mut call.egress, 100), Err(Dropped::AmplificationCap));

    let mut call = connected(Version::Dtls13);
    let other = path(PORT + 9);
    let mut sealed = call.client.seal(3);
    let header = Header::parse(&sealed).unwrap();
    assert_eq!(
        call.server.open_rtp(call.now, &other, &mut sealed.clone(), &header, true),
        Err(Dropped::UnknownAddress),
        "even when it is genuine"
    );
    assert_eq!(call.server.open_rtcp(call.now, &other, &mut [0x80; 40]), Err(Dropped::UnknownAddress));
    assert_eq!(call.server.on_dtls(call.now, &other, 30), Err(Dropped::DtlsBeforeIce));
    assert_eq!(call.events(), []);
    assert!(call.server.open_rtp(call.now, &path(PORT), &mut sealed, &header, true).is_ok());

    call.server.forget_path(&path(PORT).remote);
    let mut sealed = call.client.seal(4);
    assert_eq!(
        call.server.open_rtp(call.now, &path(PORT), &mut sealed, &header, true),
        Err(Dropped::UnknownAddress),
        "the address is another participant's"
    );
}

#[test]
fn garbage_and_application_data_after_the_handshake_change_nothing() {
    for version in VERSIONS {
        let mut call = connected(version);
        for kind in 20..=63u8 {
            let mut garbage = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, kind, 0, 27];
            garbage.resize(40, 2);
            call.client_sends(PORT, &garbage);
            call.client_sends(PORT, &[kind; 3]);
        }
        // A plain fatal alert and a plain close_notify, as an attacker without keys can send them.
        for alert in [[2, 40], [1, 0]] {
            let mut plain = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2];
            plain.extend_from_slice(&alert);
            call.client_sends(PORT, &plain);
        }
        call.client.dtls.send_application_data(b"nobody asked for this").unwrap();
        let before = call.counters.dropped(Dropped::DtlsFailed);
        call.run(|datagram| vec![datagram]);
        assert_eq!(call.counters.dropped(Dropped::DtlsFailed), before + 1);
        assert_eq!(call.events(), [], "{version:?}");
        call.expect_media_up(PORT, 1);
    }
}

#[test]
fn answer_to_a_check_names_its_source_and_is_no_longer_than_it() {
    let mut call = Call::new(Version::Dtls12);
    assert!(call.check(PORT, false));
    let departures = call.departures();
    let [(to, answer)] = &departures[..] else { panic!("one answer") };
    assert_eq!(*to, path(PORT));
    let message = Message::parse(answer).unwrap();
    assert_eq!((message.class, message.mapped_address), (Class::Success, Some(path(PORT).remote)));
    assert!(message.is_authentic(&stun::key(&call.credentials.pwd)));
    assert!(answer.len() <= call.last_check_len);

    call.role = Role::Controlled(1);
    assert!(call.check(PORT, true));
    let departures = call.departures();
    let message = Message::parse(&departures[0].1).unwrap();
    assert_eq!((message.class, message.error_code), (Class::Error, Some(487)));
}

#[test]
fn debug_output_names_no_address_and_no_ufrag() {
    let mut call = connected(Version::Dtls12);
    call.server.restart_ice(credentials("fresh"));
    call.credentials = credentials("fresh");
    assert!(call.check(PORT, true));
    call.time_out_at(call.now + Duration::from_secs(60));
    let text = format!("{:?} {:?}", call.events(), call.server);
    assert!(!text.contains("192.0.2") && !text.contains("server\"") && !text.contains("fresh"), "{text}");
}

const PORT: u16 = 40_000;
const VERSIONS: [Version; 2] = [Version::Dtls12, Version::Dtls13];

#[derive(Clone, Copy, Debug)]
enum Version {
    Dtls12,
    Dtls13,
}

/// Both ends and the wire between them.
struct Call {
    now: Instant,
    server: Transport,
    doorman: Doorman,
    seat: Seat,
    egress: Egress,
    counters: Counters,
    client: Client,
    /// What the client believes the server's to be.
    credentials: IceCredentials,
    role: Role,
    last_check_len: usize,
}

struct Client {
    dtls: Dtls,
    keys: Option<Keys>,
    outbound: Option<Outbound>,
    inbound: Option<Inbound>,
}

fn connected(version: Version) -> Call {
    let mut call = Call::new(version);
    assert!(call.check(PORT, true));
    call.run(|datagram| vec![datagram]);
    assert!(matches!(call.events()[..], [TransportEvent::Connected { .. }]));
    call
}

impl Call {
    fn new(version: Version) -> Call {
        let now = Instant::now();
        let (client, fingerprint) = Client::new(version, now);
        let mut call = Call {
            now,
            server: Transport::new(spec(fingerprint), &Limits::default(), now),
            doorman: Doorman::new(Certificate::generate().unwrap()),
            seat: Seat { room: Slab::new().reserve_key(), participant: Slab::new().reserve_key() },
            egress: Egress::new(64, 32 * 1024, 44),
            counters: Counters::default(),
            client,
            credentials: credentials("server"),
            role: Role::Controlling(1),
            last_check_len: 0,
        };
        call.server = call.server_with(fingerprint);
        call
    }

    fn server_with(&self, fingerprint: [u8; 32]) -> Transport {
        Transport::new(spec(fingerprint), &Limits::default(), self.now)
    }

    fn check(&mut self, port: u16, use_candidate: bool) -> bool {
        let bytes = self.binding_request(use_candidate);
        self.last_check_len = bytes.len();
        self.stun(port, &bytes)
    }

    fn binding_request(&self, use_candidate: bool) -> Vec<u8> {
        let request = BindingRequest {
            transaction: TransactionId([3; 12]),
            ufrags: (&self.credentials.ufrag, "client"),
            priority: 1,
            role: self.role,
            use_candidate,
        };
        let mut out = vec![0; stun::WRITTEN_MAX];
        let len = stun::write_binding_request(&request, &stun::key(&self.credentials.pwd), &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn stun(&mut self, port: u16, bytes: &[u8]) -> bool {
        let message = Message::parse(bytes).unwrap();
        self.server.on_stun(
            self.now,
            &path(port),
            &message,
            bytes.len(),
            &mut self.egress,
            &mut self.counters,
        )
    }

    fn client_sends(&mut self, port: u16, datagram: &[u8]) {
        match self.server.on_dtls(self.now, &path(port), datagram.len()) {
            Ok(fingerprint) => {
                let (seat, path) = (self.seat, path(port));
                let note = Note::Datagram { seat, path: Box::new(path), fingerprint, bytes: datagram.into() };
                self.doorman.on_note(self.now, note);
                self.hear();
            }
            Err(reason) => self.counters.drop(reason),
        }
    }

    fn hear(&mut self) {
        while let Some((_, word)) = self.doorman.poll() {
            self.server.on_word(self.now, word, &mut self.egress, &mut self.counters);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.server.next_timeout().into_iter().chain(self.doorman.next_timeout()).min()
    }

    /// Carries DTLS to and fro until both are silent; `mangle` sees what the client sends.
    fn run(&mut self, mut mangle: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>) {
        loop {
            let up = self.client.outgoing();
            let is_silent = up.is_empty();
            for datagram in up.into_iter().flat_map(&mut mangle) {
                self.client_sends(PORT, &datagram);
            }
            let down = self.departures();
            if is_silent && down.is_empty() {
                return;
            }
            for (to, datagram) in down {
                assert!(datagram.len() <= 1200);
                if wire::classify(&datagram) == Some(wire::Kind::Dtls) {
                    assert_eq!(to, path(PORT));
                    self.client.dtls.handle_packet(&datagram).unwrap();
                }
            }
        }
    }

    fn time_out_at(&mut self, now: Instant) {
        self.now = now;
        self.server.on_timeout(now);
        self.doorman.on_timeout(now);
        self.hear();
    }

    fn departures(&mut self) -> Vec<(Path, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(departure) = self.egress.take_ready() {
            let packets = self.egress.bytes(&departure).chunks(departure.segment_bytes);
            out.extend(packets.map(|packet| (departure.path, packet.to_vec())));
            self.egress.release(departure);
        }
        out
    }

    fn events(&mut self) -> Vec<TransportEvent> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn expect_media_up(&mut self, port: u16, seq: u16) {
        let mut packet = self.client.seal(seq);
        let header = Header::parse(&packet).unwrap();
        let (len, opened) = self.server.open_rtp(self.now, &path(port), &mut packet, &header, true).unwrap();
        assert_eq!((&packet[..len], opened), (&plain_rtp(seq)[..], ExtSeq(seq.into())));

        let mut report = plain_rtcp();
        let len = report.len();
        report.resize(len + 40, 0);
        let sealed = self.client.outbound.as_mut().unwrap().seal_rtcp(len, &mut report).unwrap();
        assert_eq!(self.server.open_rtcp(self.now, &path(port), &mut report[..sealed]), Ok(len));
        assert_eq!(report[..len], plain_rtcp());
    }

    fn expect_media_down(&mut self, port: u16, seq: u16) {
        self.departures();
        let plain = plain_rtp(seq);
        let overhead = self.server.profile().unwrap().rtp_overhead();
        let out = self.server.reserve(&mut self.egress, plain.len() + overhead).unwrap();
        out[..HEADER_LEN].copy_from_slice(&plain[..HEADER_LEN]);
        let ext_seq = ExtSeq(seq.into());
        self.server.seal_rtp(ext_seq, SSRC, HEADER_LEN, &plain[HEADER_LEN..], out).unwrap();
        self.server.commit(&mut self.egress);
        let mut departures = self.departures();
        let (to, packet) = &mut departures[0];
        assert_eq!(*to, path(port));
        let header = Header::parse(packet).unwrap();
        let (len, _) = self.client.inbound.as_mut().unwrap().open_rtp(packet, &header, true).unwrap();
        assert_eq!(packet[..len], plain);
    }
}

impl Client {
    fn new(version: Version, now: Instant) -> (Client, [u8; 32]) {
        Client::with_padded_certificate(version, now, 0)
    }

    fn with_padded_certificate(version: Version, now: Instant, padding: usize) -> (Client, [u8; 32]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        let padding = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], vec![5; padding]);
        params.custom_extensions.push(padding);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref());
        let certificate = DtlsCertificate { certificate: der, private_key: key.serialize_der() };
        let config = Arc::new(dimpl::Config::builder().max_queue_tx(100).build().unwrap());
        let mut dtls = match version {
            Version::Dtls12 => Dtls::new_12(config, certificate, now),
            Version::Dtls13 => Dtls::new_13(config, certificate, now),
        };
        dtls.set_active(true);
        dtls.handle_timeout(now).unwrap();
        (Client { dtls, keys: None, outbound: None, inbound: None }, fingerprint)
    }

    fn outgoing(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                dimpl::Output::Packet(datagram) => out.push(datagram.to_vec()),
                dimpl::Output::Timeout(_) => return out,
                dimpl::Output::KeyingMaterial(material, profile) => {
                    let keys = Keys::new(&material, profile).unwrap();
                    // The client's directions are the server's the other way round.
                    self.outbound = Outbound::new(keys.profile(), keys.parts(0).0, keys.parts(0).1);
                    self.inbound = Inbound::new(keys.profile(), keys.parts(1).0, keys.parts(1).1, 8);
                    self.keys = Some(keys);
                }
                dimpl::Output::BufferTooSmall { .. } => panic!("4 KiB hold everything the server sends"),
                dimpl::Output::Connected
                | dimpl::Output::PeerCert(_)
                | dimpl::Output::ApplicationData(_)
                | dimpl::Output::CloseNotify
                | _ => {}
            }
        }
    }

    fn seal(&mut self, seq: u16) -> Vec<u8> {
        let mut packet = plain_rtp(seq);
        packet.resize(packet.len() + self.keys.as_ref().unwrap().profile().rtp_overhead(), 0);
        let outbound = self.outbound.as_mut().unwrap();
        outbound.seal_rtp_in_place(ExtSeq(seq.into()), SSRC, HEADER_LEN, &mut packet).unwrap();
        packet
    }
}

const SSRC: Ssrc = Ssrc(77);
const HEADER_LEN: usize = 12;

/// With the headers of UDP and IPv4.
fn on_wire(len: usize) -> usize {
    len + 28
}

fn plain_rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(&SSRC.0.to_be_bytes());
    packet.extend_from_slice(&[9; 60]);
    packet
}

fn plain_rtcp() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&SSRC.0.to_be_bytes());
    packet
}

fn spec(fingerprint: [u8; 32]) -> TransportSpec {
    TransportSpec { local: credentials("server"), remote_ufrag: "client".into(), fingerprint }
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials { ufrag: ufrag.into(), pwd: format!("the password of {ufrag}") }
}

fn path(port: u16) -> Path {
    Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
}
