//! The dependency descriptor, a header extension that tells a frame's place among the others where the payload does
//! not or cannot (RTP Payload Format For AV1, appendix A).
//!
//! ```text
//!  |S|E| template  |         frame number          |      mandatory: start and end of frame, template id
//!  |T|A|D|F|C|  ...                                       T: a template structure is attached, A: which decode targets
//!                                                         are active, D: indications of this frame's own
//! ```
//!
//! A *decode target* is what a receiver can be given: a spatial layer with pictures up to a temporal one. A *template* says what
//! frames that name it are to each target: no part of it, or one with which a receiver can go over to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::id::ExtSeq;
use crate::wire::Malformed;

/// Spatial layers of one stream that are told apart.
pub const SPATIAL_LAYERS_MAX: usize = 4;
/// AV1 has three bits for a temporal layer (§5.3.3).
const TEMPORAL_LAYERS_MAX: u8 = 8;
/// Template ids have six bits.
const TEMPLATES_MAX: usize = 64;
/// Values of an indication, two bits each (table A.1).
const NOT_PRESENT: u64 = 0;
const SWITCH: u64 = 2;

/// The fields that every descriptor has, and whether it brings a template structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// First packet of its frame. A frame here is one spatial layer of a picture.
    pub start_of_frame: bool,
    /// Last packet of its frame.
    pub end_of_frame: bool,
    /// Looked up in the structure that was attached last.
    pub template_id: u8,
    /// Counts frames, and wraps.
    pub frame_number: u16,
    /// Comes with the first packet of a coded video sequence: later descriptors cannot be understood without it.
    pub structure_attached: bool,
}

/// What a packet's frame is to each spatial layer. Bit `n` is for those who see layer `n`, with all of its pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    pub number: u16,
    /// First packet of its frame.
    pub starts: bool,
    /// Last packet of its frame.
    pub ends: bool,
    pub spatial_id: u8,
    pub temporal_id: u8,
    /// They need it.
    pub members: u8,
    /// Whoever sees the layer with fewer pictures can see all of them from here on.
    pub switches: u8,
    /// The layer is being sent at all.
    pub active: u8,
}

/// The template structure of one stream, and which of its decode targets are active; of no template before it has come.
#[derive(Debug)]
pub struct Structure {
    /// The packets that brought it, and what is said last of active targets: frame numbers wrap within minutes.
    since: ExtSeq,
    active_since: ExtSeq,
    template_id_offset: u8,
    targets: u8,
    templates: [Template; TEMPLATES_MAX],
    templates_len: usize,
    /// Of each spatial layer the decode target that has all of its pictures.
    tops: [Option<u8>; SPATIAL_LAYERS_MAX],
    spatial_layers: u8,
    /// In pixels.
    heights: [Option<u16>; SPATIAL_LAYERS_MAX],
    active: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Template {
    spatial_id: u8,
    temporal_id: u8,
    /// Two bits for each decode target, the first lowest.
    indications: u64,
}

impl Descriptor {
    pub fn parse(value: &[u8]) -> Result<Descriptor, Malformed> {
        let &[first, number0, number1, ref extended @ ..] = value else { return Err(Malformed) };
        Ok(Descriptor {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([number0, number1]),
            structure_attached: extended.first().is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

impl Structure {
    /// Reads the descriptor of packet `seq`; what comes of later packets replaces what is known of the stream. `None`: the frame
    /// belongs to another structure.
    pub fn read(&mut self, seq: ExtSeq, value: &[u8]) -> Result<Option<Frame>, Malformed> {
        let descriptor = Descriptor::parse(value)?;
        let mut bits = Bits { bytes: value, at: 24 };
        let [has_structure, has_active, has_indications] = match value.len() {
            0..=3 => [false; 3],
            _ => {
                let flags = bits.take(5)?;
                [flags & 0x10 != 0, flags & 0x08 != 0, flags & 0x04 != 0]
            }
        };
        // A retransmission may bring what has been replaced since.
        if self.since > seq {
            return Ok(None);
        }
        if has_structure {
            *self = Structure::parse(&mut bits, seq)?;
        }
        let index = usize::from((descriptor.template_id + 64 - self.template_id_offset) % 64);
        let Some(mut template) = self.templates().get(index).copied() else { return Ok(None) };
        if has_active {
            let active = bits.take(self.targets)?;
            if self.active_since <= seq {
                (self.active, self.active_since) = (active, seq);
            }
        }
        if has_indications {
            template.indications = bits.indications(self.targets)?;
        }
        Ok(Some(self.frame(&descriptor, &template)))
    }

    /// None before the first structure has come.
    pub fn spatial_layers(&self) -> usize {
        usize::from(self.spatial_layers)
    }

    /// Of a spatial layer, in pixels, if told.
    pub fn height(&self, spatial_id: usize) -> Option<u16> {
        *self.heights.get(spatial_id)?
    }

    /// template_dependency_structure() of §A.8.2.
    fn parse(bits: &mut Bits<'_>, since: ExtSeq) -> Result<Structure, Malformed> {
        let template_id_offset = bits.take(6)? as u8;
        let targets = bits.take(5)? as u8 + 1;
        let mut all = [Template::default(); TEMPLATES_MAX];
        let (mut templates_len, mut spatial_id, mut temporal_id) = (0, 0, 0);
        loop {
            let template = all.get_mut(templates_len).ok_or(Malformed)?;
            if usize::from(spatial_id) == SPATIAL_LAYERS_MAX || temporal_id == TEMPORAL_LAYERS_MAX {
                return Err(Malformed);
            }
            *template = Template { spatial_id, temporal_id, indications: 0 };
            templates_len += 1;
            match bits.take(2)? {
                0 => {}
                1 => temporal_id += 1,
                2 => (spatial_id, temporal_id) = (spatial_id + 1, 0),
                _ => break,
            }
        }
        let templates = all.get_mut(..templates_len).ok_or(Malformed)?;
        for template in &mut *templates {
            template.indications = bits.indications(targets)?;
        }
        // The distances to the frames that are referred to.
        for _ in &*templates {
            while bits.take(1)? == 1 {
                bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(u32::from(targets) + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(chains)?;
            }
            for _ in 0..templates.len() as u32 * chains {
                bits.take(4)?;
            }
        }
        let mut heights = [None; SPATIAL_LAYERS_MAX];
        if bits.take(1)? == 1 {
            for height in heights.iter_mut().take(usize::from(spatial_id) + 1) {
                bits.take(16)?;
                *height = u16::try_from(bits.take(16)? + 1).ok();
            }
        }
        let tops = std::array::from_fn(|layer| top(templates, targets, layer as u8));
        let (spatial_layers, active) = (spatial_id + 1, u32::MAX);
        Ok(Structure {
            since,
            active_since: since,
            template_id_offset,
            targets,
            templates: all,
            templates_len,
            tops,
            spatial_layers,
            heights,
            active,
        })
    }

    fn templates(&self) -> &[Template] {
        self.templates.get(..self.templates_len).unwrap_or_default()
    }

    fn frame(&self, descriptor: &Descriptor, template: &Template) -> Frame {
        let layers = |is: &dyn Fn(u8) -> bool| {
            let tops = self.tops.iter().enumerate();
            tops.filter(|(_, top)| top.is_some_and(is)).fold(0, |mask, (layer, _)| mask | 1 << layer)
        };
        Frame {
            number: descriptor.frame_number,
            starts: descriptor.start_of_frame,
            ends: descriptor.end_of_frame,
            spatial_id: template.spatial_id,
            temporal_id: template.temporal_id,
            members: layers(&|target| template.indication(target) != NOT_PRESENT),
            switches: layers(&|target| template.indication(target) == SWITCH),
            active: layers(&|target| self.active & 1 << target != 0),
        }
    }
}

impl Default for Structure {
    fn default() -> Structure {
        Structure {
            since: ExtSeq(0),
            active_since: ExtSeq(0),
            template_id_offset: 0,
            targets: 0,
            templates: [Template::default(); TEMPLATES_MAX],
            templates_len: 0,
            tops: [None; SPATIAL_LAYERS_MAX],
            spatial_layers: 0,
            heights: [None; SPATIAL_LAYERS_MAX],
            active: 0,
        }
    }
}

impl Template {
    fn indication(&self, target: u8) -> u64 {
        self.indications >> (2 * target) & 0x03
    }
}

/// The decode target with the most pictures whose highest spatial layer is `layer`: decode_target_layers() of §A.8.2.
fn top(templates: &[Template], targets: u8, layer: u8) -> Option<u8> {
    let highest = |target: u8, of: fn(&Template) -> u8| {
        let parts = templates.iter().filter(|template| template.indication(target) != NOT_PRESENT);
        parts.map(of).max()
    };
    (0..targets)
        .filter(|target| highest(*target, |template| template.spatial_id) == Some(layer))
        .max_by_key(|target| highest(*target, |template| template.temporal_id))
}

/// Walks a descriptor bit by bit.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// f(n) of §A.8.1, for up to 32 bits.
    fn take(&mut self, count: u8) -> Result<u32, Malformed> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(Malformed)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    /// ns(n) of §A.8.1: a number below `bound`, of which the lesser take a bit less than the others.
    fn non_symmetric(&mut self, bound: u32) -> Result<u32, Malformed> {
        let width = u32::BITS - bound.leading_zeros();
        let short = (1 << width) - bound;
        let value = self.take(width as u8 - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + self.take(1)?)
    }

    fn indications(&mut self, targets: u8) -> Result<u64, Malformed> {
        (0..targets).try_fold(0, |all, target| Ok(all | u64::from(self.take(2)?) << (2 * target)))
    }
}

/// Overwrites the frame number in place. All else that a descriptor tells is relative to it.
pub fn patch_frame_number(value: &mut [u8], frame_number: u16) {
    if let [_, number0, number1, ..] = value {
        [*number0, *number1] = frame_number.to_be_bytes();
    }
}

#[cfg(test)]
pub(crate) mod tests;
