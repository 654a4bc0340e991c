//! The proxy itself: a wrong cut would make every test that rests on it say nothing.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    common::{LIMIT, until},
    proxy::{Cut, How, Place, Proxy, Side},
};

/// A server that answers each message, and counts the whole ones that it got.
fn server() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, got) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = got.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let counted = counted.clone();
            std::thread::spawn(move || {
                while let Ok(request) = receive(&client) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let number = i32::from_le_bytes(request[4..8].try_into().unwrap());
                    if (&client).write_all(&message(number + 1_000_000, number, "ok")).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, got)
}

fn message(number: i32, answers: i32, command: &str) -> Vec<u8> {
    // What says that it is in a transaction stands behind the command; large enough that half of it is more than a header.
    let (command, more) = command.split_once('+').unwrap_or((command, ""));
    let rest = [&[0u8; 4][..], &[0], &[9, 0, 0, 0, 1], command.as_bytes(), &[0], more.as_bytes(), &[0; 200]].concat();
    let length = i32::try_from(rest.len() + 16).unwrap();
    let header = [length, number, answers, 2013].map(i32::to_le_bytes).concat();
    [header, rest].concat()
}

fn receive(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut head = vec![0; 16];
    stream.read_exact(&mut head)?;
    let length = i32::from_le_bytes(head[..4].try_into().unwrap());
    head.resize(usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut head[16..])?;
    Ok(head)
}

struct Client(TcpStream);

impl Client {
    fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn ask(&self, number: i32, command: &str) -> io::Result<()> {
        (&self.0).write_all(&message(number, 0, command))?;
        let answer = receive(&self.0)?;
        assert_eq!(answer[8..12], number.to_le_bytes());
        Ok(())
    }
}

#[test]
fn messages_pass_in_both_directions_and_are_counted_by_what_they_ask() {
    let (address, got) = server();
    let proxy = Proxy::start(address);
    let client = Client::connect(&proxy);
    proxy.cut(Cut {
        side: Side::ToServer,
        nth: 100,
        place: Place::Before,
        how: How::Close,
        transactions: false,
        stays: false,
    });
    for (number, command) in (1..).zip(["hello", "insert", "ping", "commitTransaction"]) {
        client.ask(number, command).unwrap();
    }
    assert_eq!((got.load(Ordering::SeqCst), proxy.counted(), proxy.has_cut()), (4, [2, 2], false));
    assert_eq!(proxy.seen(), ["insert", "commitTransaction"]);
}

#[test]
fn a_connection_is_cut_where_it_was_asked_for() {
    for how in [How::Close, How::Reset] {
        for (side, place, answered, arrived) in [
            (Side::ToServer, Place::Before, 1, 1),
            (Side::ToServer, Place::Within, 1, 1),
            (Side::ToServer, Place::After, 1, 2),
            (Side::ToClient, Place::Before, 1, 2),
            (Side::ToClient, Place::Within, 1, 2),
            (Side::ToClient, Place::After, 2, 2),
        ] {
            let (address, got) = server();
            let proxy = Proxy::start(address);
            let client = Client::connect(&proxy);
            proxy.cut(Cut { side, nth: 2, place, how, transactions: false, stays: false });
            let answers = (1..=5).map_while(|number| client.ask(number, "insert").ok()).count();
            assert_eq!(answers, answered, "{side:?} {place:?} {how:?}");
            until("the message", || got.load(Ordering::SeqCst) == arrived);
            until("the cut", || proxy.has_cut());
            // Another connection goes on.
            Client::connect(&proxy).ask(9, "insert").unwrap();
        }
    }
}

#[test]
fn messages_of_transactions_are_told_apart() {
    let (address, got) = server();
    let proxy = Proxy::start(address);
    let client = Client::connect(&proxy);
    let cut =
        Cut { side: Side::ToClient, nth: 2, place: Place::Before, how: How::Close, transactions: true, stays: false };
    proxy.cut(cut);
    for (number, command) in (1..).zip(["insert", "insert+autocommit", "find", "insert", "find"]) {
        client.ask(number, command).unwrap();
    }
    client.ask(9, "commitTransaction+autocommit").unwrap_err();
    assert_eq!((got.load(Ordering::SeqCst), proxy.counted()), (6, [2, 2]));
}

#[test]
fn a_reset_is_one() {
    let (address, _) = server();
    let proxy = Proxy::start(address);
    for (how, wanted) in [(How::Reset, io::ErrorKind::ConnectionReset), (How::Close, io::ErrorKind::UnexpectedEof)] {
        let client = Client::connect(&proxy);
        client.ask(1, "insert").unwrap();
        proxy.cut(Cut { side: Side::ToClient, nth: 1, place: Place::Before, how, transactions: false, stays: false });
        assert_eq!(client.ask(2, "insert").unwrap_err().kind(), wanted);
    }
}

#[test]
fn what_is_down_refuses_until_it_is_healed() {
    let (address, _) = server();
    let proxy = Proxy::start(address);
    let refused = || TcpStream::connect(proxy.address()).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    let client = Client::connect(&proxy);
    client.ask(1, "insert").unwrap();
    proxy.down(How::Reset);
    client.ask(2, "insert").unwrap_err();
    until("a refusal", refused);
    proxy.heal();
    let mut connected = None;
    until("a connection", || {
        connected = TcpStream::connect(proxy.address()).ok();
        connected.is_some()
    });
    Client(connected.unwrap()).ask(3, "insert").unwrap();

    let client = Client::connect(&proxy);
    proxy.cut(Cut {
        side: Side::ToServer,
        nth: 1,
        place: Place::After,
        how: How::Reset,
        transactions: false,
        stays: true,
    });
    client.ask(4, "insert").unwrap_err();
    until("a refusal", refused);
    proxy.heal();
}

#[test]
fn messages_are_held_until_they_are_let_go_and_slow_ones_arrive() {
    let (address, got) = server();
    let proxy = Proxy::start(address);
    let client = Client::connect(&proxy);
    proxy.hold(Side::ToClient, "commitTransaction");
    client.ask(1, "insert").unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.ask(2, "commitTransaction"));
        proxy.until_held();
        assert_eq!(got.load(Ordering::SeqCst), 2, "the server has it");
        assert!(!asked.is_finished());
        proxy.heal();
        asked.join().unwrap().unwrap();
    });
    proxy.delay(Duration::from_millis(5));
    client.ask(3, "insert").unwrap();
}
