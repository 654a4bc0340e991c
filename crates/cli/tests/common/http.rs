//! A client that costs little and shows everything: one kept-alive connection.

use std::{
    io::{self, BufRead as _, BufReader, Error, Read as _, Write as _},
    net::TcpStream,
};

use super::{LIMIT, TOKEN};

/// An open connection to a server.
pub struct Client {
    host: String,
    stream: BufReader<TcpStream>,
}

/// What a server answered.
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

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Client {
    pub fn connect(url: &str) -> io::Result<Self> {
        let host = url.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { host, stream: BufReader::new(stream) })
    }

    /// Waits for answers no longer than this.
    pub fn give_up_after(&self, limit: std::time::Duration) {
        self.stream.get_ref().set_read_timeout(Some(limit)).unwrap();
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, &[], b"")
    }

    /// Sends a request and reads the answer.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        self.send_parts(method, path, headers, &[body])
    }

    /// The same with a body in parts. An answer that comes before the body is sent counts.
    pub fn send_parts(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[&[u8]],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n", self.host);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let length: usize = body.iter().map(|part| part.len()).sum();
        head += &format!("Content-Length: {length}\r\n\r\n");
        let mut whole = head.into_bytes();
        let (first, rest) = body.split_first().unwrap();
        whole.extend_from_slice(first);
        let stream = self.stream.get_mut();
        let sent = stream.write_all(&whole).and_then(|()| rest.iter().try_for_each(|part| stream.write_all(part)));
        match self.answer() {
            Ok(answer) => Ok(answer),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let odd = || Error::other("not an answer");
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(odd)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(odd)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).ok_or_else(odd)?;
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
