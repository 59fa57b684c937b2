//! Who speaks: the loudest microphones by RFC 6464 level, with hysteresis, so that a cough takes nobody's slot.
//!
//! Whoever objects to being detected is *apart*: no level of theirs is looked at and they are never listed. What gives
//! them a place is that they switched their microphone on, the latest first.

use std::time::{Duration, Instant};

use crate::id::ParticipantId;
use crate::sfu::slab::Key;
use crate::sfu::source::Source;
use crate::wire::ext::AudioLevel;

/// Loudness is `127 - level`: 127 is 0 dBov, 0 is silence. From here on a microphone counts as speaking (-50 dBov).
const SPEAKING: f32 = 77.0;
/// A challenger must be this much louder (dB) than the quietest holder.
const MARGIN_DB: f32 = 6.0;
/// A holder that was heard this recently keeps its place against challengers, and one that took its place this recently
/// keeps it in any case: every change of hands costs each receiver a message.
const HOLD: Duration = Duration::from_millis(600);
/// A speaker stays listed this long after the last loud packet.
const LINGER: Duration = Duration::from_millis(1200);
/// Weight of a packet (20 ms) in the running loudness: up within three packets, down within half a second.
const ATTACK: f32 = 0.5;
const RELEASE: f32 = 0.05;
/// Loudness assumed of a microphone that sends no level.
const UNKNOWN: f32 = 60.0;
/// Speech rises so far above its own pauses (dB), which come at least every few seconds. What does not is a hum, a fan, or a
/// client that claims to be loud.
const LIVELY_DB: f32 = 9.0;
/// How fast what never pauses comes to count as the background (dB a second): someone who says nothing but "aah" at a normal
/// level is taken for a speaker for some seven seconds.
const BACKGROUND_RISE_DB: f32 = 12.0;

#[derive(Debug)]
pub(crate) struct Speakers {
    /// Everybody's running loudness.
    heard: Vec<Voice>,
    /// Those of the detected that have a place.
    detected: Vec<Key<Source>>,
    /// The sources that fill the audio slots, those apart among them: at most `holders_max`.
    holders: Vec<Key<Source>>,
    holders_max: usize,
    listed: Vec<ParticipantId>,
}

#[derive(Debug)]
struct Voice {
    source: Key<Source>,
    participant: ParticipantId,
    /// Its owner objects to being detected.
    apart: bool,
    loudness: f32,
    /// The quietest of the last seconds, and when it was looked at.
    background: f32,
    heard: Option<Instant>,
    /// Last packet loud enough for speech.
    spoke: Option<Instant>,
    /// When the present stretch of speech began.
    began: Option<Instant>,
    /// When it last displaced another.
    took: Option<Instant>,
}

impl Speakers {
    pub(crate) fn new() -> Speakers {
        Speakers {
            heard: Vec::new(),
            detected: Vec::new(),
            holders: Vec::new(),
            holders_max: 0,
            listed: Vec::new(),
        }
    }

    /// The sources to fill audio slots with: who speaks, those apart, those who do not speak.
    pub(crate) fn holders(&self) -> &[Key<Source>] {
        &self.holders
    }

    /// The most audio slots of any receiver; one more source is held, since nobody hears themselves.
    /// Returns whether the holders changed.
    pub(crate) fn set_slots(&mut self, slots: usize) -> bool {
        self.holders_max = slots + usize::from(slots > 0);
        self.fill()
    }

    /// A microphone that was switched on. Returns whether the holders changed.
    pub(crate) fn add(&mut self, source: Key<Source>, participant: ParticipantId, apart: bool) -> bool {
        if self.heard.iter().any(|v| v.source == source) {
            return false;
        }
        self.heard.push(Voice::new(source, participant, apart));
        self.fill()
    }

    /// Returns whether the holders changed.
    pub(crate) fn remove(&mut self, source: Key<Source>) -> bool {
        self.heard.retain(|v| v.source != source);
        self.fill()
    }

    /// The owner objects to being detected, or no longer does. What was known of the voice is forgotten.
    /// Returns whether the holders changed.
    pub(crate) fn set_apart(&mut self, source: Key<Source>, apart: bool) -> bool {
        let Some(voice) = self.heard.iter_mut().find(|v| v.source == source && v.apart != apart) else {
            return false;
        };
        *voice = Voice::new(source, voice.participant, apart);
        self.fill()
    }

    /// A packet of a microphone. Returns whether the holders changed.
    pub(crate) fn on_level(&mut self, now: Instant, source: Key<Source>, level: Option<AudioLevel>) -> bool {
        let loudness = level.map_or(UNKNOWN, |l| f32::from(127 - l.level.min(127)));
        let Some(voice) = self.heard.iter_mut().find(|v| v.source == source && !v.apart) else {
            return false;
        };
        let loudness = if voice.is_lively(now, loudness) { loudness } else { loudness.min(UNKNOWN) };
        let weight = if loudness > voice.loudness { ATTACK } else { RELEASE };
        voice.loudness += (loudness - voice.loudness) * weight;
        if loudness >= SPEAKING {
            if voice.spoke.is_none_or(|at| now >= at + LINGER) {
                voice.began = Some(now);
            }
            voice.spoke = Some(now);
        }
        let challenger = voice.loudness;
        challenger >= SPEAKING && self.challenge(now, source, challenger)
    }

    /// The participants who speak, the most recent first, if that differs from the last answer.
    pub(crate) fn next_listed(&mut self, now: Instant) -> Option<Vec<ParticipantId>> {
        let mut speaking: Vec<&Voice> = self
            .heard
            .iter()
            .filter(|v| v.loudness >= SPEAKING - MARGIN_DB && v.spoke.is_some_and(|at| now < at + LINGER))
            .collect();
        speaking.sort_by_key(|v| std::cmp::Reverse(v.began));
        if speaking.iter().map(|v| v.participant).eq(self.listed.iter().copied()) {
            return None;
        }
        self.listed = speaking.iter().map(|v| v.participant).collect();
        Some(self.listed.clone())
    }

    /// As it was last listed.
    pub(crate) fn is_listed(&self, participant: ParticipantId) -> bool {
        self.listed.contains(&participant)
    }

    /// Takes the place of the quietest who does not speak, or speaks much more quietly, among those ahead of `source`: a
    /// receiver with fewer slots than there are holders hears the first of them. Returns whether the order changed.
    fn challenge(&mut self, now: Instant, source: Key<Source>, loudness: f32) -> bool {
        let own = self.detected.iter().position(|h| *h == source);
        let ahead = &self.detected[..own.unwrap_or(self.detected.len())];
        let yields = |v: &&Voice| {
            v.took.is_none_or(|at| now >= at + HOLD)
                && (v.spoke.is_none_or(|at| now >= at + HOLD) || v.loudness + MARGIN_DB < loudness)
        };
        let quietest = self
            .heard
            .iter()
            .filter(yields)
            .filter_map(|v| Some((v.loudness, ahead.iter().position(|h| *h == v.source)?)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match (quietest, own) {
            (Some((_, place)), Some(own)) => self.detected.swap(place, own),
            (Some((_, place)), None) => self.detected[place] = source,
            (None, _) => return false,
        }
        if let Some(voice) = self.heard.iter_mut().find(|v| v.source == source) {
            voice.took = Some(now);
        }
        self.arrange()
    }

    /// While there is room everybody holds a place. Those apart have at most half of the places while others want them.
    fn fill(&mut self) -> bool {
        let of = |apart: bool| self.heard.iter().filter(move |v| v.apart == apart).map(|v| v.source);
        let places_apart = (self.holders_max / 2).min(of(true).count());
        self.detected.retain(|h| of(false).any(|source| source == *h));
        self.detected.truncate(self.holders_max - places_apart);
        for source in of(false) {
            if self.detected.len() >= self.holders_max - places_apart {
                break;
            }
            if !self.detected.contains(&source) {
                self.detected.push(source);
            }
        }
        self.arrange()
    }

    /// A receiver with a single slot hears who speaks; those apart come next.
    fn arrange(&mut self) -> bool {
        let free = self.holders_max.saturating_sub(self.detected.len());
        let apart = self.heard.iter().rev().filter(|v| v.apart).map(|v| v.source).take(free);
        let (first, rest) = self.detected.split_at(self.detected.len().min(1));
        let holders: Vec<_> = first.iter().copied().chain(apart).chain(rest.iter().copied()).collect();
        let changed = holders != self.holders;
        self.holders = holders;
        changed
    }
}

impl Voice {
    fn new(source: Key<Source>, participant: ParticipantId, apart: bool) -> Voice {
        Voice {
            source,
            participant,
            apart,
            loudness: 0.0,
            background: 0.0,
            heard: None,
            spoke: None,
            began: None,
            took: None,
        }
    }

    /// Whether a packet stands out from the background that it is part of.
    fn is_lively(&mut self, now: Instant, loudness: f32) -> bool {
        let passed = self.heard.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)).min(PAUSE_MAX);
        self.heard = Some(now);
        self.background = (self.background + passed.as_secs_f32() * BACKGROUND_RISE_DB).min(loudness);
        loudness >= self.background + LIVELY_DB
    }
}

/// Between two packets of a microphone that sends nothing while it is quiet the background does not rise further.
const PAUSE_MAX: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sfu::slab::Slab;

    fn level(level: u8) -> Option<AudioLevel> {
        Some(AudioLevel { voice: true, level })
    }

    /// `count` microphones and places for two holders.
    fn speakers(count: u64) -> (Speakers, Vec<Key<Source>>, Instant) {
        let mut keys = Slab::<Source>::new();
        let mut speakers = Speakers::new();
        speakers.set_slots(1);
        let sources: Vec<_> = (0..count).map(|_| keys.reserve_key()).collect();
        for (index, source) in sources.iter().enumerate() {
            speakers.add(*source, ParticipantId(index as u64), false);
        }
        (speakers, sources, Instant::now())
    }

    fn talk(speakers: &mut Speakers, from: Instant, source: Key<Source>, dbov: u8, packets: u32) -> bool {
        let mut changed = false;
        for number in 0..packets {
            changed |= speakers.on_level(from + Duration::from_millis(20) * number, source, level(dbov));
        }
        changed
    }

    #[test]
    fn a_loud_newcomer_takes_the_place_of_a_silent_holder_within_100_ms() {
        let (mut speakers, s, t0) = speakers(3);
        assert_eq!(speakers.holders(), [s[0], s[1]]);
        talk(&mut speakers, t0, s[0], 20, 10);
        assert!(talk(&mut speakers, t0 + Duration::from_secs(1), s[2], 25, 5));
        assert_eq!(speakers.holders(), [s[2], s[0]]);
    }

    #[test]
    fn a_slightly_louder_newcomer_does_not_displace_a_speaking_holder() {
        let (mut speakers, s, t0) = speakers(3);
        for i in 0..50 {
            let at = t0 + Duration::from_millis(20) * i;
            speakers.on_level(at, s[0], level(30));
            speakers.on_level(at, s[1], level(30));
            assert!(!speakers.on_level(at, s[2], level(27)));
        }
    }

    #[test]
    fn two_who_shout_in_turn_do_not_make_the_places_change_hands_with_every_packet() {
        let (mut speakers, s, t0) = speakers(4);
        let mut changes = 0;
        for i in 0..2000u32 {
            let at = t0 + Duration::from_millis(1) * i;
            let (loud, silent) = if i / 25 % 2 == 0 { (s[2], s[3]) } else { (s[3], s[2]) };
            changes += u32::from(speakers.on_level(at, loud, level(0)));
            changes += u32::from(speakers.on_level(at, silent, level(127)));
        }
        assert!(changes <= 10, "{changes} changes in two seconds");
    }

    /// Twenty milliseconds of somebody who talks: half a second of words, a tenth of pause.
    fn word(nth: u32) -> u8 {
        if nth % 30 < 25 { 30 } else { 55 }
    }

    #[test]
    fn a_constant_level_is_no_speech_and_keeps_no_place_from_those_who_talk() {
        let (mut speakers, s, t0) = speakers(3);
        let mut listed = Vec::new();
        for nth in 0..3000 {
            let at = t0 + Duration::from_millis(20) * nth;
            speakers.on_level(at, s[0], level(0));
            speakers.on_level(at, s[1], level(word(nth)));
            if nth >= 1500 {
                speakers.on_level(at, s[2], level(word(nth + 7)));
            }
            listed = speakers.next_listed(at).unwrap_or(listed);
            match nth {
                10 => assert_eq!(listed.len(), 2, "nobody can tell so soon"),
                1000 => assert_eq!(listed, [ParticipantId(1)]),
                1506 => assert!(speakers.holders().contains(&s[2]), "120 ms after the first word"),
                _ => {}
            }
            if nth > 1506 {
                assert!(s[1..].iter().all(|source| speakers.holders().contains(source)), "packet {nth}");
            }
        }
        assert_eq!(listed.len(), 2);
    }

    #[test]
    fn whoever_talks_without_end_stays_a_speaker() {
        let (mut speakers, s, t0) = speakers(2);
        for nth in 0..15_000 {
            let at = t0 + Duration::from_millis(20) * nth;
            speakers.on_level(at, s[0], level(word(nth)));
            let listed = speakers.next_listed(at);
            assert!(nth < 10 || listed.is_none(), "packet {nth}: {listed:?}");
        }
    }

    #[test]
    fn a_quiet_microphone_challenges_nobody() {
        let (mut speakers, s, t0) = speakers(3);
        assert!(!talk(&mut speakers, t0, s[2], 60, 100));
    }

    #[test]
    fn speakers_are_listed_latest_first_and_leave_the_list_when_silent() {
        let (mut speakers, s, t0) = speakers(2);
        talk(&mut speakers, t0, s[0], 20, 10);
        assert_eq!(speakers.next_listed(t0 + Duration::from_millis(200)), Some(vec![ParticipantId(0)]));
        talk(&mut speakers, t0 + Duration::from_millis(200), s[1], 20, 10);
        let at = t0 + Duration::from_millis(400);
        assert_eq!(speakers.next_listed(at), Some(vec![ParticipantId(1), ParticipantId(0)]));
        assert_eq!(speakers.next_listed(at), None);
        assert_eq!(speakers.next_listed(at + LINGER), Some(Vec::new()));
    }

    #[test]
    fn whoever_objects_is_heard_and_never_listed_however_loud() {
        let (mut speakers, s, t0) = speakers(4);
        assert!(speakers.set_apart(s[3], true), "a place, although all were taken");
        assert_eq!(speakers.holders(), [s[0], s[3]]);
        assert!(!talk(&mut speakers, t0, s[3], 0, 50), "its level moves nobody");
        assert_eq!(speakers.next_listed(t0 + Duration::from_secs(1)), None);
        assert!(talk(&mut speakers, t0, s[1], 20, 10));
        assert_eq!(speakers.holders(), [s[1], s[3]], "who speaks comes first, for a receiver with one slot");
        assert_eq!(speakers.next_listed(t0 + Duration::from_millis(200)), Some(vec![ParticipantId(1)]));
    }

    #[test]
    fn an_objection_takes_a_speaker_off_the_list_and_its_end_is_not_held_against_them() {
        let (mut speakers, s, t0) = speakers(2);
        talk(&mut speakers, t0, s[0], 20, 10);
        let at = t0 + Duration::from_millis(200);
        assert_eq!(speakers.next_listed(at), Some(vec![ParticipantId(0)]));
        speakers.set_apart(s[0], true);
        assert_eq!(speakers.next_listed(at), Some(Vec::new()));
        speakers.set_apart(s[0], false);
        assert_eq!(speakers.next_listed(at), None, "nothing is left of what was known before");
        talk(&mut speakers, at, s[0], 20, 10);
        assert_eq!(speakers.next_listed(at), Some(vec![ParticipantId(0)]));
    }

    #[test]
    fn of_many_who_object_those_who_switched_on_last_are_heard() {
        let (mut speakers, s, _) = speakers(5);
        speakers.set_slots(3);
        for source in &s[1..] {
            speakers.set_apart(*source, true);
        }
        assert_eq!(speakers.holders(), [s[0], s[4], s[3], s[2]], "nobody else wants the places");
        speakers.remove(s[1]);
        speakers.add(s[1], ParticipantId(1), true);
        assert_eq!(speakers.holders(), [s[0], s[1], s[4], s[3]]);
        for source in &s[3..] {
            speakers.set_apart(*source, false);
        }
        assert_eq!(speakers.holders().len(), 4);
        assert!(s[1..3].iter().all(|source| speakers.holders().contains(source)));
    }
}
