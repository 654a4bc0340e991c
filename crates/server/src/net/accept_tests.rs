use std::time::Duration;

use axum::{Extension, routing::get};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::net::{ForwardedHeader, tls::tests::Files};

/// A server at work that says who asked.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// Lets `/slow` be answered.
    go: Arc<Notify>,
    /// Tells that it was asked.
    asked: Arc<Notify>,
}

async fn run(config: &Config) -> Running {
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (go, asked) = (go.clone(), asked.clone());
        move || {
            let (go, asked) = (go.clone(), asked.clone());
            async move {
                asked.notify_one();
                go.notified().await;
                "done"
            }
        }
    };
    let who = |Extension(peer): Extension<Peer>| async move { format!("{} {}", peer.address, peer.over_tls) };
    let router = Router::new().route("/", get(who)).route("/slow", get(slow));
    let front = Front::listen(config).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let addr = front.addr;
    let task = tokio::spawn(front.accept(router, async { drop(stopped.await) }));
    Running { addr, stop, task, go, asked }
}

async fn tls(
    running: &Running,
    certificate: CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(running.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn request(path: &str, further: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{further}\r\n")
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_requests_know_it() {
    let files = Files::new();
    let certificate = files.renew();
    let running = run(&files.config()).await;
    for version in [&TLS12, &TLS13] {
        let mut stream = tls(&running, certificate.clone(), &[version]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let text = answer(&mut stream, &request("/", "x-forwarded-for: 192.0.2.1\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("127.0.0.1 true"), "{text}");
    }
    let mut plain = TcpStream::connect(running.addr).await.unwrap();
    plain.write_all(request("/", "").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // It ends with an alert of TLS or at once, and says nothing of HTTP.
    let _ = plain.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go() {
    let files = Files::new();
    let mut config = files.config();
    config.limits.handshake_time = Duration::from_millis(20);
    let running = run(&config).await;
    for first in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut silent = TcpStream::connect(running.addr).await.unwrap();
        silent.write_all(first).await.unwrap();
        let mut bytes = Vec::new();
        let _ = silent.read_to_end(&mut bytes).await;
    }
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_answers_over_tls_be_finished() {
    let files = Files::new();
    let certificate = files.renew();
    let mut config = files.config();
    // What waits must not be what ends it.
    config.limits.handshake_time = Duration::from_secs(600);
    let Running { addr, stop, task, go, asked } = run(&config).await;
    let running = Running { addr, stop: oneshot::channel().0, task: tokio::spawn(async {}), go, asked };
    let mut busy = tls(&running, certificate.clone(), &[&TLS13]).await;
    let _idle = tls(&running, certificate, &[&TLS13]).await;
    let _shaking = TcpStream::connect(addr).await.unwrap();
    busy.write_all(request("/slow", "").as_bytes()).await.unwrap();
    running.asked.notified().await;
    stop.send(()).unwrap();
    running.go.notify_one();
    let mut text = String::new();
    busy.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("done"), "{text}");
    task.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_over_tls_too() {
    let files = Files::new();
    let certificate = files.renew();
    let mut config = files.config();
    config.limits.write_time = Duration::from_millis(50);
    config.limits.shutdown_time = Duration::from_secs(600);
    let front = Front::listen(&config).await.unwrap();
    let (addr, (stop, stopped)) = (front.addr, oneshot::channel::<()>());
    let router = Router::new().route("/", get(async || vec![0u8; 64 << 20]));
    let task = tokio::spawn(front.accept(router, async { drop(stopped.await) }));
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let running = Running { addr, stop, task, go, asked };
    let mut stream = tls(&running, certificate, &[&TLS13]).await;
    stream.write_all(request("/", "").as_bytes()).await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    running.stop.send(()).unwrap();
    // It would not end otherwise: the client is there, and takes nothing.
    running.task.await.unwrap();
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asked() {
    let mut config = Config::new("data", "keys");
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.proxies = Proxies::new(&["127.0.0.0/8"], ForwardedHeader::XForwardedFor).unwrap();
    let running = run(&config).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let further = "x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nx-forwarded-proto: https\r\n";
    let text = answer(&mut stream, &request("/", further)).await;
    assert!(text.ends_with("192.0.2.1 true"), "{text}");
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}
