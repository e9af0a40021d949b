//! Just enough of HTTP/1.1 (RFC 9112) for servers and proxies between a store's client and a store.
//!
//! Messages are held whole: what tests send is small. Threads, one a connection, for everything here blocks.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or the status line, without its line end.
    pub(crate) start: String,
    /// Names as they came, and values without spaces around them.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// An answer with a body and its length.
    pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let mut all = vec![("Content-Length".to_owned(), body.len().to_string())];
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.extend(headers.iter().map(own));
        Self {
            start: format!("HTTP/1.1 {status} {}", reason(status)),
            headers: all,
            body,
        }
    }

    /// A header's value; names are compared without regard to case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request: path and query, still percent-encoded.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status code of an answer.
    pub(crate) fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).unwrap_or_default();
        code.parse().unwrap_or_default()
    }

    /// Reads a request; nothing where the peer closed the connection instead.
    pub(crate) fn read_request(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(mut request) = Self::read_head(from)? else {
            return Ok(None);
        };
        if request.header("Transfer-Encoding").is_some() {
            request.read_chunks(from)?;
        } else if let Some(length) = request.content_length()? {
            request.read_exactly(from, length)?;
        }
        Ok(Some(request))
    }

    /// Reads the answer to a request with this method; nothing where the peer closed the connection instead.
    pub(crate) fn read_answer(from: &mut impl BufRead, method: &str) -> io::Result<Option<Self>> {
        let Some(mut answer) = Self::read_head(from)? else {
            return Ok(None);
        };
        if method == "HEAD" || matches!(answer.status(), 100..200 | 204 | 304) {
            return Ok(Some(answer));
        }
        if answer.header("Transfer-Encoding").is_some() {
            answer.read_chunks(from)?;
        } else if let Some(length) = answer.content_length()? {
            answer.read_exactly(from, length)?;
        } else {
            from.read_to_end(&mut answer.body)?;
            answer.set_length();
        }
        Ok(Some(answer))
    }

    /// Writes the message as it is.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head())?;
        to.write_all(&self.body)?;
        to.flush()
    }

    /// Everything before the body.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut start = String::new();
        if from.read_line(&mut start)? == 0 {
            return Ok(None);
        }
        let mut message = Self {
            start: start.trim_end().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = read_line(from)?;
            if line.is_empty() {
                return Ok(Some(message));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            message
                .headers
                .push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn content_length(&self) -> io::Result<Option<usize>> {
        self.header("Content-Length")
            .map(|length| length.parse().map_err(|_| invalid(length)))
            .transpose()
    }

    fn read_exactly(&mut self, from: &mut impl BufRead, length: usize) -> io::Result<()> {
        self.body.resize(length, 0);
        from.read_exact(&mut self.body)
    }

    /// Reads a chunked body, and gives the message the length instead.
    fn read_chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        loop {
            let line = read_line(from)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid(&line))?;
            let start = self.body.len();
            self.body.resize(start + size, 0);
            from.read_exact(&mut self.body[start..])?;
            if size == 0 {
                break;
            }
            read_line(from)?;
        }
        while !read_line(from)?.is_empty() {}
        self.set_length();
        Ok(())
    }

    fn set_length(&mut self) {
        self.headers.retain(|(name, _)| {
            !name.eq_ignore_ascii_case("Transfer-Encoding")
                && !name.eq_ignore_ascii_case("Content-Length")
        });
        let length = self.body.len().to_string();
        self.headers.push(("Content-Length".to_owned(), length));
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        404 => "Not Found",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// A listener on loopback whose connections are each served by a thread. Dropping it closes all of them.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Listener {
    /// Listens on a free port. `serve` returns when its connection is at its end.
    pub(crate) fn start(
        serve: impl Fn(BufReader<TcpStream>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let started = Self {
            address: listener.local_addr()?,
            stopped: Arc::default(),
            connections: Arc::default(),
        };
        let (stopped, connections) = (
            Arc::clone(&started.stopped),
            Arc::clone(&started.connections),
        );
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Small answers should not wait for more.
                let _ = stream.set_nodelay(true);
                let Ok(handle) = stream.try_clone() else {
                    continue;
                };
                let mut open = lock(&connections);
                // Whoever is gone needs no closing.
                open.retain(|stream| stream.peer_addr().is_ok());
                open.push(handle);
                drop(open);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    let handle = stream.try_clone();
                    serve(BufReader::new(stream));
                    // The handle kept for closing must not keep the connection open.
                    if let Ok(handle) = handle {
                        let _ = handle.shutdown(Shutdown::Both);
                    }
                });
            }
        });
        Ok(started)
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        for stream in lock(&self.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A lock that a panicking test does not take with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_becomes_one_with_a_length() {
        let text = "PUT /a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nGET";
        let mut from = text.as_bytes();
        let request = Message::read_request(&mut from).unwrap().unwrap();
        assert_eq!((request.method(), request.target()), ("PUT", "/a?b"));
        assert_eq!(request.body, b"abcde");
        assert_eq!(request.header("content-length"), Some("5"));
        assert_eq!(request.header("transfer-encoding"), None);
        assert_eq!(from, b"GET");
        assert!(Message::read_request(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let answer = Message::answer(200, &[("ETag", "\"1\"")], "");
        let mut bytes = answer.head();
        bytes.extend(b"HTTP/1.1 204 No Content\r\n\r\n");
        let mut from = &bytes[..];
        let read = Message::read_answer(&mut from, "HEAD").unwrap().unwrap();
        assert_eq!(read, answer);
        let next = Message::read_answer(&mut from, "DELETE").unwrap().unwrap();
        assert_eq!(next.status(), 204);
    }
}
