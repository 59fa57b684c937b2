//! stub
use super::socket::Socket;
use super::{Datagram, IoCounters, Waker};
use crate::egress::Egress;
use std::io;
use std::time::Duration;
#[derive(Debug)]
pub struct UringNet {}
impl UringNet {
    pub(super) fn new(_socket: Socket) -> io::Result<UringNet> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
    pub(super) fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        None
    }
    pub(super) fn flush(&mut self, _egress: &mut Egress) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn port(&self) -> u16 {
        0
    }
    pub(super) fn waker(&self) -> Waker {
        unreachable!()
    }
    pub(super) fn counters(&self) -> IoCounters {
        IoCounters::default()
    }
}
