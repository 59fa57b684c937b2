//! Whatever happens in whatever order: the maps say what the rooms say, and when all rooms are closed nothing is left.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sfu::dtls::Certificate;
use crate::sfu::ice::IceCredentials;
use crate::sfu::transport::TransportSpec;
use crate::wire::stun::{BindingRequest, Role, TransactionId};

const ROOMS: u64 = 2;
const PEOPLE: u64 = 4;
const PORTS: u16 = 12;

#[derive(Clone, Debug)]
enum Step {
    Open(u64),
    Close(u64),
    Join(u64, u64),
    Leave(u64, u64),
    Restart(u64, u64),
    /// A check of this participant from this port, with the newest or the second-newest credentials.
    Check {
        room: u64,
        who: u64,
        port: u16,
        newest: bool,
        nominate: bool,
    },
    Datagram(u16, Vec<u8>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (room, who) = (0..ROOMS, 0..PEOPLE);
    prop_oneof![
        2 => room.clone().prop_map(Step::Open),
        1 => room.clone().prop_map(Step::Close),
        4 => (room.clone(), who.clone()).prop_map(|(r, w)| Step::Join(r, w)),
        1 => (room.clone(), who.clone()).prop_map(|(r, w)| Step::Leave(r, w)),
        2 => (room.clone(), who.clone()).prop_map(|(r, w)| Step::Restart(r, w)),
        12 => (room, who, 1..PORTS, any::<(bool, bool)>()).prop_map(|(room, who, port, (newest, nominate))| {
            Step::Check { room, who, port, newest, nominate }
        }),
        2 => (1..PORTS, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(p, b)| Step::Datagram(p, b)),
        2 => (0..12u64).prop_map(Step::Pass),
    ]
}

struct Rig {
    rooms: Rooms,
    egress: Egress,
    now: Instant,
    /// Every credential that was given out, with whom it was for.
    given: Vec<((u64, u64), IceCredentials)>,
}

impl Rig {
    fn new(certificate: Certificate) -> Rig {
        let now = Instant::now();
        let rooms = Rooms::new(Door::inline(certificate), Limits::default(), now, seeded(7));
        Rig { rooms, egress: Egress::new(64, 4096, 44), now, given: Vec::new() }
    }

    fn credentials(&mut self, room: u64, who: u64) -> IceCredentials {
        let serial = self.given.len();
        let fresh = IceCredentials { ufrag: format!("ufrag{serial}"), pwd: format!("password{serial}") };
        self.given.push(((room, who), fresh.clone()));
        fresh
    }

    fn take(&mut self, step: Step) {
        let (room_id, id) = (RoomId, ParticipantId);
        match step {
            Step::Open(room) => self.rooms.on_command(self.now, Command::OpenRoom { room: room_id(room) }),
            Step::Close(room) => self.rooms.on_command(self.now, Command::CloseRoom { room: room_id(room) }),
            Step::Join(room, who) => {
                let transport = TransportSpec {
                    local: self.credentials(room, who),
                    remote_ufrag: String::new(),
                    fingerprint: [0; 32],
                };
                let join = Command::Join { room: room_id(room), participant: id(who), transport };
                self.rooms.on_command(self.now, join);
            }
            Step::Leave(room, who) => {
                self.rooms.on_command(self.now, Command::Leave { room: room_id(room), participant: id(who) })
            }
            Step::Restart(room, who) => {
                let local = self.credentials(room, who);
                let restart = Command::RestartIce { room: room_id(room), participant: id(who), local };
                self.rooms.on_command(self.now, restart);
            }
            Step::Check { room, who, port, newest, nominate } => {
                let mut given = self.given.iter().rev().filter(|(whose, _)| *whose == (room, who));
                let Some((_, local)) = given.nth(usize::from(!newest)) else { return };
                let request = BindingRequest {
                    transaction: TransactionId([0; 12]),
                    ufrags: (&local.ufrag, "client"),
                    priority: 1,
                    role: Role::Controlling(1),
                    use_candidate: nominate,
                };
                let mut bytes = [0; stun::WRITTEN_MAX];
                let len = stun::write_binding_request(&request, &stun::key(&local.pwd), &mut bytes).unwrap();
                self.datagram(port, &mut bytes[..len]);
            }
            Step::Datagram(port, mut bytes) => self.datagram(port, &mut bytes),
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.rooms.on_timeout(self.now, &mut self.egress, |_| {});
            }
        }
        while let Some(departure) = self.egress.take_ready() {
            self.egress.release(departure);
        }
    }

    fn datagram(&mut self, port: u16, bytes: &mut [u8]) {
        let path = Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None };
        self.rooms.on_datagram(self.now, &path, bytes, &mut self.egress);
    }

    /// Each participant's addresses and ufrags are in the maps, and nothing else is.
    fn agrees(&self) -> Result<(), TestCaseError> {
        let Rooms { rooms, room_ids, addresses, ufrags, .. } = &self.rooms;
        prop_assert_eq!(room_ids.len(), rooms.len());
        let (mut address_count, mut ufrag_count) = (0, 0);
        for (room_key, room) in rooms.iter() {
            for (key, participant) in room.participants() {
                let seat = Seat { room: room_key, participant: key };
                for address in participant.transport.remotes() {
                    prop_assert_eq!(addresses.get(&address), Some(&seat));
                    address_count += 1;
                }
                for ufrag in participant.transport.ufrags() {
                    prop_assert_eq!(ufrags.get(ufrag), Some(&seat));
                    ufrag_count += 1;
                }
                if let Some(path) = participant.transport.path() {
                    prop_assert_eq!(addresses.get(&path.remote), Some(&seat), "media would go to another");
                }
            }
        }
        prop_assert_eq!((addresses.len(), ufrags.len()), (address_count, ufrag_count));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_in_the_maps_that_is_not_in_a_room(steps in prop::collection::vec(step(), 1..200)) {
        static CERTIFICATE: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
        let certificate = CERTIFICATE.get_or_init(|| Certificate::generate().unwrap()).clone();
        let mut rig = Rig::new(certificate);
        for step in steps {
            rig.take(step);
            rig.agrees()?;
        }
        for room in 0..ROOMS {
            rig.take(Step::Close(room));
        }
        let Rooms { rooms, room_ids, addresses, ufrags, .. } = &rig.rooms;
        prop_assert_eq!((rooms.len(), room_ids.len(), addresses.len(), ufrags.len()), (0, 0, 0, 0));
    }
}

#[test]
fn a_forged_check_does_not_take_the_address_of_one_who_is_there() {
    let mut rig = Rig::new(Certificate::generate().unwrap());
    for step in [Step::Open(0), Step::Join(0, 0), Step::Join(0, 1)] {
        rig.take(step);
    }
    let path = Path { remote: SocketAddr::from(([192, 0, 2, 1], 5)), local: None };
    let (room, key) = find(&mut rig.rooms.rooms, &rig.rooms.room_ids, RoomId(0), ParticipantId(0)).unwrap();
    let profile = crate::sfu::srtp::Profile::AeadAes128Gcm;
    let inbound = crate::sfu::srtp::Inbound::new(profile, &[1; 16], &[1; 12], 8).unwrap();
    let outbound = crate::sfu::srtp::Outbound::new(profile, &[2; 16], &[1; 12]).unwrap();
    room.participant_mut(key).unwrap().transport.connect(rig.now, path, profile, inbound, outbound);
    let seat = Seat { room: rig.rooms.room_ids[&RoomId(0)], participant: key };
    rig.rooms.addresses.insert(path.remote, seat);

    let forged = Step::Check { room: 0, who: 1, port: 5, newest: true, nominate: true };
    rig.take(forged.clone());
    assert_eq!(rig.rooms.shared.counters.dropped(Dropped::AddressTaken), 1);
    assert_eq!(rig.rooms.addresses[&path.remote], seat);

    rig.now += Duration::from_millis(250);
    rig.take(forged);
    assert_ne!(rig.rooms.addresses[&path.remote], seat, "it was silent: a NAT has handed the port on");
    rig.agrees().unwrap();
}

#[test]
fn in_a_join_storm_no_turn_works_on_a_handshake_and_who_leaves_leaves_nothing() {
    const CROWD: u64 = 300;
    let now = Instant::now();
    let (door, mut desk) = Door::line(Certificate::generate().unwrap(), 1024);
    let rooms = Rooms::new(door, Limits::default(), now, seeded(7));
    let mut rig = Rig { rooms, egress: Egress::new(64, 4096, 44), now, given: Vec::new() };
    rig.take(Step::Open(0));
    for who in 0..CROWD {
        let port = 1 + who as u16;
        rig.take(Step::Join(0, who));
        rig.take(Step::Check { room: 0, who, port, newest: true, nominate: true });
        // More than a handshake record may have, so that the doorman has a word for each of them.
        rig.take(Step::Datagram(port, vec![22; 3000]));
    }
    assert_eq!(rig.rooms.handshakes_waiting(), CROWD as usize, "all of it waits for the other thread");
    assert_eq!(rig.rooms.shared.counters.dropped(Dropped::DtlsOverflow), 0);

    let gone = CROWD / 2;
    for who in 0..gone {
        rig.take(Step::Leave(0, who));
    }
    while rig.rooms.handshakes_waiting() > 0 {
        assert!(desk.serve(rig.now));
    }
    while rig.rooms.has_words() {
        rig.rooms.on_words(rig.now, &mut rig.egress);
    }
    let heard = rig.rooms.shared.counters.dropped(Dropped::DtlsOverflow);
    assert_eq!(heard, CROWD - gone, "a word for one who has left finds nobody");
    assert_eq!(desk.handshakes() as u64, CROWD - gone);
    rig.take(Step::Close(0));
    while rig.rooms.handshakes_waiting() > 0 {
        assert!(desk.serve(rig.now));
    }
    assert_eq!(desk.handshakes(), 0);
}
