//! The vectors of RFC 5769, properties, and messages that are not quite STUN.

use proptest::prelude::*;

use super::*;

const PWD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

#[test]
fn request_of_rfc_5769_2_1_is_read() {
    let bytes = hex(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_binding_request());
    assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.local_ufrag(), Some("evtj"));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate);
    assert!(message.unknown.as_slice().is_empty());
    assert!(message.is_authentic(&key(PWD)));
    assert!(!message.is_authentic(&key("another")));
}

#[test]
fn responses_of_rfc_5769_2_2_and_2_3_are_read() {
    for (bytes, mapped) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(bytes);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped_address, Some(mapped.parse().unwrap()));
        assert!(message.is_authentic(&key(PWD)));
    }
}

#[test]
fn every_flipped_bit_of_a_request_is_noticed() {
    let bytes = hex(REQUEST);
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let authentic = Message::parse(&forged).is_ok_and(|message| message.is_authentic(&key(PWD)));
        assert!(!authentic, "bit {bit}");
    }
}

#[test]
fn missing_or_wrong_fingerprint_is_not_authentic() {
    let mut out = [0; WRITTEN_MAX];
    let len = write_binding_request(&request(), &key(PWD), &mut out).unwrap();
    assert!(Message::parse(&out[..len]).unwrap().is_authentic(&key(PWD)));

    let mut without = out[..len - 8].to_vec();
    without[3] -= 8;
    assert!(!Message::parse(&without).unwrap().is_authentic(&key(PWD)));

    out[len - 1] ^= 1;
    assert!(!Message::parse(&out[..len]).unwrap().is_authentic(&key(PWD)));
}

#[test]
fn attributes_behind_the_integrity_are_not_believed() {
    let mut out = [0; WRITTEN_MAX];
    let len =
        write_binding_request(&BindingRequest { use_candidate: false, ..request() }, &key(PWD), &mut out)
            .unwrap();
    let mut bytes = out[..len - 8].to_vec();
    bytes.extend_from_slice(&[0x00, 0x25, 0, 0]);
    bytes[3] = (bytes.len() - HEADER_LEN + 8) as u8;
    bytes[2] = 0;
    let crc = crc32(&bytes) ^ FINGERPRINT_XOR;
    bytes.extend_from_slice(&[0x80, 0x28, 0, 4]);
    bytes.extend_from_slice(&crc.to_be_bytes());
    // The fingerprint covers the final length, which was set above.
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_authentic(&key(PWD)));
    assert!(!message.use_candidate);
}

#[test]
fn only_the_first_username_counts() {
    let mut writer_out = [0; WRITTEN_MAX];
    let mut writer = Writer::new(&mut writer_out, BINDING_REQUEST, TransactionId([7; 12])).unwrap();
    writer.attribute(USERNAME, &[b"mine:yours"]).unwrap();
    writer.attribute(USERNAME, &[b"other:yours"]).unwrap();
    let len = writer.finish(&key(PWD)).unwrap();
    assert_eq!(Message::parse(&writer_out[..len]).unwrap().local_ufrag(), Some("mine"));
}

#[test]
fn unknown_attributes_are_listed_when_they_must_be_understood() {
    let mut out = [0; WRITTEN_MAX];
    let mut writer = Writer::new(&mut out, BINDING_REQUEST, TransactionId([7; 12])).unwrap();
    writer.attribute(0x7f01, &[b"x"]).unwrap();
    writer.attribute(0xc057, &[&[0, 0, 0, 1]]).unwrap();
    for attribute in 0x7f02..0x7f20 {
        writer.attribute(attribute, &[]).unwrap();
    }
    let len = writer.finish(&key(PWD)).unwrap();
    let unknown = Message::parse(&out[..len]).unwrap().unknown;
    assert_eq!(unknown.as_slice(), [0x7f01, 0x7f02, 0x7f03, 0x7f04, 0x7f05, 0x7f06, 0x7f07, 0x7f08]);

    let mut answer = [0; WRITTEN_MAX];
    let len = write_binding_error(
        TransactionId([7; 12]),
        Refusal::UnknownAttribute,
        &unknown,
        &key(PWD),
        &mut answer,
    )
    .unwrap();
    let message = Message::parse(&answer[..len]).unwrap();
    assert_eq!((message.class, message.error_code), (Class::Error, Some(420)));
    assert!(message.is_authentic(&key(PWD)));
}

#[test]
fn lengths_that_do_not_add_up_are_malformed() {
    let bytes = hex(REQUEST);
    for len in 0..bytes.len() {
        assert!(Message::parse(&bytes[..len]).is_err(), "cut at {len}");
    }
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[0; 4]);
    assert!(Message::parse(&longer).is_err());
    let mut attribute = bytes.clone();
    attribute[22] = 0xff;
    assert!(Message::parse(&attribute).is_err());
}

#[test]
fn writers_without_room_write_nothing_and_say_so() {
    let mut out = [0; WRITTEN_MAX];
    let len = write_binding_request(&request(), &key(PWD), &mut out).unwrap();
    for room in 0..len {
        assert!(write_binding_request(&request(), &key(PWD), &mut out[..room]).is_none());
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes).map(|message| message.is_authentic(&key(PWD)));
    }

    #[test]
    fn parsing_what_has_a_good_header_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0, 1];
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(&[9; 12]);
        bytes.extend_from_slice(&body);
        let _ = Message::parse(&bytes).map(|message| message.is_authentic(&key(PWD)));
    }

    #[test]
    fn reading_a_written_request_gives_it_back(
        id in any::<[u8; 12]>(),
        mine in "[a-zA-Z0-9+/]{4,64}",
        yours in "[a-zA-Z0-9+/]{4,64}",
        priority in any::<u32>(),
        tie_breaker in any::<u64>(),
        controlling in any::<bool>(),
        use_candidate in any::<bool>(),
    ) {
        let role = if controlling { Role::Controlling(tie_breaker) } else { Role::Controlled(tie_breaker) };
        let transaction = TransactionId(id);
        let request = BindingRequest { transaction, ufrags: (&mine, &yours), priority, role, use_candidate };
        let mut out = [0; WRITTEN_MAX];
        let len = write_binding_request(&request, &key(PWD), &mut out).unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        prop_assert!(message.is_binding_request() && message.is_authentic(&key(PWD)));
        prop_assert_eq!(message.transaction, transaction);
        prop_assert_eq!(message.local_ufrag(), Some(mine.as_str()));
        prop_assert_eq!((message.priority, message.role), (Some(priority), Some(role)));
        prop_assert_eq!(message.use_candidate, use_candidate);
    }

    #[test]
    fn reading_a_written_answer_gives_the_address_back(id in any::<[u8; 12]>(), address in any::<SocketAddr>()) {
        // STUN has no place for scope and flow.
        let address = SocketAddr::new(address.ip(), address.port());
        let mut out = [0; WRITTEN_MAX];
        let len = write_binding_success(TransactionId(id), address, &key(PWD), &mut out).unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        prop_assert_eq!(message.mapped_address, Some(address));
        prop_assert!(message.is_authentic(&key(PWD)));
    }
}

fn request() -> BindingRequest<'static> {
    BindingRequest {
        transaction: TransactionId([7; 12]),
        ufrags: ("mine", "yours"),
        priority: 1,
        role: Role::Controlling(3),
        use_candidate: true,
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const REQUEST: &str = "
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014
    9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf";
const RESPONSE_V4: &str = "
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008
    0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96";
const RESPONSE_V6: &str = "
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014
    0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275
    bfe3ed41 80280004 c8fb0b4c";
