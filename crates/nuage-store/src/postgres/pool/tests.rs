//! Two pools of one connection each, and a server that has none at first.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Address;
use crate::postgres::connect::Target;
use crate::postgres::pool::Pool;

/// `ErrorResponse` with SQLSTATE 53300, then `AuthenticationOk` and `ReadyForQuery`, as in
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const NONE_LEFT: &[u8] = b"E\0\0\0\x1cSFATAL\0C53300\0Mno room\0\0";
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// Reads who wants in, and answers.
async fn greet(stream: &mut TcpStream, answer: &[u8]) {
    let length = stream.read_u32().await.unwrap();
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await.unwrap();
    stream.write_all(answer).await.unwrap();
}

/// Sends so many away together, and lets everybody in who comes later.
async fn serve(listener: TcpListener, refused: usize) {
    let mut first = Vec::new();
    for _ in 0..refused {
        first.push(listener.accept().await.unwrap().0);
    }
    for stream in &mut first {
        greet(stream, NONE_LEFT).await;
    }
    let mut let_in = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        greet(&mut stream, WELCOME).await;
        let_in.push(stream);
    }
}

#[tokio::test]
async fn two_pools_with_nothing_do_not_wait_for_each_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener, 2));
    let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
    let target = Target::of(&Address { url, password: None }).unwrap();
    let pools = [(); 2].map(|()| Arc::new(Pool::new(&target, 1).unwrap()));
    Pool::pair(&pools[0], &pools[1]);
    // Each gives back what it got.
    let get = async |pool: &Pool| pool.get().await.map(drop);
    let both = async { tokio::join!(get(&pools[0]), get(&pools[1])) };
    let (one, two) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    one.unwrap();
    two.unwrap();
    server.abort();
}
