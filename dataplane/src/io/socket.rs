//! One worker's UDP socket: opening it, and addresses and control messages as the kernel reads and writes them.
//!
//! Addresses and control messages are encoded byte by byte, so that `unsafe` is left to the system calls themselves.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use socket2::{Domain, Protocol, Type};

use super::SocketBuffers;
use crate::id::Path;

/// What [`super::Net::open`] binds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// `None` binds every address, IPv6 and IPv4 in one socket.
    pub bind: Option<IpAddr>,
    /// 0 lets the kernel choose.
    pub port: u16,
    /// 0 keeps the kernel's default. The kernel may grant less (`net.core.rmem_max`): see [`super::Net::buffers`].
    pub receive_buffer_bytes: usize,
    /// 0 keeps the kernel's default. The kernel may grant less (`net.core.wmem_max`).
    pub send_buffer_bytes: usize,
    /// Sends every packet by itself, however long its train is: what trains are compared with.
    pub trains_off: bool,
}

/// Larger datagrams are dropped on arrival: nothing that WebRTC sends is larger than an Ethernet frame.
pub const DATAGRAM_BYTES_MAX: usize = 1920;

/// A bound socket that reports and obeys our own address of each datagram.
pub(super) struct Socket {
    inner: socket2::Socket,
    family: Family,
    port: u16,
    /// The one address that the socket is bound to, if it is.
    bound: Option<IpAddr>,
    buffers: SocketBuffers,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    V4,
    /// Speaks to IPv4 as well, by mapped addresses.
    V6,
}

impl Socket {
    pub(super) fn open(options: &SocketOptions) -> io::Result<Socket> {
        let opened = match options.bind {
            Some(IpAddr::V4(_)) => Socket::bind(Family::V4, options),
            Some(IpAddr::V6(_)) => Socket::bind(Family::V6, options),
            None => Socket::bind(Family::V6, options).or_else(|error| match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => Socket::bind(Family::V4, options),
                Some(_) | None => Err(error),
            }),
        };
        opened.map_err(|error| {
            let what = match error.raw_os_error() {
                Some(libc::EADDRINUSE) => "another process has it; stop that one or configure another port",
                Some(libc::EADDRNOTAVAIL) => "this machine does not have the configured bind address",
                Some(libc::EACCES) => "ports below 1024 need CAP_NET_BIND_SERVICE",
                Some(_) | None => "the system says why",
            };
            io::Error::new(error.kind(), format!("cannot open UDP port {}: {what} ({error})", options.port))
        })
    }

    fn bind(family: Family, options: &SocketOptions) -> io::Result<Socket> {
        let (domain, any) = match family {
            Family::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Family::V6 => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let inner = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == Family::V6 {
            inner.set_only_v6(false)?;
        }
        let buffers = size_buffers(&inner, options)?;
        inner.bind(&SocketAddr::new(options.bind.unwrap_or(any), options.port).into())?;
        let port = inner.local_addr()?.as_socket().map_or(options.port, |address| address.port());
        let bound = options.bind.filter(|address| !address.is_unspecified());
        let socket = Socket { inner, family, port, bound, buffers };
        match family {
            Family::V4 => socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            Family::V6 => socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
        }
        Ok(socket)
    }

    pub(super) fn try_clone(&self) -> io::Result<Socket> {
        Ok(Socket { inner: self.inner.try_clone()?, ..*self })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// Whether the kernel knows segmented sends (Linux 4.18).
    pub(super) fn knows_segmentation(&self) -> bool {
        self.set(libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
    }

    /// Without checksums the kernel refuses segmented sends with EINVAL.
    #[cfg(test)]
    pub(super) fn refuse_segmentation(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
    }

    fn set(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        set_option(&self.inner, level, option, value)
    }
}

fn set_option(socket: &socket2::Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads size_of::<i32>() bytes from `value`, which outlives the call.
    let status = unsafe {
        let len = size_of::<i32>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&value).cast(), len)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for the buffers and reads back what the kernel granted.
fn size_buffers(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<SocketBuffers> {
    let SocketOptions { receive_buffer_bytes: receive, send_buffer_bytes: send, .. } = *options;
    // With CAP_NET_ADMIN the sysctl does not cap.
    let force = |option, bytes: usize| {
        i32::try_from(bytes).is_ok_and(|bytes| set_option(socket, libc::SOL_SOCKET, option, bytes).is_ok())
    };
    if receive > 0 && !force(libc::SO_RCVBUFFORCE, receive) {
        socket.set_recv_buffer_size(receive)?;
    }
    if send > 0 && !force(libc::SO_SNDBUFFORCE, send) {
        socket.set_send_buffer_size(send)?;
    }
    // The kernel doubles what it grants, for its own bookkeeping, and reports the double.
    Ok(SocketBuffers {
        receive_asked_bytes: receive,
        receive_bytes: socket.recv_buffer_size()? / 2,
        send_asked_bytes: send,
        send_bytes: socket.send_buffer_size()? / 2,
    })
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("family", &self.family)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A `sockaddr_in` or `sockaddr_in6` as bytes.
pub(super) type Name = [u8; NAME_BYTES];

pub(super) const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Control messages of one datagram in either direction: the address of our own and a segment size.
pub(super) type Control = [u8; CONTROL_BYTES];

pub(super) const CONTROL_BYTES: usize = control_space(PKTINFO6_BYTES) + control_space(size_of::<u16>());

const PKTINFO4_BYTES: usize = size_of::<libc::in_pktinfo>();
const PKTINFO6_BYTES: usize = size_of::<libc::in6_pktinfo>();

/// The kernel's `struct cmsghdr`: a `size_t` length, then level and type.
const CONTROL_HEADER_BYTES: usize = size_of::<usize>() + 2 * size_of::<i32>();

const fn control_space(data_bytes: usize) -> usize {
    (CONTROL_HEADER_BYTES + data_bytes).next_multiple_of(size_of::<usize>())
}

/// Where one message goes and how, encoded for the kernel.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) name: Name,
    pub(super) name_len: usize,
    pub(super) control: Control,
    pub(super) control_len: usize,
}

impl Label {
    pub(super) const EMPTY: Label =
        Label { name: [0; NAME_BYTES], name_len: 0, control: [0; CONTROL_BYTES], control_len: 0 };

    /// `segment_bytes` of `None` sends one plain datagram.
    pub(super) fn write(&mut self, socket: &Socket, path: &Path, segment_bytes: Option<usize>) {
        self.name_len = match (socket.family, path.remote) {
            (Family::V4, SocketAddr::V4(remote)) => write_name4(&mut self.name, remote),
            // An IPv4 socket refuses the name of an IPv6 remote; no datagram can have come from there.
            (Family::V4, SocketAddr::V6(_)) | (Family::V6, _) => write_name6(&mut self.name, path.remote),
        };
        self.control_len = 0;
        // A socket bound to one address sends from no other; saying so costs a twentieth of a message.
        let local = path.local.filter(|_| path.local != socket.bound);
        match (socket.family, local) {
            (Family::V4, Some(IpAddr::V4(local))) => {
                let mut pktinfo = [0; PKTINFO4_BYTES];
                pktinfo[4..8].copy_from_slice(&local.octets());
                self.push_control(libc::IPPROTO_IP, libc::IP_PKTINFO, &pktinfo);
            }
            (Family::V6, Some(local)) => {
                let mut pktinfo = [0; PKTINFO6_BYTES];
                pktinfo[..16].copy_from_slice(&mapped(local).octets());
                self.push_control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &pktinfo);
            }
            (Family::V4, Some(IpAddr::V6(_)) | None) | (Family::V6, None) => {}
        }
        if let Some(segment_bytes) = segment_bytes {
            let segment_bytes = segment_bytes as u16;
            self.push_control(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_bytes.to_ne_bytes());
        }
    }

    /// The last message goes without its padding: a PKTINFO of IPv6 then has the 36 bytes that the kernel keeps on its
    /// stack, where with padding it would allocate for every message.
    fn push_control(&mut self, level: i32, kind: i32, data: &[u8]) {
        let start = self.control_len.next_multiple_of(size_of::<usize>());
        let message = &mut self.control[start..][..control_space(data.len())];
        let len = CONTROL_HEADER_BYTES + data.len();
        let (header, rest) = message.split_at_mut(CONTROL_HEADER_BYTES);
        header[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
        header[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
        header[size_of::<usize>() + 4..].copy_from_slice(&kind.to_ne_bytes());
        rest[..data.len()].copy_from_slice(data);
        self.control_len = start + len;
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn write_name4(out: &mut Name, remote: SocketAddrV4) -> usize {
    out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&remote.port().to_be_bytes());
    out[4..8].copy_from_slice(&remote.ip().octets());
    out[8..16].fill(0);
    size_of::<libc::sockaddr_in>()
}

fn write_name6(out: &mut Name, remote: SocketAddr) -> usize {
    let scope = match remote {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&remote.port().to_be_bytes());
    out[4..8].fill(0);
    out[8..24].copy_from_slice(&mapped(remote.ip()).octets());
    out[24..28].copy_from_slice(&scope.to_ne_bytes());
    NAME_BYTES
}

/// Reads what the kernel wrote about an arrived datagram. A mapped address becomes IPv4.
pub(super) fn read_path(name: &[u8], control: &[u8]) -> Option<Path> {
    Some(Path { remote: read_name(name)?, local: read_local(control) })
}

fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some(SocketAddr::from((octets, port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            let ip = Ipv6Addr::from(octets);
            match ip.to_ipv4_mapped() {
                Some(v4) => Some(SocketAddr::from((v4, port))),
                None => Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))),
            }
        }
        _ => None,
    }
}

fn read_local(mut control: &[u8]) -> Option<IpAddr> {
    while let Some((header, _)) = control.split_at_checked(CONTROL_HEADER_BYTES) {
        let (len, kind) = header.split_at(size_of::<usize>());
        let len = usize::from_ne_bytes(*len.first_chunk()?);
        let level = i32::from_ne_bytes(*kind.first_chunk()?);
        let kind = i32::from_ne_bytes(*kind.last_chunk()?);
        let data = control.get(CONTROL_HEADER_BYTES..len)?;
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let destination: [u8; 4] = *data.get(8..)?.first_chunk()?;
                return Some(IpAddr::from(destination));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let destination: [u8; 16] = *data.first_chunk()?;
                return Some(IpAddr::from(destination).to_canonical());
            }
            (_, _) => control = control.get(len.next_multiple_of(size_of::<usize>())..)?,
        }
    }
    None
}

pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: msghdr is plain integers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn open(bind: Option<IpAddr>) -> Socket {
        Socket::open(&SocketOptions { bind, ..SocketOptions::default() }).unwrap()
    }

    #[test]
    fn a_taken_port_is_named_in_the_error() {
        let first = open(None);
        let error =
            Socket::open(&SocketOptions { port: first.port(), ..SocketOptions::default() }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("UDP port {}: another process", first.port())));
    }

    #[test]
    fn the_granted_buffers_are_what_the_kernel_holds() {
        let asked = SocketOptions {
            receive_buffer_bytes: 65_536,
            send_buffer_bytes: 32_768,
            ..SocketOptions::default()
        };
        let granted = Socket::open(&asked).unwrap().buffers();
        assert_eq!((granted.receive_bytes, granted.send_bytes), (65_536, 32_768));
        assert_eq!(granted.short_of(), None);
        // No kernel grants more than half of what an int holds.
        let asked = SocketOptions { receive_buffer_bytes: usize::MAX / 2, ..asked };
        let granted = Socket::open(&asked).map(|socket| socket.buffers());
        assert!(granted.is_err() || granted.unwrap().short_of().is_some());
    }

    #[test]
    fn a_written_name_reads_back_canonical() {
        let mut name = [0; NAME_BYTES];
        let v4_only = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4000);
        let v4 = SocketAddr::V4(v4_only);
        let v6: SocketAddr = "[2001:db8::7]:4000".parse().unwrap();
        let scoped =
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 4000, 0, 3));
        let len = write_name4(&mut name, v4_only);
        assert_eq!(read_name(&name[..len]), Some(v4));
        for remote in [v4, v6, scoped] {
            let len = write_name6(&mut name, remote);
            assert_eq!(read_name(&name[..len]), Some(remote));
        }
        assert_eq!(read_name(&[]), None);
        assert_eq!(read_name(&[0; NAME_BYTES]), None);
    }

    #[test]
    fn our_own_address_is_found_among_other_control_messages() {
        let socket = open(None);
        let mut label = Label::EMPTY;
        let local: IpAddr = "192.0.2.9".parse().unwrap();
        let path = Path { remote: "192.0.2.7:4000".parse().unwrap(), local: Some(local) };
        label.write(&socket, &path, Some(1200));
        assert_eq!(read_local(&label.control[..label.control_len]), Some(local));

        let mut control = [0; 2 * CONTROL_BYTES];
        let segment = control_space(2);
        let pktinfo = control_space(PKTINFO6_BYTES);
        control[..segment].copy_from_slice(&label.control[pktinfo..pktinfo + segment]);
        control[segment..segment + pktinfo].copy_from_slice(&label.control[..pktinfo]);
        assert_eq!(read_local(&control), Some(local));
    }

    #[test]
    fn a_socket_of_one_address_says_only_what_differs() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let path = Path { remote: "192.0.2.7:4000".parse().unwrap(), local: Some(local) };
        let mut label = Label::EMPTY;
        label.write(&open(Some(local)), &path, None);
        assert_eq!(label.control_len, 0);
        label.write(&open(Some(Ipv4Addr::UNSPECIFIED.into())), &path, None);
        assert_eq!(label.control_len, CONTROL_HEADER_BYTES + PKTINFO4_BYTES);
        label.write(&open(None), &path, None);
        assert_eq!(label.control_len, CONTROL_HEADER_BYTES + PKTINFO6_BYTES);
    }

    #[test]
    fn broken_control_messages_name_no_address() {
        assert_eq!(read_local(&[]), None);
        assert_eq!(read_local(&[0; CONTROL_BYTES]), None);
        assert_eq!(read_local(&[0xff; CONTROL_BYTES]), None);
    }
}
