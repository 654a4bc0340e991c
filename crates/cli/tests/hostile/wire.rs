//! HTTP by hand, so that it can be done wrong.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::common::{LIMIT, TOKEN};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem document that a refusal must be.
    pub fn problem(&self) -> Value {
        assert!((400..500).contains(&self.status) || self.status == 503, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let value = self.json();
        assert_eq!(value["status"], self.status, "{value}");
        assert!(value["code"].is_string() && value["title"].is_string(), "{value}");
        value
    }
}

/// A connection.
pub struct Wire {
    address: String,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Wire {
    pub fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { address: address.to_owned(), stream, reader }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.ask("POST", path, headers, body)
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: sceau\r\n").into_bytes();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            head.extend(format!("Authorization: Bearer {TOKEN}\r\n").bytes());
        }
        for (name, value) in headers {
            head.extend(format!("{name}: {value}\r\n").bytes());
        }
        head.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        // A server that refuses before the body closes the connection, if it has not got all of it then.
        for _ in 0..2 {
            self.send(&head);
            self.send(body);
            if let Some(answer) = self.answer() {
                return answer;
            }
            *self = Self::new(&self.address.clone());
        }
        panic!("no answer to {method} {}", &path[..path.len().min(200)])
    }

    /// Sends bytes; a server that has heard enough may close the connection before the last of them.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            assert!(closed(&error), "{error}");
        }
    }

    /// Says that nothing more comes.
    pub fn end(&self) {
        // The other side may have closed it already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer; none if the connection was closed instead.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if closed(&error) => return None,
            Err(error) => panic!("{error}"),
        }
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not an answer: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body.resize(length, 0);
        self.reader.read_exact(&mut answer.body).unwrap();
        Some(answer)
    }

    /// All answers until the connection is closed.
    pub fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.answer()).collect()
    }

    /// How long to wait for an answer.
    pub fn patience(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }
}

/// The other side closed the connection, perhaps without having read everything.
fn closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
    )
}
