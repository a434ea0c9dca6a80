//! A running receiver, and what it costs: processor time and memory as the kernel counts them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{Error, Result};

const STARTS_WITHIN: Duration = Duration::from_secs(600);
/// Ticks of `/proc/PID/stat` a second; the same on every Linux that this runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A program, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    memory: Arc<Memory>,
    watch: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Memory {
    peak_bytes: AtomicU64,
    ended: AtomicBool,
}

/// Seconds of processor time that this thread has taken.
pub fn thread_cpu_seconds() -> Result<f64> {
    let figures = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: Option<f64> = figures.split_whitespace().next().and_then(|figure| figure.parse().ok());
    Ok(nanoseconds.ok_or(Error::Proc)? / 1e9)
}

/// Seconds in which the processors of this machine were busy, whoever had them, and how many processors there are.
pub fn busy_seconds() -> Result<(f64, usize)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<f64> = stat.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waits, interrupts, softly, stolen] = *ticks.as_slice() else {
        return Err(Error::Proc);
    };
    let processors = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
    Ok(((user + nice + system + interrupts + softly + stolen) / TICKS_A_SECOND, processors))
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Process {
    /// Starts it; its output goes to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let program = command.get_program().to_owned();
        let child = command.spawn().map_err(|cause| Error::Start { program, cause })?;
        let pid = Pid::from_child(&child);
        let memory = Arc::new(Memory::default());
        let watch = thread::spawn({
            let memory = memory.clone();
            move || memory.watch(pid)
        });
        Ok(Self { child, pid, memory, watch: Some(watch) })
    }

    /// Waits until `url` answers 200; how long that took.
    pub fn wait_until_ready(&mut self, client: &Client, url: &str) -> Result<Duration> {
        let start = Instant::now();
        while start.elapsed() < STARTS_WITHIN {
            if client.get(url).send().is_ok_and(|answer| answer.status().is_success()) {
                return Ok(start.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Error::Ended(format!("{status} before it was ready")));
            }
            sleep(Duration::from_millis(2));
        }
        Err(Error::Ended(format!("not ready within {} s", STARTS_WITHIN.as_secs())))
    }

    /// Seconds of processor time so far, of user and system.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is a name in brackets, which may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace()).ok_or(Error::Proc)?;
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(self) {
        drop(self);
    }

    /// The most memory that was resident so far, bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.memory.peak_bytes.load(Ordering::Relaxed)
    }

    /// SIGTERM, and waits for the end; what it took in all.
    pub fn terminate(mut self) -> Result<Cost> {
        kill_process(self.pid, Signal::TERM)?;
        // Not reaped yet, so that the kernel still tells what it took.
        waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let seconds = self.cpu_seconds()?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(Error::Ended(format!("{status} after SIGTERM")));
        }
        Ok(Cost { cpu_seconds: seconds, peak_bytes: self.peak_bytes() })
    }
}

/// What a process took from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds of processor time, of user and system.
    pub cpu_seconds: f64,
    /// The most memory that was resident, bytes.
    pub peak_bytes: u64,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.memory.ended.store(true, Ordering::Relaxed);
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

impl Memory {
    /// The kernel's own high-water mark, read while the program runs: what a parent had before `exec` is not in it.
    fn watch(&self, pid: Pid) {
        while !self.ended.load(Ordering::Relaxed) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            if let Some(kib) = kib.and_then(|kib| kib.parse::<u64>().ok()) {
                self.peak_bytes.fetch_max(kib * 1024, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(20));
        }
    }
}
