//! A WebSocket that does not keep what a long message once took.
//!
//! tungstenite's buffers grow with the longest message (the offer in one direction, the welcome to a large room in the
//! other) and stay. Everybody sits in a meeting for an hour after a few of those, so between two messages they are made
//! anew.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_tungstenite::WebSocketStream;
use hyper_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use hyper_tungstenite::tungstenite::{Error, Message};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

pub(super) struct Socket<S = TokioIo<Upgraded>> {
    /// `None` only while the buffers are made anew.
    stream: Option<WebSocketStream<Counted<S>>>,
    /// Bytes on the wire of all messages received so far, had each come in one frame. As many as have been read when
    /// nothing waits in the buffer; fewer for good once somebody splits messages, which no browser does at this length.
    received: u64,
    /// Of what came or went since the buffers were made.
    longest: usize,
    /// What came was no WebSocket, or too long: the rest of it may still be on its way.
    is_broken: bool,
}

/// Counts what is read.
struct Counted<S> {
    io: S,
    read: u64,
}

/// Text frames of docs/protocol.md.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Held by everybody all the time; what is longer comes in pieces.
const READ_BYTES: usize = 2 * 1024;

/// A longer message leaves buffers behind that are worth giving back.
const KEPT_BYTES_MAX: usize = READ_BYTES;

/// Several of the longest messages, for a peer that reads slowly.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_BYTES_MAX)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Nothing has been read from the stream yet.
    pub(super) async fn new(stream: WebSocketStream<S>) -> Socket<S> {
        let stream = Counted { io: stream.into_inner(), read: 0 };
        Socket { stream: Some(open(stream).await), received: 0, longest: 0, is_broken: false }
    }

    /// May be dropped while it waits; nothing is lost by that.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        if self.longest > KEPT_BYTES_MAX
            && let Err(error) = self.renew().await
        {
            return Some(Err(error));
        }
        let message = self.stream.as_mut()?.next().await?;
        match &message {
            Ok(message) => {
                self.received += wire_len(message.len());
                self.longest = self.longest.max(message.len());
            }
            Err(_) => self.is_broken = true,
        }
        Some(message)
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.longest = self.longest.max(message.len());
        self.stream.as_mut().ok_or(Error::ConnectionClosed)?.send(message).await
    }

    /// Says goodbye and hears the other side out: unread input at close would make the kernel reset the connection, and
    /// the last words could be lost.
    pub(super) async fn close(self) {
        let Some(mut stream) = self.stream else { return };
        let _ = stream.close(None).await;
        while let Some(Ok(_)) = stream.next().await {}
        if self.is_broken {
            let mut unread = [0; READ_BYTES];
            while stream.get_mut().read(&mut unread).await.is_ok_and(|len| len > 0) {}
        }
    }

    /// Makes the buffers anew if they are empty.
    async fn renew(&mut self) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // The answer to a ping may be on its way.
        stream.flush().await?;
        if stream.get_ref().read == self.received
            && let Some(stream) = self.stream.take()
        {
            self.stream = Some(open(stream.into_inner()).await);
            self.longest = 0;
        }
        Ok(())
    }
}

/// Never waits.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await
}

/// Of a message in one frame from a client (RFC 6455 §5.2): two bytes, the longer forms of the length, the mask.
fn wire_len(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + 4 + payload as u64
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, out);
        self.read += (out.filled().len() - before) as u64;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    fn text(nth: usize, len: usize) -> Message {
        Message::text(char::from(b'a' + nth as u8 % 26).to_string().repeat(len))
    }

    /// Everything is answered, read with `pipe` bytes at most under way.
    async fn echo(lens: &[usize], pipe: usize) {
        let (near, far) = duplex(pipe);
        let mut server = Socket::new(WebSocketStream::from_raw_socket(near, Role::Server, None).await).await;
        let (mut say, mut hear) = WebSocketStream::from_raw_socket(far, Role::Client, None).await.split();
        let said = async {
            for (nth, len) in lens.iter().enumerate() {
                say.send(text(nth, *len)).await.unwrap();
                say.send(Message::Ping(vec![nth as u8].into())).await.unwrap();
            }
        };
        let answered = async {
            for (nth, len) in lens.iter().enumerate() {
                let message = server.next().await.unwrap().unwrap();
                assert_eq!(message, text(nth, *len));
                assert!(server.next().await.unwrap().unwrap().is_ping());
                server.send(message).await.unwrap();
            }
        };
        let heard = async {
            for (nth, len) in lens.iter().enumerate() {
                let mut message = hear.next().await.unwrap().unwrap();
                while message.is_pong() {
                    message = hear.next().await.unwrap().unwrap();
                }
                assert_eq!(message, text(nth, *len));
            }
        };
        tokio::join!(said, answered, heard);
        // Everything is read by the time that this comes, so that the buffers it comes into are small ones.
        let (sent, last) = tokio::join!(say.send(text(0, 3)), server.next());
        sent.unwrap();
        assert_eq!(last.unwrap().unwrap(), text(0, 3));
        assert!(server.longest <= KEPT_BYTES_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_message_is_lost_with_the_buffers(
            lens in proptest::collection::vec(prop_oneof![0usize..300, 1800usize..6000, 65_400usize..=65_536], 1..12),
            pipe in 100usize..9000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(echo(&lens, pipe));
        }
    }
}
