//! Commands in, child processes out: every child is killed by the kernel when this process ends, however it
//! ends (return, panic, `abort`, Ctrl-C, SIGTERM, SIGKILL), also a child that is stopped at that moment.
//! Never forks from the caller's thread: the kernel sends the parent-death signal when the *thread* that
//! forked ends, so one thread that lives as long as the process forks all of them.
//! (`children_die_with_their_parent_however_it_ends`)

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

struct Request {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    std::thread::Builder::new()
        .name("testbed-spawner".into())
        .spawn(move || {
            // Ends never: the static keeps a sender for as long as the process lives.
            for Request { mut command, reply } in requests {
                let _ = reply.send(command.spawn());
            }
        })
        .expect("a process that can start servers can start a thread");
    sender
});

/// Starts `command` in a process group of its own (a Ctrl-C in the terminal reaches only the testbed, which
/// then decides) so that it cannot outlive this process.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    command.process_group(0);
    spawn_in_group(command)
}

/// Like [`spawn`], but in this process's group: for builds, whose own children only a Ctrl-C can reach. (A build
/// step whose parent is killed otherwise dies too, but compilers that it started finish their file.)
pub(crate) fn spawn_in_group(mut command: Command) -> io::Result<Child> {
    tie_to_parent(&mut command);
    let (reply, answer) = mpsc::sync_channel(1);
    let lost = || io::Error::other("the testbed's spawner thread is gone");
    SPAWNER.send(Request { command, reply }).map_err(|_| lost())?;
    answer.recv().map_err(|_| lost())?
}

#[allow(unsafe_code)]
fn tie_to_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let tie = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died between fork and prctl: then no signal will come any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: the closure runs in the forked child before exec, where only async-signal-safe calls are
    // allowed: it makes two system calls (prctl, getppid), allocates nothing, takes no lock, and its captured
    // state is one plain integer.
    unsafe { command.pre_exec(tie) };
}

/// Sends `signal`; a process that has ended (and is not yet waited for) is no error.
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("process id out of range"))?;
    kill_process(pid, signal).or_else(|e| if e == rustix::io::Errno::SRCH { Ok(()) } else { Err(e.into()) })
}

/// Kills and waits, so that ports, files and memory are free when this returns.
pub(crate) fn kill(child: &mut Child) -> io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}

/// Blocks until the kernel reports the process as stopped (or ended), at most a second.
pub(crate) fn wait_stopped(child: &Child) {
    let limit = Instant::now() + Duration::from_secs(1);
    while Instant::now() < limit && !matches!(state(child.id()), None | Some('T' | 'Z')) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// State letter of a process (`R`, `S`, `T` stopped, `Z` dead but not waited for), `None` if there is none.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state follows the last parenthesis.
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("60");
        spawn(command).unwrap()
    }

    #[test]
    fn child_outlives_the_thread_that_asked_for_it() {
        let mut child = std::thread::spawn(sleeper).join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(child.try_wait().unwrap(), None);
        kill(&mut child).unwrap();
    }

    #[test]
    fn stopped_child_can_be_killed() {
        let mut child = sleeper();
        signal(&child, Signal::STOP).unwrap();
        wait_stopped(&child);
        assert_eq!(state(child.id()), Some('T'));
        kill(&mut child).unwrap();
        assert_eq!(state(child.id()), None);
    }

    #[test]
    fn missing_program_is_an_error_of_the_caller() {
        let error = spawn(Command::new("no-such-program-of-the-testbed")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
