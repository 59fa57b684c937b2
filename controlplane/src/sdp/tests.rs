//! Offers as browsers write them, and offers as attackers write them.

use std::net::IpAddr;

use proptest::prelude::*;
use saal_dataplane::id::{Codec, Pt, Rid};

use super::*;

/// One microphone, one camera with three layers, one screen, three audio and three video slots; all codecs.
const CHROMIUM: &str = include_str!("../../testdata/chromium-offer.sdp");
const FIREFOX: &str = include_str!("../../testdata/firefox-offer.sdp");

const LIMITS: SlotLimits = SlotLimits { audio: 4, video: 16 };

fn mid(text: &str) -> Mid {
    Mid::new(text.as_bytes()).unwrap()
}

fn sources() -> [(Mid, SourceKind); 3] {
    [(mid("0"), SourceKind::Microphone), (mid("1"), SourceKind::Camera), (mid("2"), SourceKind::Screen)]
}

/// SSRCs 1000, 1001, ...
fn agree(
    text: &str,
    held: &mut HeldSsrcs,
    limits: SlotLimits,
) -> Result<(MediaSpec, Vec<Role>, String), BadOffer> {
    agree_on(text, &sources(), held, limits)
}

fn agree_on(
    text: &str,
    sources: &[(Mid, SourceKind)],
    held: &mut HeldSsrcs,
    limits: SlotLimits,
) -> Result<(MediaSpec, Vec<Role>, String), BadOffer> {
    let offer = parse(text)?;
    let mut next = 1000 + 2 * held.0.len() as u32;
    let mut fresh = || {
        next += 1;
        Ssrc(next - 1)
    };
    let (media, roles) = negotiate(&offer, sources, held, limits, &mut fresh)?;
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let local = Local {
        ufrag: "ours",
        pwd: "0123456789012345678901",
        fingerprint: [0xab; 32],
        addresses: &addresses,
        port: 10_000,
        session: 2,
        version: 1,
        cname: "c0ffee",
    };
    let answer = write(&offer, &roles, &media, &local);
    Ok((media, roles, answer))
}

/// An offer of lines given by kind, direction and further attributes; the mids count from 0.
fn with_lines(lines: &[(&str, &str, &[&str])]) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut offer = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:them\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n",
        mids.join(" "),
        ["AB"; 32].join(":"),
    );
    for (mid, (kind, direction, more)) in mids.iter().zip(lines) {
        let (pt, codec) = if *kind == "audio" { (96, "opus/48000/2") } else { (97, "VP8/90000") };
        offer += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n\
             a=rtpmap:{pt} {codec}\r\n"
        );
        more.iter().for_each(|line| offer += &format!("{line}\r\n"));
    }
    offer
}

fn refusal(text: &str) -> BadOffer {
    agree(text, &mut HeldSsrcs::default(), LIMITS).map(|_| ()).unwrap_err()
}

/// The answer's m-lines, each with its attributes.
fn sections(answer: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in answer.lines() {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

#[test]
fn a_chromium_offer_becomes_three_sources_and_six_slots() {
    let offer = parse(CHROMIUM).unwrap();
    assert_eq!(offer.ufrag, "Ufr4");
    assert_eq!(offer.fingerprint, std::array::from_fn(|i| i as u8));
    let (media, roles, _) = agree(CHROMIUM, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!(&roles[..3], [Role::Source; 3]);
    assert_eq!(&roles[3..], [0, 1, 2, 3, 4, 5].map(Role::Slot));
    let ids = media.extensions;
    assert_eq!((ids.mid, ids.rid, ids.repaired_rid), (Some(4), Some(10), Some(11)));
    assert_eq!((ids.abs_send_time, ids.transport_cc, ids.audio_level), (Some(2), Some(3), Some(1)));
    assert_eq!(ids.dependency_descriptor, Some(12));
    let camera = &media.sources[1];
    assert_eq!(camera.rids, ["q", "h", "f"].map(|rid| Rid::new(rid.as_bytes()).unwrap()));
    assert_eq!(
        (camera.codecs[0].codec, camera.codecs[0].pt, camera.codecs[0].rtx_pt),
        (Codec::Vp8, Pt(96), Some(Pt(97)))
    );
    let is = |codec| camera.codecs.iter().any(|known| known.codec == codec);
    assert!(is(Codec::H264 { profile: [0x42, 0xe0], packetization_mode: 1 }));
    assert!(is(Codec::H264 { profile: [0x42, 0x00], packetization_mode: 0 }));
    assert!(is(Codec::Vp9 { profile: 0 }) && is(Codec::Vp9 { profile: 2 }) && is(Codec::Av1));
    assert!(camera.ssrcs.is_empty());
    let screen = &media.sources[2];
    assert!(screen.rids.is_empty());
    assert_eq!(screen.ssrcs, [(Ssrc(38_575_408), Some(Ssrc(258_420_865)))]);
    let microphone = &media.sources[0];
    assert_eq!(
        microphone.codecs.iter().map(|codec| codec.codec).collect::<Vec<_>>(),
        [Codec::Red, Codec::Opus]
    );
}

#[test]
fn a_firefox_offer_with_port_0_on_bundled_lines_is_taken_whole() {
    let (media, roles, answer) = agree(FIREFOX, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!((media.sources.len(), media.slots.len()), (3, 6));
    assert!(!roles.contains(&Role::Rejected));
    let ids = media.extensions;
    assert_eq!((ids.mid, ids.rid, ids.repaired_rid), (Some(3), Some(9), Some(10)));
    assert_eq!((ids.abs_send_time, ids.transport_cc, ids.dependency_descriptor), (Some(4), Some(7), None));
    assert_eq!(media.sources[1].ssrcs.len(), 3);
    assert_eq!(media.sources[1].ssrcs[0], (Ssrc(2_950_291_873), Some(Ssrc(3_201_614_818))));
    assert!(answer.contains("a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"));
}

#[test]
fn a_source_that_sends_vp8_is_asked_for_no_dependency_descriptor() {
    let is_descriptor = |line: &&str| line.contains("dependency-descriptor");
    let described = |offer: &str| {
        let (media, roles, answer) = agree(offer, &mut HeldSsrcs::default(), LIMITS).unwrap();
        let lines = sections(&answer).into_iter().zip(roles);
        let described = lines.filter(|(lines, _)| lines.iter().any(&is_descriptor));
        (media.extensions.dependency_descriptor, described.map(|(_, role)| role).collect::<Vec<_>>())
    };
    let (id, lines) = described(CHROMIUM);
    assert!(id == Some(12) && !lines.contains(&Role::Source) && !lines.is_empty(), "receivers may get it");
    let av1_first = FIREFOX.replace("SAVPF 120 124 121 125 99 100", "SAVPF 99 100 120 124 121 125");
    assert_eq!(described(&av1_first), (Some(8), vec![Role::Source; 2]));
    assert_eq!(described(FIREFOX), (None, Vec::new()));
}

#[test]
fn an_id_that_means_two_extensions_in_one_bundle_keeps_the_first_meaning() {
    let level = "a=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    let time = "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    let offer = with_lines(&[("audio", "sendonly", &[level]), ("video", "sendonly", &[time])]);
    let sources = sources_by_order(&parse(&offer).unwrap()).unwrap();
    let (media, _, answer) = agree_on(&offer, &sources, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!((media.extensions.audio_level, media.extensions.abs_send_time), (Some(2), None));
    assert!(answer.contains(level));
    assert!(!answer.contains(time));
}

#[test]
fn sources_in_the_order_of_their_lines_are_microphone_camera_and_screen() {
    let of = |lines: &[(&str, &str, &[&str])]| {
        let sources = sources_by_order(&parse(&with_lines(lines)).unwrap())?;
        Ok(sources.into_iter().map(|(mid, kind)| (mid.as_bytes()[0] - b'0', kind)).collect::<Vec<_>>())
    };
    use SourceKind::{Camera, Microphone, Screen};
    let (video, audio): ((_, _, &[&str]), (_, _, &[&str])) =
        (("video", "sendonly", &[]), ("audio", "sendonly", &[]));
    assert_eq!(of(&[audio, video]), Ok(vec![(0, Microphone), (1, Camera)]));
    assert_eq!(of(&[video, audio, video]), Ok(vec![(0, Camera), (1, Microphone), (2, Screen)]));
    let both = ("video", "sendrecv", &[] as &[&str]);
    assert_eq!(of(&[("audio", "recvonly", &[]), ("video", "inactive", &[]), both]), Ok(vec![(2, Camera)]));
    assert_eq!(of(&[("application", "sendrecv", &[]), audio]), Ok(vec![(1, Microphone)]));
    for too_many in [&[video, video, video][..], &[audio, audio]] {
        assert_eq!(of(too_many), Err(BadOffer::UnknownSource), "no half of a stream");
    }
}

#[test]
fn an_answer_is_ice_lite_passive_and_one_bundle() {
    for offer in [CHROMIUM, FIREFOX] {
        let (_, _, answer) = agree(offer, &mut HeldSsrcs::default(), LIMITS).unwrap();
        assert!(answer.starts_with("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"));
        assert!(answer.contains("a=group:BUNDLE 0 1 2 3 4 5 6 7 8\r\na=ice-lite\r\n"));
        let sections = sections(&answer);
        assert_eq!(sections.len(), 9);
        for (index, section) in sections.iter().enumerate() {
            let mid = format!("a=mid:{index}");
            for wanted in
                [mid.as_str(), "a=ice-ufrag:ours", "a=setup:passive", "a=rtcp-mux", "a=extmap-allow-mixed"]
            {
                assert!(section.contains(&wanted), "{wanted} in {section:?}");
            }
            let direction = if index < 3 { "a=recvonly" } else { "a=sendonly" };
            assert!(section.contains(&direction));
        }
        assert!(sections[0].contains(&"a=candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host"));
        assert!(sections[0].contains(&"a=candidate:2 1 udp 2130706175 2001:db8::1 10000 typ host"));
        assert!(sections[0].contains(&"a=end-of-candidates"));
        assert!(sections[1].contains(&"a=simulcast:recv q;h;f") && sections[1].contains(&"a=rid:h recv"));
        assert!(sections[1].iter().all(|line| !line.starts_with("a=ssrc")));
        // No word about a browser and nothing that is not ours.
        assert!(!answer.contains("b=AS") && !answer.contains("goog-remb") && !answer.contains("red/90000"));
    }
}

#[test]
fn a_slot_names_its_ssrcs_and_nobody() {
    let (media, _, answer) = agree(CHROMIUM, &mut HeldSsrcs::default(), LIMITS).unwrap();
    let sections = sections(&answer);
    assert!(sections[3].contains(&"a=ssrc:1000 cname:c0ffee") && media.slots[0].rtx_ssrc.is_none());
    assert!(sections[6].contains(&"a=msid:slot6 slot6-track"));
    assert!(sections[6].contains(&"a=ssrc-group:FID 1006 1007"));
    assert_eq!((media.slots[3].ssrc, media.slots[3].rtx_ssrc), (Ssrc(1006), Some(Ssrc(1007))));
    for wanted in
        ["a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 ccm fir", "a=rtcp-fb:96 transport-cc"]
    {
        assert!(sections[6].contains(&wanted), "{wanted}");
    }
    assert!(sections[3].contains(&"a=fmtp:111 minptime=10;useinbandfec=1"));
    assert!(sections[6].iter().all(|line| !line.contains("rtp-stream-id")));
}

#[test]
fn discontinuous_transmission_is_answered_only_when_offered() {
    let offer = CHROMIUM.replace("useinbandfec=1", "useinbandfec=1;usedtx=1");
    let (_, _, answer) = agree(&offer, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert!(answer.contains("a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n"));
}

#[test]
fn slots_beyond_the_limit_are_inactive() {
    let limits = SlotLimits { audio: 1, video: 2 };
    let (media, roles, answer) = agree(CHROMIUM, &mut HeldSsrcs::default(), limits).unwrap();
    let inactive =
        roles.iter().enumerate().filter(|(_, role)| **role == Role::Inactive).map(|(index, _)| index);
    assert_eq!(inactive.collect::<Vec<_>>(), [4, 5, 8]);
    assert_eq!(media.slots.len(), 3);
    assert!(sections(&answer)[8].contains(&"a=inactive"));
}

#[test]
fn a_second_offer_keeps_the_ssrcs_of_known_lines() {
    let mut held = HeldSsrcs::default();
    let (first, ..) = agree(CHROMIUM, &mut held, SlotLimits { audio: 3, video: 1 }).unwrap();
    let (second, ..) = agree(CHROMIUM, &mut held, LIMITS).unwrap();
    let ssrcs = |media: &MediaSpec| media.slots.iter().map(|slot| slot.ssrc).collect::<Vec<_>>();
    assert_eq!(ssrcs(&first)[..], ssrcs(&second)[..4]);
    assert_eq!(second.slots.len(), 6);
}

#[test]
fn offers_that_always_name_other_lines_are_refused_in_the_end() {
    let mut held = HeldSsrcs::default();
    let renamed = |round: usize| {
        (3..9).fold(CHROMIUM.to_owned(), |offer, mid| {
            let other = format!("{round}x{mid}");
            let bundle = |line: &str| {
                line.split(' ')
                    .map(|word| if word == mid.to_string() { &other } else { word })
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let line = |line: &str| match line {
                line if line.starts_with("a=group:BUNDLE") => bundle(line),
                line if line == format!("a=mid:{mid}") => format!("a=mid:{other}"),
                line => line.to_owned(),
            };
            offer.lines().map(line).collect::<Vec<_>>().join("\r\n") + "\r\n"
        })
    };
    let refused = (0..100).find_map(|round| agree(&renamed(round), &mut held, LIMITS).err());
    assert_eq!(refused, Some(BadOffer::TooManyLines));
    assert!(held.0.len() < 2 * 80);
}

#[test]
fn eighty_lines_are_read_and_the_next_one_is_refused() {
    let session =
        "v=0\r\na=ice-ufrag:Ufr4\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=group:BUNDLE";
    let offer = |count: usize| {
        let mids: String = (0..count).map(|mid| format!(" {mid}")).collect();
        let line = |mid| {
            format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na=rtcp-mux\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n"
            )
        };
        let fingerprint = ["ab"; 32].join(":");
        format!(
            "{session}{mids}\r\na=fingerprint:sha-256 {fingerprint}\r\n{}",
            (0..count).map(line).collect::<String>()
        )
    };
    assert_eq!(parse(&offer(80)).map(|offer| offer.lines.len()), Ok(80));
    assert_eq!(parse(&offer(81)).map(|offer| offer.lines.len()), Err(BadOffer::TooManyLines));
}

#[test]
fn what_cannot_be_forwarded_is_rejected_in_its_place() {
    let with_data = CHROMIUM.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 data 1 2").replacen(
        "m=video",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:data\r\na=sctp-port:5000\r\nm=video",
        1,
    );
    let (media, roles, answer) = agree(&with_data, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!((roles[1], media.sources.len()), (Role::Rejected, 3));
    assert!(answer.contains("a=group:BUNDLE 0 1 2 3 4 5 6 7 8\r\n"));
    assert_eq!(sections(&answer)[1][0], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
    let without_codec = CHROMIUM.replace("opus/48000/2", "opus/8000/1");
    let (media, roles, _) = agree(&without_codec, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!((roles[0], media.sources.len()), (Role::Rejected, 2));
}

#[test]
fn an_offer_without_what_the_transport_needs_is_refused() {
    let without = |attribute: &str| -> String {
        CHROMIUM.split_inclusive('\n').filter(|line| !line.starts_with(attribute)).collect()
    };
    assert_eq!(refusal(&without("a=group")), BadOffer::NoBundle);
    assert_eq!(refusal(&without("a=rtcp-mux")), BadOffer::NoRtcpMux);
    assert_eq!(refusal(&without("a=ice-ufrag")), BadOffer::NoIceCredentials);
    assert_eq!(refusal(&without("a=ice-pwd")), BadOffer::NoIceCredentials);
    assert_eq!(refusal(&without("a=fingerprint")), BadOffer::NoSha256Fingerprint);
    assert_eq!(refusal(&without("a=mid:4")), BadOffer::NoMid);
    assert_eq!(refusal(&CHROMIUM.replace("sha-256", "sha-1")), BadOffer::NoSha256Fingerprint);
    assert_eq!(refusal(&CHROMIUM.replace("setup:actpass", "setup:passive")), BadOffer::BadSetup);
    assert_eq!(refusal(&CHROMIUM.replace("a=mid:4", "a=mid:3")), BadOffer::DuplicateMid);
    assert_eq!(refusal("nonsense"), BadOffer::Malformed);
    assert_eq!(refusal(""), BadOffer::Malformed);
    assert_eq!(refusal(&format!("{CHROMIUM}{}", "a=x\r\n".repeat(13_000))), BadOffer::TooLong);
    assert_eq!(refusal(&format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(81))), BadOffer::TooManyLines);
}

#[test]
fn sources_must_be_lines_of_their_kind_and_each_only_once() {
    let offer = parse(CHROMIUM).unwrap();
    let check = |sources: &[(Mid, SourceKind)]| check_sources(&offer, sources).err();
    assert_eq!(check(&[(mid("9"), SourceKind::Camera)]), Some(BadOffer::UnknownSource));
    assert_eq!(check(&[(mid("0"), SourceKind::Camera)]), Some(BadOffer::UnknownSource));
    let twice = [(mid("1"), SourceKind::Camera), (mid("2"), SourceKind::Camera)];
    assert_eq!(check(&twice), Some(BadOffer::DuplicateSource));
    assert_eq!(check(&[]), None);
}

#[test]
fn payload_types_that_do_not_exist_are_passed_over() {
    let offer = CHROMIUM
        .replace("SAVPF 111 ", "SAVPF 300 128 111 ")
        .replace("a=rtpmap:111", "a=rtpmap:128 opus/48000/2\r\na=rtpmap:111");
    let (media, ..) = agree(&offer, &mut HeldSsrcs::default(), LIMITS).unwrap();
    assert_eq!(media.sources[0].codecs.len(), 2);
}

#[test]
fn sound_that_comes_twice_is_answered_first_if_it_is_opus() {
    let (_, _, answer) = agree(CHROMIUM, &mut HeldSsrcs::default(), LIMITS).unwrap();
    let microphone = &sections(&answer)[0];
    assert!(microphone[0].ends_with(" 63 111"), "{}", microphone[0]);
    assert!(microphone.contains(&"a=rtpmap:63 red/48000/2") && microphone.contains(&"a=fmtp:63 111/111"));
    for other in ["9/9", "111/9", "", "111/x"] {
        let offer = CHROMIUM.replace("a=fmtp:63 111/111", &format!("a=fmtp:63 {other}"));
        let (media, ..) = agree(&offer, &mut HeldSsrcs::default(), LIMITS).unwrap();
        assert_eq!(
            media.sources[0].codecs.iter().map(|codec| codec.codec).collect::<Vec<_>>(),
            [Codec::Opus]
        );
    }
}

/// One line of a browser's offer, bent.
fn bent_line() -> impl Strategy<Value = String> {
    let lines: Vec<String> = CHROMIUM.lines().chain(FIREFOX.lines()).map(ToOwned::to_owned).collect();
    let pieces = prop::sample::select(lines);
    prop_oneof![
        4 => pieces.clone(),
        1 => (pieces, any::<prop::sample::Index>(), any::<char>()).prop_map(|(mut line, at, c)| {
            let places: Vec<usize> = line.char_indices().map(|(place, _)| place).collect();
            line.insert(places[at.index(places.len())], c);
            line
        }),
        1 => "[a-z]=[ -~]{0,40}",
    ]
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_or_answered_but_never_panics(text in "\\PC{0,300}") {
        let _ = agree(&text, &mut HeldSsrcs::default(), LIMITS);
        let _ = agree(&format!("v=0\r\n{text}"), &mut HeldSsrcs::default(), LIMITS);
    }

    #[test]
    fn bent_offers_give_bounded_answers_with_every_line_in_its_place(lines in prop::collection::vec(bent_line(), 0..120)) {
        let head = "v=0\r\na=group:BUNDLE 0 1 2 3 4 5 6 7 8\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
            a=setup:actpass\r\na=rtcp-mux\r\n";
        let text = format!("{head}{}\r\n", lines.join("\r\n"));
        if let Ok((media, roles, answer)) = agree(&text, &mut HeldSsrcs::default(), LIMITS) {
            prop_assert!(answer.len() <= 8 * text.len() + 80 * 1024);
            prop_assert_eq!(sections(&answer).len(), roles.len());
            prop_assert!(media.slots.len() <= LIMITS.audio + LIMITS.video);
        }
    }

    #[test]
    fn an_offer_with_one_byte_removed_is_refused_or_answered(at in 0..CHROMIUM.len()) {
        let mut text = CHROMIUM.to_owned();
        if text.is_char_boundary(at) {
            text.remove(at);
        }
        let _ = agree(&text, &mut HeldSsrcs::default(), LIMITS);
    }
}
