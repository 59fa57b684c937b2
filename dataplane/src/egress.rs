//! The send side's memory: outgoing packets are reserved, filled and committed in the blocks that the kernel reads.
//!
//! A *train* is a run of packets to one path in one block, all of one size but the last, which may be shorter. It leaves
//! as one segmented send (UDP_SEGMENT):
//!
//! ```text
//! block   [ 1100 B | 1100 B | 1100 B | 640 B |           free           ]   one path, segment 1100, 4 segments
//! block   [ 96 B | 96 B |                       free                    ]   another path
//! ```
//!
//! Pure memory: no system call, no time, and no allocation after [`Egress::new`].

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::id::Path;

/// One worker's blocks.
pub struct Egress {
    blocks: Vec<Block>,
    /// Last in, first out: the block that left last is still in the cache.
    free: Vec<u32>,
    /// Blocks of this turn in the order they were opened, which is the order they leave in.
    queue: VecDeque<u32>,
    /// Raised whenever the open trains are closed, so that no [`Train`] appends to a block that has left.
    turn: u64,
    block_bytes: usize,
    segments_max: usize,
}

/// One receiver's open train. Plain memory: dropping it loses no committed packet.
#[derive(Debug, Default)]
pub struct Train {
    block: u32,
    /// The block is ours only while this is the turn of the [`Egress`].
    turn: u64,
    reserved: usize,
}

/// A closed train on its way out. Its block is taken until [`Egress::release`] gets it back.
#[derive(Debug)]
pub struct Departure {
    block: u32,
    pub path: Path,
    /// Size of every segment but the last.
    pub segment_bytes: usize,
    /// All segments together.
    pub len: usize,
}

struct Block {
    bytes: Box<[u8]>,
    path: Path,
    segment_bytes: usize,
    len: usize,
}

/// UDP_SEGMENT refuses more than 64 segments before Linux 6.9.
const SEGMENTS_MAX: usize = 64;

/// A segmented send must fit one IP packet of 65,535 bytes, headers included.
const TRAIN_BYTES_MAX: usize = 65_000;

impl Egress {
    /// `segments_max = 1` switches trains off.
    pub fn new(blocks: usize, block_bytes: usize, segments_max: usize) -> Egress {
        let block_bytes = block_bytes.min(TRAIN_BYTES_MAX);
        let count = u32::try_from(blocks).unwrap_or(u32::MAX);
        Egress {
            blocks: (0..count).map(|_| Block::new(block_bytes)).collect(),
            free: (0..count).rev().collect(),
            queue: VecDeque::with_capacity(blocks),
            turn: 1,
            block_bytes,
            segments_max: segments_max.clamp(1, SEGMENTS_MAX),
        }
    }

    /// Exactly `len` bytes for one packet to `path`, behind what `train` committed before in this turn. The bytes may
    /// hold an earlier packet of anybody: fill all of them. Nothing is sent without [`Egress::commit`].
    ///
    /// `None` when no block is free or `len` fits no block.
    pub fn reserve(&mut self, train: &mut Train, path: &Path, len: usize) -> Option<&mut [u8]> {
        train.reserved = 0;
        if len == 0 || len > self.block_bytes {
            return None;
        }
        let continues =
            train.turn == self.turn && self.blocks[train.block as usize].admits(path, len, self.segments_max);
        if !continues {
            train.block = self.free.pop()?;
            train.turn = self.turn;
            self.queue.push_back(train.block);
        }
        let block = &mut self.blocks[train.block as usize];
        if block.len == 0 {
            block.path = *path;
            block.segment_bytes = len;
        }
        train.reserved = len;
        Some(&mut block.bytes[block.len..block.len + len])
    }

    /// The packet last reserved by `train` will leave at the end of the turn.
    pub fn commit(&mut self, train: &mut Train) {
        let len = std::mem::take(&mut train.reserved);
        if train.turn == self.turn {
            self.blocks[train.block as usize].len += len;
        }
    }

    /// Ends the turn, closing all open trains, and hands out the next one in the order they were opened.
    pub fn take_ready(&mut self) -> Option<Departure> {
        self.turn += 1;
        while let Some(index) = self.queue.pop_front() {
            let block = &self.blocks[index as usize];
            if block.len > 0 {
                let Block { path, segment_bytes, len, .. } = *block;
                return Some(Departure { block: index, path, segment_bytes, len });
            }
            self.free.push(index);
        }
        None
    }

    /// Gives the block back. Whoever sends calls this only when the kernel has finished reading.
    pub fn release(&mut self, departure: Departure) {
        self.blocks[departure.block as usize].len = 0;
        self.free.push(departure.block);
    }

    /// All packets of the train, one behind the other.
    pub fn bytes(&self, departure: &Departure) -> &[u8] {
        &self.blocks[departure.block as usize].bytes[..departure.len]
    }

    /// Blocks neither open, closed nor departing.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Whether [`Egress::take_ready`] has nothing to hand out.
    pub fn is_empty(&self) -> bool {
        self.queue.iter().all(|&index| self.blocks[index as usize].len == 0)
    }
}

impl Departure {
    /// How many packets the train has.
    pub fn segments(&self) -> usize {
        self.len.div_ceil(self.segment_bytes)
    }
}

impl Block {
    fn new(block_bytes: usize) -> Block {
        let nowhere = Path { remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), local: None };
        Block { bytes: vec![0; block_bytes].into_boxed_slice(), path: nowhere, segment_bytes: 0, len: 0 }
    }

    /// Whether a packet may follow the committed ones. An empty block takes any packet; a packet shorter than the first
    /// is the last.
    fn admits(&self, path: &Path, len: usize, segments_max: usize) -> bool {
        if self.len == 0 {
            return true;
        }
        self.path == *path
            && len <= self.segment_bytes
            && self.len.is_multiple_of(self.segment_bytes)
            && self.len / self.segment_bytes < segments_max
            && self.len + len <= self.bytes.len()
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Egress { blocks, free, queue, turn, block_bytes, segments_max } = self;
        f.debug_struct("Egress")
            .field("blocks", &blocks.len())
            .field("free", &free.len())
            .field("queue", &queue.len())
            .field("turn", turn)
            .field("block_bytes", block_bytes)
            .field("segments_max", segments_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
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
}
