//! A TCP proxy between a driver and a MongoDB server that knows where one message ends and the next begins, so that a
//! connection can be cut at exactly one place: before, within or after the n-th message of a direction.
//!
//! Only messages that do work are counted, those of transactions alone if that is wanted: greetings, authentication and
//! the driver's own monitoring come whenever they like. Use `directConnection=true`: a driver that looks for the other members of a replica set would pass the proxy by.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use socket2::SockRef;

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(120);
/// What does no work.
const QUIET: [&str; 9] =
    ["hello", "isMaster", "ismaster", "ping", "saslStart", "saslContinue", "authenticate", "buildInfo", "endSessions"];
/// The longest message that a server takes.
const LONGEST: usize = 48_000_000;
/// How many commands are remembered.
const REMEMBERED: usize = 4_096;
const HEADER: usize = 16;
const OP_MSG: i32 = 2013;
const IN_TRANSACTION: &[u8] = b"autocommit\0";

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    ToServer,
    ToClient,
}

/// Where in a message a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing of it arrives.
    Before,
    /// Half of it arrives.
    Within,
    /// All of it arrives.
    After,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In good order, as if the other end had closed it.
    Close,
    /// With RST, as if the other end were gone.
    Reset,
}

/// One cut; messages are counted from 1, from the moment on that it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub side: Side,
    pub nth: u64,
    pub place: Place,
    pub how: How,
    /// Whether only messages of transactions count.
    pub transactions: bool,
    /// Whether all other connections are cut as well then, and new ones refused until [`Proxy::heal`].
    pub stays: bool,
}

/// What a request asks for.
#[derive(Clone, Debug)]
struct Asked {
    command: String,
    transaction: bool,
}

/// What the threads share.
struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    has_cut: bool,
    /// Messages since the cut was asked for, to the server and to the client.
    counted: [u64; 2],
    refusing: bool,
    /// Whose messages wait, of those with this command; all that do work, if it is empty.
    held: Option<(Side, &'static str)>,
    waiting: u64,
    delay: Duration,
    seen: VecDeque<String>,
    links: HashMap<u64, Arc<Link>>,
    ended: bool,
}

/// One client with its connection to the server.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Each request that was not answered yet, by its number.
    asked: Mutex<HashMap<i32, Asked>>,
    /// Whether it was cut: then nothing more may be sent, not even that it has ended. Held by whoever sends, so that
    /// nothing slips through beside the message at which it is cut.
    is_cut: Mutex<bool>,
}

/// Ends one side of a link.
fn end(stream: &TcpStream, how: How) {
    match how {
        How::Close => {
            let _ = stream.shutdown(Shutdown::Both);
        }
        How::Reset => {
            // Shutting down the reading side wakes whoever reads, and sends nothing; the rest is done by the last one
            // that drops the socket.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

impl Link {
    fn cut(&self, how: How) {
        let mut is_cut = self.is_cut.lock().unwrap();
        if std::mem::replace(&mut *is_cut, true) {
            return;
        }
        end(&self.client, how);
        end(&self.server, how);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Lets whoever waits for a client look at the state again.
    fn wake(&self) {
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut_all(&mut self, how: How) {
        self.links.drain().for_each(|(_, link)| link.cut(how));
    }
}

/// A proxy in front of a server.
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one on a port of its own.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { address, state: Mutex::default(), changed: Condvar::new() });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(listener, server, &shared)
        });
        Self { shared, accepting: Some(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Asks for a cut and begins to count.
    pub fn cut(&self, cut: Cut) {
        self.shared.change(|state| {
            (state.cut, state.has_cut, state.counted) = (Some(cut), false, [0, 0]);
        });
    }

    /// Whether the cut came to pass that was last asked for.
    pub fn has_cut(&self) -> bool {
        self.shared.lock().has_cut
    }

    /// Messages to the server and to the client since a cut was last asked for.
    pub fn counted(&self) -> [u64; 2] {
        self.shared.lock().counted
    }

    /// The newest commands that passed, the oldest of them first.
    pub fn seen(&self) -> Vec<String> {
        self.shared.lock().seen.iter().cloned().collect()
    }

    /// Lets messages of this command, or of all commands that do work if it is empty, wait in one direction.
    pub fn hold(&self, side: Side, command: &'static str) {
        self.shared.change(|state| state.held = Some((side, command)));
    }

    /// Waits until a message waits.
    pub fn until_held(&self) {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, LIMIT, |state| state.waiting == 0).unwrap();
        assert!(!waited.1.timed_out(), "no message came that is held");
    }

    /// Lets each message take so much longer.
    pub fn delay(&self, delay: Duration) {
        self.shared.change(|state| state.delay = delay);
    }

    /// Cuts every connection and refuses new ones.
    pub fn down(&self, how: How) {
        self.shared.change(|state| {
            state.refusing = true;
            state.cut_all(how);
        });
        self.shared.wake();
    }

    /// From now on it does nothing but pass on what comes.
    pub fn heal(&self) {
        self.shared.change(|state| {
            (state.cut, state.refusing, state.held, state.delay) = (None, false, None, Duration::ZERO);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            (state.ended, state.held, state.refusing) = (true, None, false);
            state.cut_all(How::Close);
        });
        self.shared.wake();
        self.accepting.take().map(JoinHandle::join);
    }
}

/// Takes in clients; while they are refused, nobody listens.
fn accept(listener: TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    for number in 0.. {
        let client = match &listener {
            Some(open) => open.accept().map(|(client, _)| client),
            None => return,
        };
        let mut state = shared.lock();
        if state.refusing {
            drop((client, listener.take()));
            state = shared.changed.wait_while(state, |state| state.refusing && !state.ended).unwrap();
            if !state.ended {
                listener = Some(TcpListener::bind(shared.address).unwrap());
            }
            continue;
        }
        if state.ended {
            return;
        }
        drop(state);
        let (Ok(client), Ok(to)) = (client, TcpStream::connect(server)) else { continue };
        let _ = client.set_nodelay(true).and_then(|()| to.set_nodelay(true));
        let link = Arc::new(Link { client, server: to, asked: Mutex::default(), is_cut: Mutex::default() });
        shared.change(|state| {
            state.links.insert(number, link.clone());
        });
        for side in [Side::ToServer, Side::ToClient] {
            let (shared, link) = (shared.clone(), link.clone());
            std::thread::spawn(move || {
                if pump(&shared, &link, side).is_err() {
                    link.cut(How::Close);
                }
                shared.change(|state| {
                    state.links.remove(&number);
                });
            });
        }
    }
}

/// Passes on one direction's messages until the connection ends.
fn pump(shared: &Shared, link: &Link, side: Side) -> io::Result<()> {
    let (mut from, mut to) = match side {
        Side::ToServer => (&link.client, &link.server),
        Side::ToClient => (&link.server, &link.client),
    };
    loop {
        let message = read(&mut from)?;
        let asked = link.asked(side, &message).filter(|asked| !QUIET.contains(&asked.command.as_str()));
        let cut = asked.and_then(|asked| pass(shared, side, asked));
        let mut is_cut = link.is_cut.lock().unwrap();
        if *is_cut {
            return Ok(());
        }
        let Some(cut) = cut else {
            to.write_all(&message)?;
            continue;
        };
        *is_cut = true;
        let arrives = match cut.place {
            Place::Before => 0,
            Place::Within => message.len() / 2,
            Place::After => message.len(),
        };
        let _ = to.write_all(&message[..arrives]);
        // RST throws away what was written and is still under way: who is to get something gets the rest in good order.
        end(to, if arrives == 0 { cut.how } else { How::Close });
        end(from, cut.how);
        drop(is_cut);
        if cut.stays {
            shared.change(|state| state.cut_all(cut.how));
            shared.wake();
        }
        shared.change(|state| state.has_cut = true);
        return Ok(());
    }
}

/// Waits while messages are held or slow; the cut, if it falls on this message.
fn pass(shared: &Shared, side: Side, Asked { command, transaction }: Asked) -> Option<Cut> {
    let mut state = shared.lock();
    let held =
        |state: &mut State| state.held.is_some_and(|(of, only)| of == side && (only.is_empty() || only == command));
    if held(&mut state) {
        state.waiting += 1;
        shared.changed.notify_all();
        state = shared.changed.wait_while(state, held).unwrap();
        state.waiting -= 1;
    }
    let delay = state.delay;
    if !delay.is_zero() {
        drop(state);
        std::thread::sleep(delay);
        state = shared.lock();
    }
    if side == Side::ToServer {
        state.seen.push_back(command);
        let surplus = state.seen.len().saturating_sub(REMEMBERED);
        state.seen.drain(..surplus);
    }
    if state.cut.is_some_and(|cut| cut.transactions) && !transaction {
        return None;
    }
    let counted = &mut state.counted[side as usize];
    *counted += 1;
    let now = *counted;
    let cut = state.cut.take_if(|cut| cut.side == side && cut.nth == now)?;
    // Who tries again must find it so already.
    state.refusing |= cut.stays;
    Some(cut)
}

fn read(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message)?;
    let length = usize::try_from(number(&message, 0)).unwrap_or(0);
    if !(HEADER..=LONGEST).contains(&length) {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    message.resize(length, 0);
    from.read_exact(&mut message[HEADER..])?;
    Ok(message)
}

fn number(message: &[u8], at: usize) -> i32 {
    let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, i32::from_le_bytes)
}

impl Link {
    /// What a request asks for, or what an answer answers.
    fn asked(&self, side: Side, message: &[u8]) -> Option<Asked> {
        let mut asked = self.asked.lock().unwrap();
        match side {
            Side::ToServer => {
                let command = command(message)?;
                // The name of a field that is in every command of a transaction, and in no other.
                let transaction = message.windows(IN_TRANSACTION.len()).any(|bytes| bytes == IN_TRANSACTION);
                let now = Asked { command, transaction };
                asked.insert(number(message, 4), now.clone());
                Some(now)
            }
            Side::ToClient => asked.remove(&number(message, 8)),
        }
    }
}

/// The name of the first element of a message's document: that is the command.
fn command(message: &[u8]) -> Option<String> {
    if number(message, 12) != OP_MSG {
        return None;
    }
    // Flags; then sections, of which that of kind 0 is the command. Drivers send it first.
    let document = message.get(HEADER + 4..)?.strip_prefix(&[0])?;
    let name = document.get(5..)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}
