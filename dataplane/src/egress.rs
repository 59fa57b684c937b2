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
    /// Of all blocks, one behind the other. One allocation, so that the system gives memory only for what is used.
    bytes: Box<[u8]>,
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
    path: Path,
    segment_bytes: usize,
    segments: usize,
    len: usize,
    /// How far it was written since it was last wiped.
    used: usize,
}

/// UDP_SEGMENT refuses more than 64 segments before Linux 6.9.
pub(crate) const SEGMENTS_MAX: usize = 64;

/// A segmented send must fit one IP packet of 65,535 bytes, headers included.
const TRAIN_BYTES_MAX: usize = 65_000;

impl Egress {
    /// `segments_max = 1` switches trains off.
    pub fn new(blocks: usize, block_bytes: usize, segments_max: usize) -> Egress {
        let block_bytes = block_bytes.min(TRAIN_BYTES_MAX);
        let count = u32::try_from(blocks).unwrap_or(u32::MAX);
        Egress {
            bytes: vec![0; count as usize * block_bytes].into_boxed_slice(),
            blocks: (0..count).map(|_| Block::new()).collect(),
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
        let continues = train.turn == self.turn && self.admits(&self.blocks[train.block as usize], path, len);
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
        block.used = block.used.max(block.len + len);
        let start = train.block as usize * self.block_bytes + block.len;
        Some(&mut self.bytes[start..start + len])
    }

    /// The segment size of `train` to `path` while it takes another packet of that size; `None` when the next packet
    /// begins a train of its own.
    pub fn open_segment(&self, train: &Train, path: &Path) -> Option<usize> {
        let block =
            self.blocks.get(train.block as usize).filter(|block| train.turn == self.turn && block.len > 0)?;
        self.admits(block, path, block.segment_bytes).then_some(block.segment_bytes)
    }

    /// The packet last reserved by `train` will leave at the end of the turn.
    pub fn commit(&mut self, train: &mut Train) {
        let len = std::mem::take(&mut train.reserved);
        if train.turn == self.turn {
            let block = &mut self.blocks[train.block as usize];
            block.len += len;
            block.segments += usize::from(len > 0);
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
        let block = &mut self.blocks[departure.block as usize];
        block.len = 0;
        block.segments = 0;
        self.free.push(departure.block);
    }

    /// Overwrites what the free blocks still hold of trains that have left, and whom they went to.
    pub fn wipe(&mut self) {
        // A place keeps the bytes that the value before it used and this one does not (an IPv6 address behind an IPv4 one), so
        // that all are made anew, in memory that is freed and overwritten as a whole.
        let mut blocks: Vec<Block> = self.blocks.iter().map(|_| Block::new()).collect();
        std::mem::swap(&mut blocks, &mut self.blocks);
        let mut is_free = vec![false; blocks.len()];
        self.free.iter().for_each(|&index| is_free[index as usize] = true);
        for (index, (block, is_free)) in blocks.into_iter().zip(is_free).enumerate() {
            if is_free {
                let start = index * self.block_bytes;
                self.bytes[start..start + block.used].fill(0);
            } else {
                self.blocks[index] = block;
            }
        }
    }

    /// All packets of the train, one behind the other.
    pub fn bytes(&self, departure: &Departure) -> &[u8] {
        let start = departure.block as usize * self.block_bytes;
        &self.bytes[start..start + departure.len]
    }

    /// Blocks neither open, closed nor departing.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Trains that were begun since the last [`Egress::take_ready`].
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether [`Egress::take_ready`] has nothing to hand out.
    pub fn is_empty(&self) -> bool {
        self.queue.iter().all(|&index| self.blocks[index as usize].len == 0)
    }

    /// Whether a packet may follow the committed ones. An empty block takes any packet; a packet shorter than the first
    /// is the last.
    fn admits(&self, block: &Block, path: &Path, len: usize) -> bool {
        if block.len == 0 {
            return true;
        }
        block.path == *path
            && len <= block.segment_bytes
            && block.len == block.segments * block.segment_bytes
            && block.segments < self.segments_max
            && block.len + len <= self.block_bytes
    }
}

impl Departure {
    /// How many packets the train has.
    pub fn segments(&self) -> usize {
        self.len.div_ceil(self.segment_bytes)
    }
}

impl Block {
    fn new() -> Block {
        let nowhere = Path { remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), local: None };
        Block { path: nowhere, segment_bytes: 0, segments: 0, len: 0, used: 0 }
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Egress { bytes: _, blocks, free, queue, turn, block_bytes, segments_max } = self;
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
mod tests;
