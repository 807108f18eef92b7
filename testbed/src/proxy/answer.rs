//! HTTP requests in, one fixed answer out. Knows of a request only where it ends.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest request that is answered.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads one request, answers with `head` and ends the connection.
pub(super) async fn serve(mut client: TcpStream, head: &str) {
    if request(&mut client).await.is_some() {
        let answer = format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = client.write_all(answer.as_bytes()).await;
        let _ = client.shutdown().await;
        // An early end with unread bytes would be a reset, and the answer lost.
        let _ = client.read(&mut [0; 1024]).await;
    }
}

async fn request(client: &mut TcpStream) -> Option<()> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let count = client.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if is_whole(&bytes) {
            return Some(());
        }
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if value("transfer-encoding:").is_some_and(|encoding| encoding.contains("chunked")) {
        return bytes.ends_with(b"0\r\n\r\n");
    }
    let length = value("content-length:").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    bytes.len() - head - 4 >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_its_body() {
        assert!(is_whole(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(!is_whole(b"GET / HTTP/1.1\r\nHost: x\r\n"));
        assert!(!is_whole(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"));
        assert!(is_whole(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"));
        assert!(!is_whole(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
        assert!(is_whole(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    }
}
