//! Sound that brings earlier frames along: whole to whose line loses packets, the frame itself to everybody else.

use super::*;
use crate::wire::rtcp::ReportBlock;

const RED: CodecPt = CodecPt { codec: Codec::Red, pt: Pt(63), rtx_pt: None };
/// Two bytes of an earlier frame, and three of the frame itself.
const TWICE: [u8; 10] = [0x80 | 111, 0, 0, 2, 111, 1, 2, 7, 8, 9];
const FRAME: [u8; 3] = [7, 8, 9];
/// With the payload type of who gets it.
const WHOLE: [u8; 10] = [0x80 | 109, 0, 0, 2, 109, 1, 2, 7, 8, 9];

fn itself() -> [(u8, Vec<u8>); 2] {
    [(109, FRAME.to_vec()), (111, FRAME.to_vec())]
}

/// A voice, somebody who knows redundancy and calls everything otherwise, and somebody who does not know it.
fn rig() -> Rig {
    let mut rig = Rig::new(3);
    let mut microphone = source(SourceKind::Microphone, b"m", RED, &[]);
    microphone.codecs.push(OPUS);
    rig.negotiate(0, vec![microphone], Vec::new());
    let mut both = slots(MediaKind::Audio, CodecPt { pt: Pt(64), ..RED }, 1);
    both[0].codecs.push(CodecPt { pt: Pt(109), ..OPUS });
    rig.negotiate(1, Vec::new(), both);
    rig.negotiate(2, Vec::new(), slots(MediaKind::Audio, OPUS, 1));
    rig.switch_on(0, SourceKind::Microphone);
    rig
}

impl Rig {
    /// What leaves to the other two when a packet comes.
    fn sent(&mut self, seq: u64, payload: &[u8]) -> [Vec<Vec<u8>>; 2] {
        self.arrive_with(0, Sent { pt: 63, seq, ..VOICE }, payload).unwrap();
        self.fan_out();
        let mut sent = [const { Vec::new() }; 2];
        while let Some(departure) = self.egress.take_ready() {
            let who = self.people.iter().position(|person| person.path == departure.path).unwrap();
            let train = self.egress.bytes(&departure).chunks(departure.segment_bytes);
            sent[who - 1].extend(train.map(<[u8]>::to_vec));
            self.egress.release(departure);
        }
        sent
    }

    /// The payload type and the payload of what each of them hears of it.
    fn say(&mut self, seq: u64, payload: &[u8]) -> [(u8, Vec<u8>); 2] {
        let mut sent = self.sent(seq, payload);
        [1, 2].map(|who| {
            let mut packet = sent[who - 1].pop().unwrap();
            let header = Header::parse(&packet).unwrap();
            let (len, _) = self.people[who].inbound.open_rtp(&mut packet, &header, true).unwrap();
            (header.pt.0, packet[header.len..len].to_vec())
        })
    }

    fn loses(&mut self, who: usize, fraction_lost: u8) {
        let clock = self.now.duration_since(self.epoch);
        let participant = self.room.participants.find_mut(self.people[who].key).unwrap();
        let (lost, highest_seq, jitter, last_sr, delay_since_last_sr) = (0, 0, 0, 0, 0);
        participant.downlink.on_report(
            clock,
            &ReportBlock {
                ssrc: Ssrc(1),
                fraction_lost,
                lost,
                highest_seq,
                jitter,
                last_sr,
                delay_since_last_sr,
            },
        );
    }
}

#[test]
fn who_loses_nothing_gets_the_frame_itself() {
    let mut rig = rig();
    let itself = itself();
    assert_eq!(rig.say(1, &TWICE), itself);
    assert_eq!(rig.say(2, &[111, 7, 8, 9]), itself, "the first of a talk spurt has nothing before it");
    rig.loses(1, 2);
    assert_eq!(rig.say(3, &TWICE), itself, "less than one packet in a hundred");
}

#[test]
fn who_loses_packets_gets_all_of_it_for_a_while_if_it_can_be_understood() {
    let mut rig = rig();
    for who in [1, 2] {
        rig.loses(who, 26);
    }
    let (whole, itself) = ([(64, WHOLE.to_vec()), (111, FRAME.to_vec())], itself());
    (1..9).for_each(|seq| drop(rig.say(seq, &TWICE)));
    assert_eq!(rig.say(9, &TWICE), whole);
    rig.now += Duration::from_secs(30);
    assert_eq!(rig.say(10, &TWICE), itself);
}

#[test]
fn what_was_said_while_the_microphone_was_off_comes_with_nothing_later() {
    let mut rig = rig();
    rig.loses(1, 26);
    (1..20).for_each(|seq| drop(rig.say(seq, &TWICE)));
    for on in [false, true] {
        rig.room.switch(rig.people[0].key, SourceKind::Microphone, on, &mut rig.events);
    }
    for seq in 20..28 {
        assert_eq!(rig.say(seq, &TWICE), itself());
    }
    assert_eq!(rig.say(28, &TWICE)[0], (64, WHOLE.to_vec()));
}

#[test]
fn a_payload_without_a_frame_is_nothing() {
    let mut rig = rig();
    for (seq, payload) in [(1, &TWICE[..7]), (2, &TWICE[..4]), (3, &[0x80; 40])] {
        assert_eq!(
            rig.arrive_with(0, Sent { pt: 63, seq, ..VOICE }, payload),
            Err(Dropped::MalformedRtp),
            "{payload:?}"
        );
    }
}

#[test]
fn who_loses_packets_and_knows_no_redundancy_gets_the_same_packet_twice() {
    let mut rig = rig();
    rig.loses(2, 26);
    let [_, first] = rig.sent(1, &TWICE);
    let [_, second] = rig.sent(2, &TWICE);
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(second[0], first[0]);
    for on in [false, true] {
        rig.room.switch(rig.people[0].key, SourceKind::Microphone, on, &mut rig.events);
    }
    assert_eq!(rig.sent(3, &TWICE)[1].len(), 1, "nothing from before a pause");
    rig.now += Duration::from_secs(30);
    assert_eq!(rig.sent(4, &TWICE)[1].len(), 2, "the one before was still to be repeated");
    assert_eq!(rig.sent(5, &TWICE)[1].len(), 1);
}
