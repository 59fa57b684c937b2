//! The rules of trains, and a property over all of them.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn path(receiver: u16) -> Path {
    Path { remote: SocketAddr::from(([192, 0, 2, 1], receiver)), local: None }
}

/// Commits a packet of `len` bytes, all of value `fill`.
fn send(egress: &mut Egress, train: &mut Train, receiver: u16, len: usize, fill: u8) -> bool {
    let Some(bytes) = egress.reserve(train, &path(receiver), len) else {
        return false;
    };
    assert_eq!(bytes.len(), len);
    bytes.fill(fill);
    egress.commit(train);
    true
}

/// Takes everything that is ready: receiver and packet sizes of each train.
fn depart(egress: &mut Egress) -> Vec<(u16, Vec<usize>)> {
    let mut trains = Vec::new();
    while let Some(departure) = egress.take_ready() {
        let sizes = egress.bytes(&departure).chunks(departure.segment_bytes).map(<[u8]>::len).collect();
        trains.push((departure.path.remote.port(), sizes));
        egress.release(departure);
    }
    trains
}

#[test]
fn equal_packets_and_a_shorter_last_leave_as_one_train() {
    let mut egress = Egress::new(4, 4096, 44);
    let mut train = Train::default();
    for len in [500, 500, 500, 200] {
        assert!(send(&mut egress, &mut train, 1, len, 0));
    }
    assert_eq!(depart(&mut egress), [(1, vec![500, 500, 500, 200])]);
    assert_eq!(egress.free_blocks(), 4);
}

#[test]
fn a_wipe_overwrites_what_left_and_what_was_never_committed_but_nothing_on_its_way() {
    let mut egress = Egress::new(4, 4096, 44);
    let mut trains = [(); 3].map(|()| Train::default());
    assert!(send(&mut egress, &mut trains[0], 1, 500, 7));
    egress.reserve(&mut trains[0], &path(1), 500).unwrap().fill(7);
    egress.reserve(&mut trains[1], &path(2), 300).unwrap().fill(7);
    depart(&mut egress);
    egress.wipe();
    assert!(egress.bytes.iter().all(|&byte| byte == 0));
    assert!(send(&mut egress, &mut trains[2], 3, 100, 8));
    egress.wipe();
    assert_eq!(egress.bytes.iter().filter(|&&byte| byte != 0).count(), 100, "what is on its way");
    let receivers: Vec<u16> = egress.blocks.iter().map(|block| block.path.remote.port()).collect();
    assert_eq!(receivers.iter().filter(|&&port| port != 0).collect::<Vec<_>>(), [&3]);
    assert_eq!(depart(&mut egress), [(3, vec![100])]);
}

#[test]
fn a_longer_packet_or_one_behind_a_shorter_opens_another_train() {
    let mut egress = Egress::new(4, 4096, 44);
    let mut train = Train::default();
    for len in [300, 500, 400, 400] {
        assert!(send(&mut egress, &mut train, 1, len, 0));
    }
    assert_eq!(depart(&mut egress), [(1, vec![300]), (1, vec![500, 400]), (1, vec![400])]);
}

#[test]
fn segments_and_block_size_cap_a_train() {
    let mut egress = Egress::new(8, 1000, 3);
    let mut train = Train::default();
    for _ in 0..4 {
        assert!(send(&mut egress, &mut train, 1, 100, 0));
    }
    assert_eq!(depart(&mut egress), [(1, vec![100; 3]), (1, vec![100])]);
    for _ in 0..3 {
        assert!(send(&mut egress, &mut train, 1, 400, 0));
    }
    assert_eq!(depart(&mut egress), [(1, vec![400; 2]), (1, vec![400])]);
}

#[test]
fn segments_max_of_one_switches_trains_off() {
    let mut egress = Egress::new(8, 1000, 1);
    let mut train = Train::default();
    for _ in 0..3 {
        assert!(send(&mut egress, &mut train, 1, 100, 0));
    }
    assert_eq!(depart(&mut egress), [(1, vec![100]), (1, vec![100]), (1, vec![100])]);
}

#[test]
fn a_changed_path_opens_another_train() {
    let mut egress = Egress::new(4, 4096, 44);
    let mut train = Train::default();
    assert!(send(&mut egress, &mut train, 1, 100, 0));
    assert!(send(&mut egress, &mut train, 2, 100, 0));
    assert_eq!(depart(&mut egress), [(1, vec![100]), (2, vec![100])]);
}

#[test]
fn reserved_but_uncommitted_bytes_are_forgotten() {
    let mut egress = Egress::new(2, 4096, 44);
    let mut train = Train::default();
    assert!(egress.reserve(&mut train, &path(1), 100).is_some());
    assert!(egress.is_empty());
    assert!(egress.take_ready().is_none());
    assert_eq!(egress.free_blocks(), 2);

    egress.commit(&mut train);
    assert!(egress.take_ready().is_none(), "a commit after the turn must not touch the block");

    assert!(egress.reserve(&mut train, &path(1), 100).is_some());
    assert!(send(&mut egress, &mut train, 2, 300, 0));
    egress.commit(&mut train);
    assert!(!egress.is_empty());
    assert_eq!(depart(&mut egress), [(2, vec![300])]);
}

#[test]
fn a_train_of_an_earlier_turn_does_not_append_to_a_departing_block() {
    let mut egress = Egress::new(2, 4096, 44);
    let (mut alice, mut bob) = (Train::default(), Train::default());
    assert!(send(&mut egress, &mut alice, 1, 100, 1));
    let in_flight = egress.take_ready().expect("one train is ready");
    assert!(send(&mut egress, &mut alice, 1, 100, 2));
    assert_eq!(egress.bytes(&in_flight), [1; 100]);
    egress.release(in_flight);
    assert!(send(&mut egress, &mut bob, 2, 100, 3));
    assert!(send(&mut egress, &mut alice, 1, 100, 4));
    assert_eq!(depart(&mut egress), [(1, vec![100, 100]), (2, vec![100])]);
}

#[test]
fn without_a_free_block_nothing_is_reserved_and_open_trains_go_on() {
    let mut egress = Egress::new(1, 4096, 44);
    let (mut alice, mut bob) = (Train::default(), Train::default());
    assert!(send(&mut egress, &mut alice, 1, 100, 0));
    assert!(!send(&mut egress, &mut bob, 2, 100, 0));
    assert!(!send(&mut egress, &mut alice, 1, 101, 0));
    assert!(send(&mut egress, &mut alice, 1, 100, 0));
    assert_eq!(depart(&mut egress), [(1, vec![100, 100])]);
    assert!(send(&mut egress, &mut bob, 2, 100, 0));
}

#[test]
fn impossible_sizes_are_refused() {
    let mut egress = Egress::new(1, 1000, 44);
    let mut train = Train::default();
    assert!(egress.reserve(&mut train, &path(1), 0).is_none());
    assert!(egress.reserve(&mut train, &path(1), 1001).is_none());
    assert!(egress.reserve(&mut train, &path(1), 1000).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Send {
        receiver: u16,
        len: usize,
    },
    Abandon {
        receiver: u16,
        len: usize,
    },
    Flush,
    /// Takes one train and holds it over the following steps, as a ring with a send in flight does.
    TakeOne,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![Just(100_usize), Just(60), 1..200_usize];
    prop_oneof![
        8 => (0..4_u16, len).prop_map(|(receiver, len)| Step::Send { receiver, len }),
        2 => (0..4_u16, 1..200_usize).prop_map(|(receiver, len)| Step::Abandon { receiver, len }),
        1 => Just(Step::Flush),
        1 => Just(Step::TakeOne),
    ]
}

/// What each receiver has yet to get.
type Owed = HashMap<u16, VecDeque<Vec<u8>>>;

/// Strikes the departing packets off the list; fails on a packet of somebody else or out of order.
fn strike(owed: &mut Owed, egress: &Egress, departure: &Departure) {
    let owed = owed.get_mut(&departure.path.remote.port()).expect("nothing was committed to this path");
    for packet in egress.bytes(departure).chunks(departure.segment_bytes) {
        assert_eq!(owed.pop_front().as_deref(), Some(packet));
    }
}

proptest! {
    #[test]
    fn what_departs_is_what_was_committed_per_receiver_in_order(
        steps in prop::collection::vec(step(), 0..300),
        segments_max in 1..6_usize,
    ) {
        let mut egress = Egress::new(6, 500, segments_max);
        let mut trains: [Train; 4] = Default::default();
        let mut owed = Owed::new();
        let mut in_flight: Option<(Departure, Vec<u8>)> = None;
        for (serial, step) in steps.into_iter().chain([Step::Flush]).enumerate() {
            match step {
                Step::Send { receiver, len } => {
                    let mark = [serial as u8, (serial >> 8) as u8, receiver as u8];
                    let packet: Vec<u8> = mark.into_iter().cycle().take(len).collect();
                    let train = &mut trains[usize::from(receiver)];
                    if let Some(bytes) = egress.reserve(train, &path(receiver), len) {
                        bytes.copy_from_slice(&packet);
                        egress.commit(train);
                        owed.entry(receiver).or_default().push_back(packet);
                    }
                }
                Step::Abandon { receiver, len } => {
                    if let Some(bytes) = egress.reserve(&mut trains[usize::from(receiver)], &path(receiver), len) {
                        bytes.fill(0xee);
                    }
                }
                Step::Flush => {
                    while let Some(departure) = egress.take_ready() {
                        prop_assert!(departure.segments() <= segments_max);
                        strike(&mut owed, &egress, &departure);
                        egress.release(departure);
                    }
                }
                Step::TakeOne => {
                    if let Some((departure, bytes)) = in_flight.take() {
                        prop_assert_eq!(egress.bytes(&departure), &bytes[..]);
                        egress.release(departure);
                    }
                    if let Some(departure) = egress.take_ready() {
                        strike(&mut owed, &egress, &departure);
                        let bytes = egress.bytes(&departure).to_vec();
                        in_flight = Some((departure, bytes));
                    }
                }
            }
        }
        prop_assert!(owed.values().all(VecDeque::is_empty));
        prop_assert_eq!(egress.free_blocks(), 6 - usize::from(in_flight.is_some()));
    }
}
