//! A frame into many receivers' trains: header, seal and place, without the kernel.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saal_dataplane::egress::{Egress, Train};
use saal_dataplane::id::{ExtSeq, Path, Pt, RtpTime, SeqNo, Ssrc};
use saal_dataplane::sfu::srtp::{Outbound, Profile};
use saal_dataplane::wire::rtp::{Extensions, Outgoing};

/// Packets of one frame: what leaves to a receiver as one train.
const FRAME: u64 = 6;

fn fanout(c: &mut Criterion) {
    let profile = Profile::AeadAes128Gcm;
    let mut group = c.benchmark_group("fanout");
    for receivers in [10_u16, 100, 400] {
        for size in [100_usize, 1150] {
            let payload = vec![0x5a_u8; size];
            let mut egress = Egress::new(2048, 32 * 1024, 44);
            let mut legs: Vec<(Train, Path, Outbound)> = (0..receivers)
                .map(|index| {
                    let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 20_000 + index);
                    let srtp = Outbound::new(profile, &[7; 16], &[3; 12]).expect("lengths fit");
                    (Train::default(), Path { remote, local: None }, srtp)
                })
                .collect();
            let mut seq = 0;
            group.throughput(Throughput::Elements(FRAME * u64::from(receivers)));
            group.bench_function(BenchmarkId::new(format!("{size}B"), receivers), |b| {
                b.iter(|| {
                    for _ in 0..FRAME {
                        seq += 1;
                        for (train, path, srtp) in &mut legs {
                            let mut extensions = Extensions::new();
                            extensions.push(4, b"7");
                            let out = Outgoing {
                                marker: false,
                                padding: false,
                                pt: Pt(96),
                                seq: SeqNo(seq as u16),
                                timestamp: RtpTime(1),
                                ssrc: Ssrc(9),
                            };
                            let header_len = out.len(&extensions);
                            let len = header_len + payload.len() + profile.rtp_overhead();
                            let bytes =
                                egress.reserve(train, path, len).expect("there are blocks for a frame");
                            out.write(&extensions, bytes);
                            srtp.seal_rtp(ExtSeq(seq), Ssrc(9), header_len, black_box(&payload), bytes)
                                .expect("seals");
                            egress.commit(train);
                        }
                    }
                    while let Some(departure) = egress.take_ready() {
                        black_box(egress.bytes(&departure));
                        egress.release(departure);
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
