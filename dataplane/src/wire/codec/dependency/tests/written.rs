//! Descriptors as encoders write them, for tests.

/// One encoding with so many layers, each of twice the height of the one below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Only key pictures are predicted from the layer below (L3T3_KEY).
    pub(crate) is_key: bool,
    pub(crate) template_id_offset: u8,
}

/// One packet of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Of a key picture.
    pub(crate) key: bool,
    pub(crate) starts: bool,
    pub(crate) ends: bool,
    pub(crate) frame_number: u16,
}

pub(crate) const LOWEST_HEIGHT: u16 = 90;

impl Encoding {
    /// With the structure, as the first packet of a key picture has it.
    pub(crate) fn with_structure(&self, place: Place) -> Vec<u8> {
        let mut bits = self.mandatory(place);
        // The structure and nothing else.
        bits.put(0b1_0000, 5);
        self.put_structure(&mut bits);
        bits.bytes()
    }

    pub(crate) fn descriptor(&self, place: Place) -> Vec<u8> {
        self.mandatory(place).bytes()
    }

    /// Says that decode targets are active or not.
    pub(crate) fn with_active(&self, place: Place, active: u32) -> Vec<u8> {
        let mut bits = self.mandatory(place);
        bits.put(0b0_1000, 5);
        bits.put(active, self.targets());
        bits.bytes()
    }

    /// With an indication of its own for each decode target.
    pub(crate) fn with_indications(&self, place: Place, indications: &[u32]) -> Vec<u8> {
        let mut bits = self.mandatory(place);
        bits.put(0b0_0100, 5);
        indications.iter().for_each(|indication| bits.put(*indication, 2));
        bits.bytes()
    }

    fn targets(&self) -> u8 {
        self.spatial * self.temporal
    }

    fn mandatory(&self, place: Place) -> Bits {
        let mut bits = Bits::default();
        let Place { spatial, temporal, key, starts, ends, frame_number } = place;
        // Of each spatial layer: its key frame, then one of each temporal layer.
        let index = spatial * (self.temporal + 1) + if key { 0 } else { 1 + temporal };
        bits.put(starts.into(), 1);
        bits.put(ends.into(), 1);
        bits.put(u32::from((index + self.template_id_offset) % 64), 6);
        bits.put(frame_number.into(), 16);
        bits
    }

    fn put_structure(&self, bits: &mut Bits) {
        bits.put(self.template_id_offset.into(), 6);
        bits.put(u32::from(self.targets()) - 1, 5);
        for spatial in 0..self.spatial {
            bits.put(0, 2);
            (1..self.temporal).for_each(|_| bits.put(1, 2));
            bits.put(if spatial + 1 < self.spatial { 2 } else { 3 }, 2);
        }
        for spatial in 0..self.spatial {
            self.put_indications(bits, |of, _| if of >= spatial { 2 } else { 0 });
            for temporal in 0..self.temporal {
                self.put_indications(bits, |of, up_to| match up_to.checked_sub(temporal) {
                    _ if of < spatial || (of > spatial && self.is_key) => 0,
                    None => 0,
                    Some(_) if of > spatial => 3,
                    Some(0) if temporal > 0 => 1,
                    Some(_) if temporal + 1 == self.temporal && temporal > 0 => 1,
                    Some(_) => 2,
                });
            }
        }
        for _ in 0..self.spatial {
            bits.put(0, 1);
            (0..self.temporal).for_each(|_| bits.put(0b10_0110, 6));
        }
        bits.put_non_symmetric(self.spatial.into(), u32::from(self.targets()) + 1);
        for target in 0..self.targets() {
            bits.put_non_symmetric((target / self.temporal).into(), self.spatial.into());
        }
        let chains = self.spatial * (self.temporal + 1) * self.spatial;
        (0..chains).for_each(|_| bits.put(1, 4));
        bits.put(1, 1);
        for spatial in 0..self.spatial {
            bits.put(((u32::from(LOWEST_HEIGHT) * 16 / 9) << spatial) - 1, 16);
            bits.put((u32::from(LOWEST_HEIGHT) << spatial) - 1, 16);
        }
    }

    /// Of one template to each decode target, by its spatial and temporal layer.
    fn put_indications(&self, bits: &mut Bits, indication: impl Fn(u8, u8) -> u32) {
        for target in 0..self.targets() {
            bits.put(indication(target / self.temporal, target % self.temporal), 2);
        }
    }
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, count: u8) {
        self.0.extend((0..count).rev().map(|at| value >> at & 1 == 1));
    }

    /// ns(n) of §A.8.1.
    fn put_non_symmetric(&mut self, value: u32, bound: u32) {
        let width = (u32::BITS - bound.leading_zeros()) as u8;
        let short = (1 << width) - bound;
        if value < short {
            self.put(value, width - 1);
        } else {
            self.put(value + short, width);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}
