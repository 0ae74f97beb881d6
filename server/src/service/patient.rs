//! Timeout of the body of a request: an error where the client sends nothing of it for a while.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use crate::status;

/// The body of a request, which is given up where nothing of it comes for a while.
pub(super) struct TimedBody {
    body: Body,
    patience: Duration,
    /// Runs while the next part is waited for.
    wait: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) fn new(body: Body, patience: Duration) -> Self {
        Self { body, patience, wait: None }
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut this.body), cx) {
            this.wait = None;
            return Poll::Ready(frame);
        }
        let patience = this.patience;
        let wait = this.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(wait.as_mut().poll(cx));
        Poll::Ready(Some(Err(status::timed_out(patience))))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A part, and nothing after it.
    struct Stopped(Option<Bytes>);

    impl http_body::Body for Stopped {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Pending,
            }
        }
    }

    async fn next(body: &mut TimedBody) -> Option<Result<Frame<Bytes>, Status>> {
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
    }

    #[tokio::test]
    async fn a_request_that_does_not_go_on_is_given_up() {
        let body = Body::new(Stopped(Some(Bytes::from_static(&[0, 0]))));
        let mut patient = TimedBody::new(body, Duration::from_millis(10));
        assert!(next(&mut patient).await.is_some_and(|frame| frame.is_ok()));
        let status = next(&mut patient).await.and_then(Result::err).unwrap();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    }
}
