//! How many pictures a second of one layer are forwarded, and what number each packet has among those that are.
//!
//! ```text
//! temporal layer     0   2   1   2   0   2   1   2
//! sequence number   10  11  12  13  14  15  16  17
//! of Tempo::Middle  10       11      12      13         what is left out leaves no hole
//! of Tempo::Base    10               11
//! ```
//!
//! Numbers belong to the layer, not to the receiver: they are found once for each packet that arrives. What has not arrived
//! counts as forwarded, since nobody knows what it is; when it comes late, it is, so that no hole stays open: whole where that
//! is VP8, whose picture ids have no hole either, and as nothing but its number where it is not.

use crate::id::{Codec, ExtSeq, RtpTime};
use crate::sfu::history::{Entry, History};

/// Up to which temporal layer pictures are forwarded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Tempo {
    /// The base layer alone: a half or a quarter of the pictures.
    Base,
    /// The one above it as well: of three layers half of the pictures.
    Middle,
    #[default]
    Full,
}

/// What a packet is called in each of the streams that a layer can become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbers {
    /// The least tempo that has this packet.
    pub(crate) least: Tempo,
    /// At a lesser one than this there is nothing in it but its number.
    pub(crate) needed: Tempo,
    /// Others that were made after it had come before it, and may have been left out.
    pub(crate) is_late: bool,
    /// Of a packet that a tempo does not have, the number of the next that it has.
    seq: [ExtSeq; 3],
    /// Pictures left out before this one, in numbers of the width of picture ids.
    left_out: [u16; 3],
}

/// The numbering of one layer.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    newest: Option<(ExtSeq, RtpTime, Numbers)>,
    /// The encoder marks where a decoder may begin with more pictures. Of one that does not, nothing is left out, because
    /// there would be no way back before the next keyframe.
    syncs: bool,
}

impl Tempo {
    /// Those that leave something out.
    pub(crate) const THINNED: [Tempo; 2] = [Tempo::Base, Tempo::Middle];
}

impl Numbers {
    /// Of a packet in a stream of which nothing has been left out.
    pub(crate) fn whole(seq: ExtSeq) -> Numbers {
        let (least, needed, is_late) = (Tempo::Base, Tempo::Base, false);
        Numbers { least, needed, is_late, seq: [seq; 3], left_out: [0; 3] }
    }

    pub(crate) fn seq(&self, tempo: Tempo) -> ExtSeq {
        self.seq[tempo as usize]
    }

    pub(crate) fn left_out(&self, tempo: Tempo) -> u16 {
        self.left_out[tempo as usize]
    }

    /// Of a packet that is `distance` before this one and was missing until now, as was everything between them.
    pub(crate) fn before(&self, distance: u64) -> Numbers {
        Numbers {
            least: Tempo::Base,
            needed: Tempo::Base,
            seq: self.seq.map(|seq| ExtSeq(seq.0.saturating_sub(distance))),
            ..*self
        }
    }

    /// Of the packet that is `distance` behind this one, with nothing but missing ones between them; `renumbers` says whether
    /// it begins a picture whose id shall be in turn.
    fn after(&self, distance: u64, renumbers: bool, least: Tempo) -> Numbers {
        let mut next = Numbers { least, needed: least, is_late: false, ..*self };
        for tempo in [Tempo::Base, Tempo::Middle, Tempo::Full] {
            let has = u64::from(tempo >= self.least);
            let (seq, left_out) = (&mut next.seq[tempo as usize], &mut next.left_out[tempo as usize]);
            *seq = ExtSeq(seq.0 + distance - 1 + has);
            *left_out = left_out.wrapping_add(u16::from(renumbers && has == 0));
        }
        next
    }
}

impl Numbering {
    /// The numbers of a packet that has just arrived and is not in the history yet; `None` when it is older than all that is.
    ///
    /// Picture ids are renumbered in VP8, where no picture names another by it (RFC 7741 §4.2) and none may be missing. In VP9
    /// pictures may be named by their ids; temporal layers of other codecs than VP8 are told by dependency descriptors.
    pub(crate) fn number(&mut self, entry: &Entry, history: &History) -> Option<Numbers> {
        let (seq, mark) = (entry.seq, &entry.mark);
        let Some((newest, timestamp, numbers)) = &self.newest else {
            let first = Numbers::whole(seq);
            self.newest = Some((seq, entry.timestamp, first));
            return Some(first);
        };
        let is_vp8 = entry.codec == Codec::Vp8;
        self.syncs |= mark.layer_sync;
        let least = match mark.temporal_id {
            _ if !self.syncs => Tempo::Base,
            0 => Tempo::Base,
            1 => Tempo::Middle,
            _ => Tempo::Full,
        };
        if seq <= *newest {
            let needed = if is_vp8 { Tempo::Base } else { least };
            return history.numbers(seq).map(|numbers| Numbers {
                needed: needed.max(numbers.needed),
                is_late: true,
                ..numbers
            });
        }
        let next = numbers.after(seq.0 - newest.0, is_vp8 && *timestamp != entry.timestamp, least);
        self.newest = Some((seq, entry.timestamp, next));
        Some(next)
    }

    /// Whether anything is ever left out.
    pub(crate) fn is_layered(&self) -> bool {
        self.syncs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::codec::FrameMark;

    /// Temporal layers of a browser's eight pictures, and which of them are marked as places to begin.
    const PATTERN: [(u8, bool); 8] =
        [(0, false), (2, true), (1, true), (2, false), (0, false), (2, false), (1, false), (2, false)];
    const FIRST: u64 = 65_530;

    struct Layer {
        numbering: Numbering,
        history: History,
    }

    impl Layer {
        fn new() -> Layer {
            let mut history = History::new();
            history.provide(512);
            Layer { numbering: Numbering::default(), history }
        }

        fn arrive(&mut self, seq: u64, picture: u64) -> Option<Numbers> {
            let (temporal_id, layer_sync) = PATTERN[(picture % 8) as usize];
            let mark = FrameMark { temporal_id, layer_sync, ..FrameMark::default() };
            let timestamp = RtpTime(3000 * picture as u32);
            let mut entry = Entry::new(ExtSeq(seq), timestamp, false, false, Codec::Vp8, mark);
            entry.numbers = self.numbering.number(&entry, &self.history)?;
            self.history.store(entry, &[0; 10], None);
            Some(entry.numbers)
        }
    }

    #[test]
    fn what_is_left_out_leaves_no_hole_in_the_numbers() {
        let mut layer = Layer::new();
        let all: Vec<Numbers> = (0..16).map(|n| layer.arrive(FIRST + n, n).unwrap()).collect();
        for (tempo, count, pictures) in [(Tempo::Base, 4, 12), (Tempo::Middle, 8, 8), (Tempo::Full, 16, 0)] {
            let kept: Vec<u64> =
                all.iter().filter(|n| n.least <= tempo).map(|n| n.seq(tempo).0 - FIRST).collect();
            assert_eq!(kept, (0..count).collect::<Vec<_>>(), "{tempo:?}");
            assert_eq!(layer.arrive(FIRST + 16, 16).unwrap().left_out(tempo), pictures, "{tempo:?}");
            layer = Layer::new();
            (0..16).for_each(|n| assert!(layer.arrive(FIRST + n, n).is_some()));
        }
    }

    #[test]
    fn of_a_layer_whose_encoder_marks_no_way_back_nothing_is_left_out() {
        let mut layer = Layer::new();
        for (seq, picture) in [(1, 0), (2, 3), (3, 6), (4, 7)] {
            assert_eq!(layer.arrive(seq, picture), Some(Numbers::whole(ExtSeq(seq))));
        }
        assert!(!layer.numbering.is_layered());
        layer.arrive(5, 9);
        assert!(layer.numbering.is_layered());
    }

    #[test]
    fn what_is_older_than_the_history_has_no_number_any_more() {
        let mut layer = Layer::new();
        let mut holes = (FIRST..).step_by(100);
        (FIRST..FIRST + 700)
            .filter(|seq| seq % 100 != FIRST % 100)
            .for_each(|seq| assert!(layer.arrive(seq, seq).is_some()));
        let numbers = holes.by_ref().take(7).map(|seq| layer.arrive(seq, 3));
        let known: Vec<bool> = numbers.map(|numbers| numbers.is_some()).collect();
        assert_eq!(known, [false, false, true, true, true, true, true]);
    }

    proptest! {
        /// Packets get lost and come late or never; whoever gets fewer pictures sees each number at most once, a hole only
        /// where something is missing, and finds again what they saw.
        #[test]
        fn numbers_are_never_used_twice_and_holes_are_what_is_missing(
            sizes in prop::collection::vec(1..4_u64, 8..60),
            fates in prop::collection::vec((0..10_u8, 1..30_usize), 180),
        ) {
            let packets: Vec<(u64, u64)> = sizes
                .iter()
                .enumerate()
                .flat_map(|(picture, size)| (0..*size).map(move |_| picture as u64))
                .enumerate()
                .map(|(n, picture)| (FIRST + n as u64, picture))
                .collect();
            let last = packets.len() - 1;
            let mut order: Vec<(usize, (u64, u64))> = Vec::new();
            for (n, packet) in packets.iter().enumerate() {
                let (fate, delay) = fates[n % fates.len()];
                match fate {
                    0 if n > 0 && n < last => {}
                    1 if n > 0 => order.push((n + delay, *packet)),
                    _ => order.push((n, *packet)),
                }
            }
            order.sort_by_key(|(at, _)| *at);
            let mut layer = Layer::new();
            let arrived: Vec<(u64, Numbers)> =
                order.iter().map(|(_, (seq, picture))| (*seq, layer.arrive(*seq, *picture).unwrap())).collect();
            let missing = packets.len() - arrived.len();
            for tempo in [Tempo::Base, Tempo::Middle, Tempo::Full] {
                let mut seen: Vec<(u64, u64)> = arrived
                    .iter()
                    .filter(|(_, numbers)| numbers.least <= tempo)
                    .map(|(seq, numbers)| (numbers.seq(tempo).0, *seq))
                    .collect();
                seen.sort_unstable();
                prop_assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
                let span = seen.last().unwrap().0 - seen[0].0 + 1;
                prop_assert!(span as usize - seen.len() <= missing);
                for (number, seq) in seen {
                    prop_assert_eq!(layer.history.at(tempo, ExtSeq(number)), Some(ExtSeq(seq)));
                }
            }
        }
    }
}
