//! The TCP connections besides MPI: one from each rank to rank 0, for heartbeats, orders and
//! reports of how these ended.
//!
//! A message is its length, then JSON. When a process ends, its connection closes, which is noticed
//! at once; when it hangs, or its link is cut, it is silent, which is noticed after
//! [`Settings::silence`]. Rank 0 watches all others, and they watch rank 0.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gfm_pipe_api::{Cancel, ErrorKind, OpError, OpResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest message accepted, in bytes: anything longer cannot come from another rank.
const LONGEST: usize = 256 << 20;

/// How ranks watch each other.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A rank that sends nothing for this long counts as gone.
    pub silence: Duration,
    /// How long ranks may take to find each other.
    pub meeting: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            silence: Duration::from_secs(10),
            meeting: Duration::from_secs(60),
        }
    }
}

/// Something that must be the same on every rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it is, for messages: `version of gfm-pipe`.
    pub what: String,
    /// This rank's value.
    pub value: String,
    /// What the user can do when ranks differ.
    pub hint: String,
}

/// A rank, with what messages need to name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number: 0 up to the number of ranks.
    pub rank: usize,
    /// Name of its host.
    pub host: String,
    /// Id of its process.
    pub pid: u32,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Member { rank, host, pid } = self;
        write!(f, "rank {rank} (process {pid} on {host})")
    }
}

impl Member {
    /// This process.
    pub(crate) fn here(rank: usize) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Member {
            rank,
            host: host.to_string_lossy().into_owned(),
            pid: std::process::id(),
        }
    }
}

/// What went wrong, in words for a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub kind: ErrorKind,
    pub message: String,
    pub hint: Option<String>,
}

impl Trouble {
    pub fn of(e: &OpError) -> Self {
        Trouble {
            kind: e.kind(),
            message: e.to_string(),
            hint: e.advice().map(ToOwned::to_owned),
        }
    }

    pub fn error(&self) -> OpError {
        let e = OpError::new(self.message.clone()).with_kind(self.kind);
        match &self.hint {
            Some(hint) => e.hint(hint.clone()),
            None => e,
        }
    }
}

/// What goes over a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The first message: who connects.
    Hello {
        member: Member,
        token: String,
        claims: Vec<Claim>,
    },
    /// All ranks are connected and have the same claims.
    Welcome {
        members: Vec<Member>,
        /// Rank 0's [`Settings::silence`], which all ranks use, in milliseconds.
        silence: u64,
    },
    /// A heartbeat, with the number of collective calls begun so far.
    Beat { calls: u64 },
    /// Prepare to compute a stage.
    Order { number: u64, order: Value },
    /// This rank is prepared, or why it is not.
    Ready {
        number: u64,
        trouble: Option<Trouble>,
    },
    /// All ranks are prepared (`begin`), or not.
    Go { number: u64, begin: bool },
    /// The stage ended on this rank.
    Done { number: u64, end: End },
    /// Stop computing the stage.
    Stop,
    /// Somebody asked this process to stop.
    Interrupt,
    /// The run is over.
    Over,
    /// The run ends at once.
    Abort { told: Trouble },
}

/// How a stage ended on a rank.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct End {
    /// Whether a collective call is still waiting for others; then nothing more can be computed
    /// together.
    pub stuck: bool,
    /// Total number of collective calls begun.
    pub calls: u64,
    /// Why it failed, or that it was stopped.
    pub failed: Option<Trouble>,
}

/// A connection.
pub(crate) struct Wire {
    stream: Mutex<TcpStream>,
}

impl Wire {
    fn new(stream: &TcpStream, patience: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let stream = stream.try_clone()?;
        // A peer that does not read for this long counts as gone.
        stream.set_write_timeout(Some(patience))?;
        Ok(Wire {
            stream: Mutex::new(stream),
        })
    }

    pub fn send(&self, message: &Message) -> io::Result<()> {
        send(&mut lock(&self.stream), message)
    }
}

pub(crate) fn send(stream: &mut TcpStream, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut all = (text.len() as u64).to_le_bytes().to_vec();
    all.extend(text);
    stream.write_all(&all)
}

pub(crate) fn receive(stream: &mut TcpStream) -> io::Result<Message> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no message of gfm-pipe",
        ));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Another rank, as this one sees it.
pub(crate) struct Peer {
    pub member: Member,
    pub wire: Wire,
    /// When its last message arrived.
    heard: Instant,
    /// Number of collective calls that it has begun, by its last heartbeat.
    pub calls: u64,
}

/// What this rank knows about the others.
pub(crate) struct Known {
    pub peers: Vec<Arc<Mutex<Peer>>>,
    /// Why nothing more can be computed together.
    pub trouble: Option<Trouble>,
    /// Messages that are still to be handled, each with the rank that sent it.
    pub inbox: VecDeque<(usize, Message)>,
    /// Whether this rank's part in the stage should stop.
    pub stop: bool,
    /// The first failure of another rank's part in the stage, and when it was reported.
    pub failed: Option<(Instant, Trouble)>,
    /// Whether another rank was asked to stop.
    pub interrupted: bool,
    /// The flag to set when that happens.
    pub interrupt: Option<Cancel>,
    /// Whether rank 0 ended the run; it reports the reason itself.
    pub aborted: bool,
    /// Whether the run is over: a closed connection is not an error any more.
    pub over: bool,
}

/// Listens to the other ranks and lets them know that this one is alive.
pub(crate) struct Watch {
    known: Mutex<Known>,
    changed: Condvar,
    settings: Settings,
}

impl Watch {
    fn new(settings: Settings, peers: Vec<Peer>) -> Arc<Self> {
        let peers = peers.into_iter().map(|p| Arc::new(Mutex::new(p)));
        Arc::new(Watch {
            known: Mutex::new(Known {
                peers: peers.collect(),
                trouble: None,
                inbox: VecDeque::new(),
                stop: false,
                failed: None,
                interrupted: false,
                interrupt: None,
                aborted: false,
                over: false,
            }),
            changed: Condvar::new(),
            settings,
        })
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` returns something, at most for `most`.
    pub fn wait<T>(
        &self,
        most: Option<Duration>,
        mut look: impl FnMut(&mut Known) -> Option<T>,
    ) -> Option<T> {
        let until = most.map(|most| Instant::now() + most);
        let mut known = self.known();
        loop {
            if let Some(found) = look(&mut known) {
                return Some(found);
            }
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(60),
            };
            if left.is_zero() {
                return None;
            }
            known = self
                .changed
                .wait_timeout(known, left)
                .map_or_else(|e| e.into_inner().0, |(known, _)| known);
        }
    }

    /// Sends a message to all peers; a rank that cannot be reached counts as gone.
    pub fn tell(&self, message: &Message) {
        let peers = self.known().peers.clone();
        for peer in peers {
            let peer = lock(&peer);
            if let Err(e) = peer.wire.send(message) {
                let member = peer.member.clone();
                drop(peer);
                // The writing thread may notice before the reading one.
                match e.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.lost(&member, "ended");
                    }
                    _ => self.lost(&member, &format!("cannot be reached ({e})")),
                }
            }
        }
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        let mut known = self.known();
        known.over = true;
        for peer in &known.peers {
            // It fails where the connection is closed already, which is what is wanted.
            let _ = lock(&lock(peer).wire.stream).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Records that a rank is gone. Only the first one is kept: it is the cause of everything after
    /// it.
    fn lost(&self, member: &Member, how: &str) {
        self.fail(Trouble {
            kind: ErrorKind::Resource,
            message: format!("{member} {how}"),
            hint: Some(
                "start the run again, with as many ranks or others: a training goes on from its last checkpoint"
                    .to_owned(),
            ),
        });
    }

    /// Records why nothing more can be computed together; only the first reason is kept.
    pub fn fail(&self, told: Trouble) {
        let mut known = self.known();
        if !known.over && known.trouble.is_none() {
            tracing::debug!("ranks: {}", told.message);
            known.trouble = Some(told);
        }
        drop(known);
        self.changed.notify_all();
    }

    /// Starts the threads that listen and send heartbeats. `calls` returns how many collective
    /// calls this rank has begun.
    fn start(self: &Arc<Self>, streams: Vec<TcpStream>, calls: impl Fn() -> u64 + Send + 'static) {
        let peers = self.known().peers.clone();
        for (peer, mut stream) in peers.into_iter().zip(streams) {
            let watch = Arc::clone(self);
            let member = lock(&peer).member.clone();
            let listen = move || {
                loop {
                    match receive(&mut stream) {
                        Ok(message) => watch.heard(&peer, &member, message),
                        Err(_) => return watch.lost(&member, "ended"),
                    }
                }
            };
            spawn("gfm-rank-listen", listen);
        }
        let watch = Arc::clone(self);
        let pause =
            (self.settings.silence / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let beat = move || {
            while !watch.known().over {
                watch.tell(&Message::Beat { calls: calls() });
                watch.look_for_silence();
                std::thread::sleep(pause);
            }
        };
        spawn("gfm-rank-beat", beat);
    }

    fn heard(&self, peer: &Mutex<Peer>, member: &Member, message: Message) {
        let mut known = self.known();
        {
            let mut peer = lock(peer);
            peer.heard = Instant::now();
            if let Message::Beat { calls } = message {
                peer.calls = calls;
                return;
            }
        }
        match message {
            Message::Stop => known.stop = true,
            Message::Interrupt => {
                known.interrupted = true;
                if let Some(cancel) = &known.interrupt {
                    cancel.cancel();
                }
            }
            Message::Abort { told } => {
                known.aborted = true;
                drop(known);
                return self.fail(told);
            }
            Message::Over => {
                known.over = true;
                known.inbox.push_back((member.rank, Message::Over));
            }
            other => {
                if let Message::Done { end, .. } = &other
                    && let Some(told) = &end.failed
                    && known.failed.is_none()
                {
                    let told = Trouble {
                        kind: told.kind,
                        message: format!("{member}: {}", told.message),
                        hint: told.hint.clone(),
                    };
                    known.failed = Some((Instant::now(), told));
                }
                known.inbox.push_back((member.rank, other));
            }
        }
        drop(known);
        self.changed.notify_all();
    }

    fn look_for_silence(&self) {
        let peers = self.known().peers.clone();
        for peer in peers {
            let peer = lock(&peer);
            let silent = peer.heard.elapsed();
            if silent > self.settings.silence {
                let member = peer.member.clone();
                drop(peer);
                let how = format!(
                    "has said nothing for {} s: it hangs, or its network is cut",
                    silent.as_secs()
                );
                return self.lost(&member, &how);
            }
        }
    }
}

pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    // A rank without these threads sends no heartbeats, so the others rightly count it as gone.
    if let Err(e) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        tracing::error!("failed to start the thread {name}: {e}");
    }
}

/// Where rank 0 listens; it sends this to the others over MPI.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meeting {
    addresses: Vec<IpAddr>,
    pub port: u16,
    host: String,
    pub token: String,
}

/// The socket on which rank 0 waits for the other ranks.
pub(crate) struct Door {
    listener: TcpListener,
    pub meeting: Meeting,
}

impl Door {
    pub fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", 0))?;
        // Tells ranks of this run apart from other programs that connect to the port.
        let token =
            std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Ok(Door {
            meeting: Meeting {
                addresses: addresses(),
                port: listener.local_addr()?.port(),
                host: Member::here(0).host,
                token: format!("{token:016x}"),
            },
            listener,
        })
    }

    /// Waits for all other ranks, and checks that their claims equal this rank's.
    pub fn meet(
        self,
        size: usize,
        claims: &[Claim],
        settings: Settings,
        calls: impl Fn() -> u64 + Send + 'static,
    ) -> OpResult<(Arc<Watch>, Vec<Member>)> {
        let failed = |e| OpError::wrap("ranks cannot connect to rank 0", e);
        self.listener.set_nonblocking(true).map_err(failed)?;
        let until = Instant::now() + settings.meeting;
        let mut met: Vec<(Member, Vec<Claim>, TcpStream)> = Vec::new();
        while met.len() + 1 < size {
            match self.listener.accept() {
                Ok((stream, _)) => match self.greet(stream, settings) {
                    Ok(Some(one)) => met.push(one),
                    Ok(None) => {}
                    Err(e) => tracing::debug!("a connection that is no rank: {e}"),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(failed(e)),
            }
            if Instant::now() > until {
                return Err(missing(size, &met, &self.meeting));
            }
        }
        met.sort_by_key(|(member, ..)| member.rank);
        let here = Member::here(0);
        let differs = met
            .iter()
            .find_map(|(member, theirs, _)| difference(&here, claims, member, theirs));
        let mut members = vec![here];
        members.extend(met.iter().map(|(member, ..)| member.clone()));
        let (mut peers, mut streams) = (Vec::new(), Vec::new());
        for (member, _, stream) in met {
            peers.push(peer(member, &stream, settings).map_err(failed)?);
            streams.push(stream);
        }
        if let Some(told) = differs {
            for peer in &peers {
                // A rank that does not receive it sees the connection close.
                let _ = peer.wire.send(&Message::Abort { told: told.clone() });
            }
            return Err(told.error());
        }
        for peer in &peers {
            let welcome = Message::Welcome {
                members: members.clone(),
                silence: settings.silence.as_millis() as u64,
            };
            peer.wire.send(&welcome).map_err(failed)?;
        }
        let watch = Watch::new(settings, peers);
        watch.start(streams, calls);
        Ok((watch, members))
    }

    fn greet(
        &self,
        mut stream: TcpStream,
        settings: Settings,
    ) -> io::Result<Option<(Member, Vec<Claim>, TcpStream)>> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(settings.silence))?;
        let hello = receive(&mut stream)?;
        stream.set_read_timeout(None)?;
        Ok(match hello {
            Message::Hello {
                member,
                token,
                claims,
            } if token == self.meeting.token => Some((member, claims, stream)),
            _ => None,
        })
    }
}

fn peer(member: Member, stream: &TcpStream, settings: Settings) -> io::Result<Peer> {
    Ok(Peer {
        member,
        wire: Wire::new(stream, settings.silence)?,
        heard: Instant::now(),
        calls: 0,
    })
}

fn missing(size: usize, met: &[(Member, Vec<Claim>, TcpStream)], at: &Meeting) -> OpError {
    let there = |rank: &usize| met.iter().any(|(m, ..)| m.rank == *rank);
    let missing: Vec<String> = (1..size)
        .filter(|rank| !there(rank))
        .map(|r| r.to_string())
        .collect();
    OpError::resource(format!(
        "rank {} did not connect to rank 0 (TCP, {} port {})",
        missing.join(", rank "),
        at.host,
        at.port
    ))
    .hint("beside MPI every rank keeps a TCP connection to rank 0: let its host's ports be reached from the other hosts")
}

/// The first claim that two ranks differ in.
fn difference(here: &Member, ours: &[Claim], member: &Member, theirs: &[Claim]) -> Option<Trouble> {
    let find =
        |all: &[Claim], what: &str| all.iter().find(|c| c.what == what).map(|c| c.value.clone());
    let absent = || "nothing".to_owned();
    let names = ours.iter().chain(theirs);
    names
        .map(|claim| {
            let what = claim.what.as_str();
            (claim, find(ours, what), find(theirs, what))
        })
        .find(|(_, a, b)| a != b)
        .map(|(claim, a, b)| Trouble {
            kind: ErrorKind::User,
            message: format!(
                "{member} has another {}: {} there, {} on {here}",
                claim.what,
                b.unwrap_or_else(absent),
                a.unwrap_or_else(absent),
            ),
            hint: Some(claim.hint.clone()),
        })
}

/// Connects to rank 0 and waits until it has seen all ranks.
pub(crate) fn attend(
    rank: usize,
    meeting: &Meeting,
    claims: Vec<Claim>,
    settings: Settings,
    calls: impl Fn() -> u64 + Send + 'static,
) -> OpResult<(Arc<Watch>, Vec<Member>)> {
    let member = Member::here(rank);
    let mut addresses = meeting.addresses.clone();
    // On rank 0's own host, loopback addresses come first: a host may not be able to reach itself
    // under its network address.
    addresses.sort_by_key(|a| a.is_loopback() != (member.host == meeting.host));
    let failed = |e| {
        OpError::wrap(
            format!(
                "{member} cannot reach rank 0 (TCP, {} port {})",
                meeting.host, meeting.port
            ),
            e,
        )
        .hint("beside MPI every rank keeps a TCP connection to rank 0: let its host's ports be reached from the other hosts")
    };
    let until = Instant::now() + settings.meeting;
    let mut stream = loop {
        match connect(&addresses, meeting.port) {
            Ok(stream) => break stream,
            Err(e) if Instant::now() > until => return Err(failed(e)),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    let lead = Member {
        rank: 0,
        host: meeting.host.clone(),
        pid: 0,
    };
    let mut lead = peer(lead, &stream, settings).map_err(failed)?;
    let hello = Message::Hello {
        member: member.clone(),
        token: meeting.token.clone(),
        claims,
    };
    lead.wire.send(&hello).map_err(failed)?;
    // There is no time limit here: rank 0 decides how long to wait for the other ranks.
    match receive(&mut stream).map_err(failed)? {
        Message::Welcome { members, silence } => {
            let settings = Settings {
                silence: Duration::from_millis(silence),
                ..settings
            };
            if let Some(first) = members.first() {
                lead.member = first.clone();
            }
            lead.heard = Instant::now();
            let watch = Watch::new(settings, vec![lead]);
            watch.start(vec![stream], calls);
            Ok((watch, members))
        }
        // Rank 0 says why.
        Message::Abort { .. } => Err(OpError::Cancelled),
        _ => Err(failed(io::Error::other("it says something else"))),
    }
}

fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let at = SocketAddr::new(*address, port);
        match TcpStream::connect_timeout(&at, Duration::from_secs(2)) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// This host's IPv4 addresses, loopback included.
fn addresses() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut out: Vec<IpAddr> = all
        .filter_map(|i| Some(IpAddr::V4(i.address?.as_sockaddr_in()?.ip())))
        .collect();
    let home = IpAddr::from([127, 0, 0, 1]);
    if !out.contains(&home) {
        out.push(home);
    }
    out
}
