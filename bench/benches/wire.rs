//! Reading and writing what is on the wire: all of it pure functions over bytes.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use saal_dataplane::id::{Codec, Pt, RtpTime, SeqNo, Ssrc};
use saal_dataplane::wire::ext::{AudioLevel, ExtensionIds, ExtensionValues};
use saal_dataplane::wire::rtp::{Extensions, Header, Outgoing};
use saal_dataplane::wire::stun::{BindingRequest, Message, Role, TransactionId, WRITTEN_MAX};
use saal_dataplane::wire::twcc::Arrival;
use saal_dataplane::wire::{classify, codec, rtcp, stun, twcc};

const IDS: ExtensionIds = ExtensionIds {
    mid: Some(4),
    rid: Some(10),
    repaired_rid: Some(11),
    abs_send_time: Some(2),
    transport_cc: Some(3),
    audio_level: Some(1),
    dependency_descriptor: None,
};

const HEADER: Outgoing = Outgoing {
    marker: true,
    padding: false,
    pt: Pt(96),
    seq: SeqNo(7),
    timestamp: RtpTime(90_000),
    ssrc: Ssrc(9),
};

/// What Chromium's packets carry.
fn extensions() -> Extensions {
    let mut extensions = Extensions::new();
    extensions.push(4, b"12");
    extensions.push(2, &[1, 2, 3]);
    extensions.push(3, &[0, 9]);
    extensions.push(1, &AudioLevel { voice: true, level: 30 }.encode());
    extensions
}

fn rtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_rtp");
    let mut packet = [0x5a; 1200];
    HEADER.write(&extensions(), &mut packet);
    group.bench_function("read", |b| {
        b.iter(|| {
            let packet = black_box(&packet);
            classify(packet).expect("it is RTP");
            let header = Header::parse(packet).expect("well formed");
            ExtensionValues::read(packet, &header, &IDS).transport_cc.expect("it is there")
        });
    });
    let mut out = [0; 64];
    group.bench_function("write", |b| b.iter(|| black_box(&HEADER).write(&extensions(), &mut out)));
    group.finish();
}

fn codecs(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_codec");
    let h264 = Codec::H264 { profile: [0x42, 0xe0], packetization_mode: 1 };
    let vp9 = Codec::Vp9 { profile: 0 };
    // First packets of a keyframe, as far as they are looked at.
    let payloads: [(&str, Codec, &[u8]); 5] = [
        ("opus", Codec::Opus, &[0xf8]),
        ("vp8", Codec::Vp8, &[0x90, 0xe0, 0x80, 7, 3, 0, 0x10, 0, 0, 0x9d, 1, 0x2a, 0, 5, 0xd0, 2]),
        ("vp9", vp9, &[0x8a, 0x80, 7, 0x18, 5, 0, 2, 0xd0, 1, 4]),
        ("h264", h264, &[0x7c, 0x85, 0x88, 0x84]),
        ("av1", Codec::Av1, &[0x18, 0x0a, 3, 0, 0, 0, 0x32, 1, 2]),
    ];
    for (name, codec, head) in payloads {
        let mut payload = vec![0; 1100];
        payload[..head.len()].copy_from_slice(head);
        assert!(codec::inspect(codec, &payload).keyframe, "{name}");
        group.bench_function(name, |b| b.iter(|| codec::inspect(codec, black_box(&payload))));
    }
    group.finish();
}

fn rtcp(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_rtcp");
    let lost: Vec<SeqNo> = (0..20).map(|n| SeqNo(n * 3)).collect();
    let write = |out: &mut [u8]| {
        let mut writer = rtcp::Writer::new(out);
        assert!(writer.receiver_report(Ssrc(1), &[]) && writer.pli(Ssrc(1), Ssrc(2)));
        assert!(writer.nack(Ssrc(1), Ssrc(2), &lost));
        writer.len()
    };
    let mut out = [0; 1200];
    let len = write(&mut out);
    let compound = out[..len].to_vec();
    group.bench_function("write_report_pli_nack", |b| b.iter(|| write(black_box(&mut out))));
    group.bench_function("read_report_pli_nack", |b| {
        b.iter(|| {
            let lost = rtcp::packets(black_box(&compound))
                .map(|packet| if let rtcp::Packet::Nack { lost, .. } = packet { lost.count() } else { 0 });
            assert_eq!(lost.sum::<usize>(), 20);
        });
    });
    group.finish();
}

/// A hundred milliseconds of a busy receiver: a hundred packets, every tenth lost.
fn transport_cc(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_transport_cc");
    let arrivals: Vec<Arrival> = (0..100)
        .filter(|seq| seq % 10 != 9)
        .map(|seq| Arrival { seq, at_us: 5_000_000 + u64::from(seq) * 1000 })
        .collect();
    let mut out = [0; 1200];
    let write = |out: &mut [u8]| twcc::write_feedback(out, Ssrc(1), Ssrc(2), 0, &arrivals).expect("it fits");
    let (len, told) = write(&mut out);
    assert_eq!(told, arrivals.len());
    let packet = out[..len].to_vec();
    group.bench_function("write_100", |b| b.iter(|| write(black_box(&mut out))));
    group.bench_function("read_100", |b| {
        b.iter(|| {
            for packet in rtcp::packets(black_box(&packet)) {
                let rtcp::Packet::TransportCc { body, .. } = packet else { panic!("it is feedback") };
                assert_eq!(twcc::parse_feedback(body).count(), 99);
            }
        });
    });
    group.finish();
}

fn ice(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire_stun");
    let key = stun::key("a password of an ICE agent");
    let request = BindingRequest {
        transaction: TransactionId([7; 12]),
        ufrags: ("abcdefgh", "ijkl"),
        priority: 1 << 30,
        role: Role::Controlling(1),
        use_candidate: true,
    };
    let mut out = [0; WRITTEN_MAX];
    let len = stun::write_binding_request(&request, &key, &mut out).expect("it fits");
    let check = out[..len].to_vec();
    group.bench_function("read_and_verify", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(&check)).expect("well formed");
            assert!(message.is_binding_request() && message.is_authentic(&key));
        });
    });
    let address = SocketAddr::from(([192, 0, 2, 1], 50_000));
    group.bench_function("write_success", |b| {
        b.iter(|| stun::write_binding_success(request.transaction, address, &key, black_box(&mut out)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots();
    targets = rtp, codecs, rtcp, transport_cc, ice
}
criterion_main!(benches);
