//! Connections to a server, with or without TLS, and whole requests over them.

use std::{
    convert::Infallible,
    error::Error as _,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap, Request, Uri,
    body::{Body as _, Frame, Incoming, SizeHint},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::Service;

/// How long it may take until a server takes the connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a request may take as a whole.
const REQUEST_TIME: Duration = Duration::from_secs(180);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was not sent as a whole, or not answered.
    #[error(transparent)]
    Request(#[from] hyper_util::client::legacy::Error),
    /// The answer ended early.
    #[error(transparent)]
    Answer(#[from] hyper::Error),
    /// It took too long.
    #[error("no whole answer within {} s", REQUEST_TIME.as_secs())]
    Time,
}

impl Broken {
    /// Whether not even a connection could be made.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
    }

    /// What may be the matter, in words.
    pub fn reason(&self) -> String {
        match self {
            Self::Time => "it took too long".to_owned(),
            error if error.is_connect() => match error.tls() {
                Some(refused) => format!("TLS with it failed: {refused}"),
                None => "is the server running there?".to_owned(),
            },
            _ => "the connection was lost".to_owned(),
        }
    }

    /// The error of TLS behind it.
    fn tls(&self) -> Option<String> {
        let mut cause = self.source();
        while let Some(error) = cause {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(refused) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return Some(refused.to_string());
            }
            cause = error.source();
        }
        None
    }
}

/// The body of a request, known as a whole.
pub struct Whole(Option<Bytes>);

impl From<Bytes> for Whole {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// An answer, as a whole.
pub struct Answer {
    /// The HTTP status.
    pub status: hyper::StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Sends requests and keeps connections for the next ones.
#[derive(Clone, Debug)]
pub struct Http(Client<Connector, Whole>);

impl Http {
    /// With TLS as given, for addresses that begin with `https`.
    pub fn new(tls: Option<TlsConnector>) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(Connector(tls)))
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&self, request: Request<Whole>) -> Result<Answer, Broken> {
        let sending = async {
            let response = self.0.request(request).await?;
            let (head, body) = response.into_parts();
            Ok(Answer { status: head.status, headers: head.headers, body: collect(body).await? })
        };
        timeout(REQUEST_TIME, sending).await.unwrap_or(Err(Broken::Time))
    }
}

async fn collect(mut body: Incoming) -> Result<Bytes, Broken> {
    let mut all = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// Makes connections.
#[derive(Clone)]
struct Connector(Option<TlsConnector>);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// What a connection can do.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone().filter(|_| uri.scheme_str() == Some("https"));
        Box::pin(async move {
            let connecting = timeout(CONNECT_TIME, connect(&uri, tls));
            connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        })
    }
}

async fn connect(uri: &Uri, tls: Option<TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    // Small requests must not wait for the next packet.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}
