//! The estimator against a model of a line in virtual time: a bottleneck with a queue, a delay, random loss; a sender that
//! uses what it is allowed to; a receiver that tells of arrivals as browsers do.

use std::collections::VecDeque;

use super::*;
use crate::id::Ssrc;
use crate::wire::rtcp::{self, Packet};
use crate::wire::twcc::{Arrival, parse_feedback, write_feedback_since};

const DELAY_US: u64 = 25_000;
/// Browsers': at a tenth of a second, or so.
/// From one fall of what others send to the next.
const WAVE_US: u64 = 700_000;
const FEEDBACK_US: u64 = 100_000;
const STEP_US: u64 = 5_000;
const PACKET: usize = 1200;
const SOUND: usize = 160;

struct Line {
    downstream: Downstream,
    now_us: u64,
    bps: f64,
    /// Longest queue.
    queue_us: u64,
    loss: f64,
    jitter_us: u64,
    busy_until_us: u64,
    /// On their way, by arrival.
    flying: VecDeque<(u64, u16)>,
    arrived: Vec<Arrival>,
    next_seq: Option<u16>,
    feedback_count: u8,
    feedbacks: VecDeque<(u64, Vec<u8>)>,
    /// What the video would like to send, and how often.
    video_bps: f64,
    frame_us: u64,
    random: u64,
    /// Queueing time of every packet.
    queued_us: Vec<u64>,
    sent_bytes: u64,
    is_deaf: bool,
    /// The queue that others make, at its longest.
    others_us: u64,
    /// The line stops some once a second for at most so long.
    stall_us: u64,
}

impl Line {
    fn new(seed: u64, bps: f64) -> Line {
        Line {
            downstream: Downstream::default(),
            now_us: 1_000_000,
            bps,
            queue_us: 400_000,
            loss: 0.0,
            jitter_us: 0,
            busy_until_us: 0,
            flying: VecDeque::new(),
            arrived: Vec::new(),
            next_seq: None,
            feedback_count: 0,
            feedbacks: VecDeque::new(),
            video_bps: 2.5e6,
            frame_us: 40_000,
            random: seed,
            queued_us: Vec::new(),
            sent_bytes: 0,
            is_deaf: false,
            others_us: 0,
            stall_us: 0,
        }
    }

    fn random(&mut self) -> f64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / f64::from(1_u32 << 31)
    }

    fn send(&mut self, bytes: usize) {
        let seq = self.downstream.next_seq();
        self.downstream.on_sent(self.now_us, bytes);
        self.sent_bytes += bytes as u64;
        let begins = self.busy_until_us.max(self.now_us);
        let queued = begins - self.now_us;
        let (lost, jitter) = (self.random() < self.loss, self.random());
        if queued > self.queue_us {
            return;
        }
        self.queued_us.push(queued);
        self.busy_until_us = begins + (bytes as f64 * 8e6 / self.bps) as u64;
        if !lost {
            let at = self.busy_until_us + DELAY_US + (jitter * self.jitter_us as f64) as u64;
            let at = self.flying.back().map_or(at, |(before, _)| at.max(*before));
            self.flying.push_back((at, seq));
        }
    }

    fn allowed_bps(&self) -> f64 {
        match self.downstream.estimate_bps() {
            Some(bps) => self.video_bps.min(bps as f64 * 0.9 - 64_000.0).max(0.0),
            None => self.video_bps,
        }
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now_us + (seconds * 1e6) as u64;
        while self.now_us < end {
            self.now_us += STEP_US;
            if self.stall_us > 0 && self.random() < 0.005 {
                let stall = (self.random() * self.stall_us as f64) as u64;
                self.busy_until_us = self.busy_until_us.max(self.now_us) + stall;
            }
            if self.others_us > 0 {
                // A download's queue: it fills and is empty by half again.
                let wave = self.now_us % WAVE_US * self.others_us / (2 * WAVE_US);
                self.busy_until_us = self.busy_until_us.max(self.now_us + self.others_us / 2 + wave);
            }
            while self.flying.front().is_some_and(|(at, _)| *at <= self.now_us) {
                let (at_us, seq) = self.flying.pop_front().unwrap();
                self.arrived.push(Arrival { seq, at_us });
            }
            if self.now_us.is_multiple_of(FEEDBACK_US) && !self.is_deaf {
                self.tell();
            }
            while self.feedbacks.front().is_some_and(|(at, _)| *at <= self.now_us) {
                let (_, bytes) = self.feedbacks.pop_front().unwrap();
                let Some(Packet::TransportCc { body, .. }) = rtcp::packets(&bytes).next() else { panic!() };
                let round_trip = Some(Duration::from_micros(2 * DELAY_US));
                self.downstream.on_feedback(self.now_us, parse_feedback(body), &mut 10_000, round_trip);
            }
            if self.now_us.is_multiple_of(20_000) {
                self.downstream.on_tick(self.now_us, || true);
                self.send(SOUND);
            }
            if self.now_us.is_multiple_of(self.frame_us) && !self.downstream.is_congested(self.now_us) {
                let mut bytes = (self.allowed_bps() * self.frame_us as f64 / 8e6) as usize;
                while bytes > 0 {
                    let packet = bytes.min(PACKET);
                    self.send(packet);
                    bytes -= packet;
                }
            }
            let mut due = self.downstream.due_probe_bytes(self.now_us).unwrap_or(0) as usize;
            while due > 0 {
                self.send(PACKET);
                due = due.saturating_sub(PACKET);
            }
        }
    }

    fn tell(&mut self) {
        while let Some(first) = self.arrived.first() {
            let mut out = [0; 1200];
            let base = self.next_seq.unwrap_or(first.seq);
            let (len, told) =
                write_feedback_since(&mut out, Ssrc(1), Ssrc(2), self.feedback_count, base, &self.arrived)
                    .unwrap();
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.next_seq = Some(self.arrived[told - 1].seq.wrapping_add(1));
            self.arrived.drain(..told);
            self.feedbacks.push_back((self.now_us + DELAY_US, out[..len].to_vec()));
        }
    }

    fn estimate(&self) -> f64 {
        self.downstream.estimate_bps().unwrap() as f64
    }

    /// The queue that 95 % of the packets found no longer.
    fn queue_p95_us(&mut self) -> u64 {
        let mut queued = std::mem::take(&mut self.queued_us);
        queued.sort_unstable();
        queued[queued.len() * 95 / 100]
    }
}

fn each_seed(scenario: impl Fn(u64)) {
    for seed in 1..=8 {
        scenario(seed);
    }
}

#[test]
fn a_clean_line_is_found_within_five_seconds() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 5e6);
        line.downstream.wants(8_000_000);
        line.run(5.0);
        let found = line.estimate();
        assert!((4e6..5.5e6).contains(&found), "seed {seed}: {found}");
        line.run(30.0);
        let kept = line.estimate();
        assert!((4e6..5.5e6).contains(&kept), "seed {seed}: {kept}");
    });
}

#[test]
fn a_line_that_is_used_in_full_is_kept_in_full_with_a_short_queue() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 2e6);
        line.downstream.wants(3_000_000);
        line.run(10.0);
        line.queued_us.clear();
        line.sent_bytes = 0;
        line.run(30.0);
        let used = line.sent_bytes as f64 * 8.0 / 30.0;
        assert!(used > 0.7 * 2e6, "seed {seed}: {used}");
        let queue = line.queue_p95_us();
        assert!(queue < 200_000, "seed {seed}: {queue}");
    });
}

#[test]
fn a_line_that_breaks_down_is_followed_within_a_second_and_its_queue_is_short_from_then_on() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 10e6);
        line.run(10.0);
        assert!(line.estimate() > 2.5e6, "seed {seed}: {}", line.estimate());
        line.bps = 0.8e6;
        line.run(1.0);
        assert!(line.estimate() < 0.8e6, "seed {seed}: {}", line.estimate());
        line.run(1.0);
        line.queued_us.clear();
        line.run(20.0);
        assert!(line.estimate() > 0.4e6, "seed {seed}: {}", line.estimate());
        let queue = line.queue_p95_us();
        assert!(queue < 250_000, "seed {seed}: {queue}");
        line.bps = 10e6;
        line.run(10.0);
        assert!(line.estimate() >= 3e6, "seed {seed}: {}", line.estimate());
    });
}

#[test]
fn a_line_that_loses_one_packet_in_ten_is_used_all_the_same() {
    each_seed(|seed| {
        for capacity in [2e6, 5e6] {
            let mut line = Line::new(seed, capacity);
            line.loss = 0.1;
            line.video_bps = 6e6;
            line.downstream.wants(8_000_000);
            line.run(10.0);
            let mut sum = 0.0;
            for _ in 0..50 {
                line.run(1.0);
                sum += line.estimate() / 50.0;
            }
            assert!(sum > 0.7 * capacity, "seed {seed}, {capacity}: {sum}");
        }
    });
}

#[test]
fn a_short_queue_that_loses_what_is_too_much_limits_the_rate() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 10e6);
        line.run(5.0);
        // A policer: nearly no queue, so that the delay shows nothing.
        (line.bps, line.queue_us) = (1e6, 40_000);
        line.run(10.0);
        assert!(line.estimate() < 1.5e6, "seed {seed}: {}", line.estimate());
        assert!(line.estimate() > 0.3e6, "seed {seed}: {}", line.estimate());
    });
}

#[test]
fn nothing_grows_that_nobody_has_tried() {
    let mut line = Line::new(1, 50e6);
    line.video_bps = 300_000.0;
    line.downstream.wants(300_000);
    line.run(60.0);
    assert_eq!(line.estimate(), START_BPS);
    line.downstream.wants(2_000_000);
    line.run(3.0);
    assert!((2e6..3.1e6).contains(&line.estimate()), "{}", line.estimate());
    assert!(line.downstream.limit().is_none(), "the line has shown no end");
}

#[test]
fn a_jittery_line_is_no_narrow_one() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 20e6);
        line.jitter_us = 15_000;
        line.run(60.0);
        assert!(line.estimate() > 2.5e6, "seed {seed}: {}", line.estimate());
    });
}

#[test]
fn few_frames_a_second_and_keyframes_among_them_do_not_make_a_wide_line_seem_narrow() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 5e6);
        (line.video_bps, line.frame_us) = (1e6, 100_000);
        line.downstream.wants(2_500_000);
        line.run(5.0);
        for _ in 0..20 {
            for _ in 0..80 {
                line.send(PACKET);
            }
            line.run(1.5);
            assert!(line.estimate() > 2e6, "seed {seed}: {}", line.estimate());
        }
    });
}

#[test]
fn a_receiver_that_falls_silent_loses_its_estimate_step_by_step_and_begins_anew() {
    let mut line = Line::new(1, 10e6);
    line.run(5.0);
    let before = line.estimate();
    line.is_deaf = true;
    line.run(2.5);
    assert!(line.estimate() < before / 3.5, "{}", line.estimate());
    line.run(10.0);
    assert_eq!(line.downstream.estimate_bps(), None);
    assert_eq!(line.downstream.assumed_bps(), Some(START_BPS as u64), "however long it says nothing");
    line.is_deaf = false;
    line.run(12.0);
    assert!(line.estimate() > 2.5e6, "{}", line.estimate());
}

#[test]
fn nonsense_in_a_feedback_moves_nothing_but_the_receiver_s_own_estimate() {
    let mut line = Line::new(1, 10e6);
    line.run(2.0);
    let mut body = vec![0; 8];
    for nth in 0..2000_u32 {
        line.random();
        let bytes = line.random.to_be_bytes();
        body.clear();
        body.extend_from_slice(&(line.downstream.next_seq().wrapping_sub(nth as u16 % 200)).to_be_bytes());
        body.extend_from_slice(&[0, 40, bytes[0], bytes[1], bytes[2], nth as u8]);
        body.extend_from_slice(&bytes);
        body.extend_from_slice(&bytes.map(|byte| byte ^ 0x5a));
        body.extend_from_slice(&[bytes[1]; 80]);
        let mut statuses = 1000;
        line.downstream.on_feedback(line.now_us, parse_feedback(&body), &mut statuses, None);
        line.downstream.on_sent(line.now_us, 100);
        let estimate = line.estimate();
        assert!(estimate.is_finite() && (BPS_MIN..=BPS_MAX).contains(&estimate));
    }
}

#[test]
fn a_line_that_stops_for_a_moment_now_and_then_is_found_again_soon() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 5e6);
        (line.video_bps, line.frame_us, line.stall_us) = (3.4e6, 100_000, 120_000);
        line.downstream.wants(4_500_000);
        line.run(5.0);
        let mut narrow = 0;
        for _ in 0..60 {
            line.run(1.0);
            narrow += u32::from(line.estimate() < 3e6);
        }
        assert!(narrow <= 8, "seed {seed}: for {narrow} of 60 seconds");
    });
}

#[test]
fn who_sees_nothing_finds_a_line_that_has_become_better_sooner() {
    let found_after = |seed, is_paused| {
        let mut line = Line::new(seed, 200e3);
        line.video_bps = 0.0;
        line.downstream.wants(2_000_000);
        line.downstream.set_urgent(is_paused);
        // Not at the same moment between two probes with each seed.
        line.run(30.0 + seed as f64 * 0.7);
        assert!(line.estimate() < 300e3, "seed {seed}: {}", line.estimate());
        line.bps = 5e6;
        (1..=60).find(|_| {
            line.run(0.1);
            line.estimate() > 1e6
        })
    };
    let longest = |is_paused| (0..10).map(|seed| found_after(seed, is_paused)).max().unwrap().unwrap();
    assert!(longest(true) <= 30, "{} tenths of a second", longest(true));
    assert!(longest(false) > longest(true));
}

#[test]
fn of_sound_beside_a_download_nobody_concludes_that_the_line_carries_no_more() {
    each_seed(|seed| {
        let mut line = Line::new(seed, 5e6);
        (line.video_bps, line.others_us) = (0.0, 120_000);
        line.downstream.wants(2_000_000);
        line.downstream.set_urgent(true);
        line.run(10.0);
        let mut sum = 0.0;
        for _ in 0..60 {
            line.run(1.0);
            sum += line.estimate();
        }
        assert!(sum / 60.0 > 100e3, "seed {seed}: {}", sum / 60.0);
    });
}

/// A download's queue overflows at the top of each wave, and who had more than others before has no more after.
#[test]
fn beside_a_download_all_come_to_one_rate_whatever_they_had() {
    each_seed(|seed| {
        let rate = |bps: f64| {
            let mut line = Line::new(seed, bps);
            (line.video_bps, line.frame_us) = (4e6, 33_000);
            line.downstream.wants(4_000_000);
            line.run(10.0);
            (line.bps, line.others_us, line.queue_us) = (5e6, 152_000, 150_000);
            line.run(20.0);
            let sum: f64 = (0..20)
                .map(|_| {
                    line.run(1.0);
                    line.estimate()
                })
                .sum();
            sum / 20.0
        };
        let (little, much) = (rate(0.3e6), rate(5e6));
        assert!(little > 150e3, "seed {seed}: {little}");
        assert!(little > 0.7 * much && much > 0.7 * little, "seed {seed}: {little} and {much}");
    });
}
