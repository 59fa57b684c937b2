//! Sealing and opening one RTP packet: ours beside `webrtc-srtp`, in one run, per profile and size.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saal_dataplane::id::{ExtSeq, Pt, RtpTime, SeqNo, Ssrc};
use saal_dataplane::sfu::srtp::{Inbound, Outbound, Profile};
use saal_dataplane::wire::rtp::{Extensions, Header, Outgoing};
use webrtc_srtp::context::Context;
use webrtc_srtp::option::srtp_replay_protection;
use webrtc_srtp::protection_profile::ProtectionProfile;

const KEY: [u8; 32] = [7; 32];
const SALT: [u8; 14] = [3; 14];

/// Payloads: sound, a small layer's packet, a full packet.
const SIZES: [usize; 3] = [100, 400, 1100];
/// Sealed beforehand; then the replay window begins anew.
const PACKETS: u16 = 4096;

fn profiles() -> [(&'static str, Profile, ProtectionProfile); 3] {
    [
        ("aes128_gcm", Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
        ("aes256_gcm", Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
        ("aes128_cm_sha1_80", Profile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
    ]
}

fn packet(seq: u16, payload: usize) -> Vec<u8> {
    let out = Outgoing {
        marker: false,
        padding: false,
        pt: Pt(96),
        seq: SeqNo(seq),
        timestamp: RtpTime(1),
        ssrc: Ssrc(9),
    };
    let mut packet = vec![0x5a; 12 + payload];
    out.write(&Extensions::new(), &mut packet);
    packet
}

fn seal(c: &mut Criterion) {
    for (name, ours, theirs) in profiles() {
        let (key, salt) = (&KEY[..ours.key_len()], &SALT[..ours.salt_len()]);
        let mut group = c.benchmark_group(format!("seal_{name}"));
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let plain = packet(1, size);
            let mut outbound = Outbound::new(ours, key, salt).expect("lengths fit");
            let mut out = plain.clone();
            out.resize(plain.len() + ours.rtp_overhead(), 0);
            let mut seq = 0;
            group.bench_function(BenchmarkId::new("saal", size), |b| {
                b.iter(|| {
                    seq += 1;
                    outbound
                        .seal_rtp(ExtSeq(seq), Ssrc(9), 12, black_box(&plain[12..]), &mut out)
                        .expect("seals");
                });
            });
            let mut context = Context::new(key, salt, theirs, None, None).expect("lengths fit");
            group.bench_function(BenchmarkId::new("webrtc_srtp", size), |b| {
                b.iter(|| context.encrypt_rtp(black_box(&plain)).expect("seals"));
            });
        }
        group.finish();
    }
}

fn open(c: &mut Criterion) {
    for (name, ours, theirs) in profiles() {
        let (key, salt) = (&KEY[..ours.key_len()], &SALT[..ours.salt_len()]);
        let mut group = c.benchmark_group(format!("open_{name}"));
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut context = Context::new(key, salt, theirs, None, None).expect("lengths fit");
            let sealed: Vec<_> =
                (0..PACKETS).map(|seq| context.encrypt_rtp(&packet(seq, size)).expect("seals")).collect();

            let fresh = || Inbound::new(ours, key, salt, 4).expect("lengths fit");
            let mut inbound = fresh();
            let mut buffer = [0; 1500];
            let mut next = 0;
            group.bench_function(BenchmarkId::new("saal", size), |b| {
                b.iter(|| {
                    if next == sealed.len() {
                        next = 0;
                        inbound = fresh();
                    }
                    let packet = &mut buffer[..sealed[next].len()];
                    packet.copy_from_slice(&sealed[next]);
                    next += 1;
                    let header = Header::parse(packet).expect("well formed");
                    inbound.open_rtp(packet, &header, true).expect("opens")
                });
            });

            let fresh = || {
                let replay = Some(srtp_replay_protection(128));
                Context::new(key, salt, theirs, replay, None).expect("lengths fit")
            };
            let mut context = fresh();
            let mut next = 0;
            group.bench_function(BenchmarkId::new("webrtc_srtp", size), |b| {
                b.iter(|| {
                    if next == sealed.len() {
                        next = 0;
                        context = fresh();
                    }
                    next += 1;
                    context.decrypt_rtp(&sealed[next - 1]).expect("opens")
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots();
    targets = seal, open
}
criterion_main!(benches);
