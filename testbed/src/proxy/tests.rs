//! The proxy before an echo server.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Says back whatever it hears, and ends when the client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    addr
}

async fn pair() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(Some(echo().await)).await.unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    (proxy, client)
}

async fn says(client: &mut TcpStream, text: &str) -> io::Result<String> {
    client.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    client.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

fn to_client(flow: Flow) -> Trouble {
    Trouble { to_client: flow, ..Trouble::default() }
}

#[tokio::test]
async fn bytes_and_their_end_pass_both_ways() {
    let (_proxy, client) = pair().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = client.into_split();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    read.read_to_end(&mut got).await.unwrap();
    writing.await.unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
}

#[tokio::test]
async fn slices_and_a_slow_direction_change_no_byte() {
    let (proxy, mut client) = pair().await;
    proxy.set(to_client(Flow { slice: Some(3), ..Flow::default() }));
    assert_eq!(says(&mut client, "a line in pieces").await.unwrap(), "a line in pieces");
    proxy.set(to_client(Flow { bytes_per_s: Some(1_000), ..Flow::default() }));
    let begun = Instant::now();
    says(&mut client, &"x".repeat(300)).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(150), "not slower than told");
    proxy.set(to_client(Flow { delay: Duration::from_millis(100), ..Flow::default() }));
    let begun = Instant::now();
    says(&mut client, "late").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(95), "not delayed");
}

#[tokio::test]
async fn a_blocked_direction_goes_on_where_it_stopped() {
    let (proxy, mut client) = pair().await;
    assert_eq!(says(&mut client, "one").await.unwrap(), "one");
    for trouble in [
        to_client(Flow { blocked: true, ..Flow::default() }),
        Trouble { to_server: Flow { blocked: true, ..Flow::default() }, ..Trouble::default() },
    ] {
        proxy.set(trouble);
        let silent = tokio::time::timeout(Duration::from_millis(100), says(&mut client, "two")).await;
        assert!(silent.is_err(), "{silent:?}");
        proxy.heal();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"two");
    }
}

#[tokio::test]
async fn a_reset_connection_is_reset_and_a_cut_one_ends() {
    let (proxy, mut client) = pair().await;
    says(&mut client, "open").await.unwrap();
    proxy.end(End::Cut);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    says(&mut client, "open").await.unwrap();
    proxy.end(End::Reset);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // New ones are not concerned.
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(says(&mut client, "again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_door_refuses_or_says_nothing() {
    let (proxy, mut client) = pair().await;
    says(&mut client, "open").await.unwrap();
    proxy.set(Trouble { door: Door::Refused, ..Trouble::default() });
    assert!(client.read(&mut [0; 8]).await.is_err(), "open connections end too");
    let refused = async {
        let mut client = TcpStream::connect(proxy.addr()).await?;
        says(&mut client, "x").await
    };
    assert!(refused.await.is_err());
    proxy.set(Trouble { door: Door::Silent, ..Trouble::default() });
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(100), says(&mut client, "x")).await;
    assert!(silent.is_err());
    proxy.heal();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(says(&mut client, "y").await.unwrap(), "y");
}

#[tokio::test]
async fn a_proxy_answers_instead_of_its_server_and_loses_its_answers() {
    let (proxy, _client) = pair().await;
    let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1";
    proxy.set(Trouble { door: Door::Answer(head.into()), ..Trouble::default() });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/write", proxy.addr());
    let answer = client.post(&url).body("x".repeat(200_000)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    proxy.set(to_client(Flow { fatal: true, ..Flow::default() }));
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let error = says(&mut client, "heard, and the answer lost").await.unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof), "{error}");
}

#[tokio::test]
async fn without_a_server_clients_are_refused_until_there_is_one() {
    let proxy = Proxy::start(None).await.unwrap();
    let ask = async || {
        let mut client = TcpStream::connect(proxy.addr()).await?;
        says(&mut client, "x").await
    };
    assert!(ask().await.is_err());
    proxy.lead_to(echo().await);
    assert_eq!(ask().await.unwrap(), "x");
}
