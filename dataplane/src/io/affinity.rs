//! Where and when a thread runs, and for how long it has.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::time::Duration;

/// Binds the calling thread to `core`; fails when the core does not exist or the affinity mask forbids it.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value; CPU_SET stays inside it because core was checked
    // above; sched_setaffinity only reads the set for the duration of the call.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How far threads with work that may wait stand behind those that carry media: about a tenth of their share of a core
/// that both want.
const NICE_OF_THE_PATIENT: libc::c_int = 10;

/// Puts the calling thread behind the media threads.
pub fn yield_to_media() -> io::Result<()> {
    // SAFETY: setpriority takes no pointer. On Linux, process 0 is the calling thread alone.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE_OF_THE_PATIENT) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A media thread's turn is over in less; the least that the kernel grants.
const SLICE: Duration = Duration::from_micros(100);

/// Lets the calling thread take the core from threads with longer time slices as soon as it is woken, for as much of the
/// core as it had before. Without effect before Linux 6.12, which made the slice a thread's own.
pub fn wake_promptly() -> io::Result<()> {
    // SAFETY: a sched_attr is plain integers, for which zero is a value (SCHED_OTHER, nice 0); the kernel only reads it,
    // as many bytes as it is told.
    let failed = unsafe {
        let mut attr: libc::sched_attr = mem::zeroed();
        attr.size = size_of::<libc::sched_attr>() as u32;
        attr.sched_runtime = SLICE.as_nanos() as u64;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run as soon as it has something to do, whatever ordinary threads share its core (SCHED_FIFO,
/// sched(7)): for those who measure. Fails where the process may not.
pub fn run_at_once() -> io::Result<()> {
    // SAFETY: a sched_param is plain integers, for which zero is a value; the kernel only reads it.
    let failed = unsafe {
        let mut param: libc::sched_param = mem::zeroed();
        param.sched_priority = 1;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the calling thread has used of its core.
pub(super) fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which outlives the call. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
