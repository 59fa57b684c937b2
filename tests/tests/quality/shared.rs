//! Several who share one line: a household, and somebody in it who downloads.

use std::time::Duration;

use saal_dataplane::id::SourceKind::Camera;
use saal_tests::client::plan::Plan;

use crate::each_seed;
use crate::meter::{publisher, tell};

#[test]
fn two_receivers_and_a_download_share_a_line_fairly() {
    const RATE: f64 = 5e6;
    each_seed(|world, seed| {
        let room = world.open_room();
        let all = world.connect_all(room, (0..4).map(|_| publisher()));
        let viewers = world.connect_all(room, [Plan::viewer(), Plan::viewer()]);
        let wishes: Vec<_> = all.iter().map(|who| (*who, Camera, 720)).collect();
        for viewer in &viewers {
            // Who begins when decides who finds what, so that each seed is another meeting.
            let pause_ms = world.random.number() % 3000;
            world.run_for(Duration::from_millis(pause_ms));
            world.view(*viewer, &wishes);
        }
        let flow = world.share(&viewers, "rate=5M queue=150ms delay=20ms");
        world.run_for(Duration::from_secs(20));
        let before: Vec<u64> = viewers.iter().map(|who| world.received_bytes(*who)).collect();
        let flow_before = world.flow_bytes(flow);
        const SECONDS: u64 = 120;
        world.run_for(Duration::from_secs(SECONDS));
        let bps = |bytes: u64| bytes as f64 * 8.0 / SECONDS as f64;
        let got: Vec<f64> = viewers
            .iter()
            .zip(&before)
            .map(|(who, before)| bps(world.received_bytes(*who) - before))
            .collect();
        let download = bps(world.flow_bytes(flow) - flow_before);
        let sum: f64 = got.iter().sum();
        let jain = sum * sum / (2.0 * got.iter().map(|bps| bps * bps).sum::<f64>());
        let share = sum / RATE;
        let figures = format!(
            "receivers {:.0} and {:.0} kbit/s, download {:.0} kbit/s: Jain index {jain:.2}, share {:.0} %",
            got[0] / 1e3,
            got[1] / 1e3,
            download / 1e3,
            share * 100.0
        );
        tell("two receivers and one TCP flow on 5 Mbit/s", seed, &figures);
        assert!(download > RATE / 10.0, "{figures}: there was somebody to share with");
        assert!(jain >= 0.9, "{figures}");
        assert!(share >= 0.2, "{figures}");
    });
}
