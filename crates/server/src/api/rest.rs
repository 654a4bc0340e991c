//! What a handler left of a request's body. Whoever is still sending when a refusal comes would find the connection
//! reset instead of reading it, and not learn what was wrong.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Error,
    body::{Body, HttpBody},
};
use bytes::Bytes;
use futures::StreamExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// A body that comes back when it is dropped before its end.
pub(super) struct Returning {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl Returning {
    /// The body for a handler, and where it comes back.
    pub fn around(body: Body) -> (Body, oneshot::Receiver<Body>) {
        let (back, left) = oneshot::channel();
        (Body::new(Self { body, back: Some(back) }), left)
    }
}

impl HttpBody for Returning {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if let Some(back) = self.back.take().filter(|_| !self.body.is_end_stream()) {
            // Nobody waits for it once the request is gone.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

/// Reads what is left and forgets it, unless it is more than `limit` bytes: then closing the connection is cheaper.
pub(super) async fn drain(mut left: oneshot::Receiver<Body>, limit: usize) {
    let Ok(body) = left.try_recv() else { return };
    if body.size_hint().lower() > limit as u64 {
        return;
    }
    let mut frames = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(frame)) = frames.next().await {
        read += frame.len();
        if read > limit {
            return;
        }
    }
}
